"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const PAGE = 200;
  const STATES = {
    created: ["invited", "The viewer has not consented yet."],
    consented: ["consented", "The viewer has consented but not begun."],
    live: ["live", "Frames are arriving."],
    closed: ["ended", "The viewing is over; its timeline will be sealed soon."],
    sealed: ["sealed", "The viewing is over; its timeline is kept encrypted under a key of its own."],
    withdrawn: ["withdrawn", "The viewer withdrew consent; everything is being deleted."],
    erased: ["erased", "Everything but the evidence of consent was deleted."],
  };
  const NO_TIMELINE = {
    created: "not begun", consented: "not begun", withdrawn: "nothing is kept", erased: "nothing is kept",
  };
  const BAD_KEY = "This key is not valid: it may be mistyped, expired or revoked. A studio's key begins with cnt_.";
  let key = "";
  let shown = null;
  let frameUrl = "";
  let oldest = "";
  let names = { viewers: new Map(), titles: new Map(), studies: new Map() };

  const say = (text) => { $("message").textContent = text; };

  async function get(path) {
    let answer;
    try {
      answer = await fetch(path, { headers: { Authorization: "Bearer " + key }, cache: "no-store", credentials: "omit" });
    } catch {
      throw new Error("The platform does not answer. Is it running? Try again in a moment.");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      leave();
      throw new Error(BAD_KEY);
    }
    let detail = "The platform answered with error " + answer.status + ".";
    try { detail = (await answer.json()).detail || detail; } catch { /* not a problem document */ }
    throw Object.assign(new Error(detail), { status: answer.status });
  }

  async function named(what, id, name) {
    try {
      const found = await (await get("/v1/" + what + "?limit=1000")).json();
      return new Map(found.map((one) => [one[id], one[name]]));
    } catch (error) {
      // A key may be allowed to read results but not studies: ids are shown then.
      if (error.status === 403) return new Map();
      throw error;
    }
  }

  function cell(row, label, content, title) {
    const data = row.insertCell();
    data.dataset.label = label;
    data.append(content);
    if (title) data.title = title;
  }

  function span(text, className) {
    const mark = document.createElement("span");
    mark.className = className;
    mark.textContent = text;
    return mark;
  }

  function action(session) {
    const why = NO_TIMELINE[session.state];
    if (why) return span(why, "none");
    const open = document.createElement("button");
    open.type = "button";
    open.className = "quiet";
    open.textContent = session.state === "live" ? "Timeline so far" : "Timeline";
    open.addEventListener("click", () => guarded(() => show(session)));
    return open;
  }

  const nameOf = (what, id) => names[what].get(id) || id.slice(0, 8);

  function add(session) {
    const row = $("rows").insertRow();
    const [state, meaning] = STATES[session.state] || [session.state, ""];
    const invited = new Date(session.created_at);
    cell(row, "Viewer", span(nameOf("viewers", session.viewer_id), "name"), "Session " + session.session_id);
    cell(row, "Title", nameOf("titles", session.title_id));
    cell(row, "Study", nameOf("studies", session.study_id));
    cell(row, "State", span(state, "state " + session.state), meaning);
    cell(row, "Invited", invited.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }), invited.toISOString());
    cell(row, "Opted out", session.opted_out.join(", ") || "nothing");
    cell(row, "", action(session));
  }

  async function list(before) {
    const page = before ? "&before=" + encodeURIComponent(before) : "";
    const sessions = await (await get("/v1/sessions?limit=" + PAGE + page)).json();
    const [viewers, titles, studies] = await Promise.all([
      named("viewers", "viewer_id", "pseudonym"), named("titles", "title_id", "name"), named("studies", "study_id", "name"),
    ]);
    names = { viewers, titles, studies };
    if (!before) $("rows").replaceChildren();
    sessions.forEach(add);
    const count = $("rows").rows.length;
    oldest = sessions.length ? sessions[sessions.length - 1].created_at : "";
    $("older").hidden = sessions.length < PAGE;
    $("count").textContent = (count === 1 ? "One session" : count + " sessions") + ($("older").hidden ? "" : ", newest first");
    $("empty").hidden = count > 0;
    $("table").hidden = count === 0;
    $("list").hidden = false;
    $("login").hidden = true;
    $("key").value = "";
  }

  async function show(session) {
    const path = "/v1/sessions/" + session.session_id;
    const html = await (await get(path + "/report")).blob();
    URL.revokeObjectURL(frameUrl);
    frameUrl = URL.createObjectURL(new Blob([html], { type: "text/html" }));
    shown = { path, name: nameOf("viewers", session.viewer_id) + "-" + session.session_id.slice(0, 8) };
    $("frame").style.height = "";
    $("frame").src = frameUrl;
    $("shown").textContent = nameOf("viewers", session.viewer_id) + " · " + nameOf("titles", session.title_id);
    $("report").hidden = false;
    $("report").scrollIntoView();
  }

  async function save(query, ending) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await (await get(shown.path + query)).blob());
    link.download = shown.name + ending;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function close() {
    $("report").hidden = true;
    $("frame").removeAttribute("src");
    URL.revokeObjectURL(frameUrl);
    shown = null;
  }

  function leave() {
    key = "";
    close();
    $("rows").replaceChildren();
    $("list").hidden = true;
    $("login").hidden = false;
    $("key").focus();
  }

  async function guarded(action) {
    say("");
    document.body.setAttribute("aria-busy", "true");
    try { await action(); } catch (error) { say(error.message); }
    document.body.removeAttribute("aria-busy");
  }

  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    key = $("key").value.trim();
    guarded(async () => {
      // A header cannot carry anything else, and no key has it.
      if (!/^[\x21-\x7e]+$/.test(key)) throw new Error(BAD_KEY);
      await list("");
    });
  });
  $("refresh").addEventListener("click", () => guarded(() => list("")));
  $("older").addEventListener("click", () => guarded(() => list(oldest)));
  $("leave").addEventListener("click", () => { say(""); leave(); });
  $("csv").addEventListener("click", () => guarded(() => save("/timeline?resolution=second&format=csv", "-seconds.csv")));
  $("frames").addEventListener("click", () => guarded(() => save("/timeline?resolution=frame&format=csv", "-frames.csv")));
  $("page").addEventListener("click", () => guarded(() => save("/report", ".html")));
  $("close").addEventListener("click", close);
  // The framed page has no origin, so it is known by its window; it can say how tall it is and nothing else.
  window.addEventListener("message", (event) => {
    const height = event.source === $("frame").contentWindow ? Number(event.data && event.data.height) : NaN;
    if (height > 0 && height < 100000) $("frame").style.height = height + "px";
  });
})();
