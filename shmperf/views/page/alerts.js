/* What turned bad, since when, and whether it is over. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;

  // Figures of an alert that are in its unit.
  const MEASURED = new Set(["usual", "now"]);

  function evidence(known) {
    const rows = Object.entries(known);
    if (!rows.length) return null;
    const text = (name, value) => {
      if (typeof value === "string") return value;
      if (typeof value !== "number") return JSON.stringify(value, null, 1);
      const isTime = name.endsWith("_s") || (known.unit === "s" && MEASURED.has(name));
      if (isTime) return format.duration(value);
      return String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));
    };
    return h("dl", { class: "pairs" }, rows.map(([name, value]) => [h("dt", null, name.replace(/_s$/, "").replaceAll("_", " ")), h("dd", null, shmperf.pre(text(name, value)))]));
  }

  const lasted = (alert) => (alert.ended ? (Date.parse(alert.ended) - Date.parse(alert.began)) / 1000 : null);

  function shown(alert) {
    return h("details", { class: "group " + (alert.ended ? "over" : "open"), "data-key": alert.id },
      h("summary", null, h("span", { class: alert.ended ? "soft" : "bad" }, alert.ended ? "over" : alert.severity),
        h("span", null, h("strong", null, shmperf.short(alert.text, 300))),
        h("span", { class: "soft" }, shmperf.moment(alert.began, format.ago(alert.began)), alert.ended ? `, for ${format.age(lasted(alert))}` : "")),
      h("p", null, h("span", { class: "soft" }, shmperf.short(alert.kind.replaceAll("_", " "), 60)), alert.tool !== null && [" · ", shmperf.toolLink(alert.tool)]),
      evidence(alert.evidence));
  }

  function listed(found) {
    if (!found.alerts.length) return shmperf.empty("Nothing has turned bad. Alerts begin once enough is known of what is usual; ", h("code", null, "shmperf help alerts"), " says which there are.");
    const open = found.alerts.filter((alert) => !alert.ended), over = found.alerts.filter((alert) => alert.ended).reverse();
    return [
      open.length ? h("div", { class: "groups" }, open.map(shown)) : shmperf.empty("None is open."),
      over.length > 0 && [h("h2", { class: "between" }, "Over"), h("div", { class: "groups" }, over.map(shown))],
    ].flat();
  }

  function render(place, _, source) {
    const body = h("section", { class: "panel", "aria-label": "Alerts" });
    place.append(h("h1", null, "Alerts"), body);
    const ask = shmperf.load(body, () => source.get("alerts"), listed);
    let known = null;
    return {
      update(look) {
        const now = look.alerts.map((alert) => alert.id).join();
        if (now !== known) ask();
        known = now;
      },
    };
  }

  shmperf.views.push({ name: "alerts", title: "Alerts", key: "a", path: /^\/alerts$/, nav: true, render });
})(globalThis.shmperf ??= {});
