/* Which tool calls which, and where the time goes: the call tree as a drawing and as a table. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const seconds = (ns) => format.duration(ns / 1e9);
  const AGAIN_S = 5;

  function fact(name, ...value) {
    return h("div", null, h("dt", null, name), h("dd", null, ...value));
  }

  function details(frame, whole, stats) {
    const known = frame.tool === null ? null : stats?.tool_stats?.[frame.tool];
    const share = whole.total_ns > 0 ? frame.total_ns / whole.total_ns : null;
    return [
      h("p", { class: "told" }, frame.tool === null ? "all calls" : shmperf.toolLink(frame.tool, 120), frame.isAgain && h("span", { class: "soft" }, " calls itself"), frame.isOpen && h("span", { class: "warn" }, " still open")),
      h("dl", { class: "facts" },
        fact("total", seconds(frame.total_ns), h("small", null, ` ${format.percent(share)}`)),
        frame.tool !== null && fact("own", seconds(frame.own_ns), h("small", null, ` ${format.percent(frame.total_ns > 0 ? frame.own_ns / frame.total_ns : null)} of it`)),
        fact("calls", frame.isOpen ? "–" : `${frame.isShared ? "≈ " : ""}${format.count(Math.max(1, frame.calls))}`),
        known && fact("p95 of the tool", format.duration(known.p95_s)),
        frame.narrower > 0 && fact("narrower", `${format.count(frame.narrower)} children not drawn`)),
      frame.tool !== null && h("p", null, shmperf.traceLink(frame.tool, "its slowest call")),
    ];
  }

  function crumbs(path, zoom) {
    const step = (text, to) => h("li", null, h("button", { type: "button", class: "crumb", title: text, onclick: () => zoom(to) }, shmperf.short(text, 28)));
    return h("ol", null, step("all calls", []), path.map((tool, place) => step(tool, path.slice(0, place + 1))));
  }

  function choice(flame) {
    const button = (text, isIcicle) =>
      h("button", { type: "button", "aria-pressed": String(flame.isIcicle === isIcicle), onclick: (event) => {
        for (const one of event.currentTarget.parentNode.children) one.setAttribute("aria-pressed", String(one === event.currentTarget));
        flame.turn(isIcicle);
      } }, text);
    return h("div", { class: "choice", role: "group", "aria-label": "Drawing" }, button("Icicle", true), button("Flame graph", false));
  }

  const CAPTION = "Width: total time. The marked end of a bar: own time, without what it calls. Known is which tool calls which, not every path: below several callers a tool takes its children along by the time that it spends in them there. A tool below itself (↻) ends there; children that ran at once share the width of their caller.";

  function tableOf() {
    const caller = (row) => (row.parent === null ? h("span", { class: "soft" }, "the program") : shmperf.toolLink(row.parent, 48));
    return shmperf.table([
      { name: "caller", title: "Caller", cell: caller, value: (row) => row.parent, fixed: true },
      { name: "tool", title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 48), value: (row) => row.tool, fixed: true },
      { name: "calls", title: "Calls", cell: (row) => format.count(row.calls), value: (row) => row.calls, number: true, width: 100, from: 560 },
      { name: "total", title: "Total", cell: (row) => seconds(row.total_ns), value: (row) => row.total_ns, number: true, width: 100, from: 420 },
      { name: "own", title: "Own", cell: (row) => seconds(row.own_ns), value: (row) => row.own_ns, number: true, width: 90 },
      { name: "share", title: "Of all own time", cell: (row) => shmperf.share(row.share), value: (row) => row.share, number: true, width: 170, from: 720 },
    ], {
      label: "Callers and tools", sort: "own", key: (row) => JSON.stringify([row.parent, row.tool]), text: (row) => `${row.parent ?? ""} ${row.tool}`,
      open: (row) => shmperf.toolAddress(row.tool), empty: () => shmperf.empty("No calls."),
    });
  }

  function rows(edges) {
    const ownOf = (edge) => Math.max(0, edge.own_ns);
    const all = edges.reduce((sum, edge) => sum + ownOf(edge), 0);
    return edges.map((edge) => ({ ...edge, own_ns: ownOf(edge), share: all ? ownOf(edge) / all : 0 }));
  }

  function drawn(flame, parts) {
    return (edges) => {
      parts.body.hidden = !edges.length;
      if (!edges.length) return shmperf.empty("No call has ended yet. Once a tracked tool is called, this shows what it calls and where the time goes.");
      parts.table.show(rows(edges));
      flame.show(edges);
      if (parts.wanted) flame.zoom(shmperf.flame.pathTo(flame.graph, parts.wanted));
      parts.wanted = "";
      return "";
    };
  }

  // Percentiles are a detail: what is drawn does not wait for them.
  function asked(source, parts) {
    source.get("stats").then((stats) => {
      parts.stats = stats;
    }, () => null);
    return source.get("tree");
  }

  // Nothing moves away from under a pointer: what is new waits until it has left.
  function refreshing(flame, again) {
    const later = shmperf.sparing(AGAIN_S, again);
    let calls = null, isOld = false;
    const refresh = () => {
      if (!isOld || flame.element.matches(":hover")) return;
      isOld = false;
      later();
    };
    flame.element.addEventListener("mouseleave", refresh);
    return (look) => {
      isOld ||= calls !== null && look.total_calls !== calls;
      calls = look.total_calls;
      refresh();
    };
  }

  function render(place, match, source) {
    const told = h("div", { class: "details" });
    const trail = h("nav", { class: "crumbs", "aria-label": "Zoomed into" });
    const matched = h("p", { class: "note", role: "status" });
    const parts = { stats: null, sought: "", wanted: match[1], table: tableOf() };
    const flame = new shmperf.flame.Flame({
      told: (frame, whole) => told.replaceChildren(...[details(frame, whole, parts.stats)].flat().filter(Boolean)),
      moved: (path) => {
        trail.replaceChildren(crumbs(path, (to) => flame.zoom(to)));
        if (parts.sought) search(parts.sought);
      },
    });
    const search = (text) => {
      parts.sought = text;
      const share = flame.search(text);
      parts.table.search(text);
      matched.textContent = text ? `“${shmperf.short(text, 40)}” takes ${format.percent(share)} of what is shown.` : "";
    };
    trail.append(crumbs([], () => flame.zoom([])));
    parts.body = h("div", { class: "view", hidden: true },
      h("section", { class: "panel", "aria-label": "Call tree" },
        h("div", { class: "title" }, trail, choice(flame)), matched, flame.element, told, h("p", { class: "note" }, CAPTION)),
      h("section", { "aria-label": "As a table" }, parts.table.element));
    // What went wrong stands above; what was there before stays.
    const trouble = h("div");
    place.append(h("div", { class: "head" }, h("h1", null, "Call tree"), h("p", null, "Enter or click zooms in and out, arrows move.")), trouble, parts.body);
    const again = shmperf.load(trouble, () => asked(source, parts), drawn(flame, parts));
    again();
    return {
      update: refreshing(flame, again),
      search,
      close: () => flame.close(),
    };
  }

  shmperf.views.push({ name: "tree", title: "Call tree", key: "c", path: /^\/tree(?:\/(.*))?$/, nav: true, render });
})(globalThis.shmperf ??= {});
