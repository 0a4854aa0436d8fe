/* Failed calls in groups: how many, what, where, and when last. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;
  const EVERY_S = 3;
  const MOST = 200;

  const pair = (name, value) => (value === null || value === undefined || value === "" || value === false ? null : [h("dt", null, name), h("dd", null, value)]);

  function details(group) {
    return h("dl", { class: "pairs" },
      pair(group.sample_of === "parameters" ? "Parameters of one" : "Message of one", group.sample && shmperf.pre(group.sample)),
      pair("Where", group.where && h("code", null, group.where)),
      pair("Tools", group.tools.length > 1 ? group.tools.map((tool) => [shmperf.toolLink(tool), " "]) : null),
      pair("Parameters", group.sample_of !== "parameters" && group.params && shmperf.pre(group.params)),
      pair("Calls that failed", group.calls !== group.count ? format.count(group.calls) : null),
      pair("First", shmperf.moment(group.first)), pair("Last", shmperf.moment(group.last)),
      pair("Worker of the last", group.pid),
      pair("One of them", group.id && shmperf.traceLink(group.id)), pair("Fingerprint", group.fingerprint && h("code", null, group.fingerprint)));
  }

  function shown(group) {
    return h("details", { class: "group", "data-key": nameOf(group) },
      h("summary", null, h("span", { class: "number bad" }, format.count(group.count)),
        h("span", null, h("strong", null, shmperf.short(group.err ?? group.status ?? "failed", 80)), " in ", shmperf.name(group.tool, 60),
          group.sample && h("span", { class: "soft sample-line" }, shmperf.short(group.sample, 160))),
        h("span", { class: "soft" }, shmperf.moment(group.last, format.ago(group.last)))),
      details(group));
  }

  const nameOf = (group) => [group.fingerprint, group.tool, group.status, group.err].join(" ");

  /** Groups of failed calls. */
  shmperf.errorGroups = (groups) => {
    if (!groups.length) return shmperf.empty("No call has failed.");
    return h("div", { class: "groups" }, groups.map(shown));
  };

  const matches = (group, text) => `${group.tool} ${group.err} ${group.status} ${group.sample} ${group.where}`.toLowerCase().includes(text.trim().toLowerCase());

  function render(place, _, source) {
    const body = h("section", { class: "panel", "aria-label": "Failed calls" });
    place.append(h("h1", null, "Errors"), body);
    let groups = [], text = "", errors = null;
    const show = () => (groups.length && !groups.some((group) => matches(group, text)) ? shmperf.empty("Nothing has this in it.") : shmperf.errorGroups(groups.filter((group) => matches(group, text))));
    const ask = shmperf.load(body, () => source.get("errors", { limit: MOST }), (found) => {
      groups = found;
      return show();
    });
    const again = shmperf.sparing(EVERY_S, ask);
    return {
      update(look) {
        if (look.errors !== errors || errors === null) again();
        errors = look.errors;
      },
      search(sought) {
        text = sought;
        body.replaceChildren(show());
      },
    };
  }

  shmperf.views.push({ name: "errors", title: "Errors", key: "e", path: /^\/errors$/, nav: true, render });
})(globalThis.shmperf ??= {});
