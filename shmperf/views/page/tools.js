/* All tools: a table that sorts, searches, and has twenty thousand rows if need be. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;

  const share = (tool) => (tool.count ? tool.errors / tool.count : 0);

  function errorsOf(tool) {
    if (!tool.errors) return "0";
    return h("span", { class: "bad", title: `${format.percent(share(tool))} of its calls` }, format.brief(tool.errors));
  }

  const number = (name, title, cell, more) => ({ name, title, number: true, width: 84, cell, value: (tool) => tool[name], ...more });

  const COLUMNS = [
    { name: "tool", title: "Tool", fixed: true, cell: (tool) => shmperf.toolLink(tool.tool), value: (tool) => tool.tool },
    number("count", "Calls", (tool) => format.brief(tool.count), { from: 430 }),
    number("rate", "Calls/s", (tool) => format.rate(tool.rate), { about: "since the last look, a second ago" }),
    { name: "trend", title: "Last minute", width: 116, from: 1040, cell: (tool) => shmperf.sparkline(shmperf.rates(tool.tool)) },
    number("p50_s", "p50", (tool) => format.duration(tool.p50_s), { from: 620 }),
    number("p95_s", "p95", (tool) => format.duration(tool.p95_s)),
    number("p99_s", "p99", (tool) => format.duration(tool.p99_s), { from: 700 }),
    number("errors", "Errors", errorsOf, { from: 500 }),
    number("own_share", "Own time", (tool) => shmperf.share(tool.own_share), { width: 148, from: 780, about: "its part of the time of all tools, without that of the tools it calls" }),
    number("in_flight", "In flight", (tool) => format.count(tool.in_flight), { from: 900 }),
    number("aborted", "Aborted", (tool) => format.brief(tool.aborted), { from: 1240 }),
  ];

  function empty() {
    return shmperf.empty("No tool was called yet. A function is one by ", h("code", null, "@track"), ", or recorded without a change to it: ", h("code", null, "shmperf run --instrument NAMES -- COMMAND"), ".");
  }

  function render(place) {
    const table = shmperf.table(COLUMNS, {
      label: "Tools", key: (tool) => tool.tool, text: (tool) => tool.tool, open: (tool) => shmperf.toolAddress(tool.tool),
      sort: "own_share", empty, tally: () => `${format.count(shmperf.look()?.tools.length ?? 0)} tools`,
    });
    place.append(h("h1", null, "Tools"), table.element);
    return { update: (look) => table.show(look.tools), search: (text) => table.search(text) };
  }

  shmperf.views.push({ name: "tools", title: "Tools", key: "t", path: /^\/tools$/, nav: true, render });
})(globalThis.shmperf ??= {});
