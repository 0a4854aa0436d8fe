/* The workers: what the system says of each, and what it does now. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;

  const openOf = (worker) => shmperf.look()?.open.find((call) => call.id === worker.doing);

  function doing(worker) {
    if (!worker.doing) return h("span", { class: "soft" }, "nothing that is tracked");
    const call = openOf(worker);
    if (!call) return shmperf.traceLink(worker.doing);
    return shmperf.chain([...shmperf.chainOf(call, shmperf.look().open), call.tool]);
  }

  // The innermost call is what it really does: its age and parameters.
  function innermost(worker) {
    const mine = (shmperf.look()?.open ?? []).filter((call) => call.pid === worker.pid);
    const parents = new Set(mine.map((call) => call.parent));
    return mine.find((call) => !parents.has(call.id) && isBelow(call, worker.doing, mine)) ?? openOf(worker);
  }

  function isBelow(call, top, open) {
    const byId = new Map(open.map((one) => [one.id, one]));
    for (let one = call, steps = 0; one && steps < 32; one = byId.get(one.parent), steps++) if (one.id === top) return true;
    return false;
  }

  function now(worker) {
    const call = worker.doing && innermost(worker);
    if (!call) return doing(worker);
    return shmperf.chain([...shmperf.chainOf(call, shmperf.look().open), call.tool]);
  }

  function since(worker) {
    const call = worker.doing && innermost(worker);
    return call ? format.age(shmperf.ageOf(call)) : "–";
  }

  function what(worker) {
    const call = worker.doing && innermost(worker);
    return call?.params ? h("code", { title: call.params }, shmperf.short(call.params, 120)) : "–";
  }

  const number = (name, title, cell, from, value = (worker) => worker[name]) => ({ name, title, number: true, width: name === "since" ? 112 : 92, cell, from, value });

  const COLUMNS = [
    { name: "pid", title: "Worker", width: 92, number: true, cell: (worker) => worker.name ?? String(worker.pid), value: (worker) => worker.pid, fixed: true },
    { name: "doing", title: "Does now", cell: now, value: (worker) => innermost(worker)?.tool ?? null },
    { name: "params", title: "With", from: 1100, width: 280, cell: what },
    number("since", "For", since, 0, (worker) => (worker.doing && innermost(worker) ? shmperf.ageOf(innermost(worker)) : null)),
    number("in_flight", "In flight", (worker) => format.count(worker.in_flight), 620),
    number("memory_bytes", "Memory", (worker) => format.bytes(worker.memory_bytes), 480),
    number("cpu_percent", "CPU", (worker) => (worker.cpu_percent === null ? "–" : `${Math.round(worker.cpu_percent)}\u00a0%`), 400),
    number("threads", "Threads", (worker) => format.count(worker.threads), 720),
  ];

  const empty = () => shmperf.empty("No worker is connected: a process is one from its first tracked call until it ends.");

  function render(place) {
    const table = shmperf.table(COLUMNS, {
      label: "Workers", key: (worker) => worker.pid, text: (worker) => `${worker.name ?? worker.pid} ${innermost(worker)?.tool ?? ""} ${innermost(worker)?.params ?? ""}`, sort: "since", empty,
      open: (worker) => (worker.doing ? "#/trace/" + encodeURIComponent(innermost(worker)?.id ?? worker.doing) : null),
    });
    place.append(h("h1", null, "Workers"), table.element);
    const timer = setInterval(() => table.drawn(), 1000);
    return { update: (look) => table.show(look.workers), search: (text) => table.search(text), close: () => clearInterval(timer) };
  }

  shmperf.views.push({ name: "workers", title: "Workers", key: "w", path: /^\/workers$/, nav: true, render });
})(globalThis.shmperf ??= {});
