/* The page's middle: elements, figures as people read them, views by address, and the frame around. */
"use strict";
(function (shmperf) {
  /**
   * A view: what stands at an address. `path` is matched on what follows the "#", its groups arrive
   * decoded. `render` fills `place`; what it returns is told of every look, and closed at the end.
   * @typedef {object} View
   * @property {string} name
   * @property {string} title
   * @property {RegExp} path
   * @property {boolean | ((source: Source) => boolean)} nav
   * @property {string} [key] the letter behind "g"
   * @property {(place: Element, match: string[], source: Source) => (Shown | void | Promise<Shown | void>)} render
   */
  /**
   * @typedef {object} Shown
   * @property {(look: object) => void} [update]
   * @property {(text: string) => void} [search] the header's search box, while this view is open
   * @property {() => void} [close]
   */
  /**
   * Where everything shown comes from: a server, or the page itself.
   * @typedef {object} Source
   * @property {boolean} isLive
   * @property {boolean} canWrite
   * @property {string} [note] what a reader has to know of all this
   * @property {(part: string, wanted?: object) => Promise<any>} get
   * @property {(told: (look: object) => void) => void} subscribe
   * @property {(name: string, body: object) => Promise<any>} post
   */

  /** @type {View[]} */
  shmperf.views = [];
  const LONGEST = 80;
  const NAME_END = 12;
  const MOST_RATES = 60;

  // Elements. Whatever comes from outside is text, never markup.

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "style") styled(element, value);
      else if (name === "href") element.setAttribute(name, inside(value));
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
    return element;
  }

  function styled(element, properties) {
    for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  }

  // Links lead to a place of this page or of its server, nowhere else.
  function inside(address) {
    return /^(#|\/(?!\/))/.test(address) ? address : "#/";
  }

  function asNode(child) {
    return child instanceof Node ? child : document.createTextNode(String(child));
  }

  /** An element with attributes (`onclick`: a listener, `style`: an object) and children. */
  shmperf.h = (tag, attributes, ...children) =>
    filled(document.createElement(tag), attributes, children);

  /** The same for a drawing. */
  shmperf.svg = (tag, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const { h } = shmperf;

  const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
  const escaped = (found) => "\\u" + found.charCodeAt(0).toString(16).padStart(4, "0");

  /** Text on one line, control characters shown, cut at *longest* characters. */
  shmperf.short = (text, longest = LONGEST) => {
    const shown = String(text).slice(0, 4 * longest).replace(CONTROL, escaped);
    return shown.length > longest || String(text).length > 4 * longest ? shown.slice(0, longest - 1) + "…" : shown;
  };

  /** A tool's name, cut, the whole of it where one points. */
  shmperf.name = (text, longest = LONGEST) => {
    const shown = shmperf.short(text === "" ? "(no name)" : text, longest);
    // Names are told apart by their ends: where there is no room the middle is left out.
    const end = shown.length > 2 * NAME_END && /^[\x20-\x7e]+$/.test(shown) ? NAME_END : 0;
    // Both halves are painted; what is read out, searched and copied is the name in one piece.
    return end ? h("bdi", { class: "name split", title: text, "data-start": shown.slice(0, -end), "data-end": shown.slice(-end) }, h("span", { class: "whole" }, shown))
      : h("bdi", { class: "name", title: text }, shown);
  };

  /** The address of a tool's page. */
  shmperf.toolAddress = (tool) => "#/tool/" + encodeURIComponent(wellFormed(tool));
  shmperf.toolLink = (tool, longest) => h("a", { href: shmperf.toolAddress(tool), "data-key": tool }, shmperf.name(tool, longest));
  shmperf.traceLink = (id, text) => h("a", { href: "#/trace/" + encodeURIComponent(id), "data-key": id }, text ?? id);

  function wellFormed(text) {
    return text.toWellFormed ? text.toWellFormed() : text;
  }

  // Figures.

  const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const NONE = "–";
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

  function three(value) {
    if (value >= 999.5) return grouped.format(value);
    return String(Number(value.toPrecision(3)));
  }

  function scaled(value, units) {
    // What three figures round up to a thousand is one of the next unit.
    const [scale, unit] = units.find(([least]) => value >= 0.9995 * least) ?? units[units.length - 1];
    return three(value / scale) + (unit && "\u00a0" + unit);
  }

  const DURATIONS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
  const BYTES = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
  const BRIEF = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];

  function long(seconds) {
    const whole = Math.floor(seconds);
    const [d, hr, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
    if (d) return `${d} d ${hr} h`;
    return hr ? `${hr} h ${m} min` : `${m} min ${s} s`;
  }

  const unix = (when) => (typeof when === "number" ? when : Date.parse(when) / 1000);

  /** Figures as people read them: three significant ones, a dash for what nobody knows. */
  shmperf.format = {
    duration: (s) => (!isNumber(s) ? NONE : s === 0 ? "0\u00a0s" : s < 0 ? "-" + shmperf.format.duration(-s) : scaled(s, DURATIONS)),
    /** How long something has been so: "3 min 4 s". */
    age: (s) => (!isNumber(s) ? NONE : s < 60 ? shmperf.format.duration(Math.max(0, s)) : long(s)),
    count: (n) => (isNumber(n) ? grouped.format(n) : NONE),
    /** A count where there is little room: 12.3 M. */
    brief: (n) => (!isNumber(n) ? NONE : n < 1e4 ? grouped.format(n) : scaled(n, BRIEF)),
    /** So many in a second. */
    rate: (n) => (!isNumber(n) ? NONE : n === 0 ? "0" : n < 0.01 ? "<0.01" : n >= 1e4 ? scaled(n, BRIEF) : three(n)),
    bytes: (n) => (!isNumber(n) ? NONE : scaled(n, BYTES)),
    percent: (share) => (!isNumber(share) ? NONE : share > 0 && share < 0.001 ? "<0.1\u00a0%" : `${Number((share * 100).toPrecision(share >= 0.1 ? 3 : 2))}\u00a0%`),
    time: (when) => {
      const at = unix(when) * 1000;
      if (!isNumber(at)) return NONE;
      return (new Date(at).toDateString() === new Date().toDateString() ? clock : calendar).format(at);
    },
    ago: (when) => {
      const s = shmperf.now() - unix(when);
      return !isNumber(s) ? NONE : s < 2 ? "now" : (s < 60 ? Math.round(s) + " s" : long(s)) + " ago";
    },
  };

  /** A time, the whole of it where one points. */
  shmperf.moment = (when, text) => {
    const at = unix(when) * 1000;
    if (!isNumber(at)) return h("span", null, NONE);
    const iso = new Date(at).toISOString();
    return h("time", { datetime: iso, title: iso }, text ?? shmperf.format.time(when));
  };

  // Pieces that every view has.

  /** A part of a view, with its heading. */
  shmperf.panel = (title, ...children) =>
    h("section", { class: "panel", "aria-label": title }, h("h2", null, title), ...children);

  /** What stands where nothing is, and what to do for something to be there. */
  shmperf.empty = (text, ...more) => h("p", { class: "empty" }, text, ...more);

  /** Text as it is, line by line; a long one can be scrolled, by keys as well. */
  shmperf.pre = (text) => h("pre", String(text).length > 300 || String(text).split("\n").length > 10 ? { tabindex: "0" } : null, text);

  /** What went wrong, in its place, with another try. */
  shmperf.failed = (error, again) =>
    h("div", { class: "failed", role: "alert" }, h("p", null, shmperf.short(error?.message ?? error, 400)),
      again && h("button", { type: "button", onclick: again }, "Try again"));

  // What one has unfolded stays so, and the focus where it is, by the marks that both have.
  function replaced(place, shown) {
    const open = new Set([...place.querySelectorAll("details[data-key][open]")].map((one) => one.dataset.key));
    const focused = place.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : undefined;
    place.replaceChildren(...[shown].flat(Infinity).filter(Boolean));
    for (const one of place.querySelectorAll("[data-key]")) {
      if (open.has(one.dataset.key) && one.localName === "details") one.open = true;
      if (one.dataset.key === focused) (one.querySelector("summary") ?? one).focus({ preventScroll: true });
    }
  }

  function isSelectedIn(place) {
    const selection = getSelection();
    return !!selection && !selection.isCollapsed && place.contains(selection.anchorNode);
  }

  /**
   * Fill *place* with what *ask* promises, by *show(answer)*, which returns what shall stand there;
   * null: it has seen to that itself. A failure is told in place. The function returned asks again: meanwhile what stands there stays,
   * and what is the same is not made anew.
   */
  shmperf.load = (place, ask, show) => {
    let turn = 0, known = null;
    const again = async () => {
      if (turn > 0 && !place.isConnected) return;
      const mine = ++turn;
      place.setAttribute("aria-busy", "true");
      if (mine === 1 && !place.firstChild) place.append(h("p", { class: "loading" }, "Loading…"));
      try {
        const answer = await ask();
        const text = JSON.stringify(answer);
        if (mine === turn && text !== known && !(known !== null && isSelectedIn(place))) {
          const shown = show(answer);
          if (shown !== null && shown !== undefined) replaced(place, shown);
          known = text;
        }
      } catch (error) {
        known = null;
        if (mine === turn) place.replaceChildren(error.isFinal ? shmperf.empty(error.message) : shmperf.failed(error, again));
      }
      if (mine === turn) place.removeAttribute("aria-busy");
    };
    return again;
  };

  /** *done* at once, then at most once in so many seconds, but after the last time it was asked for. */
  shmperf.sparing = (seconds, done) => {
    let next = -Infinity, timer = null;
    return () => {
      if (timer !== null) return;
      const run = () => {
        timer = null;
        next = performance.now() + seconds * 1000;
        done();
      };
      const wait = next - performance.now();
      if (wait <= 0) run();
      else timer = setTimeout(run, wait);
    };
  };

  /** The colour of a variable of the style sheet as a canvas takes it. */
  shmperf.colour = (name) => {
    const probe = h("span", { hidden: true, style: { color: `var(--${name})` } });
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  /** Say *text* to whoever listens instead of looking. */
  shmperf.say = (text) => {
    document.getElementById("polite").textContent = text;
  };

  // Looks.

  const rates = new Map();

  /** The look that *news* makes of the *last* one: tools that did not change are not sent again. */
  shmperf.merged = (last, news) => {
    if (!last || news.whole) return { ...news, tools: [...news.tools] };
    const changed = new Map(news.tools.map((tool) => [tool.tool, tool]));
    const gone = new Set(news.gone ?? []);
    const tools = last.tools.filter((tool) => !gone.has(tool.tool)).map((tool) => {
      const now = changed.get(tool.tool);
      changed.delete(tool.tool);
      return now ?? tool;
    });
    return { ...last, ...news, tools: [...tools, ...changed.values()] };
  };

  function remember(look) {
    for (const tool of look.tools) {
      if (!isNumber(tool.rate) || (tool.rate === 0 && !rates.has(tool.tool))) continue;
      const known = rates.get(tool.tool) ?? [];
      known.push(tool.rate);
      if (known.length > MOST_RATES) known.shift();
      rates.set(tool.tool, known);
    }
  }

  /** Calls a second of *tool* at the last looks, the newest last. */
  shmperf.rates = (tool) => rates.get(tool) ?? [];

  // Dialogs.

  function dialog(title, body, buttons) {
    const box = h("dialog", { "aria-label": title },
      h("form", { method: "dialog" }, h("h2", null, title), body, h("div", { class: "buttons" }, buttons)));
    box.addEventListener("close", () => box.remove());
    document.body.append(box);
    box.showModal();
    return box;
  }

  /** Ask before something is done; what *read* makes of the form where they agree, or null. */
  shmperf.confirm = (title, body, action, read = () => true) =>
    new Promise((resolve) => {
      const box = dialog(title, body, [
        h("button", { value: "" }, "Cancel"),
        h("button", { value: "yes", class: "primary" }, action),
      ]);
      box.addEventListener("close", () => resolve(box.returnValue === "yes" ? read(box) : null));
    });

  const KEYS = [
    ["/", "search"], ["↑ ↓", "rows of a table, once it has the focus"], ["Enter", "open the row"],
    ["Esc", "leave the search, or go back"], ["t", "light, dark, or as the system has it"], ["?", "this"],
  ];

  function help() {
    const ways = navigable().map((view, place) => [`${place + 1}${view.key ? `, g ${view.key}` : ""}`, view.title]);
    const row = ([key, text]) => h("tr", null, h("th", { scope: "row" }, h("kbd", null, key)), h("td", null, text));
    dialog("Keys", h("table", { class: "keys" }, h("tbody", null, [...KEYS, ...ways].map(row))),
      h("button", { value: "", class: "primary" }, "Close"));
  }

  // Addresses.

  let source = null;
  let look = null;
  let current = { view: null, shown: null, turn: 0 };

  const navigable = () => shmperf.views.filter((view) => (typeof view.nav === "function" ? view.nav(source) : view.nav));

  function decoded(text) {
    try {
      return text === undefined ? "" : decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function address() {
    const hash = location.hash.replace(/^#/, "");
    return hash.startsWith("/") ? hash : "/";
  }

  function viewAt(path) {
    for (const view of shmperf.views) {
      const match = view.path.exec(path);
      if (match) return [view, match.map(decoded)];
    }
    return [null, []];
  }

  function nowhere(place) {
    place.append(h("h1", null, "Nowhere"), shmperf.empty("Nothing is at this address. ", h("a", { href: "#/" }, "To the overview")));
  }

  async function go(moved) {
    current.shown?.close?.();
    const [view, match] = viewAt(address());
    const turn = current.turn + 1;
    current = { view, shown: null, turn };
    const place = h("div", { class: "view view-" + (view?.name ?? "none") });
    const main = document.getElementById("main");
    main.replaceChildren(place);
    forgotten();
    document.title = (match[1] ? shmperf.short(match[1], 60) + " · " : "") + (view?.title ?? "Nowhere") + " · shmperf";
    marked();
    if (moved) {
      window.scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
    await rendered(view, place, match, turn);
  }

  async function rendered(view, place, match, turn) {
    try {
      const shown = view ? await view.render(place, match, source) : nowhere(place);
      if (turn !== current.turn) return shown?.close?.();
      current.shown = shown ?? null;
      if (look) current.shown?.update?.(look);
      if (frame.search.value) current.shown?.search?.(frame.search.value);
    } catch (error) {
      if (turn === current.turn) place.append(shmperf.failed(error, () => go(false)));
    }
  }

  /** To another view, as a link does. */
  shmperf.go = (hash) => {
    location.hash = hash;
  };

  // The frame: bar above, views beside.

  const frame = {};

  // Where the views stand in a row, the chosen one is in sight.
  function chosen(link) {
    link.setAttribute("aria-current", "page");
    document.getElementById("nav").scrollLeft = link.offsetLeft - 48;
  }

  function marked() {
    const path = viewAt(address())[0]?.name;
    const near = { tool: "tools", trace: "tree" }[path] ?? path;
    for (const link of document.querySelectorAll("#nav a")) {
      if (link.dataset.view === near) chosen(link);
      else link.removeAttribute("aria-current");
    }
  }

  function navigation() {
    const link = (view) =>
      h("li", null, h("a", { href: "#" + hrefOf(view), "data-view": view.name }, h("span", null, view.title),
        h("span", { class: "tally", "data-tally": view.name })));
    document.getElementById("nav").replaceChildren(h("ul", null, navigable().map(link)));
  }

  // A view of the navigation has an address without groups: its pattern is the address.
  function hrefOf(view) {
    return view.path.source.replace(/^\^|\$$/g, "").replace(/\\\//g, "/").replace(/\(.*$/, "");
  }

  function tallied() {
    const tallies = { inflight: look.in_flight, alerts: look.alerts.length, tools: look.tools.length, workers: look.workers.length };
    for (const [name, count] of Object.entries(tallies)) {
      const place = document.querySelector(`[data-tally="${name}"]`);
      if (place) place.textContent = count ? shmperf.format.brief(count) : "";
      if (place) place.classList.toggle("bad", name === "alerts" && count > 0);
    }
  }

  function bar() {
    frame.session = h("span", { class: "session" });
    frame.badge = h("span", { class: "badge", role: "status" }, source.isLive ? "connecting" : "report");
    frame.search = h("input", { type: "search", placeholder: "Search  /", "aria-label": "Search", autocomplete: "off", spellcheck: "false", oninput: typed, onkeydown: inSearch });
    frame.writes = h("div", { class: "writes" });
    frame.theme = h("button", { type: "button", class: "plain", onclick: nextTheme });
    document.getElementById("bar").replaceChildren(
      h("a", { class: "brand", href: "#/" }, "shmperf"), frame.session, frame.badge, frame.writes,
      h("search", null, frame.search), frame.theme,
      h("button", { type: "button", class: "plain", "aria-label": "Keys", title: "Keys  ?", onclick: help }, "?"));
    frame.problem = h("p", { class: "problem", hidden: true });
    document.getElementById("bar").append(frame.problem);
    if (source.note) document.getElementById("bar").append(h("p", { class: "note" }, source.note, source.changes && [" · ", h("a", { href: "#/changes" }, "what changed")]));
    themed();
    if (source.canWrite) writing();
  }

  function typed() {
    if (current.shown?.search) return current.shown.search(frame.search.value);
    if (frame.search.value) shmperf.go("#/tools");
  }

  function inSearch(event) {
    if (event.key === "Escape") {
      frame.search.value = "";
      typed();
      frame.search.blur();
      event.stopPropagation();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      document.querySelector("#main .rows [tabindex='0']")?.focus();
      event.preventDefault();
    }
  }

  // Modes and runs.

  function writing() {
    frame.mode = h("button", { type: "button", onclick: switched });
    frame.optimize = h("button", { type: "button", onclick: optimized }, "Optimize");
    frame.progress = h("span", { class: "running", hidden: true });
    frame.writes.append(frame.mode, frame.optimize, frame.progress);
  }

  async function switched() {
    const to = look?.mode === "optimization" ? "normal" : "optimization";
    const text = to === "normal"
      ? "Calls are recorded briefly again: parameters in short, errors by class."
      : "From now on every call is recorded in detail: whole parameters, messages of errors. Calls cost more until the mode is normal again.";
    if (await shmperf.confirm(`Switch to ${to} mode?`, h("p", null, text), "Switch")) await done("mode", { mode: to }, `The mode is ${to}.`);
  }

  async function optimized() {
    const body = h("div", null,
      h("p", null, "Calls are recorded in detail for a while; then a report says what to change."),
      h("label", null, "Seconds at most ", h("input", { name: "seconds", type: "number", min: "1", max: "86400", step: "any", placeholder: "as configured" })),
      h("label", null, "Calls at most ", h("input", { name: "calls", type: "number", min: "1", step: "1", placeholder: "as configured" })));
    const asked = await shmperf.confirm("Begin an optimization run?", body, "Begin", bounds);
    if (asked) await done("optimize", asked, "An optimization run has begun.");
  }

  function bounds(box) {
    const found = {};
    for (const field of box.querySelectorAll("input")) if (field.value) found[field.name] = Number(field.value);
    return found;
  }

  async function done(name, body, text) {
    try {
      await source.post(name, body);
      shmperf.say(text);
    } catch (error) {
      dialog("That did not work", h("p", null, shmperf.short(error.message, 400)), h("button", { value: "", class: "primary" }, "Close"));
    }
  }

  function ran(before) {
    const run = look.optimization;
    frame.mode.textContent = look.mode === "optimization" ? "mode: optimization" : "mode: normal";
    frame.mode.classList.toggle("on", look.mode === "optimization");
    frame.mode.disabled = frame.optimize.disabled = !look.is_live;
    frame.optimize.hidden = run.trigger !== null;
    frame.progress.hidden = run.trigger === null;
    if (run.trigger !== null) frame.progress.replaceChildren(...progress(run));
    if (before?.optimization.trigger && run.trigger === null && run.last_report) {
      shmperf.say("The optimization run has ended; its report is there.");
      frame.optimize.after(h("a", { class: "fresh", href: "#/reports/" + encodeURIComponent(run.last_report), onclick: (event) => event.currentTarget.remove() }, "its report"));
    }
  }

  function progress(run) {
    const left = run.ends_in_s === null ? "" : ` · ${shmperf.format.age(run.ends_in_s)} left`;
    const share = run.most_calls ? Math.min(1, run.calls / run.most_calls) : null;
    return [h("progress", share === null ? { "aria-label": "Optimization run" } : { "aria-label": "Optimization run", max: 1, value: share }),
      `${shmperf.format.brief(run.calls)} calls${left}`];
  }

  // The look of the frame.

  const BADGES = { live: "live", reconnecting: "reconnecting", rest: "at rest", report: "report", connecting: "connecting" };

  function badged(state) {
    frame.badge.className = "badge " + state;
    if (frame.badge.textContent !== BADGES[state]) frame.badge.textContent = BADGES[state];
  }

  /** Whether the server still speaks: told by the source. */
  shmperf.connected = (isConnected) => {
    frame.isCut = !isConnected;
    badged(!isConnected ? "reconnecting" : !look ? "connecting" : look.is_live ? "live" : "rest");
  };

  function framed(before) {
    const where = look.session ?? look.storage;
    frame.session.textContent = shmperf.short(where, 40);
    frame.session.title = look.storage;
    badged(!source.isLive ? "report" : frame.isCut ? "reconnecting" : look.is_live ? "live" : "rest");
    frame.badge.title = source.isLive ? "" : `made at ${new Date(look.at_s * 1000).toISOString()}`;
    troubled(before);
    tallied();
    if (source.canWrite) ran(before);
  }

  function troubled(before) {
    frame.problem.hidden = !look.problem;
    if (look.problem) frame.problem.textContent = shmperf.short(look.problem, 300);
    if (look.problem && look.problem !== before?.problem) shmperf.say(look.problem);
    const news = look.alerts.filter((alert) => before && !before.alerts.some((known) => known.id === alert.id));
    if (news.length) shmperf.say(`New alert: ${news.map((alert) => alert.text).join("; ")}`);
  }

  function looked(now) {
    const before = look;
    look = now;
    ahead = now.at_s - Date.now() / 1000;
    remember(now);
    framed(before);
    current.shown?.update?.(now);
  }

  /** The last look, or null. */
  shmperf.look = () => look;

  let ahead = 0;

  /** What time it is where the calls are, Unix seconds; of a report, when it was made. */
  shmperf.now = () => (source.isLive && look?.is_live !== false ? Date.now() / 1000 + ahead : (look?.at_s ?? Date.now() / 1000));

  // Themes.

  const THEMES = ["auto", "light", "dark"];
  const SIGNS = { auto: "◐", light: "○", dark: "●" };

  function storedTheme() {
    try {
      return localStorage.getItem("shmperf-theme") ?? "auto";
    } catch {
      return document.documentElement.dataset.theme ?? "auto";
    }
  }

  function nextTheme() {
    const theme = THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length];
    try {
      localStorage.setItem("shmperf-theme", theme);
    } catch {
      // A page opened from disk may have no storage: the switch lasts until it is closed.
    }
    themed(theme);
    redraw();
  }

  function themed(theme = storedTheme()) {
    document.documentElement.dataset.theme = THEMES.includes(theme) ? theme : "auto";
    const text = { auto: "as the system has it", light: "light", dark: "dark" }[theme];
    frame.theme.textContent = SIGNS[theme] ?? SIGNS.auto;
    frame.theme.setAttribute("aria-label", `Colours: ${text}`);
    frame.theme.title = `Colours: ${text}  t`;
  }

  const redrawn = new Set();

  /** *done* whenever colours or paper change, as long as *element* is part of the page. */
  shmperf.onRedraw = (element, done) => redrawn.add({ element, done });
  shmperf.isPrinting = () => "printing" in document.documentElement.dataset;

  function redraw() {
    for (const one of redrawn) if (one.element.isConnected) one.done();
  }

  function forgotten() {
    for (const one of redrawn) if (!one.element.isConnected) redrawn.delete(one);
  }

  // Printing: what is folded is opened, and folded again.
  function unfolded() {
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      folded.dataset.folded = "";
    }
    document.documentElement.dataset.printing = "";
    redraw();
  }

  function folded() {
    for (const one of document.querySelectorAll("details[data-folded]")) {
      one.open = false;
      delete one.dataset.folded;
    }
    delete document.documentElement.dataset.printing;
    redraw();
  }

  // Keys.

  let awaited = -Infinity;

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches?.("input, textarea, select")) return;
    const isSecond = performance.now() - awaited < 1500;
    awaited = -Infinity;
    if (isSecond && jumped((view) => view.key === event.key)) event.preventDefault();
    else if (did(event)) event.preventDefault();
  }

  function did(event) {
    if (event.key === "/") frame.search.focus();
    else if (event.key === "?") help();
    else if (event.key === "g") awaited = performance.now();
    else if (event.key === "t") nextTheme();
    else if (event.key === "Escape" && !event.defaultPrevented) back();
    else if (/^[1-9]$/.test(event.key)) return jumped((_, place) => place === Number(event.key) - 1);
    else return false;
    return true;
  }

  // As far as one has come within the page; never out of it.
  let depth = 0, isBack = false;

  function back() {
    if (depth > 0) {
      isBack = true;
      history.back();
    } else if (address() !== "/") {
      shmperf.go("#/");
    }
  }

  function moved() {
    depth = Math.max(0, depth + (isBack ? -1 : 1));
    isBack = false;
    return go(true);
  }

  function jumped(is) {
    const view = navigable().find(is);
    if (view) shmperf.go("#" + hrefOf(view));
    return view !== undefined;
  }

  function skipped(event) {
    event.preventDefault();
    document.getElementById("main").focus();
  }

  /** Begin, with what everything shown comes from. */
  shmperf.start = (from) => {
    source = from;
    bar();
    navigation();
    document.getElementById("skip").addEventListener("click", skipped);
    document.addEventListener("keydown", pressed);
    window.addEventListener("hashchange", moved);
    window.addEventListener("beforeprint", unfolded);
    window.addEventListener("afterprint", folded);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    source.subscribe(looked);
    return go(false);
  };
})(globalThis.shmperf ??= {});
