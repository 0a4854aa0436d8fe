/* What is shown comes from the page itself, which was made at one moment: a report. */
"use strict";
(function (shmperf) {
  // All of these has the rows of each tool, too.
  const WHOLE = new Set(["stats", "tree"]);

  // Rows of one tool among those of all, where it has none of its own.
  const AMONG = {
    errors: (group, tool) => group.tools.includes(tool),
    slow: (call, tool) => call.tool === tool,
  };

  function nameOf(part, key, tool) {
    const path = key === undefined ? part : `${part}/${key}`;
    return tool === undefined || tool === null ? path : `${path}?tool=${tool}`;
  }

  // What a call has by default is left out of a report.
  const DEFAULTS = { status: "ok", parent: null, err: null, params: null, pid: null, gaps: [] };

  function whole(call) {
    const children = (call.children ?? []).map((child) => whole({ ...child, parent: call.id }));
    return { ...DEFAULTS, ...call, children };
  }

  function answered(parts, part, wanted) {
    const answer = found(parts, part, wanted);
    return part === "trace" ? { ...answer, call: whole(answer.call) } : answer;
  }

  function found(parts, part, { key, tool }) {
    if (part === "changes") return parts.changes ?? null;
    const name = nameOf(part, key, tool);
    if (Object.hasOwn(parts, name)) return parts[name];
    if (WHOLE.has(part) && key === undefined && Object.hasOwn(parts, part)) return parts[part];
    const rows = Object.hasOwn(AMONG, part) && Object.hasOwn(parts, part) ? parts[part].filter((row) => AMONG[part](row, tool)) : [];
    if (rows.length || (part === "errors" && !hasFailed(parts, tool))) return rows;
    // Another try finds no more.
    throw Object.assign(new Error("The report does not have this; it has the slowest and the most used ones only."), { isFinal: true });
  }

  // Those of all are not all: of a tool that has failed there may be others that had no room.
  function hasFailed({ stats }, tool) {
    const row = Object.hasOwn(stats?.tool_stats ?? {}, tool) ? stats.tool_stats[tool] : {};
    return Boolean(row.errors || row.aborted);
  }

  /** @param {{parts: object, look: object, changes?: object, report?: object}} made */
  shmperf.embedded = (made) => ({
    isLive: false,
    canWrite: false,
    changes: made.changes ?? null,
    note: made.report?.note ?? "",
    get: async (part, wanted = {}) => answered({ ...made.parts, changes: made.changes }, part, wanted),
    post: async () => {
      throw new Error("A report changes nothing.");
    },
    subscribe: (told) => told(made.look),
  });
})(globalThis.shmperf ??= {});
