/* The call tree as a flame graph or an icicle: laid out from a graph of tools, then drawn. */
"use strict";
(function (shmperf) {
  const { h, format } = shmperf;

  /**
   * What is known is a graph: calls of one tool below another, not every path by itself. A tool below
   * several callers takes its children's time along by the time that each caller's calls of it spent
   * in children, which is known; where that is nothing, by calls. A tool below itself ends there.
   * @typedef {{parent: string | null, tool: string, calls: number, total_ns: number, own_ns: number}} Edge
   */
  /**
   * A tool at its place. `x` and `width` are shares of the whole drawing; calls and times are what
   * falls to this place, `isShared` where that is a share of what the tool did below others, too.
   * `narrower` counts the children that are too narrow to be drawn.
   * @typedef {{tool: string | null, above: Frame | null, depth: number, x: number, width: number, calls: number, total_ns: number, own_ns: number, isShared: boolean, isAgain: boolean, isOpen: boolean, narrower: number}} Frame
   */

  const MOST_LEVELS = 100;
  const MOST_FRAMES = 2500;
  const LEAST_PX = 1;
  const ROW_PX = 22;
  const TEXT_PX = 34;

  // From edges to a graph.

  const insideOf = (edge) => Math.max(0, edge.total_ns - Math.max(0, edge.own_ns));
  const byTotal = (a, b) => b.total_ns - a.total_ns || (a.tool < b.tool ? -1 : 1);

  function gathered(map, key, make) {
    if (!map.has(key)) map.set(key, make());
    return map.get(key);
  }

  /** The *edges* by caller, the longest first; what each tool's calls took in children; its roots. */
  function graphOf(edges) {
    const below = new Map();
    const known = new Map();
    for (const edge of edges) {
      gathered(below, edge.parent, () => []).push(edge);
      const one = gathered(known, edge.tool, () => ({ calls: 0, inside_ns: 0 }));
      one.calls += edge.calls;
      one.inside_ns += insideOf(edge);
    }
    for (const children of below.values()) children.sort(byTotal);
    return { below, known, roots: [...(below.get(null) ?? []), ...unreached(below)].sort(byTotal) };
  }

  function reach(from, below, reached) {
    const frontier = [from];
    while (frontier.length) {
      const tool = frontier.pop();
      if (reached.has(tool)) continue;
      reached.add(tool);
      for (const edge of below.get(tool) ?? []) frontier.push(edge.tool);
    }
  }

  // Callers that nobody calls have not ended yet: their children are known, they are not.
  function unreached(below) {
    const reached = new Set();
    for (const edge of below.get(null) ?? []) reach(edge.tool, below, reached);
    const called = new Set([...below.values()].flat().map((edge) => edge.tool));
    const callers = [...below.keys()].filter((tool) => tool !== null);
    const found = [];
    for (const tool of [...callers.filter((one) => !called.has(one)), ...callers]) {
      if (reached.has(tool)) continue;
      reach(tool, below, reached);
      const total_ns = below.get(tool).reduce((sum, edge) => sum + edge.total_ns, 0);
      found.push({ parent: null, tool, calls: 0, total_ns, own_ns: 0, isOpen: true });
    }
    return found;
  }

  // From a graph to frames.

  function wholeOf(graph) {
    const sum = (name) => graph.roots.reduce((all, edge) => all + edge[name], 0);
    return { tool: null, above: null, depth: 0, x: 0, width: 1, calls: sum("calls"), total_ns: sum("total_ns"), own_ns: 0, isShared: false, isAgain: false, isOpen: false, narrower: 0 };
  }

  function isAbove(frame, tool) {
    for (let one = frame; one; one = one.above) if (one.tool === tool) return true;
    return false;
  }

  /** Which part of what its tool's calls did below themselves falls to this place. */
  function partOf(graph, frame) {
    const known = graph.known.get(frame.tool);
    if (frame.tool === null || !known) return 1;
    if (frame.isOpen) return 1;
    const part = known.inside_ns > 0 ? insideOf(frame) / known.inside_ns : frame.calls / Math.max(1, known.calls);
    return Math.min(1, part);
  }

  function childrenOf(graph, frame) {
    if (frame.isAgain) return { edges: [], part: 1, whole_ns: 1 };
    const edges = frame.tool === null ? graph.roots : graph.below.get(frame.tool) ?? [];
    const part = partOf(graph, frame);
    const inside_ns = edges.reduce((sum, edge) => sum + edge.total_ns, 0) * part;
    // Children that ran at once took more than their caller: their widths are shares of it.
    return { edges, part, whole_ns: Math.max(frame.total_ns, Math.max(0, frame.own_ns) + inside_ns) };
  }

  function child(edge, frame, part, x, width) {
    return {
      tool: edge.tool, above: frame, depth: frame.depth + 1, x, width,
      calls: edge.calls * part, total_ns: edge.total_ns * part, own_ns: Math.max(0, edge.own_ns) * part,
      isShared: frame.isShared || part < 0.9995, isAgain: isAbove(frame, edge.tool), isOpen: edge.isOpen === true, narrower: 0,
    };
  }

  function grow(graph, frame, least, frames) {
    const { edges, part, whole_ns } = childrenOf(graph, frame);
    let x = frame.x;
    for (const [place, edge] of edges.entries()) {
      const width = whole_ns > 0 ? (frame.width * edge.total_ns * part) / whole_ns : frame.width / edges.length;
      if (width < least || frame.depth >= MOST_LEVELS) {
        frame.narrower = edges.length - place;
        return;
      }
      frames.push(child(edge, frame, part, x, width));
      x += width;
    }
  }

  /** The frames from the whole to that of *path*, each as wide as the drawing; as far as it leads. */
  function focused(graph, path) {
    const chain = [wholeOf(graph)];
    for (const tool of path) {
      const above = chain[chain.length - 1];
      const { edges, part } = childrenOf(graph, above);
      const edge = edges.find((one) => one.tool === tool);
      if (!edge) break;
      chain.push(child(edge, above, part, 0, 1));
    }
    return chain;
  }

  function laidOut(graph, path, least) {
    const frames = focused(graph, path);
    const focus = frames.length - 1;
    for (let place = focus; place < frames.length && frames.length <= 2 * MOST_FRAMES; place++) grow(graph, frames[place], least, frames);
    return { frames, focus: frames[focus] };
  }

  /** All frames at least *least* wide, fewer where they are very many; *path* leads to the widest. */
  function layout(graph, path = [], least = 0.001) {
    for (let width = least; ; width *= 2) {
      const found = laidOut(graph, path, width);
      if (found.frames.length <= MOST_FRAMES) return found;
    }
  }

  function pathOf(frame) {
    const path = [];
    for (let one = frame; one && one.tool !== null; one = one.above) path.unshift(one.tool);
    return path;
  }

  /** The path to where *tool* is widest: by breadth, so that the shortest comes first. */
  function pathTo(graph, tool) {
    const found = layout(graph).frames.filter((frame) => frame.tool === tool && !frame.isAgain);
    found.sort((a, b) => b.width - a.width);
    return found.length ? pathOf(found[0]) : [];
  }

  /** Which part of the time lies in frames that match, or below them. */
  function shareOf(frames, isMatch) {
    const isBelow = (frame) => frame.above && (isMatch(frame.above) || isBelow(frame.above));
    return frames.filter((frame) => isMatch(frame) && !isBelow(frame)).reduce((sum, frame) => sum + frame.width, 0);
  }

  // Drawing.

  const seconds = (ns) => format.duration(ns / 1e9);
  const nameOf = (frame) => (frame.tool === null ? "all calls" : frame.tool === "" ? "(no name)" : frame.tool);
  const callsOf = (frame) => (frame.isOpen ? "still open" : `${frame.isShared ? "about " : ""}${format.count(Math.max(frame.calls, frame.calls > 0 ? 1 : 0))} calls`);

  function said(frame) {
    const own = frame.tool === null ? "" : `, own ${seconds(frame.own_ns)}`;
    const again = frame.isAgain ? ", calls itself" : "";
    return `${shmperf.short(nameOf(frame), 60)}: ${seconds(frame.total_ns)}${own}, ${callsOf(frame)}${again}`;
  }

  function ownFrom(frame) {
    const share = frame.total_ns > 0 ? Math.min(1, frame.own_ns / frame.total_ns) : 0;
    return `${(100 * (1 - share)).toFixed(2)}%`;
  }

  function box(frame, focus, side, px) {
    const isWide = frame.width * px >= TEXT_PX;
    const kinds = [frame.isAgain && "again", frame.isOpen && "open", frame.tool === null && "whole", frame.depth < focus.depth && "above"];
    return h("div", {
      class: ["frame", ...kinds.filter(Boolean)].join(" "), role: "treeitem", "aria-level": frame.depth + 1,
      "aria-label": said(frame), tabindex: frame === focus ? "0" : "-1", "data-depth": frame.depth,
      style: { left: `${100 * frame.x}%`, width: `${100 * frame.width}%`, [side]: `${frame.depth * ROW_PX}px`, "--own-from": ownFrom(frame) },
    }, isWide && (frame.isAgain ? "↻ " : "") + shmperf.short(nameOf(frame), 100));
  }

  class Flame {
    /** @param {{told: (frame: Frame, whole: Frame) => void, moved: (path: string[]) => void}} heard */
    constructor(heard) {
      this.heard = heard;
      this.path = [];
      this.isIcicle = true;
      this.sought = "";
      this.graph = graphOf([]);
      this.frames = [];
      this.boxes = new Map();
      this.element = h("div", {
        class: "flame", role: "tree", "aria-label": "Call tree",
        onclick: (event) => this.#clicked(event), onkeydown: (event) => this.#pressed(event),
        onmouseover: (event) => this.#pointed(event), onmouseleave: () => this.#tell(this.selected), onfocusin: (event) => this.#pointed(event),
      });
      this.sizes = new ResizeObserver(() => this.#resized());
      this.sizes.observe(this.element);
    }

    close() {
      this.sizes.disconnect();
    }

    show(edges) {
      this.graph = graphOf(edges);
      this.draw();
    }

    zoom(path) {
      this.path = path;
      this.draw();
      this.heard.moved(path);
    }

    search(text) {
      this.sought = text.toLowerCase();
      return this.#sought();
    }

    turn(isIcicle) {
      this.isIcicle = isIcicle;
      this.draw();
    }

    draw() {
      this.px = Math.max(200, this.element.clientWidth);
      const { frames, focus } = layout(this.graph, this.path, LEAST_PX / this.px);
      const hadFocus = this.element.contains(document.activeElement);
      const kept = this.selected && hadFocus ? pathOf(this.selected) : null;
      this.frames = frames;
      this.focus = focus;
      this.path = pathOf(focus);
      this.boxes = new Map(frames.map((frame) => [box(frame, focus, this.isIcicle ? "top" : "bottom", this.px), frame]));
      const deepest = frames.reduce((most, frame) => Math.max(most, frame.depth), 0);
      this.element.style.setProperty("height", `${(deepest + 1) * ROW_PX}px`);
      this.element.replaceChildren(...this.boxes.keys());
      this.#sought();
      this.#select(this.#at(kept) ?? focus, hadFocus);
    }

    #at(path) {
      return path && this.frames.find((frame) => frame.depth === path.length && pathOf(frame).every((tool, place) => tool === path[place]));
    }

    #boxOf(frame) {
      for (const [element, one] of this.boxes) if (one === frame) return element;
      return null;
    }

    #select(frame, isFocused) {
      this.element.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
      this.selected = frame;
      const element = this.#boxOf(frame);
      element?.setAttribute("tabindex", "0");
      if (isFocused) element?.focus();
      this.#tell(frame);
    }

    #tell(frame) {
      if (frame) this.heard.told(frame, this.frames[0]);
    }

    #sought() {
      const isMatch = (frame) => this.sought !== "" && frame.tool !== null && frame.tool.toLowerCase().includes(this.sought);
      for (const [element, frame] of this.boxes) element.classList.toggle("match", isMatch(frame));
      this.element.classList.toggle("sought", this.sought !== "");
      return shareOf(this.frames, isMatch);
    }

    #resized() {
      if (Math.abs(this.element.clientWidth - this.px) > 0.05 * this.px) this.draw();
    }

    #frameOf(event) {
      return this.boxes.get(event.target.closest?.(".frame"));
    }

    #pointed(event) {
      const frame = this.#frameOf(event);
      if (!frame) return;
      if (event.type === "focusin" && frame !== this.selected) this.#select(frame, false);
      this.#tell(frame);
    }

    #clicked(event) {
      const frame = this.#frameOf(event);
      if (frame) this.#into(frame);
    }

    #into(frame) {
      this.selected = frame;
      this.zoom(pathOf(frame === this.focus && frame.above ? frame.above : frame));
    }

    #pressed(event) {
      const frame = this.selected;
      const deeper = this.isIcicle ? "ArrowDown" : "ArrowUp";
      const higher = this.isIcicle ? "ArrowUp" : "ArrowDown";
      const to = {
        [deeper]: () => this.frames.find((one) => one.above === frame),
        [higher]: () => frame.above,
        ArrowLeft: () => this.#beside(frame, -1), ArrowRight: () => this.#beside(frame, 1),
        Home: () => this.frames[0],
      }[event.key];
      if (to) this.#select(to() ?? frame, true);
      else if (event.key === "Enter" || event.key === " ") this.#into(frame);
      else if ((event.key === "Escape" || event.key === "Backspace") && this.path.length) this.zoom(this.path.slice(0, -1));
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    #beside(frame, step) {
      const row = this.frames.filter((one) => one.depth === frame.depth);
      return row[row.indexOf(frame) + step];
    }
  }

  shmperf.flame = { Flame, graphOf, layout, pathOf, pathTo, shareOf, said, callsOf, nameOf };
})(globalThis.shmperf ??= {});
