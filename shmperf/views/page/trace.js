/* One call's story: where its time went, all below it in time, and each call as a row. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const AGAIN_S = 2;
  const HALF = 0.5;
  const KINDS = { "": "ok", warn: "warn", bad: "bad" };

  const fact = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));
  const tookOf = (bar) => (bar.isOpen ? (bar.call.status === "open" ? `open, ${format.age(bar.to - bar.from)} so far` : "no end") : bar.call.duration_s === null ? "not timed" : format.duration(bar.call.duration_s));
  const sinceOf = (bar) => (bar.from === 0 ? "0" : (bar.from > 0 ? "+" : "") + format.duration(bar.from));
  const shareOf = (bar, top) => (top.to > top.from ? Math.min(1, Math.max(0, bar.to - bar.from) / (top.to - top.from)) : null);

  function outcome(call) {
    const kind = shmperf.timeline.kindOf(call);
    const mark = { ok: "", warn: "… ", bad: "✕ " }[KINDS[kind]];
    return h("span", { class: kind || "soft" }, mark + call.status + (call.err ? ` ${shmperf.short(call.err, 80)}` : ""));
  }

  // The verdict.

  const openOf = ({ calls, open }) => (!open ? "" : open < calls ? `, ${format.count(open)} of them open` : calls === 1 ? ", open" : ", all open");

  function mostly(culprit, isOpen) {
    const way = culprit.path.slice(0, -1);
    const name = culprit.path.length ? shmperf.toolLink(culprit.path[culprit.path.length - 1], 60) : "its own work";
    const count = culprit.calls === 1 ? "1 call" : `${format.count(culprit.calls)} calls`;
    const calls = culprit.path.length ? `, ${count}${openOf(culprit)}` : "";
    const begins = culprit.share < HALF ? "nothing took half of its time; the most: " : "most of its time: ";
    const text = isOpen ? `So far ${begins}` : begins[0].toUpperCase() + begins.slice(1);
    return h("p", { class: "verdict" }, text, h("strong", null, name), ` (${format.percent(culprit.share)}, ${format.duration(culprit.time_s)}${calls})`,
      way.length > 0 && [", by way of ", way.map((tool, place) => [place > 0 && " › ", shmperf.toolLink(tool, 40)])]);
  }

  function remark(story) {
    const note = story.truncated ? "More calls lay below; the nearest are shown." : story.kept_with_it ? "What lay below was kept with the call." : "Put together from kept calls: others may have lain below.";
    return `${note} Where no worker is known it is taken to be the caller's.`;
  }

  function head(story) {
    const { call } = story;
    return [
      h("div", { class: "head" }, h("h1", null, shmperf.name(call.tool, 160)), call.duration_s !== null && h("p", null, format.duration(call.duration_s)), outcome(call)),
      h("p", { class: "note" }, "began ", shmperf.moment(call.start_s), call.pid !== null && ` · worker ${call.pid}`, " · ", h("code", null, call.id), " · ", h("a", { href: shmperf.toolAddress(call.tool) }, "all calls of the tool"), story.trace !== call.id && [" · ", shmperf.traceLink(story.trace, "the outermost call")]),
      story.above.length > 0 && h("p", { class: "note" }, "below ", story.above.map((tool, place) => [place > 0 && " › ", shmperf.toolLink(tool, 40)])),
    ];
  }

  // The chosen call.

  function details(bar, top) {
    const { call } = bar;
    return [
      h("p", { class: "told" }, shmperf.toolLink(call.tool, 120), " ", outcome(call)),
      h("dl", { class: "facts" },
        fact("Time", tookOf(bar), h("span", { class: "soft" }, ` ${format.percent(shareOf(bar, top))} of the whole`)),
        fact("Own", format.duration(call.own_s)),
        fact("Begins", sinceOf(bar)),
        fact("Worker", bar.pid ?? "unknown"),
        fact("Called", call.children.length ? `${format.count(call.children.length)} calls` : "nothing"),
        fact("Id", bar === top ? h("code", null, call.id) : shmperf.traceLink(call.id, h("code", null, call.id)))),
      call.params !== null && h("div", { class: "wide" }, shmperf.parameters(call.params, 400)),
    ];
  }

  // The calls as rows, in the order of the tree.

  function ordered(bars) {
    const byCall = new Map(bars.map((bar) => [bar.call, bar]));
    const rows = [];
    const waiting = [bars[0].call];
    while (waiting.length) {
      const call = waiting.pop();
      rows.push(Object.assign(byCall.get(call), { line: rows.length }));
      for (let place = call.children.length - 1; place >= 0; place--) waiting.push(call.children[place]);
    }
    return rows;
  }

  function tableOf(chosen, topOf) {
    const name = (bar) => h("span", { class: "nested", style: { "padding-left": `${Math.min(bar.depth, 12) * 14}px` } }, shmperf.name(bar.call.tool, 60));
    return shmperf.table([
      { name: "call", title: "Call", cell: name, value: (bar) => bar.line, fixed: true },
      { name: "begins", title: "Begins", cell: sinceOf, value: (bar) => bar.from, number: true, width: 100, from: 700 },
      { name: "time", title: "Time", cell: (bar) => (bar.isOpen ? `${format.age(bar.to - bar.from)} …` : tookOf(bar)), value: (bar) => bar.to - bar.from, number: true, width: 110 },
      { name: "own", title: "Own", cell: (bar) => format.duration(bar.call.own_s), value: (bar) => bar.call.own_s, number: true, width: 100 },
      { name: "share", title: "Of the whole", cell: (bar) => shmperf.share(shareOf(bar, topOf()) ?? 0), value: (bar) => bar.to - bar.from, number: true, width: 150, from: 820 },
      { name: "worker", title: "Worker", cell: (bar) => String(bar.pid ?? "–"), value: (bar) => bar.pid, number: true, width: 90, from: 940 },
      { name: "outcome", title: "Outcome", cell: (bar) => outcome(bar.call), value: (bar) => bar.call.status, width: 130, from: 560, fixed: true },
      { name: "parameters", title: "Parameters", cell: (bar) => h("code", null, bar.call.params === null ? "–" : shmperf.short(bar.call.params, 120)), width: 240, from: 1080, fixed: true },
    ], {
      label: "Calls of this trace", sort: "call", key: (bar) => bar.call.id, empty: () => shmperf.empty("No calls."),
      text: (bar) => `${bar.call.tool} ${bar.call.params ?? ""} ${bar.call.err ?? ""} ${bar.call.status} ${bar.call.id}`,
      open: (bar) => chosen(bar),
    });
  }

  function buttons(timeline) {
    const button = (text, label, done) => h("button", { type: "button", "aria-label": label, title: label, onclick: done }, text);
    return h("div", { class: "choice", role: "group", "aria-label": "Zoom" },
      button("−", "Zoom out  −", () => timeline.zoom(1 / 1.5)), button("+", "Zoom in  +", () => timeline.zoom(1.5)), button("All", "All of it  0", () => timeline.whole()));
  }

  const KEYS = "Arrows move from call to call, + and − zoom, Enter fits, 0 shows all; the wheel zooms with Ctrl held. The stripe at a bar's foot is own time: nothing below was going on.";

  function render(place, match, source) {
    const told = h("div", { class: "details" });
    const top = h("div");
    const timeline = new shmperf.timeline.Timeline((bar) => told.replaceChildren(...details(bar, timeline.laid.bars[0]).filter(Boolean)));
    const table = tableOf((bar) => {
      timeline.element.scrollIntoView({ block: "nearest" });
      timeline.select(bar);
    }, () => timeline.laid.bars[0]);
    const body = h("div", { class: "view", hidden: true }, top,
      h("section", { class: "panel", "aria-label": "In time" }, h("div", { class: "title" }, h("h2", null, "In time"), buttons(timeline)), timeline.element, told, h("p", { class: "note" }, KEYS)),
      h("section", { "aria-label": "Calls" }, table.element));
    // What went wrong stands above; what was there before stays.
    const trouble = h("div");
    place.append(trouble, body);
    let isOpen = true;
    const again = shmperf.load(trouble, () => source.get("trace", { key: match[1] }), (story) => {
      isOpen = story.call.status === "open";
      top.replaceChildren(...[head(story), story.culprit && mostly(story.culprit, isOpen), h("p", { class: "note" }, remark(story))].flat().filter(Boolean));
      body.hidden = false;
      timeline.show(story.call, isOpen ? shmperf.now() - story.call.start_s : 0);
      table.show(ordered(timeline.laid.bars));
      return "";
    });
    const later = shmperf.sparing(AGAIN_S, again);
    later();
    return {
      update: (look) => {
        if (isOpen && look.is_live) later();
      },
      search: (text) => table.search(text),
      close: () => timeline.close(),
    };
  }

  shmperf.views.push({ name: "trace", title: "Call", path: /^\/trace\/(.+)$/, nav: false, render });
})(globalThis.shmperf ??= {});
