/* One tool: how long its calls take, over time and the slowest; what fails; who calls it and whom. */
"use strict";
(function (shmperf) {
  const { h, format, figure } = shmperf;
  const EVERY_S = 5;
  const MOST_SLOW = 20;
  const LONGEST_TITLE = 120;

  function heading(tool) {
    if (tool.length <= LONGEST_TITLE) return h("h1", null, shmperf.name(tool, LONGEST_TITLE));
    return h("div", null, h("h1", null, shmperf.name(tool, LONGEST_TITLE)),
      h("details", { class: "whole" }, h("summary", null, `The whole name, ${format.count(tool.length)} characters`), shmperf.pre(tool)));
  }

  // Figures.

  function figures(known, stats) {
    const now = known ?? {}, all = stats ?? {};
    const count = now.count ?? all.count ?? 0, errors = now.errors ?? all.errors ?? 0;
    return [
      figure("Calls", format.brief(count), all.sampled_out ? `${format.brief(all.sampled_out)} sampled out` : null),
      figure("Calls/s", format.rate(now.rate)),
      figure("p50", format.duration(now.p50_s ?? all.p50_s), all.estimated ? "estimated" : null),
      figure("p95", format.duration(now.p95_s ?? all.p95_s)),
      figure("p99", format.duration(now.p99_s ?? all.p99_s)),
      figure("Slowest", format.duration(all.max_duration_s)),
      figure("Errors", format.brief(errors), count && errors ? format.percent(errors / count) : null, errors ? "bad" : null),
      figure("Own time", format.percent(now.own_share)),
      figure("In flight", format.count(now.in_flight ?? all.in_flight), all.aborted ? `${format.count(all.aborted)} aborted` : null),
    ];
  }

  // The slowest.

  const SLOW = [
    { title: "Took", number: true, cell: (call) => (call.id ? shmperf.traceLink(call.id, format.duration(call.duration_s)) : format.duration(call.duration_s)) },
    { title: "Ended", cell: (call) => (call.status === "ok" ? "ok" : h("span", { class: "bad" }, shmperf.short([call.status, call.err].filter(Boolean).join(" "), 60))) },
    { title: "Began", cell: (call) => shmperf.moment(call.timestamp) },
    { title: "Parameters", cell: (call) => shmperf.parameters(call.params, `params ${call.id}`) },
    { title: "Worker", number: true, cell: (call) => call.pid ?? "–" },
  ];

  const slowest = (calls) =>
    calls.length ? shmperf.list("Slowest calls", SLOW, calls) : shmperf.empty("No call of it is kept: none has ended yet, or its limit is 0.");

  // Whom it calls, and who calls it. An edge: {parent, tool, calls, total_ns, own_ns}.

  const summed = (edges, of) => edges.reduce((sum, edge) => sum + of(edge), 0);

  function callers(edges, tool) {
    const of = edges.filter((edge) => edge.tool === tool).sort((a, b) => b.calls - a.calls);
    const all = summed(of, (edge) => edge.calls) || 1;
    if (!of.length) return shmperf.empty("No call of it has ended yet.");
    return shmperf.list("Callers", [
      { title: "Called by", cell: (edge) => (edge.parent === null ? h("span", { class: "soft" }, "nobody that is tracked") : shmperf.toolLink(edge.parent)) },
      { title: "Calls", number: true, cell: (edge) => format.brief(edge.calls) },
      { title: "Each", number: true, cell: (edge) => format.duration(edge.calls ? edge.total_ns / edge.calls / 1e9 : null) },
      { title: "Of its calls", cell: (edge) => shmperf.share(edge.calls / all) },
    ], of);
  }

  function callees(edges, tool) {
    const below = edges.filter((edge) => edge.parent === tool).sort((a, b) => b.total_ns - a.total_ns);
    const its = edges.filter((edge) => edge.tool === tool);
    const total = summed(its, (edge) => edge.total_ns) || 1;
    if (!below.length) return shmperf.empty("It calls no other tool: all of its time is its own.");
    const rows = [...below, { tool: null, calls: null, total_ns: summed(its, (edge) => edge.own_ns) }];
    return shmperf.list("Callees", [
      { title: "Calls", cell: (edge) => (edge.tool === null ? h("span", { class: "soft" }, "its own time") : shmperf.toolLink(edge.tool)) },
      { title: "Times", number: true, cell: (edge) => format.brief(edge.calls) },
      { title: "Each", number: true, cell: (edge) => format.duration(edge.calls ? edge.total_ns / edge.calls / 1e9 : null) },
      { title: "Of its time", cell: (edge) => shmperf.share(edge.total_ns / total) },
    ], rows.sort((a, b) => b.total_ns - a.total_ns));
  }

  // The page.

  function distribution(stats) {
    const chart = shmperf.histogram({ title: "Durations of all calls" });
    const marks = [["p50", "p50_s"], ["p95", "p95_s"], ["p99", "p99_s"]];
    const show = (found) => chart.show(found.histogram ?? {}, marks.filter(([, key]) => found[key]).map(([label, key]) => ({ label, colour: label, at: found[key] })));
    return { element: chart.element, show };
  }

  function unknown(tool) {
    return shmperf.empty("Nothing is known of a tool of this name. ", h("a", { href: "#/tools" }, "All tools"));
  }

  function fed(panel, ask, show) {
    const place = h("div");
    panel.append(place);
    return shmperf.load(place, ask, show);
  }

  function parts(source, tool, known) {
    const over = shmperf.timeCharts(source, "tool"), chart = distribution();
    const trouble = h("div", null, "");
    const panels = {
      durations: shmperf.panel("Durations", trouble, chart.element), open: shmperf.panel("In flight"), slow: shmperf.panel("Slowest calls"),
      errors: shmperf.panel("Errors"), callers: shmperf.panel("Callers"), callees: shmperf.panel("Callees"),
    };
    const calls = shmperf.openCalls({ label: "Calls in flight", all: true });
    panels.open.append(calls.element);
    const element = h("div", { class: "view" },
      panels.open,
      h("div", { class: "pair" }, panels.durations, shmperf.panel("Percentiles over time", over.trouble, over.times)),
      h("div", { class: "pair" }, panels.callees, panels.callers),
      panels.slow, panels.errors,
      h("div", { class: "pair" }, shmperf.panel("Calls over time", over.rate), shmperf.panel("Errors over time", over.errors)),
      shmperf.panel("Durations over time", over.heat));
    let stats = null;
    const trees = () => source.get("tree", { tool });
    const asks = [
      shmperf.load(trouble, () => source.get("stats", { tool }), (found) => {
        stats = found.tool_stats[tool] ?? null;
        chart.show(stats ?? {});
        known();
        return [];
      }),
      fed(panels.slow, () => source.get("slow", { tool, limit: MOST_SLOW }), slowest),
      fed(panels.errors, () => source.get("errors", { tool, limit: MOST_SLOW }), shmperf.errorGroups),
      fed(panels.callees, trees, (edges) => callees(edges, tool)),
      fed(panels.callers, trees, (edges) => callers(edges, tool)),
      () => over.ask(tool),
    ];
    const shownCalls = (look) => {
      const mine = look.open.filter((call) => call.tool === tool);
      panels.open.hidden = !mine.length;
      calls.show(mine);
    };
    return { element, ask: () => asks.forEach((ask) => ask()), stats: () => stats, shownCalls, close: calls.close };
  }

  function render(place, match, source) {
    const tool = match[1], now = h("dl", { class: "figures" }), all = parts(source, tool, () => figured());
    const body = h("div", { class: "view" }, all.element);
    place.append(h("div", { class: "head" }, heading(tool)), now, body);
    let count = null, known = null;
    const figured = () => now.replaceChildren(...figures(known, all.stats()));
    const again = shmperf.sparing(EVERY_S, all.ask);
    function update(look) {
      known = look.tools.find((one) => one.tool === tool);
      now.hidden = !known;
      if (!known) return body.replaceChildren(unknown(tool));
      if (!all.element.isConnected) body.replaceChildren(all.element);
      figured();
      all.shownCalls(look);
      const news = known.count + known.errors + known.aborted;
      if (news !== count) again();
      count = news;
    }
    return { update, close: all.close };
  }

  shmperf.views.push({ name: "tool", title: "Tool", path: /^\/tool\/([^]*)$/, nav: false, render });
})(globalThis.shmperf ??= {});
