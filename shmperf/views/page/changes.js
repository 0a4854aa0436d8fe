/* Two runs side by side: what got slower or faster, by how much, and how sure that is. */
"use strict";
(function (shmperf) {
  const { h, svg, format } = shmperf;
  // In the order in which they are read.
  const VERDICTS = [["slower", "bad"], ["faster", "good"], ["unsure", "warn"], ["new", ""], ["gone", ""], ["same", "soft"]];
  const MARKS = { slower: "▲ slower", faster: "▼ faster", unsure: "? unsure", new: "+ new", gone: "− gone", same: "= same" };
  const order = Object.fromEntries(VERDICTS.map(([name], place) => [name, place]));
  const kinds = Object.fromEntries(VERDICTS);
  // Intervals are as long.
  const AGAIN_S = 30;
  const WIDTH = 150;
  const HEIGHT = 20;

  const percent = (ratio) => (ratio === null ? "?" : `${ratio >= 1 ? "+" : "−"}${(Math.abs(ratio - 1) * 100).toFixed(Math.abs(ratio - 1) < 0.1 ? 1 : 0)}\u00a0%`);

  /** A change as text: "+20 % (+17 % to +23 %)". */
  function saidOf(change) {
    if (!change) return "–";
    return change.low === null && change.high === null ? `${percent(change.ratio)} (too few calls to say how sure)` : `${percent(change.ratio)} (${percent(change.low)} to ${percent(change.high)})`;
  }

  /** How far the drawing reaches, as a ratio: what most intervals need, between 1.25 and 8. */
  function reachOf(rows) {
    const ends = rows.flatMap(({ change }) => [change.p50, change.p95]).filter(Boolean)
      .flatMap((one) => [one.ratio, one.low, one.high]).filter((one) => one !== null && one > 0).map((one) => Math.max(one, 1 / one)).sort((a, b) => a - b);
    return Math.min(8, Math.max(1.25, ends[Math.floor(ends.length * 0.95)] ?? 1.25));
  }

  const isSure = (change) => change.low !== null && change.high !== null && (change.low > 1 || change.high < 1);

  /** A ratio and its interval against the line of no change, on a scale of ratios. */
  function forest(change, reach) {
    const x = (ratio) => WIDTH / 2 + (WIDTH / 2 - 4) * Math.max(-1, Math.min(1, Math.log(Math.max(ratio, 1e-9)) / Math.log(reach)));
    const kind = !isSure(change) ? "unsure" : change.ratio > 1 ? "slower" : "faster";
    const middle = HEIGHT / 2;
    const low = x(change.low ?? 1 / reach), high = x(change.high ?? reach);
    return svg("svg", { class: `forest ${kind}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
      svg("line", { class: "zero", x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: HEIGHT }),
      svg("line", { class: "interval", x1: low, x2: high, y1: middle, y2: middle, "stroke-dasharray": change.low === null || change.high === null ? "2 3" : null }),
      svg("circle", { cx: x(change.ratio), cy: middle, r: 3.5 }));
  }

  // On a narrow screen there is room for the figure alone.
  const isNarrow = () => innerWidth < 560;

  const cell = (name, reach) => (row) => {
    const change = row.change[name];
    if (!change) return h("span", { class: "soft" }, "–");
    return h("span", { class: "change", title: saidOf(change) }, !isNarrow() && forest(change, reach), h("span", { class: "ratio", "aria-hidden": "true" }, percent(change.ratio)), h("span", { class: "unseen" }, saidOf(change)));
  };

  const sizeOf = (row) => Math.max(0, ...["p50", "p95"].map((name) => row.change[name]?.ratio).filter((one) => one > 0).map((one) => Math.max(one, 1 / one)));
  const points = (change) => (!change ? "–" : !change.difference ? "=" : `${change.difference > 0 ? "+" : "−"}${(Math.abs(change.difference) * 100).toFixed(2)} points`);
  const both = (row, told) => [row.a ? told(row.a) : "–", " → ", row.b ? told(row.b) : "–"];
  const sides = (name) => (row) => h("span", null, both(row, (side) => format.duration(side[name])));

  function tableOf(rows) {
    const reach = reachOf(rows);
    const scale = format.percent(reach - 1);
    const table = shmperf.table([
      { name: "tool", title: "Tool", cell: (row) => shmperf.toolLink(row.tool, 60), value: (row) => row.tool, fixed: true },
      { name: "verdict", title: "Verdict", cell: (row) => h("span", { class: kinds[row.verdict] }, MARKS[row.verdict] ?? row.verdict), value: (row) => (order[row.verdict] ?? 9) - sizeOf(row) / 1e6, width: isNarrow() ? 88 : 104 },
      { name: "p50", title: "p50 change", about: `The line: no change; the edges: +${scale} and as much faster`, cell: cell("p50", reach), value: (row) => row.change.p50?.ratio, number: true, width: 256, from: 560 },
      { name: "p95", title: "p95 change", about: `The line: no change; the edges: +${scale} and as much faster`, cell: cell("p95", reach), value: (row) => row.change.p95?.ratio, number: true, width: isNarrow() ? 96 : 256 },
      { name: "was50", title: "p50", cell: sides("p50_s"), value: (row) => row.b?.p50_s, number: true, width: 176, from: 900 },
      { name: "was95", title: "p95", cell: sides("p95_s"), value: (row) => row.b?.p95_s, number: true, width: 176, from: 1100 },
      { name: "errors", title: "Errors", cell: (row) => points(row.change.error_rate), value: (row) => row.change.error_rate?.difference, number: true, width: 120, from: 760 },
      { name: "calls", title: "Calls", cell: (row) => h("span", null, both(row, (side) => format.brief(side.calls))), value: (row) => row.b?.calls, number: true, width: 130, from: 1240 },
    ], { label: "Changes by tool", sort: "verdict", all: rows.length <= 100, key: (row) => row.tool, text: (row) => `${row.tool} ${row.verdict}`, open: (row) => shmperf.toolAddress(row.tool), empty: () => shmperf.empty("No calls on either side.") });
    table.show(rows);
    return table;
  }

  function headline(rows, counts) {
    const found = counts ?? rows.reduce((sum, row) => ({ ...sum, [row.verdict]: (sum[row.verdict] ?? 0) + 1 }), {});
    return h("dl", { class: "figures" }, VERDICTS.map(([name, kind]) => shmperf.figure(name, format.count(found[name] ?? 0), null, found[name] ? kind : "soft")));
  }

  const LEGEND = "Change: this run divided by the one before; the line through the middle is no change, the bar holds the truth in 95 of 100 cases. A verdict is sure beside all others at once. Same: within 10 %. Unsure: too few calls to say.";

  // How far back B reaches, in seconds; nothing: as far as this run, or all against an earlier one.
  const SPANS = [["", "this run"], ["300", "the last 5 minutes"], ["3600", "the last hour"], ["21600", "the last 6 hours"]];

  function chosen(span, source) {
    const options = SPANS.map(([value, text]) => h("option", { value, selected: value === span }, text));
    return source.isLive && h("p", { class: "asking" }, h("label", null, "Compare ", h("select", { onchange: (event) => shmperf.go(["#/changes", event.target.value].filter(Boolean).join("/")) }, options), " with what was before"));
  }

  const comparedWith = ({ against, since_s }) =>
    h("p", { class: "note" }, since_s ? ["what began after ", shmperf.moment(since_s), " against ", shmperf.short(against, 200)] : ["against ", h("code", null, shmperf.short(against, 200))]);

  function render(place, [, span = ""], source) {
    const body = h("div", { class: "stack" });
    let table = null, text = "";
    place.append(h("h1", null, "What changed"), chosen(span, source) || "", body);
    const since = () => (span ? shmperf.now() - Number(span) : undefined);
    const again = shmperf.load(body, () => source.get("changes", { since: since() }), (changes) => {
      if (!changes) return shmperf.empty("Nothing to compare with. ", h("code", null, "shmperf report --against DIR"), " makes a page that shows what changed since the run in DIR.");
      if (!Object.keys(changes.tools).length && source.isLive) return shmperf.empty("Nothing can be compared yet: a run begins where nothing was called for a minute, and counts by half minutes. Or keep the storage of a run (", h("code", null, "mv perf_data before"), ") and start ", h("code", null, "shmperf serve --against before"), ".");
      const rows = Object.entries(changes.tools).map(([tool, one]) => ({ tool, ...one }));
      table = tableOf(rows);
      table.search(text);
      return [comparedWith(changes), headline(rows, changes.counts), h("section", { class: "panel", "aria-label": "By tool" }, table.element, h("p", { class: "note" }, LEGEND))];
    });
    again();
    return {
      update: shmperf.sparing(AGAIN_S, again),
      search: (wanted) => {
        text = wanted;
        table?.search(text);
      },
    };
  }

  const isThere = (source) => source.isLive || Boolean(source.changes);
  shmperf.changes = { saidOf, reachOf };
  shmperf.views.push({ name: "changes", title: "What changed", key: "d", path: /^\/changes(?:\/(\d+))?$/, nav: isThere, render });
})(globalThis.shmperf ??= {});
