/* Optimization reports: what to do and what it saves, what changed since the last one, the evidence. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  // Smaller changes of a run against another one are nothing.
  const LEAST_CHANGE = 0.05;
  const LEAST_RATE = 0.001;
  const MOST_ROWS = 50;

  const ms = (value) => format.duration(value === null || value === undefined ? null : value / 1000);
  const signed = (share) => (share === null || share === undefined ? "–" : `${share > 0 ? "+" : ""}${(100 * share).toFixed(0)}\u00a0%`);
  const points = (rate) => (rate === null || rate === undefined ? "–" : Math.abs(rate) < LEAST_RATE ? "=" : `${rate > 0 ? "+" : ""}${(100 * rate).toFixed(1)} points`);

  const addressOf = (name) => "#/reports/" + encodeURIComponent(name);

  /** "20261129T021811Z-2" as a time; a report is called after the moment at which it ended. */
  function endedAt(name) {
    const found = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z/.exec(name);
    return found ? Date.UTC(...found.slice(1).map((part, place) => Number(part) - (place === 1 ? 1 : 0))) / 1000 : null;
  }

  // Sentences of advice, in which names stand between backquotes.
  function sentence(text) {
    return String(text).split("`").map((piece, place) => (place % 2 ? h("code", null, shmperf.short(piece, 80)) : piece));
  }

  // What was measured for a piece of advice, whatever it is.
  function measured(name, value) {
    if (typeof value === "number") return name.endsWith("_s") ? format.duration(value) : /share|rate/.test(name) ? format.percent(value) : Number.isInteger(value) ? format.count(value) : String(Number(value.toPrecision(3)));
    if (Array.isArray(value)) return h("ul", { class: "plain" }, value.map((one) => h("li", null, measured("", one))));
    if (value !== null && typeof value === "object") return Object.entries(value).map(([key, one], place) => [place > 0 && ", ", `${shmperf.short(spoken(key), 60)} `, measured(key, one)]);
    return h("code", null, shmperf.short(String(value), 200));
  }

  const spoken = (key) => key.replace(/_(s|ms|ns)$/, "").replaceAll("_", " ");

  function advice(piece, most_s) {
    const saves = piece.saves_s === null ? null : h("span", { class: "saves" }, "saves up to ", h("strong", null, format.duration(piece.saves_s)),
      h("span", { class: "share-bar", "aria-hidden": "true" }, h("span", { style: { width: `${most_s > 0 ? (100 * piece.saves_s) / most_s : 0}%` } })));
    return h("li", { class: "advice" },
      h("p", { class: "kind" }, h("strong", null, shmperf.short(piece.kind, 40)), " ", piece.tool && shmperf.toolLink(piece.tool, 48), saves),
      h("p", null, sentence(piece.text)),
      Object.keys(piece.evidence).length > 0 && h("details", null, h("summary", null, "evidence"),
        h("dl", { class: "pairs" }, Object.entries(piece.evidence).map(([key, value]) => [h("dt", null, shmperf.short(spoken(key), 60)), h("dd", null, measured(key, value))]))));
  }

  function toDo(report) {
    const most_s = Math.max(0, ...report.advice.map((piece) => piece.saves_s ?? 0));
    const more = report.advice.length > 1 && h("p", { class: "note" }, "What several of them save may be the same time: it does not add up.");
    return shmperf.panel("What to do", report.advice.length ? h("ol", { class: "advices" }, report.advice.map((piece) => advice(piece, most_s))) : shmperf.empty("Nothing that these calls show."), more);
  }

  function sizeOf(change) {
    const large = Math.max(0, ...[change.p50, change.p95].filter((one) => one !== null).map(Math.abs));
    const rate = Math.abs(change.error_rate ?? 0);
    return Math.max(large >= LEAST_CHANGE ? large : 0, rate >= LEAST_RATE ? rate : 0);
  }

  const worse = (share) => (share > LEAST_CHANGE ? "bad" : share < -LEAST_CHANGE ? "good" : "soft");

  function since(report, names) {
    if (report.previous === null) return null;
    const all = Object.entries(report.tools).map(([tool, row]) => ({ tool, ...row }));
    const rows = all.filter((row) => row.change && sizeOf(row.change) > 0).sort((a, b) => sizeOf(b.change) - sizeOf(a.change)).slice(0, MOST_ROWS);
    const fresh = all.filter((row) => !row.change).length;
    const changed = (name) => (row) => h("span", { class: worse(row.change[name]) }, signed(row.change[name]));
    return shmperf.panel("Since the report before",
      rows.length ? shmperf.list("Changes since the report before", [
        { title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 48) },
        { title: "p50", cell: (row) => ms(row.p50_ms), number: true }, { title: "change", cell: changed("p50"), number: true },
        { title: "p95", cell: (row) => ms(row.p95_ms), number: true }, { title: "change", cell: changed("p95"), number: true },
        { title: "errors", cell: (row) => points(row.change.error_rate), number: true },
      ], rows) : shmperf.empty("No tool that both have seen changed by 5 % or more."),
      h("p", { class: "note" }, "against ", names.includes(report.previous) ? h("a", { href: addressOf(report.previous) }, shmperf.short(report.previous, 40)) : shmperf.short(report.previous, 40), fresh > 0 && `; ${format.count(fresh)} ${fresh === 1 ? "tool is" : "tools are"} not in it`));
  }

  function tools(report) {
    const number = (title, cell, value, from) => ({ name: title, title, cell, value, number: true, width: 90, from });
    const table = shmperf.table([
      { name: "tool", title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 60), value: (row) => row.tool, fixed: true },
      number("Calls", (row) => format.count(row.count), (row) => row.count),
      number("p50", (row) => ms(row.p50_ms), (row) => row.p50_ms, 520), number("p95", (row) => ms(row.p95_ms), (row) => row.p95_ms, 400), number("p99", (row) => ms(row.p99_ms), (row) => row.p99_ms, 680),
      number("Errors", (row) => format.count(row.errors), (row) => row.errors, 600), number("Own", (row) => format.duration(row.own_s), (row) => row.own_s, 760),
      number("Memory", (row) => (row.memory_mb === null ? "–" : format.bytes(row.memory_mb * 2 ** 20)), (row) => row.memory_mb, 980), number("CPU", (row) => (row.cpu_percent === null ? "–" : `${row.cpu_percent.toFixed(0)} %`), (row) => row.cpu_percent, 980),
      { name: "share", title: "Of all own time", cell: (row) => shmperf.share(row.own_share), value: (row) => row.own_share, number: true, width: 160, from: 480 },
    ], { label: "Tools in this run", sort: "share", all: Object.keys(report.tools).length <= MOST_ROWS, key: (row) => row.tool, text: (row) => row.tool, open: (row) => shmperf.toolAddress(row.tool), empty: () => shmperf.empty("No tool was called.") });
    table.show(Object.entries(report.tools).map(([tool, row]) => ({ tool, ...row })));
    return shmperf.panel("Tools", table.element);
  }

  const isDone = (rows) => rows.length > 0;

  function evidence(report) {
    return [
      isDone(report.slowest) && shmperf.panel("Slowest calls", shmperf.list("Slowest calls", [
        { title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 48) }, { title: "Time", cell: (row) => ms(row.duration_ms), number: true },
        { title: "Outcome", cell: (row) => h("span", { class: row.status === "ok" ? "soft" : "bad" }, row.status) },
        { title: "Parameters", cell: (row) => shmperf.parameters(row.params) }, { title: "Call", cell: (row) => shmperf.traceLink(row.id, h("code", null, row.id)) },
      ], report.slowest)),
      isDone(report.errors) && shmperf.panel("Failed calls", shmperf.list("Failed calls", [
        { title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 48) }, { title: "Outcome", cell: (row) => row.status },
        { title: "Class", cell: (row) => h("code", null, shmperf.short(row.err ?? "–", 80)) }, { title: "Calls", cell: (row) => format.count(row.count), number: true },
      ], report.errors.slice(0, MOST_ROWS))),
      isDone(report.edges) && shmperf.panel("Who calls whom", shmperf.list("Who calls whom", [
        { title: "Caller", cell: (row) => (row.parent === null ? h("span", { class: "soft" }, "the program") : shmperf.toolLink(row.parent, 48)) }, { title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 48) },
        { title: "Calls", cell: (row) => format.count(row.calls), number: true }, { title: "Time", cell: (row) => format.duration(row.total_s), number: true },
      ], report.edges.slice(0, MOST_ROWS)), report.edges.length > MOST_ROWS && h("p", { class: "note" }, `${format.count(report.edges.length - MOST_ROWS)} more took less time.`)),
    ];
  }

  const ENDS = { calls: "it had seen its number of calls", time: "its time was over", mode: "somebody switched the mode", session: "the session ended", request: "somebody asked for that" };

  function head(name, report, source) {
    const began = report.trigger === "threshold" ? "It began by itself" : "Somebody asked for it";
    return [
      h("p", null, `${format.count(report.calls)} calls in detail, `, shmperf.moment(report.started), " to ", shmperf.moment(report.ended), `. ${began}, and it ended because ${ENDS[report.ended_by] ?? shmperf.short(report.ended_by, 60)}. `,
        source.isLive && h("a", { href: "/api/reports/" + encodeURIComponent(name) }, "As JSON")),
      report.note && h("p", { class: "warn" }, `${report.note[0].toUpperCase()}${shmperf.short(report.note.slice(1), 300)}.`),
    ];
  }

  function whole(name, report, names, source) {
    return h("div", { class: "view" }, h("div", null, head(name, report, source)), toDo(report), since(report, names), tools(report), evidence(report));
  }

  // All reports, the newest first, and one of them.

  function listed(names, chosen) {
    const link = (name, place) => {
      const at = endedAt(name);
      return h("li", null, h("a", { href: addressOf(name), "aria-current": name === chosen ? "page" : null }, at === null ? shmperf.short(name, 40) : shmperf.moment(at), place === 0 && " · newest"));
    };
    return h("nav", { class: "reports", "aria-label": "Reports" }, h("ul", null, [...names].reverse().slice(0, MOST_ROWS).map(link)));
  }

  function none(source) {
    return shmperf.empty(source.canWrite ? "No optimization run has ended yet. Press Optimize above: calls are recorded in detail for a while, and a report says what to change." : "No optimization run has ended yet. ", !source.canWrite && [h("code", null, "shmperf optimize"), " makes one."]);
  }

  function render(place, match, source) {
    const list = h("div"), body = h("div");
    place.append(h("h1", null, "Optimization reports"), list, body);
    let shown = null;
    const show = (name, names) => {
      if (name === shown) return;
      shown = name;
      shmperf.load(body, () => source.get("reports", { key: name }), (report) => whole(name, report, names, source))();
    };
    const again = shmperf.load(list, () => source.get("reports"), (names) => {
      const name = match[1] || names[names.length - 1];
      if (name) show(name, names);
      return names.length ? listed(names, name) : none(source);
    });
    again();
    let last;
    return {
      update: (look) => {
        if (last !== undefined && look.optimization.last_report !== last) again();
        last = look.optimization.last_report;
      },
    };
  }

  shmperf.views.push({ name: "reports", title: "Reports", key: "r", path: /^\/reports(?:\/(.*))?$/, nav: true, render });
})(globalThis.shmperf ??= {});
