/* What is shown comes from a server: parts by fetch, looks by server-sent events. */
"use strict";
(function (shmperf) {
  const RETRY_MS = 2000;
  // What is not kept any more is no mistake, which a 404 would be in the browser's console.
  const READING = { Accept: "application/json", Prefer: "missing=told" };

  function addressOf(part, { key, ...wanted } = {}) {
    const query = new URLSearchParams();
    for (const name of Object.keys(wanted).sort()) if (wanted[name] !== null && wanted[name] !== undefined) query.set(name, wanted[name]);
    const path = [part, key].filter((piece) => piece !== undefined).map((piece) => encodeURIComponent(piece)).join("/");
    return `/api/${path}${query.size ? "?" + query : ""}`;
  }

  async function answered(asked) {
    const answer = await asked.catch(() => {
      throw new Error("The server does not answer. Does shmperf serve still run?");
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok && !answer.headers.has("Preference-Applied")) return told;
    throw new Error(told.error ?? `The server answers ${answer.status}.`);
  }

  const get = (part, wanted) => answered(fetch(addressOf(part, wanted), { headers: READING }));

  const post = (name, body) =>
    answered(fetch(`/api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

  // Looks, as they come. The browser connects again by itself, with the id of the last event; not
  // after a refusal.
  function follow(looked, connected) {
    const connect = () => {
      const events = new EventSource("/api/events");
      events.addEventListener("open", () => connected(true));
      events.addEventListener("look", (event) => looked(JSON.parse(event.data)));
      events.addEventListener("error", () => {
        connected(false);
        if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
      });
    };
    connect();
  }

  // A browser has six connections to a server, for all of its tabs: one of them follows, which is
  // whoever has the lock, and tells the others. Where there are no locks (an address that is neither
  // encrypted nor of this machine) each follows by itself.
  function subscribe(told) {
    let last = null;
    const looked = (news) => {
      if (!last && news.whole === false) return;
      last = shmperf.merged(last, news);
      told(last);
    };
    if (!navigator.locks || !globalThis.BroadcastChannel) return follow(looked, shmperf.connected);
    const others = new BroadcastChannel("shmperf-looks");
    let isConnected = null, isFollowing = false;
    const connected = (now) => {
      isConnected = now;
      shmperf.connected(now);
    };
    const tell = (what, then) => (value) => {
      others.postMessage({ [what]: value });
      then(value);
    };
    const caughtUp = () => {
      others.postMessage({ news: { ...last, whole: true } });
      others.postMessage({ isConnected });
    };
    others.addEventListener("message", ({ data }) => {
      if (data.news) looked(data.news);
      else if ("isConnected" in data) connected(data.isConnected);
      else if (isFollowing && last) caughtUp();
    });
    others.postMessage({ begins: true });
    // Held until this tab is closed.
    navigator.locks.request("shmperf-looks", () => {
      isFollowing = true;
      follow(tell("news", looked), tell("isConnected", connected));
      return new Promise(() => {});
    });
  }

  shmperf.live = () => ({ isLive: true, canWrite: true, get, post, subscribe });
})(globalThis.shmperf ??= {});
