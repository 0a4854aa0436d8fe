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

from shmperf.compiled.chosen import path

from .measure import Row
from .overhead import CHART
from .paths import BY_PATH

__all__ = ["chart", "readme", "table"]

_BEGIN, _END = "<!-- bench: written by python -m bench --readme -->\n", "<!-- bench: end -->\n"
_OURS, _THEIRS = "#1f6f8b", "#c3c7cb"
_RATIOS = ("×", "% more")


def table(title: str, rows: Sequence[Row]) -> Table:
    """One section as a terminal shows it."""
    found = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    found.add_column("", overflow="fold")
    for column in ("median", "spread", "target", "met"):
        found.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        found.add_row(row.name, _value(row), _spread(row), _target(row), _met(row).strip("*"))
    return found


def readme(file: Path, env: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write what has a target and what the chart compares into the README, between its markers."""
    text = file.read_text()
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{file}: no lines {_BEGIN.strip()!r} and {_END.strip()!r}")
    shown = [
        row
        for row in rows
        if (row.target is not None or row.name in CHART.values()) and not row.name.endswith(BY_PATH)
    ]
    # Ratios first: they hold on other machines too.
    shown.sort(key=lambda row: row.unit not in _RATIOS)
    lines = [
        f"Python {env['python']}, {env['processor']}, {env['cores']} cores, {env['system']}, ",
        f"load {env['load']} before the run, commit {env['commit']}; the {path()} path.\n\n",
        "| | median | spread | target | met |\n| --- | ---: | ---: | ---: | --- |\n",
    ]
    lines += [
        f"| {row.name} | {_value(row)} | {_spread(row)} | {_target(row)} | {_met(row)} |\n"
        for row in shown
    ]
    file.write_text(before + begin + "".join([*lines, *_both_paths(rows)]) + end + after)


def _both_paths(rows: Sequence[Row]) -> list[str]:
    """What was measured on both paths, side by side."""
    by_name = {row.name: row for row in rows}
    lines = []
    for row in rows:
        what = row.name.removesuffix(BY_PATH)
        pair = by_name.get(f"{what}, pure"), by_name.get(f"{what}, compiled")
        if what != row.name and pair[0] is not None and pair[1] is not None:
            shown = f"{_value(pair[0])} | {_value(pair[1])} | {_figure(row.value)}"
            lines.append(f"| {what} | {shown} | {_target(row)} | {_met(row)} |\n")
    head = "\n| in one run | pure | compiled | ÷ | target | met |\n"
    return [head, "| --- | ---: | ---: | ---: | ---: | --- |\n", *lines] if lines else []


def chart(file: Path, env: Mapping[str, str], rows: Sequence[Row]) -> None:
    """What a call costs with shmperf and with its peers, as bars; the file's ending is its form."""
    # Half a second that only a chart needs.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    by_name = {row.name: row for row in rows}
    shown = [by_name[title] for title in CHART.values() if title in by_name]
    normal = by_name.get(CHART["track normal"])
    if normal is None:
        raise SystemExit("--svg: the chart needs the section overhead")
    shown.sort(key=lambda row: -row.value)
    figure = Figure(figsize=(8.4, 0.42 * len(shown) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(
        [_label(row) for row in shown],
        [row.value for row in shown],
        color=[_OURS if _is_ours(row) else _THEIRS for row in shown],
        height=0.72,
    )
    axes.bar_label(bars, [_bar_label(row, normal) for row in shown], padding=4)
    for text, row in zip(axes.get_yticklabels(), shown, strict=True):
        text.set_fontweight("bold" if row is normal else "normal")
    axes.set_xlim(0, 1.35 * max(row.value for row in shown))
    axes.set_title("What recording adds to one call of a tool", loc="left", fontsize=13)
    axes.set_xlabel(
        "microseconds above the bare call, median (times shmperf's normal mode); less is better\n"
        f"Python {env['python']}, {env['processor']}, {env['cores']} cores, commit {env['commit']}",
        fontsize=9,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    # Text stays text, and the same figures give the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "shmperf"}):
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, metadata=metadata, dpi=120)


def _is_ours(row: Row) -> bool:
    return row.name.startswith("track,")


def _label(row: Row) -> str:
    return row.name.replace("track", "shmperf", 1) if _is_ours(row) else row.name


def _bar_label(row: Row, normal: Row) -> str:
    text = f"{_figure(row.value)} µs"
    return text if _is_ours(row) else f"{text}  ({row.value / normal.value:.1f} ×)"


def _value(row: Row) -> str:
    return f"{_figure(row.value)} {row.unit}"


def _spread(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{_figure(row.low)} … {_figure(row.high)}"


def _target(row: Row) -> str:
    return "" if row.target is None else f"{'≥' if row.at_least else '≤'} {_figure(row.target)}"


def _met(row: Row) -> str:
    return {True: "yes", False: "**no**", None: ""}[row.met]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
