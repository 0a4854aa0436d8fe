/* Tables: a virtual one that sorts and searches any number of rows, and a plain one for few. */
"use strict";
(function (shmperf) {
  const { h } = shmperf;
  const ROW = 34;
  // Rows beyond the edge, so that none is missing while one scrolls.
  const BEYOND = 8;
  const MOST_PRINTED = 1000;

  /**
   * A column. `cell` makes a text or a node; of a `fixed` one only when another row comes to stand
   * there. `value` is what it is sorted by; `from`: the narrowest table that has it.
   * @typedef {object} Column
   * @property {string} name
   * @property {string} title
   * @property {(row: any) => string | Node} cell
   * @property {(row: any) => number | string | null} [value]
   * @property {boolean} [number] flush right, and first the greatest
   * @property {boolean} [fixed]
   * @property {number} [width] pixels; the one without gets what is left
   * @property {number} [from]
   * @property {string} [about] what the title means, where one points
   */

  const folded = (text) => text.toLowerCase();

  // What nobody knows comes last, whichever way.
  function compared(a, b, sign) {
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return (a < b ? -1 : 1) * sign;
  }

  class Table {
    constructor(columns, options) {
      this.columns = columns;
      this.options = options;
      this.rows = [];
      this.shown = [];
      this.sought = "";
      this.active = 0;
      this.sort = options.sort ?? columns.find((column) => column.value).name;
      this.sign = options.sign ?? (this.columnNamed(this.sort).number ? -1 : 1);
      this.pool = new Map();
      this.built();
    }

    columnNamed(name) {
      return this.columns.find((column) => column.name === name);
    }

    built() {
      this.body = h("tbody");
      this.cols = h("colgroup");
      this.headRow = h("tr", { "aria-rowindex": "1" });
      this.table = h("table", { role: "grid", "aria-label": this.options.label }, this.cols, h("thead", null, this.headRow), this.body);
      this.scroll = h("div", { class: "rows" + (this.options.all ? " all" : ""), onscroll: () => this.drawn() }, this.table);
      this.tally = h("p", { class: "note tallied", role: "status" });
      this.nothing = h("div", { hidden: true });
      this.element = h("div", { class: "table" }, this.tally, this.scroll, this.nothing);
      this.body.addEventListener("keydown", (event) => this.pressed(event));
      this.body.addEventListener("focusin", (event) => this.entered(event));
      this.body.addEventListener("click", (event) => this.clicked(event));
      new ResizeObserver(() => this.resized()).observe(this.scroll);
      shmperf.onRedraw(this.element, () => this.drawn());
    }

    // Which columns there is room for.

    resized() {
      const width = this.scroll.clientWidth;
      const fitting = this.columns.filter((column) => (column.from ?? 0) <= width);
      if (!this.fitting || fitting.length !== this.fitting.length) this.headed(fitting);
      this.drawn();
    }

    headed(fitting) {
      this.fitting = fitting;
      this.cols.replaceChildren(...fitting.map((column) => h("col", column.width ? { style: { width: column.width + "px" } } : null)));
      this.headRow.replaceChildren(...fitting.map((column) => this.heading(column)));
      this.table.setAttribute("aria-colcount", String(fitting.length));
      this.pool.clear();
      this.body.replaceChildren();
    }

    heading(column) {
      const sorted = this.sort === column.name ? (this.sign > 0 ? "ascending" : "descending") : null;
      const kind = (column.number ? "number " : "") + (sorted ?? "");
      const inner = column.value
        ? h("button", { type: "button", title: column.about, onclick: () => this.sortBy(column) }, column.title)
        : h("span", { title: column.about }, column.title);
      return h("th", { scope: "col", class: kind, "aria-sort": column.value ? (sorted ?? "none") : null }, inner);
    }

    // Rows, in which order, and which of them.

    sortBy(column) {
      this.sign = this.sort === column.name ? -this.sign : column.number ? -1 : 1;
      this.sort = column.name;
      this.headed(this.fitting);
      this.headRow.querySelectorAll("th")[this.fitting.indexOf(column)].querySelector("button").focus();
      this.ordered(false);
      this.scroll.scrollTop = 0;
      this.drawn();
    }

    /** Show these rows; their order stays while somebody points at them, or has one in focus. */
    show(rows) {
      this.rows = rows;
      this.ordered(this.isHeld());
      this.drawn();
    }

    isHeld() {
      return this.body.matches(":hover") || this.body.contains(document.activeElement);
    }

    search(text) {
      this.sought = folded(text.trim());
      this.active = 0;
      this.scroll.scrollTop = 0;
      this.ordered(false);
      this.drawn();
    }

    found() {
      if (!this.sought) return [...this.rows];
      return this.rows.filter((row) => folded(this.options.text(row)).includes(this.sought));
    }

    ordered(isHeld) {
      const rows = this.found();
      if (isHeld) {
        const places = new Map(this.shown.map((row, place) => [this.options.key(row), place]));
        const placeOf = (row) => places.get(this.options.key(row)) ?? places.size;
        rows.sort((a, b) => placeOf(a) - placeOf(b));
      } else if (this.sort) {
        const { value } = this.columnNamed(this.sort);
        const first = this.columns[0].value ?? value;
        rows.sort((a, b) => compared(value(a), value(b), this.sign) || compared(first(a), first(b), 1));
      }
      this.shown = rows;
      this.active = Math.max(0, Math.min(this.active, rows.length - 1));
      this.told();
    }

    told() {
      const { rows, shown, options } = this;
      const text = this.sought ? `${shmperf.format.count(shown.length)} of ${shmperf.format.count(rows.length)}` : (options.tally?.() ?? "");
      if (this.tally.textContent !== text) this.tally.textContent = text;
      this.tally.hidden = !text;
      this.nothing.hidden = shown.length > 0;
      this.scroll.hidden = !this.nothing.hidden;
      if (!this.nothing.hidden) this.nothing.replaceChildren(rows.length ? shmperf.empty("Nothing has this in it.") : options.empty());
    }

    // Only what can be seen is there.

    range() {
      const count = this.shown.length;
      if (this.options.all) return [0, count];
      if (shmperf.isPrinting()) return [0, Math.min(count, MOST_PRINTED)];
      const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - BEYOND);
      const visible = Math.ceil((this.scroll.clientHeight || innerHeight) / ROW) + 2 * BEYOND;
      return [first, Math.min(count, first + visible)];
    }

    drawn() {
      if (!this.fitting) return;
      const [first, end] = this.range();
      const used = new Map();
      const rows = [];
      for (let place = first; place < end; place++) {
        const key = this.options.key(this.shown[place]);
        const element = this.pool.get(key) ?? this.made();
        this.pool.delete(key);
        used.set(key, element);
        this.filled(element, this.shown[place], place, key);
        rows.push(element);
      }
      this.pool = used;
      this.placed(first, end, rows);
    }

    made() {
      return h("tr", null, this.fitting.map((column) => h("td", { class: column.number ? "number" : null, "data-column": column.name })));
    }

    filled(element, row, place, key) {
      element.setAttribute("aria-rowindex", String(place + 2));
      element.tabIndex = place === this.active ? 0 : -1;
      element.row = place;
      const isNew = element.key !== key;
      element.key = key;
      this.fitting.forEach((column, index) => {
        if (column.fixed && !isNew) return;
        const cell = column.cell(row);
        const there = element.children[index];
        // What is the same stays: a click on what is exchanged meanwhile would be none.
        if (cell instanceof Node) there.firstChild?.isEqualNode(cell) || there.replaceChildren(cell);
        else if (there.textContent !== cell) there.textContent = cell;
      });
    }

    // Rows that stay are not moved: one that has the focus would lose it.
    placed(first, end, rows) {
      this.table.setAttribute("aria-rowcount", String(this.shown.length + 1));
      const above = this.gap(first), below = this.gap(this.shown.length - end);
      const wanted = [above, ...rows, below].filter(Boolean);
      const keep = new Set(wanted);
      for (const child of [...this.body.children]) if (!keep.has(child)) child.remove();
      wanted.forEach((element, index) => {
        const there = this.body.children[index];
        if (there !== element) this.body.insertBefore(element, there ?? null);
      });
    }

    gap(count) {
      if (!count || shmperf.isPrinting()) return null;
      return h("tr", { class: "gap", "aria-hidden": "true" }, h("td", { colspan: String(this.fitting.length), style: { height: count * ROW + "px" } }));
    }

    // Keys and clicks.

    pressed(event) {
      const page = Math.max(1, Math.floor(this.scroll.clientHeight / ROW) - 2);
      const last = this.shown.length - 1;
      const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: last }[event.key];
      if (to !== undefined) {
        this.moved(Math.max(0, Math.min(last, to)));
        event.preventDefault();
      } else if (event.key === "Enter" && event.target.matches("tr")) {
        this.opened(this.active);
      }
    }

    moved(to) {
      this.active = to;
      const top = to * ROW, { scroll } = this, head = this.headRow.offsetHeight;
      if (top < scroll.scrollTop) scroll.scrollTop = top;
      else if (top + ROW > scroll.scrollTop + scroll.clientHeight - head) scroll.scrollTop = top + ROW - scroll.clientHeight + head;
      this.drawn();
      this.pool.get(this.options.key(this.shown[to]))?.focus({ preventScroll: !this.options.all });
    }

    entered(event) {
      const place = event.target.closest("tr")?.row;
      if (place === undefined || place === this.active) return;
      this.active = place;
      this.drawn();
    }

    clicked(event) {
      const place = event.target.closest("tr")?.row;
      if (place === undefined || event.target.closest("a, button, summary") || getSelection()?.toString()) return;
      this.opened(place);
    }

    opened(place) {
      const address = this.options.open?.(this.shown[place]);
      if (address) shmperf.go(address);
    }
  }

  /**
   * A table of any number of rows: `element`, `show(rows)`, `search(text)`.
   *
   * Options: `label`; `key(row)`; `text(row)` that is searched; `open(row)`, an address; `sort`, a
   * column's name; `all`: few rows, without a window of its own; `empty()`, what stands there
   * without any; `tally()`, a line above.
   * @param {Column[]} columns
   */
  shmperf.table = (columns, options) => new Table(columns, options);

  /** A plain table of few rows, each made once; on a narrow screen each row is a block. */
  shmperf.list = (label, columns, rows) =>
    h("div", { class: "scrolled" },
      h("table", { class: "plain-table", "aria-label": label },
        h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.title)))),
        h("tbody", null, rows.map((row) => h("tr", null, columns.map((column) =>
          h("td", { class: column.number ? "number" : null, "data-title": column.title }, column.cell(row))))))));

  /** A share (0 to 1) as a bar with its figure. */
  shmperf.share = (share) =>
    h("span", { class: "share" }, h("span", { class: "share-bar" }, h("span", { style: { width: `${Math.min(1, Math.max(0, share)) * 100}%` } })),
      h("span", null, shmperf.format.percent(share)));

  /** Parameters (JSON, as text) in a cell: short, the whole of it unfolds; *key* tells it from others. */
  shmperf.parameters = (text, key, longest = 90) => {
    if (text === null || text === undefined) return h("span", { class: "soft" }, "–");
    const short = shmperf.short(text, longest);
    if (short === text) return h("code", null, text);
    return h("details", { class: "whole", "data-key": key ?? text }, h("summary", null, h("code", null, short)), shmperf.pre(spread(text)));
  };

  function spread(text) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }
})(globalThis.shmperf ??= {});
