/* Which tool to choose for a task: those of the tool store by relevance, reliability and speed. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const wanted = { k: 10, mode: "utility" };
  const MODES = [["utility", "relevance × reliability × speed"], ["additive", "their weighted sum"], ["similarity", "similarity alone"]];
  const FACTORS = [["relevance", "Relevance"], ["success", "Reliability"], ["speed", "Speed"]];

  function named(row) {
    return h("div", { class: "ranked" }, shmperf.toolLink(row.name, 60), !row.usable && h("span", { class: "warn" }, " not now"), h("p", { class: "note" }, shmperf.short(row.why, 300)));
  }

  const figure = (value) => (value === null ? "–" : Number(value.toPrecision(3)).toString());

  function ranking(rows) {
    if (!rows.length) return shmperf.empty("The tool store has no tool for this.");
    return shmperf.panel("The best choice first", shmperf.list("Tools for the task", [
      { title: "", cell: (row) => String(rows.indexOf(row) + 1), number: true },
      { title: "Tool", cell: named },
      { title: "Score", cell: (row) => h("strong", null, figure(row.score)), number: true },
      ...FACTORS.map(([name, title]) => ({ title, cell: (row) => shmperf.share(row[name]) })),
      { title: "Takes", cell: (row) => format.duration(row.latency_s), number: true },
      { title: "Calls", cell: (row) => format.count(row.calls), number: true },
      { title: "Known from", cell: (row) => ({ live: "this session", stored: "the store", none: "nowhere" })[row.source] ?? shmperf.short(row.source, 20) },
    ], rows), h("p", { class: "note" }, "Relevance: how near to the query, the best one is 1. Reliability: the share of calls that one may expect to succeed. Speed: 1 for what takes no time."));
  }

  function form(query, asked) {
    const field = h("input", { name: "query", type: "search", required: true, value: query, placeholder: "what is to be done, in words", "aria-label": "Task", autocomplete: "off" });
    const most = h("input", { name: "k", type: "number", min: "1", max: "200", step: "1", value: wanted.k, "aria-label": "Candidates" });
    const mode = h("select", { name: "mode", "aria-label": "Ranked by" }, MODES.map(([name, text]) => h("option", { value: name, selected: name === wanted.mode }, text)));
    return h("form", { class: "asking", role: "search", "aria-label": "Rank", onsubmit: (event) => {
      event.preventDefault();
      Object.assign(wanted, { k: Number(most.value) || 10, mode: mode.value });
      asked(field.value.trim());
    } }, field, h("label", null, "candidates ", most), mode, h("button", { class: "primary" }, "Rank"));
  }

  function render(place, match, source) {
    const query = match[1] ?? "";
    const body = h("div");
    const again = shmperf.load(body, () => source.get("rank", { query, k: wanted.k, mode: wanted.mode }), ranking);
    const asked = (text) => {
      const to = "#/rank/" + encodeURIComponent(text);
      if (to === location.hash) again();
      else shmperf.go(to);
    };
    place.append(h("div", { class: "head" }, h("h1", null, "Choosing a tool"), h("p", null, "What fits, what is reliable, what is fast.")), form(query, asked), body);
    if (query) again();
    else body.append(shmperf.empty("Say what is to be done: the tools of the tool store are ranked for it, by what is known of their calls. ", h("code", null, "shmperf help rag"), " tells how a store is filled."));
  }

  const isThere = (source) => source.isLive;
  shmperf.views.push({ name: "rank", title: "Rank", key: "k", path: /^\/rank(?:\/(.*))?$/, nav: isThere, render });
})(globalThis.shmperf ??= {});
