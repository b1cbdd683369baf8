"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  let key = "";
  let shown = "";
  let frameUrl = "";

  const say = (text) => { $("message").textContent = text; };

  async function get(path) {
    const answer = await fetch(path, { headers: { Authorization: "Bearer " + key }, cache: "no-store", credentials: "omit" });
    if (answer.ok) return answer;
    let detail = "The API answered " + answer.status + ".";
    try { detail = (await answer.json()).detail || detail; } catch { /* not a problem document */ }
    throw new Error(detail);
  }

  function cell(row, text, className) {
    const data = row.insertCell();
    if (className) {
      const mark = document.createElement("span");
      mark.className = className;
      mark.textContent = text;
      data.append(mark);
    } else {
      data.textContent = text;
    }
    return data;
  }

  async function list() {
    const sessions = await (await get("/v1/sessions?limit=200")).json();
    const rows = $("rows");
    rows.replaceChildren();
    for (const session of sessions) {
      const row = rows.insertRow();
      const id = document.createElement("code");
      id.textContent = session.session_id.slice(0, 8);
      id.title = session.session_id;
      cell(row, "").append(id);
      cell(row, session.state, "state " + session.state);
      cell(row, new Date(session.created_at).toLocaleString());
      cell(row, session.opted_out.join(", ") || "–");
      const open = document.createElement("button");
      open.type = "button";
      open.className = "quiet";
      open.textContent = "Timeline";
      open.disabled = session.state === "erased" || session.state === "withdrawn";
      open.addEventListener("click", () => guarded(() => show(session.session_id)));
      cell(row, "").append(open);
    }
    $("count").textContent = sessions.length === 1 ? "One session" : sessions.length + " sessions";
    $("list").hidden = false;
    $("login").hidden = true;
    $("key").value = "";
  }

  async function show(id) {
    const html = await (await get("/v1/sessions/" + id + "/report")).text();
    URL.revokeObjectURL(frameUrl);
    frameUrl = URL.createObjectURL(new Blob([html], { type: "text/html" }));
    shown = id;
    $("frame").src = frameUrl;
    $("shown").textContent = "Session " + id.slice(0, 8);
    $("report").hidden = false;
    $("report").scrollIntoView({ behavior: "smooth" });
  }

  async function save() {
    const text = await (await get("/v1/sessions/" + shown + "/timeline?resolution=second&format=csv")).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(text);
    link.download = shown.slice(0, 8) + ".csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async function guarded(action) {
    say("");
    try { await action(); } catch (error) { say(error.message); }
  }

  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    key = $("key").value.trim();
    guarded(list);
  });
  $("refresh").addEventListener("click", () => guarded(list));
  $("csv").addEventListener("click", () => guarded(save));
  $("close").addEventListener("click", () => { $("report").hidden = true; $("frame").src = "about:blank"; });
})();
