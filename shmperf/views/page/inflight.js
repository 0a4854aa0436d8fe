/* The calls that are open now, the oldest first: how old, called by whom, with what, in which worker. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const TICK_MS = 1000;
  const MOST_ABOVE = 32;
  // So many a look has at most. What has begun and is not counted as open may have ended since.
  const MOST_OPEN = 200;
  // What has been open for so long is marked.
  const LONG_S = 60;

  /** The names of the callers of an open call, the outermost first, as far as they are known. */
  shmperf.chainOf = (call, open) => {
    if (call.chain) return call.chain;
    const byId = new Map(open.map((one) => [one.id, one]));
    const chain = [];
    for (let above = byId.get(call.parent); above && chain.length < MOST_ABOVE; above = byId.get(above.parent)) chain.unshift(above.tool);
    return chain;
  };

  /** Names of tools, one calling the next. */
  shmperf.chain = (names) => {
    if (!names.length) return h("span", { class: "soft" }, "–");
    return h("span", { class: "chain" }, names.flatMap((name, place) => [place ? h("span", { class: "soft", "aria-label": "calls" }, " › ") : null, shmperf.toolLink(name, 40)]));
  };

  // Clocks differ a little; what was measured there is the least.
  const ageOf = (call) => Math.max(call.running_s, shmperf.now() - call.started);
  shmperf.ageOf = ageOf;

  function age(call) {
    const s = ageOf(call);
    return h("span", { class: s > LONG_S ? "warn" : null, title: new Date(call.started * 1000).toISOString() }, format.age(s));
  }

  function parameters(call) {
    if (!call.params) return h("span", { class: "soft", title: "known of tools whose calls take long" }, "–");
    return h("code", { title: call.params }, shmperf.short(call.params, 200));
  }

  const narrow = (wide, else_) => (innerWidth < 560 ? else_ : wide);

  const columns = (brief) => [
    { name: "age", title: "Age", width: brief ? 94 : narrow(104, 84), number: true, cell: age, value: ageOf },
    { name: "tool", title: "Tool", fixed: true, cell: (call) => shmperf.toolLink(call.tool), value: (call) => call.tool, width: brief ? 124 : narrow(190, 130) },
    ...(brief ? [] : [{ name: "chain", title: "Called by", width: 240, from: 720, cell: (call) => shmperf.chain(shmperf.chainOf(call, shmperf.look()?.open ?? [])) }]),
    { name: "params", title: "Parameters", from: brief ? 420 : 300, cell: parameters },
    { name: "pid", title: "Worker", number: true, width: brief ? 76 : 84, from: brief ? 380 : 480, cell: (call) => call.node ?? String(call.pid), value: (call) => call.pid },
    ...(brief ? [] : [{ name: "id", title: "Call", width: 168, from: 1000, fixed: true, cell: (call) => shmperf.traceLink(call.id, h("code", null, call.id)) }]),
  ];

  const empty = () => shmperf.empty("No call is open now.");

  /** A table of open calls whose age goes on by itself; to be closed. */
  shmperf.openCalls = ({ label, all = false, brief = false, tally }) => {
    const table = shmperf.table(columns(brief), {
      label, all, tally, empty, sort: "age", key: (call) => call.id, text: (call) => `${call.tool} ${call.node ?? call.pid} ${call.id} ${call.params ?? ""} ${(call.chain ?? []).join(" ")}`,
      open: (call) => "#/trace/" + encodeURIComponent(call.id),
    });
    const timer = setInterval(() => table.drawn(), TICK_MS);
    return { element: table.element, show: (calls) => table.show(calls), search: (text) => table.search(text), close: () => clearInterval(timer) };
  };

  function tally() {
    const look = shmperf.look();
    if (!look?.open.length) return "";
    return look.open.length >= MOST_OPEN && look.open.length < look.in_flight ? `the oldest ${format.count(look.open.length)} of ${format.count(look.in_flight)}` : `${format.count(look.open.length)} open`;
  }

  function render(place) {
    const table = shmperf.openCalls({ label: "Calls in flight", tally });
    place.append(h("h1", null, "In flight"), table.element);
    return { update: (look) => table.show(look.open), search: table.search, close: table.close };
  }

  shmperf.views.push({ name: "inflight", title: "In flight", key: "i", path: /^\/inflight$/, nav: true, render });
})(globalThis.shmperf ??= {});
