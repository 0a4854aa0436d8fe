/* Begins, once all other scripts are there: from what is embedded in the page, or from a server. */
"use strict";
(function (shmperf) {
  document.addEventListener("DOMContentLoaded", () => {
    const made = document.getElementById("shmperf-data");
    shmperf.start(made ? shmperf.embedded(JSON.parse(made.textContent)) : shmperf.live());
  });
})(globalThis.shmperf ??= {});
