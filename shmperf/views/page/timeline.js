/* One call and all below it in time: a lane for each worker, packed into rows, drawn on a canvas. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;

  /**
   * A call at its place: `row` within its lane, times in seconds since the start of the topmost call.
   * `isOpen`: nobody knows its end, it is drawn to the right edge.
   * @typedef {{call: object, above: Bar | null, depth: number, pid: number | null, from: number, to: number, isOpen: boolean, lane: number, row: number, place: number}} Bar
   */

  const ROW_PX = 20;
  const AXIS_PX = 22;
  const LANE_PX = 18;
  const MOST_PX = 560;
  const ENDLESS = new Set(["open", "aborted"]);

  // From a call to bars.

  const isEndless = (call) => call.duration_s === null && ENDLESS.has(call.status);

  /** Every call of the tree below *top*, callers before what they called. */
  function flat(top) {
    const bars = [{ call: top, above: null, depth: 0, pid: top.pid }];
    for (let place = 0; place < bars.length; place++) {
      const above = bars[place];
      // Where a worker is not known it is taken to be the caller's.
      for (const call of above.call.children) bars.push({ call, above, depth: above.depth + 1, pid: call.pid ?? above.pid });
    }
    return bars;
  }

  function timed(bars, now_s) {
    const end = (call) => call.offset_s + Math.max(0, call.duration_s ?? 0);
    const latest = bars.reduce((most, { call }) => Math.max(most, end(call)), Math.max(0, now_s));
    for (const bar of bars) {
      bar.from = bar.call.offset_s;
      bar.isOpen = isEndless(bar.call);
      bar.to = bar.isOpen ? Math.max(latest, bar.from) : end(bar.call);
    }
  }

  // By their starts, but never before what called them, whatever the clocks of two machines say.
  function inOrder(bars) {
    for (const bar of bars) bar.order = Math.max(bar.from, bar.above?.order ?? -Infinity);
    return [...bars].sort((a, b) => a.order - b.order || a.depth - b.depth);
  }

  function rowFor(ends, bar, least) {
    let row = least;
    while (row < ends.length && ends[row] > bar.order) row++;
    return row;
  }

  /**
   * The bars of a call and all below it, lane by lane: no two in a row overlap, and what was called
   * stands below its caller. *now_s* is how long ago an open call began.
   */
  function lanesOf(top, now_s = 0) {
    const bars = flat(top);
    timed(bars, now_s);
    const lanes = [];
    const byPid = new Map();
    for (const bar of inOrder(bars)) {
      if (!byPid.has(bar.pid)) byPid.set(bar.pid, lanes.push({ pid: bar.pid, ends: [], bars: [] }) - 1);
      bar.lane = byPid.get(bar.pid);
      const { ends, bars: own } = lanes[bar.lane];
      bar.row = rowFor(ends, bar, bar.above && bar.above.lane === bar.lane ? bar.above.row + 1 : 0);
      ends[bar.row] = Math.max(bar.to, bar.order);
      for (let row = 0; row < bar.row; row++) ends[row] ??= -Infinity;
      bar.place = own.push(bar) - 1;
    }
    const from = bars.reduce((least, bar) => Math.min(least, bar.from), 0);
    const to = bars.reduce((most, bar) => Math.max(most, bar.to), 0);
    return { bars, lanes: stacked(lanes), from, to: to > from ? to : from + 1e-6 };
  }

  // Each lane below the last one, in pixels.
  function stacked(lanes) {
    let top = 0;
    for (const lane of lanes) {
      lane.rows = lane.ends.length;
      lane.top = top;
      top += LANE_PX + lane.rows * ROW_PX + 6;
    }
    return lanes;
  }

  // Drawing.

  const COLOURS = ["frame", "frame-own", "frame-edge", "bad", "bad-wash", "warn", "warn-wash", "ink", "soft", "line", "accent", "raised"];
  const kindOf = (call) => (call.status === "ok" ? "" : ENDLESS.has(call.status) || call.status === "cancelled" ? "warn" : "bad");

  function steps(span) {
    const rough = span / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough);
  }

  function saidOf(bar) {
    const { call } = bar;
    const took = bar.isOpen ? "open" : call.duration_s === null ? "not timed" : format.duration(call.duration_s);
    return `${shmperf.short(call.tool, 60)}, ${took}, begins ${format.duration(bar.from)}${call.status === "ok" ? "" : `, ${call.status} ${call.err ?? ""}`}`;
  }

  class Timeline {
    /** @param {(bar: Bar) => void} chosen */
    constructor(chosen) {
      this.chosen = chosen;
      this.canvas = h("canvas");
      this.spacer = h("div", { class: "spacer" }, this.canvas);
      this.element = h("div", {
        class: "timeline", tabindex: "0", role: "application", "aria-roledescription": "timeline", "aria-label": "Calls in time",
        onkeydown: (event) => this.#pressed(event), onscroll: () => this.#later(),
        onpointerdown: (event) => this.#held(event), onpointermove: (event) => this.#moved(event), onpointerup: (event) => this.#let(event), onpointercancel: () => (this.drag = null),
      });
      this.element.append(this.spacer);
      this.element.addEventListener("wheel", (event) => this.#wheeled(event), { passive: false });
      this.sizes = new ResizeObserver(() => this.draw());
      this.sizes.observe(this.element);
      shmperf.onRedraw(this.element, () => {
        this.colours = null;
        this.draw();
      });
    }

    close() {
      this.sizes.disconnect();
    }

    show(top, now_s) {
      const kept = this.selected?.call.id;
      const isSame = this.laid?.bars[0].call.id === top.id;
      const isPart = isSame && (this.view.from > this.laid.from || this.view.to < this.laid.to);
      this.laid = lanesOf(top, now_s);
      // Whoever sees the whole goes on seeing it while an open call grows.
      if (!isPart) this.#whole();
      this.selected = this.laid.bars.find((bar) => bar.call.id === kept) ?? this.laid.bars[0];
      const last = this.laid.lanes[this.laid.lanes.length - 1];
      this.height = AXIS_PX + last.top + LANE_PX + last.rows * ROW_PX + 8;
      this.element.style.setProperty("height", `${Math.min(MOST_PX, this.height)}px`);
      this.spacer.style.setProperty("height", `${this.height}px`);
      this.draw();
      this.chosen(this.selected);
    }

    /** *bar* is chosen, and brought to where it is seen. */
    select(bar) {
      if (!bar) return;
      this.selected = bar;
      this.element.setAttribute("aria-label", `Calls in time: ${saidOf(bar)}`);
      this.#bring(bar);
      this.draw();
      this.chosen(bar);
    }

    zoom(times, at = (this.view.from + this.view.to) / 2) {
      const { from, to } = this.laid;
      const width = Math.min(to - from, Math.max((to - from) / 1e6, (this.view.to - this.view.from) / times));
      const share = (at - this.view.from) / (this.view.to - this.view.from);
      this.#view(at - share * width, width);
    }

    whole() {
      this.#view(this.laid.from, this.laid.to - this.laid.from);
    }

    fit(bar) {
      const width = Math.max((bar.to - bar.from) * 1.04, (this.laid.to - this.laid.from) / 1e6);
      this.#view(bar.from - 0.02 * width, width);
    }

    #whole() {
      this.view = { from: this.laid.from, to: this.laid.to };
    }

    #view(from, width) {
      const least = Math.min(Math.max(from, this.laid.from), Math.max(this.laid.from, this.laid.to - width));
      this.view = { from: least, to: Math.min(this.laid.to, least + width) };
      this.#later();
    }

    #later() {
      if (this.asked) return;
      this.asked = requestAnimationFrame(() => this.draw());
    }

    #bring(bar) {
      const { from, to } = this.view;
      const isWide = bar.to - bar.from > to - from;
      if (!isWide && (bar.from < from || bar.to > to)) this.#view(bar.from - ((to - from) - (bar.to - bar.from)) / 2, to - from);
      const y = this.#yOf(bar);
      const { scrollTop, clientHeight } = this.element;
      if (y < scrollTop + AXIS_PX + LANE_PX) this.element.scrollTop = y - AXIS_PX - LANE_PX;
      else if (y + ROW_PX > scrollTop + clientHeight) this.element.scrollTop = y + ROW_PX - clientHeight;
    }

    #yOf(bar) {
      return AXIS_PX + this.laid.lanes[bar.lane].top + LANE_PX + bar.row * ROW_PX;
    }

    #xOf(seconds) {
      return ((seconds - this.view.from) / (this.view.to - this.view.from)) * this.width;
    }

    draw() {
      cancelAnimationFrame(this.asked);
      this.asked = 0;
      if (!this.laid || !this.element.isConnected) return;
      this.colours ??= Object.fromEntries(COLOURS.map((name) => [name, shmperf.colour(name)]));
      const scale = Math.min(3, globalThis.devicePixelRatio || 1);
      this.width = this.element.clientWidth;
      const height = Math.min(this.element.clientHeight || MOST_PX, this.height);
      Object.assign(this.canvas, { width: Math.round(this.width * scale), height: Math.round(height * scale) });
      this.canvas.style.setProperty("width", `${this.width}px`);
      this.canvas.style.setProperty("height", `${height}px`);
      const pen = this.canvas.getContext("2d");
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      pen.font = "12px system-ui, sans-serif";
      pen.textBaseline = "middle";
      this.#grid(pen, height);
      this.#rows(pen, height);
      this.#axis(pen);
    }

    #marks() {
      const step = steps(this.view.to - this.view.from);
      const first = Math.ceil(this.view.from / step);
      const count = Math.floor(this.view.to / step) - first + 1;
      return Array.from({ length: count }, (_, place) => (first + place) * step);
    }

    #grid(pen, height) {
      pen.fillStyle = this.colours.line;
      for (const at of this.#marks()) pen.fillRect(Math.round(this.#xOf(at)), AXIS_PX, 1, height);
    }

    #axis(pen) {
      pen.fillStyle = this.colours.raised;
      pen.fillRect(0, 0, this.width, AXIS_PX);
      pen.fillStyle = this.colours.soft;
      for (const at of this.#marks()) pen.fillText(at === 0 ? "0" : format.duration(at), Math.round(this.#xOf(at)) + 4, AXIS_PX / 2);
    }

    #rows(pen, height) {
      const top = this.element.scrollTop;
      for (const lane of this.laid.lanes) {
        const y = AXIS_PX + lane.top - top;
        if (y > height || y + LANE_PX + lane.rows * ROW_PX < 0) continue;
        pen.fillStyle = this.colours.soft;
        pen.fillText(lane.pid === null ? "worker unknown" : `worker ${lane.pid}`, 4, y + LANE_PX / 2 + 1);
        this.#bars(pen, lane, top, height);
      }
      if (this.selected) this.#ring(pen, top);
    }

    #bars(pen, lane, top, height) {
      const reached = [];
      for (const bar of lane.bars) {
        const y = this.#yOf(bar) - top;
        if (y > height || y + ROW_PX < 0 || bar.to < this.view.from || bar.from > this.view.to) continue;
        const x = Math.max(-2, this.#xOf(bar.from));
        const end = Math.min(this.width + 2, Math.max(x + 1, this.#xOf(bar.to)));
        // What lies wholly within a pixel that has been drawn shows nothing more.
        if (end <= (reached[bar.row] ?? -3) && kindOf(bar.call) === "") continue;
        reached[bar.row] = Math.ceil(end);
        this.#bar(pen, bar, x, y + 1, end - x);
      }
    }

    #bar(pen, bar, x, y, width) {
      const kind = kindOf(bar.call);
      pen.fillStyle = this.colours[kind === "" ? "frame" : `${kind}-wash`];
      pen.fillRect(x, y, width, ROW_PX - 2);
      if (width > 3) this.#own(pen, bar, y);
      if (kind !== "") {
        pen.fillStyle = this.colours[kind];
        pen.fillRect(x, y, Math.min(3, width), ROW_PX - 2);
      }
      if (width > 3) {
        pen.fillStyle = this.colours["frame-edge"];
        pen.fillRect(x + width - 1, y, 1, ROW_PX - 2);
      }
      if (width > 26) this.#text(pen, bar, x, y, width, kind);
    }

    // Where nothing below was going on: the whole of a call without children, the gaps of others.
    #own(pen, bar, y) {
      const { call } = bar;
      if (bar.isOpen || call.duration_s === null) return;
      const gaps = call.children.length ? call.gaps : [{ offset_s: 0, duration_s: call.duration_s }];
      pen.fillStyle = this.colours["frame-own"];
      for (const gap of gaps) {
        const from = Math.max(-2, this.#xOf(bar.from + gap.offset_s));
        const to = Math.min(this.width + 2, this.#xOf(bar.from + gap.offset_s + gap.duration_s));
        if (to - from >= 0.5) pen.fillRect(from, y + ROW_PX - 6, to - from, 4);
      }
    }

    #text(pen, bar, x, y, width, kind) {
      const left = Math.max(4, x + (kind === "" ? 5 : 8));
      const room = x + width - left - 4;
      if (room < 14) return;
      const mark = kind === "bad" ? "✕ " : bar.isOpen ? "… " : "";
      const took = bar.call.duration_s === null ? "" : `  ${format.duration(bar.call.duration_s)}`;
      const name = mark + shmperf.short(bar.call.tool, 80);
      pen.fillStyle = this.colours.ink;
      pen.fillText(fitting(pen, name + took, name, room), left, y + (ROW_PX - 2) / 2 - 1);
    }

    #ring(pen, top) {
      const x = Math.max(-2, this.#xOf(this.selected.from));
      const end = Math.min(this.width + 2, this.#xOf(this.selected.to));
      pen.strokeStyle = this.colours.accent;
      pen.lineWidth = 2;
      pen.strokeRect(x, this.#yOf(this.selected) - top + 1, Math.max(3, end - x), ROW_PX - 2);
    }

    #at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    #barAt(x, y) {
      const seconds = (px) => this.view.from + (px / this.width) * (this.view.to - this.view.from);
      const at = y + this.element.scrollTop - AXIS_PX;
      const lane = this.laid.lanes.findLast((one) => one.top + LANE_PX <= at);
      const row = lane ? Math.floor((at - lane.top - LANE_PX) / ROW_PX) : -1;
      return lane?.bars.findLast((bar) => bar.row === row && bar.from <= seconds(x + 2) && bar.to >= seconds(x - 2));
    }

    #held(event) {
      if (event.button === 0) this.drag = { x: event.clientX, from: this.view.from, isMoved: false };
    }

    #moved(event) {
      if (!this.drag || !(event.buttons & 1)) return this.#hinted(event);
      const by = event.clientX - this.drag.x;
      if (Math.abs(by) < 4 && !this.drag.isMoved) return;
      this.drag.isMoved = true;
      if (!this.element.hasPointerCapture(event.pointerId)) this.element.setPointerCapture(event.pointerId);
      const width = this.view.to - this.view.from;
      this.#view(this.drag.from - (by / this.width) * width, width);
    }

    #hinted(event) {
      const bar = this.laid && this.#barAt(...this.#at(event));
      this.canvas.title = bar ? saidOf(bar) : "";
    }

    #let(event) {
      if (this.drag && !this.drag.isMoved) this.select(this.#barAt(...this.#at(event)));
      this.drag = null;
    }

    #wheeled(event) {
      if (!this.laid) return;
      const [x] = this.#at(event);
      const width = this.view.to - this.view.from;
      if (event.ctrlKey || event.metaKey) this.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.view.from + (x / this.width) * width);
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.#view(this.view.from + ((event.deltaX || event.deltaY) / this.width) * width, width);
      else return;
      event.preventDefault();
    }

    #pressed(event) {
      const bar = this.selected;
      if (!bar || event.ctrlKey || event.metaKey || event.altKey) return;
      const moves = {
        ArrowLeft: () => this.#beside(bar, -1), ArrowRight: () => this.#beside(bar, 1),
        ArrowUp: () => bar.above, ArrowDown: () => this.laid.bars.find((one) => one.above === bar),
        Home: () => this.laid.bars[0],
      };
      if (moves[event.key]) this.select(moves[event.key]() ?? bar);
      else if (event.key === "+" || event.key === "=") this.zoom(1.5, this.#middle(bar));
      else if (event.key === "-") this.zoom(1 / 1.5, this.#middle(bar));
      else if (event.key === "Enter") this.fit(bar);
      else if (event.key === "0") this.whole();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    #middle(bar) {
      return Math.min(this.view.to, Math.max(this.view.from, (bar.from + bar.to) / 2));
    }

    // The next one of the lane in the order of time, the last one before.
    #beside(bar, step) {
      return this.laid.lanes[bar.lane].bars[bar.place + step];
    }
  }

  function fitting(pen, long, short, room) {
    if (pen.measureText(long).width <= room) return long;
    if (pen.measureText(short).width <= room) return short;
    const each = pen.measureText(short).width / short.length;
    return short.slice(0, Math.max(1, Math.floor(room / each) - 1)) + "…";
  }

  shmperf.timeline = { Timeline, lanesOf, kindOf, saidOf };
})(globalThis.shmperf ??= {});
