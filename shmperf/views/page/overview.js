/* The first page: how much, how fast, what fails and what hangs, now and over time. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const EVERY_S = 5;
  const MOST_TOOLS = 12;
  const MOST_OPEN = 5;
  const EARLY_S = 10;
  const MOST_SLOW = 6;
  // A browser's own list of suggestions is slow with thousands.
  const MOST_SUGGESTED = 200;

  /** A figure with its name; *more* stands small behind it. */
  shmperf.figure = (name, value, more, kind) =>
    h("div", { class: "figure" }, h("dt", null, name), h("dd", { class: kind }, value, more && h("small", null, " ", more)));
  const { figure } = shmperf;

  const summed = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

  function figures(look) {
    const oldest = look.open[0];
    const lost = summed(look.lost);
    const causes = Object.entries(look.lost).map(([cause, count]) => `${cause} ${format.count(count)}`).join(", ");
    return [
      look.rate !== null && figure("Calls a second", format.rate(look.rate)),
      figure("Calls", format.brief(look.total_calls), look.complete ? null : "at least"),
      figure("Errors", format.brief(look.errors), look.total_calls ? format.percent(look.errors / look.total_calls) : null, look.errors ? "bad" : null),
      figure("In flight", format.count(look.in_flight), oldest ? `oldest ${format.age(shmperf.now() - oldest.started)}` : null),
      figure("Lost", format.count(lost), causes, lost ? "bad" : null),
      figure("Aborted", format.count(look.aborted), null, look.aborted ? "warn" : null),
      figure("Workers", format.count(look.workers.length)),
    ];
  }

  function nothingYet() {
    return shmperf.panel("Nothing is recorded yet",
      h("p", null, "Decorate a function and call it while this session records:"),
      h("pre", { class: "sample" }, "from shmperf import track\n\n@track\ndef fetch(url): ..."),
      h("p", { class: "note" }, "To see something at once: ", h("code", null, "shmperf demo"), ", and open its storage."));
  }

  // What is wrong.

  function alerts(look) {
    if (!look.alerts.length) return [];
    return [shmperf.panel("Open alerts", h("ul", { class: "plain" }, look.alerts.map((alert) =>
      h("li", { class: "alert " + alert.severity }, h("a", { href: alert.tool === null ? "#/alerts" : shmperf.toolAddress(alert.tool) }, shmperf.short(alert.text, 200)), " ", h("span", { class: "soft" }, "began ", shmperf.moment(alert.began, format.ago(alert.began)))))))];
  }

  // What takes the time, and what has not ended.

  function topTools() {
    const table = shmperf.table([
      { name: "tool", title: "Tool", fixed: true, cell: (tool) => shmperf.toolLink(tool.tool), value: (tool) => tool.tool },
      { name: "own", title: "Own time", width: 128, cell: (tool) => shmperf.share(tool.own_share), value: (tool) => tool.own_share, number: true, about: "its part of the time of all tools, without that of the tools it calls" },
      { name: "p95", title: "p95", width: 82, from: 380, number: true, cell: (tool) => format.duration(tool.p95_s), value: (tool) => tool.p95_s },
      { name: "count", title: "Calls", width: 76, from: 460, number: true, cell: (tool) => format.brief(tool.count), value: (tool) => tool.count },
      { name: "errors", title: "Errors", width: 72, from: 560, number: true, cell: (tool) => format.brief(tool.errors), value: (tool) => tool.errors },
    ], { label: "Top tools by own time", key: (tool) => tool.tool, text: (tool) => tool.tool, open: (tool) => shmperf.toolAddress(tool.tool), sort: "own", all: true, empty: () => shmperf.empty("No tool was called yet.") });
    const most = (look) => [...look.tools].sort((a, b) => b.own_share - a.own_share || b.count - a.count).slice(0, MOST_TOOLS);
    const panel = shmperf.panel("Where the time goes", table.element, h("p", { class: "note" }, h("a", { href: "#/tools" }, "All tools"), " · ", h("a", { href: "#/tree" }, "Call tree")));
    return { element: panel, update: (look) => table.show(most(look)) };
  }

  function oldest() {
    const table = shmperf.openCalls({ label: "Oldest calls in flight", all: true, brief: true });
    const panel = shmperf.panel("In flight, the oldest first", table.element, h("p", { class: "note" }, h("a", { href: "#/inflight" }, "All calls in flight")));
    const update = (look) => {
      panel.hidden = !look.open.length;
      table.show(look.open.slice(0, MOST_OPEN));
    };
    return { element: panel, update, close: table.close };
  }

  const SLOW = [
    { title: "Took", number: true, cell: (call) => shmperf.traceLink(call.id ?? "", format.duration(call.duration_s)) },
    { title: "Tool", cell: (call) => shmperf.toolLink(call.tool, 40) },
    { title: "Parameters", cell: (call) => shmperf.parameters(call.params, `params ${call.id}`, 60) },
  ];

  function slowest(source) {
    const place = h("div"), panel = shmperf.panel("Slowest calls", place);
    const ask = shmperf.load(place, () => source.get("slow", { limit: MOST_SLOW }), (calls) =>
      calls.length ? shmperf.list("Slowest calls", SLOW, calls.slice(0, MOST_SLOW)) : shmperf.empty("No call has ended yet."));
    const again = shmperf.sparing(EVERY_S, ask);
    return { element: panel, update: again };
  }

  // Over time.

  function chosenTool(changed) {
    const list = h("datalist", { id: "suggested" });
    const field = h("input", { list: "suggested", placeholder: "all tools", "aria-label": "Tool of the charts", onchange: () => changed(field.value), type: "search" });
    const known = new Set();
    const update = (look) => {
      if (known.size >= MOST_SUGGESTED) return;
      for (const tool of look.tools) {
        if (known.has(tool.tool) || known.size >= MOST_SUGGESTED) continue;
        known.add(tool.tool);
        list.append(h("option", { value: tool.tool }));
      }
    };
    return { element: h("span", null, field, list), field, update };
  }

  /** Charts of the part "intervals", of one tool or of all; `ask(tool)` fetches anew. */
  shmperf.timeCharts = (source, sync) => {
    const rate = shmperf.lines({ title: "Calls a second", unit: format.rate, sync, series: [{ label: "calls/s", colour: "accent", filled: true }], height: 150 });
    const times = shmperf.lines({ title: "Duration, by percentiles", unit: format.duration, log: true, sync, series: [{ label: "p50", colour: "p50" }, { label: "p95", colour: "p95" }, { label: "p99", colour: "p99" }], height: 150 });
    const errors = shmperf.lines({ title: "Errors", unit: format.brief, sync, series: [{ label: "errors", colour: "bad", bars: true }], height: 150 });
    const heat = shmperf.heat({ title: "Durations over time" });
    function show(trend) {
      const { steps } = trend, first = steps.length - trend.open;
      // An interval that is not over has had less time for its calls.
      const length = (step) => (steps.indexOf(step) < first ? step.length_s : Math.max(1, Math.min(step.length_s, shmperf.now() - step.at_s)));
      // Of its first seconds there is no rate to tell: a look is a second old.
      const isEarly = (step) => steps.length > 1 && length(step) < Math.min(EARLY_S, step.length_s);
      heat.show(steps);
      const [at, [rates]] = shmperf.overTime(steps, (step) => (isEarly(step) ? null : step.count / length(step)));
      rate.show(at, [rates]);
      times.show(...shmperf.overTime(steps, (step) => step.p50_s, (step) => step.p95_s, (step) => step.p99_s));
      errors.show(...shmperf.overTime(steps, (step) => step.errors));
      return [];
    }
    const trouble = h("div", null, "");
    let of = null;
    const again = shmperf.load(trouble, () => source.get("intervals", { tool: of }), (trend) => show(trend));
    const ask = (tool) => {
      of = tool;
      return again();
    };
    return { heat: heat.element, rate: rate.element, times: times.element, errors: errors.element, trouble, ask };
  };

  function charts(source) {
    const over = shmperf.timeCharts(source, "overview");
    let tool = null;
    const chosen = chosenTool((name) => {
      tool = name || null;
      over.ask(tool);
    });
    const element = h("div", { class: "view" },
      h("section", { class: "panel", "aria-label": "Durations over time" }, h("div", { class: "title" }, h("h2", null, "Durations over time"), source.isLive && chosen.element), over.trouble, over.heat),
      h("div", { class: "pair" }, shmperf.panel("Calls over time", over.rate), shmperf.panel("Errors over time", over.errors)),
      shmperf.panel("Percentiles over time", over.times));
    const again = shmperf.sparing(EVERY_S, () => over.ask(tool));
    return { element, update: (look) => { chosen.update(look); again(); } };
  }

  function render(place, _, source) {
    const now = h("dl", { class: "figures" }), wrong = h("div", { class: "view", hidden: true }), body = h("div", { class: "view" });
    place.append(h("h1", { class: "unseen" }, "Overview"), now, wrong, body);
    let parts = null;
    function update(look) {
      now.replaceChildren(...figures(look).filter(Boolean));
      wrong.replaceChildren(...alerts(look));
      wrong.hidden = !look.alerts.length;
      if (!look.tools.length && !look.open.length) return body.replaceChildren(nothingYet());
      if (!parts) {
        parts = [charts(source), topTools(), oldest(), slowest(source)];
        body.replaceChildren(h("div", { class: "pair" }, parts[1].element, h("div", { class: "view" }, parts[2].element, parts[3].element)), parts[0].element);
      }
      for (const part of parts) part.update(look);
    }
    return { update, close: () => parts?.[2].close() };
  }

  shmperf.views.push({ name: "overview", title: "Overview", key: "o", path: /^\/$/, nav: true, render });
})(globalThis.shmperf ??= {});
