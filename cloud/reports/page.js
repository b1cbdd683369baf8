"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const soften = (hex, share) => hex + Math.round(share * 255).toString(16).padStart(2, "0");

  function paint(figure) {
    const drawn = JSON.parse(JSON.stringify(figure));
    for (const trace of drawn.data) {
      const tint = colour(trace.meta.colour);
      if (trace.line) trace.line.color = tint;
      if (trace.marker) trace.marker.color = tint;
      if (trace.fill) trace.fillcolor = soften(tint, 0.16);
    }
    for (const shape of drawn.layout.shapes) {
      if (shape.meta === "gap") {
        shape.fillcolor = soften(colour("gap"), 0.26);
      } else {
        const tint = colour(shape.meta.split(":")[1]);
        shape.fillcolor = soften(tint, 0.07);
        shape.line.color = tint;
      }
      delete shape.meta;
    }
    for (const label of drawn.layout.annotations) {
      label.font = label.meta === "gap" ? { color: colour("soft"), size: 11 } : { color: colour(label.meta), size: 13 };
      delete label.meta;
    }
    const layout = drawn.layout;
    layout.paper_bgcolor = "rgba(0,0,0,0)";
    layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { family: getComputedStyle(document.body).fontFamily, color: colour("soft"), size: 12 };
    layout.hoverlabel = { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } };
    for (const name of Object.keys(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      layout[name].gridcolor = colour("line");
      layout[name].linecolor = colour("line");
      layout[name].tickcolor = colour("line");
      if (name.startsWith("y")) layout[name].showline = false;
    }
    return drawn;
  }

  function draw() {
    for (const [id, figure] of Object.entries(figures)) {
      const painted = paint(figure);
      Plotly.react(document.getElementById(id), painted.data, painted.layout, {
        responsive: true, displayModeBar: false, showTips: false,
      });
    }
  }

  // In the dashboard this page stands in a frame, which cannot know how tall it is.
  function tellHeight() {
    if (window.parent !== window) {
      window.parent.postMessage({ height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
    }
  }

  draw();
  new ResizeObserver(tellHeight).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
