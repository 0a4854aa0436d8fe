/* Charts: lines over time, a heat map, bars, sparklines; each but the last has its table. */
"use strict";
(function (shmperf) {
  const { h, svg, format } = shmperf;
  const DAY = 86400;
  const HEIGHT = 180;
  // On paper the newest rows of a table stand for all of them.
  const MOST_PRINTED = 30;

  // A table beside each chart.

  function tabled(label) {
    let columns = [], rows = [], isStale = true;
    const place = h("div", { class: "table-of", tabindex: "0", role: "region", "aria-label": `${label}, as a table` });
    const fold = h("details", { class: "as-table", hidden: true, ontoggle: () => drawn() }, h("summary", null, "As a table"), place);
    function drawn() {
      if (!fold.open || (!isStale && !shmperf.isPrinting())) return;
      const some = shmperf.isPrinting() ? rows.slice(-MOST_PRINTED) : rows;
      const note = some.length < rows.length && h("p", { class: "note" }, `The newest ${some.length} of ${rows.length}.`);
      place.replaceChildren(...[note, shmperf.list(label, columns, some)].filter(Boolean));
      isStale = shmperf.isPrinting();
    }
    shmperf.onRedraw(fold, drawn);
    return {
      element: fold,
      show(newColumns, newRows) {
        [columns, rows, isStale] = [newColumns, newRows, true];
        drawn();
      },
    };
  }

  const figureOf = (title, drawing, table, ...more) =>
    h("figure", { class: "chart" }, title && h("figcaption", null, title), ...more, drawing, table);

  // Lines.

  const two = (number) => String(number).padStart(2, "0");
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

  function tick(at, step) {
    const when = new Date(at * 1000);
    if (step >= DAY) return `${when.getDate()} ${MONTHS[when.getMonth()]}`;
    return `${two(when.getHours())}:${two(when.getMinutes())}` + (step < 60 ? `:${two(when.getSeconds())}` : "");
  }

  function axes(unit, colours, log) {
    const both = { stroke: colours.soft, grid: { stroke: colours.line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return [
      { ...both, grid: { show: false }, size: 28, space: 72, values: (_, at, __, ___, step) => at.map((one) => tick(one, step)) },
      { ...both, ...(log && { splits: (_, __, least, most) => decades(least, most, 4), filter: (_, splits) => splits }), size: 64, space: 28, values: (_, values) => values.map(unit) },
    ];
  }

  const within = (least, most, digits) => {
    const found = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++)
      for (const digit of digits) if (digit * 10 ** power >= least && digit * 10 ** power <= most) found.push(digit * 10 ** power);
    return found;
  };

  /** Where a logarithmic axis between two values is marked: by powers of ten, finer if there are few. */
  function decades(least, most, few) {
    return [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]].map((digits) => within(least, most, digits)).find((found) => found.length >= few) ?? within(least, most, [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]);
  }

  // Steps of a clock, seconds.
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 30 * DAY];

  /** Times to mark between two, at most so many, where a clock would. */
  function moments(first, span, most) {
    const step = STEPS.find((one) => span / one <= most) ?? STEPS[STEPS.length - 1];
    const shift = new Date(first * 1000).getTimezoneOffset() * 60, found = [];
    for (let at = Math.ceil((first - shift) / step) * step + shift; at <= first + span; at += step) found.push(at);
    return { step, found };
  }

  function seriesOf(one, unit) {
    const stroke = shmperf.colour(one.colour);
    const value = (_, raw) => (raw === null || raw === undefined ? "–" : unit(raw));
    return one.bars
      ? { label: one.label, stroke, fill: stroke, value, points: { show: false }, paths: globalThis.uPlot.paths.bars({ size: [0.7, 24], align: 1 }) }
      : { label: one.label, stroke, width: 1.5, value, fill: one.filled ? faint(stroke) : undefined, points: { size: 4 } };
  }

  const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgb($1 / 0.15)").replace(/, (?=[\d., ]+\/)/g, " ").replace(/,/g, " ");

  /**
   * Lines over time: `element`, `show(times, values)`, an array of values for each series.
   *
   * Options: `title`; `series`: `{label, colour, bars, filled}`, the colour a variable's name;
   * `unit` writes a value; `log`: the scale; `sync`: charts of that name share their cursor.
   */
  shmperf.lines = ({ title, series, unit, log = false, sync, height = HEIGHT }) => {
    const place = h("div", { class: "plot", role: "img", "aria-label": title, style: { "min-height": `${height + 30}px` } });
    const nothing = h("p", { class: "empty", hidden: true }, "No calls in this time.");
    const table = tabled(title);
    let plot = null, drawing = null;

    function options() {
      const colours = { soft: shmperf.colour("soft"), line: shmperf.colour("line") };
      const y = log ? { distr: 3, range: (_, least, most) => (least > 0 ? [least / 1.5, most * 1.5] : [1e-6, 1]) } : { range: (_, __, most) => [0, Math.max(most || 0, 1e-9) * 1.08] };
      return {
        width: place.clientWidth || 400, height, axes: axes(unit, colours, log), padding: [10, 30, 0, 0], scales: { x: { time: true, range: wide }, y },
        series: [{ label: "", value: (_, at) => (at === null || at === undefined ? "–" : format.time(at)) }, ...series.map((one) => seriesOf(one, unit))],
        cursor: { sync: sync ? { key: sync } : undefined, drag: { x: true, y: false }, points: { size: 6 } }, legend: { live: true },
      };
    }

    /** One point alone has no width: half a minute on both sides. (uPlot gives it a thousand days.) */
    function wide(_, least, most) {
      const [times] = drawing;
      return times.length === 1 ? [times[0] - 30, times[0] + 30] : [least, most];
    }

    function drawn() {
      plot?.destroy();
      plot = null;
      if (!drawing || !place.isConnected || !place.clientWidth) return;
      plot = new globalThis.uPlot(options(), drawing, place);
    }

    new ResizeObserver(() => {
      if (!plot) drawn();
      else if (Math.abs(plot.width - place.clientWidth) > 1) plot.setSize({ width: place.clientWidth, height });
    }).observe(place);
    shmperf.onRedraw(place, drawn);

    function show(times, values) {
      drawing = [times, ...values];
      const isEmpty = !values.some((line) => line.some((value) => value !== null));
      nothing.hidden = !isEmpty;
      place.hidden = table.element.hidden = isEmpty;
      if (isEmpty) return;
      if (plot) plot.setData(drawing);
      else drawn();
      rows(times, values);
    }

    function rows(times, values) {
      const columns = [{ title: "Time", cell: (row) => format.time(times[row]) },
        ...series.map((one, line) => ({ title: one.label, number: true, cell: (row) => (values[line][row] === null ? "–" : unit(values[line][row])) }))];
      const known = times.map((_, row) => row).filter((row) => values.some((line) => line[row] !== null));
      table.show(columns, known);
    }
    return { element: figureOf(title, [place, nothing], table.element), show };
  };

  /** Times and values of steps for lines: between steps that do not follow each other is a gap. */
  shmperf.overTime = (steps, ...of) => {
    const times = [], values = of.map(() => []);
    steps.forEach((step, place) => {
      const before = steps[place - 1];
      if (before && step.at_s > before.at_s + 1.5 * before.length_s) {
        times.push(before.at_s + before.length_s);
        for (const line of values) line.push(null);
      }
      times.push(step.at_s);
      of.forEach((value, line) => values[line].push(value(step)));
    });
    return [times, values];
  };

  // Heat map.

  const FOOT = 22, LEFT = 64;
  // Row n holds what is above 2^(n/2) s.
  const least = (row) => 2 ** (row / 2);

  function extent(steps) {
    let low = Infinity, high = -Infinity, most = 1;
    for (const step of steps) {
      for (const [row, count] of Object.entries(step.heat)) {
        low = Math.min(low, Number(row));
        high = Math.max(high, Number(row));
        most = Math.max(most, count);
      }
    }
    // A few rows at least, so that a narrow distribution looks narrow.
    const more = Math.max(0, 6 - (high - low));
    return { low: low - Math.floor(more / 2), high: high + Math.ceil(more / 2), most };
  }

  /** Calls by time and duration: `element`, `show(steps)`, steps of the part "intervals". */
  shmperf.heat = ({ title, height = 220 }) => {
    const canvas = h("canvas", { role: "img", "aria-label": title, style: { height: `${height}px` }, onmousemove: pointed, onmouseleave: () => (tip.hidden = true) });
    const tip = h("div", { class: "tip", hidden: true });
    const place = h("div", { class: "plot heat" }, canvas, tip);
    const nothing = h("p", { class: "empty", hidden: true }, "No timed calls in this time.");
    const table = tabled(title);
    let steps = [], known = null;

    function frame() {
      const width = place.clientWidth, first = steps[0].at_s, last = steps[steps.length - 1];
      const span = Math.max(1, last.at_s + last.length_s - first);
      const row = (height - FOOT) / (known.high - known.low + 1);
      return { width, row, x: (at) => LEFT + ((at - first) / span) * (width - LEFT), y: (number) => (known.high - number) * row, first, span };
    }

    function drawn() {
      if (!known || !place.clientWidth) return;
      const ratio = devicePixelRatio || 1, at = frame();
      canvas.width = at.width * ratio;
      canvas.height = height * ratio;
      const paint = canvas.getContext("2d");
      paint.scale(ratio, ratio);
      cells(paint, at);
      scales(paint, at);
    }

    function cells(paint, at) {
      paint.fillStyle = shmperf.colour("heat");
      for (const step of steps) {
        const x = at.x(step.at_s), width = Math.max(1, at.x(step.at_s + step.length_s) - x - (at.width > 4 * steps.length ? 0.5 : 0));
        for (const [row, count] of Object.entries(step.heat)) {
          paint.globalAlpha = 0.12 + 0.88 * (Math.log1p(count) / Math.log1p(known.most));
          paint.fillRect(x, at.y(Number(row)), width, Math.max(1, at.row - 0.5));
        }
      }
      paint.globalAlpha = 1;
    }

    function scales(paint, at) {
      paint.fillStyle = shmperf.colour("soft");
      paint.font = "12px system-ui, sans-serif";
      paint.textAlign = "right";
      paint.textBaseline = "middle";
      const yOf = (s) => (known.high + 1 - 2 * Math.log2(s)) * at.row;
      const few = Math.min(4, Math.floor((height - FOOT) / 40));
      for (const s of decades(least(known.low), least(known.high + 1), few)) paint.fillText(format.duration(s), LEFT - 8, Math.max(7, Math.min(height - FOOT - 7, yOf(s))));
      paint.textBaseline = "alphabetic";
      paint.textAlign = "center";
      const { step, found } = moments(at.first, at.span, Math.max(2, (at.width - LEFT) / 90));
      for (const when of found) {
        const text = tick(when, step), half = paint.measureText(text).width / 2;
        paint.fillText(text, Math.max(LEFT + half, Math.min(at.width - half, at.x(when))), height - 6);
      }
    }

    function pointed(event) {
      const at = frame(), row = Math.ceil(known.high - event.offsetY / at.row);
      const step = steps.find((one) => event.offsetX >= at.x(one.at_s) && event.offsetX < at.x(one.at_s + one.length_s));
      tip.hidden = !step || event.offsetX < LEFT;
      if (tip.hidden) return;
      tip.textContent = `${format.time(step.at_s)} · ${format.duration(least(row))} to ${format.duration(least(row + 1))} · ${format.count(step.heat[row] ?? 0)} calls`;
      tip.style.left = Math.min(event.offsetX + 12, at.width - tip.offsetWidth) + "px";
      tip.style.top = Math.max(0, event.offsetY - 34) + "px";
    }

    new ResizeObserver(drawn).observe(place);
    shmperf.onRedraw(place, drawn);

    function show(newSteps) {
      steps = newSteps;
      const found = extent(steps);
      known = Number.isFinite(found.low) ? found : null;
      nothing.hidden = known !== null;
      place.hidden = table.element.hidden = known === null;
      if (!known) return;
      drawn();
      rows();
    }

    // A column of the table is an octave, two rows of the map.
    function rows() {
      const octaves = [];
      for (let octave = Math.floor(known.low / 2); octave <= Math.floor(known.high / 2); octave++) octaves.push(octave);
      const inOctave = (step, octave) => (step.heat[2 * octave] ?? 0) + (step.heat[2 * octave + 1] ?? 0);
      const used = octaves.filter((octave) => steps.some((step) => inOctave(step, octave)));
      table.show([{ title: "Time", cell: (step) => format.time(step.at_s) },
        ...used.map((octave) => ({ title: `to ${format.duration(2 ** (octave + 1))}`, number: true, cell: (step) => format.count(inOctave(step, octave)) }))], steps);
    }
    return { element: figureOf(null, [place, nothing], table.element), show };
  };

  // Bars of a histogram.

  // Bucket k of a histogram holds what is above 2^(k/16) s; a bar is four of them.
  const A_BAR = 4;
  const edge = (bar) => 2 ** ((bar * A_BAR) / 16);

  function bars(histogram) {
    const counts = new Map();
    for (const [bucket, count] of Object.entries(histogram)) {
      const bar = Math.floor(Number(bucket) / A_BAR);
      counts.set(bar, (counts.get(bar) ?? 0) + count);
    }
    return counts;
  }

  /** Durations of all calls, on a logarithmic axis: `element`, `show(histogram, marks)`. */
  shmperf.histogram = ({ title, height = HEIGHT }) => {
    const drawing = svg("svg", { role: "img", "aria-label": title, height: String(height), class: "histogram" });
    const place = h("div", { class: "plot" }, drawing);
    const nothing = h("p", { class: "empty", hidden: true }, "No call was timed yet.");
    const table = tabled(title);
    let counts = new Map(), marks = [];

    function drawn() {
      const width = place.clientWidth;
      if (!width || !counts.size) return;
      const low = Math.min(...counts.keys()) - 1, high = Math.max(...counts.keys()) + 2;
      const most = Math.max(...counts.values()), foot = 22, head = marks.length ? 16 : 4;
      const x = (bar) => ((bar - low) / (high - low)) * width;
      const y = (count) => head + (1 - count / most) * (height - foot - head);
      drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
      drawing.replaceChildren(
        ...[...counts].map(([bar, count]) => svg("rect", { class: "bar-of", x: x(bar), y: Math.min(y(count), height - foot - 1), width: Math.max(1, x(bar + 1) - x(bar) - 1), height: Math.max(1, height - foot - y(count)) },
          svg("title", null, `${format.duration(edge(bar))} to ${format.duration(edge(bar + 1))}: ${format.count(count)} calls`))),
        svg("line", { class: "base", x1: 0, x2: width, y1: height - foot, y2: height - foot }), ...scale(low, high, x), ...lined(x));
    }

    function scale(low, high, x) {
      const few = Math.max(2, Math.min(6, Math.floor(place.clientWidth / 90)));
      let free = 0;
      return decades(edge(low), edge(high), few).flatMap((at) => {
        const middle = x((Math.log2(at) * 16) / A_BAR), text = format.duration(at), half = 3.6 * text.length;
        if (middle - half < free || middle + half > place.clientWidth) return [];
        free = middle + half + 8;
        return [svg("text", { x: middle, y: height - 6, "text-anchor": "middle" }, text)];
      });
    }

    function lined(x) {
      let free = -Infinity;
      return marks.filter(({ at }) => at > 0).sort((a, b) => a.at - b.at).flatMap(({ label, at, colour }) => {
        const place = x((Math.log2(at) * 16) / A_BAR), line = svg("line", { x1: place, x2: place, y1: 14, y2: height - 22, class: "mark " + colour });
        if (place < free) return [line];
        free = place + 30;
        return [line, svg("text", { x: place, y: 10, "text-anchor": "middle", class: colour }, label)];
      });
    }

    new ResizeObserver(drawn).observe(place);
    shmperf.onRedraw(place, drawn);
    function show(histogram, newMarks) {
      [counts, marks] = [bars(histogram), newMarks ?? []];
      nothing.hidden = counts.size > 0;
      place.hidden = table.element.hidden = counts.size === 0;
      drawn();
      table.show([{ title: "From", number: true, cell: ([bar]) => format.duration(edge(bar)) }, { title: "To", number: true, cell: ([bar]) => format.duration(edge(bar + 1)) },
        { title: "Calls", number: true, cell: ([, count]) => format.count(count) }], [...counts].sort(([a], [b]) => a - b));
    }
    return { element: figureOf(null, [place, nothing], table.element), show };
  };

  /** A small line without axes; its figure stands beside it. */
  shmperf.sparkline = (values, { width = 96, height = 22 } = {}) => {
    if (values.length < 2) return svg("svg", { class: "sparkline", width, height, "aria-hidden": "true" });
    const most = Math.max(...values, 1e-9);
    const points = values.map((value, place) => `${((place / (values.length - 1)) * width).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`);
    return svg("svg", { class: "sparkline", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, svg("polyline", { points: points.join(" ") }));
  };
})(globalThis.shmperf ??= {});
