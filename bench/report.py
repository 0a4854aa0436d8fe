"""
The figures for people: a table, a chart, and the README's section.

The README's table stands between two markers and is written by ``--readme``: no figure in it comes
from anywhere but a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from .measure import Row
from .overhead import CHART

__all__ = ["chart", "readme", "table"]

_BEGIN, _END = "<!-- bench: written by python -m bench --readme -->\n", "<!-- bench: end -->\n"
_OURS, _THEIRS = "#2a6f97", "#b8b8b8"


def table(title: str, rows: Sequence[Row]) -> Table:
    """One section as a terminal shows it."""
    found = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("", "median", "least … greatest", "target", "met"):
        found.add_column(column, justify="left" if not column else "right")
    for row in rows:
        found.add_row(row.name, _value(row), _spread(row), _target(row), _met(row))
    return found


def readme(path: Path, env: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write the rows that have a target into the README, between its markers."""
    where = f"Python {env['python']}, {env['processor']}, {env['cores']} cores, {env['system']}"
    lines = [
        f"{where}; medians of interleaved rounds.\n",
        "\n| | median | least … greatest | target |\n| --- | ---: | ---: | ---: |\n",
    ]
    for row in rows:
        if row.target is None and row.name not in CHART.values():
            continue
        met = "" if row.met is not False else " (not met)"
        lines.append(f"| {row.name} | {_value(row)} | {_spread(row)} | {_target(row)}{met} |\n")
    text = path.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if not rest:
        raise SystemExit(f"{path}: no line {_BEGIN.strip()!r}")
    path.write_text(before + _BEGIN + "".join(lines) + _END + after)


def chart(path: Path, env: Mapping[str, str], rows: Sequence[Row]) -> None:
    """What a call costs with shmperf and with its peers, as bars."""
    # Half a second that only a chart needs.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    by_name = {row.name: row for row in rows}
    shown = [by_name[title] for title in CHART.values() if title in by_name]
    if not shown:
        raise SystemExit("--svg: the chart needs the section overhead")
    shown.sort(key=lambda row: -row.value)
    names = [_label(row.name) for row in shown]
    colours = [_OURS if name.startswith("shmperf") else _THEIRS for name in names]
    figure = Figure(figsize=(8.4, 0.42 * len(shown) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, [row.value for row in shown], color=colours, height=0.72)
    axes.bar_label(bars, [f"{row.value:.3g} µs" for row in shown], padding=4)
    axes.set_xlim(0, 1.12 * max(row.value for row in shown))
    axes.set_title("What recording adds to a call that does nothing", loc="left", fontsize=12)
    axes.set_xlabel(
        f"µs above the bare call, median; Python {env['python']}, commit {env['commit']}"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    # Text stays text, and the same figures give the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "shmperf"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _label(name: str) -> str:
    return name.replace("track", "shmperf", 1) if name.startswith("track,") else name


def _value(row: Row) -> str:
    return f"{_figure(row.value)} {row.unit}"


def _spread(row: Row) -> str:
    return (
        "" if row.low is None or row.high is None else f"{_figure(row.low)} … {_figure(row.high)}"
    )


def _target(row: Row) -> str:
    return "" if row.target is None else f"{'≥' if row.at_least else '≤'} {_figure(row.target)}"


def _met(row: Row) -> str:
    return {True: "yes", False: "no", None: ""}[row.met]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
