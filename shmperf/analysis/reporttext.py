"""
A run's report as Markdown, for people and for programs that read prose: first what to do.

    # what was looked at          one line
    ## What to do                 numbered; what removes work first, by what it saves
    ## Since …                    what changed against the report before, if there is one
    ## Tools … Failed calls       the evidence

Names and parameters are somebody else's text: in tables they stand as code, on one line, so that
nothing in them is taken for Markdown or for a terminal's commands. A report that is read from a
file is no more believed than the names in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .evidence import time_text
from .runreport import Change, Report, ToolReport

__all__ = ["markdown"]

_MOST_ROWS = 50
_MOST_CHANGES = 20
_LONGEST_CELL = 100
# Smaller changes of a run against another one are nothing.
_LEAST_CHANGE = 0.05
_LEAST_RATE = 0.001
_PROGRAM = "(the program)"


def markdown(report: Report) -> str:
    """*report* as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.calls:,} calls in detail, {_line(report.started)} to {_line(report.ended)}"
    yield ""
    how = "by itself" if report.trigger == "threshold" else "because somebody asked for it"
    yield f"The run began {how}; what ended it: {_line(report.ended_by)}."
    if report.note:
        yield f"Note: {_line(report.note)}."
    yield from _to_do(report)
    yield from _since(report)
    yield from _tables(report)


def _to_do(report: Report) -> Iterator[str]:
    yield from ("", "## What to do", "")
    for number, piece in enumerate(report.advice, 1):
        saves = "" if piece.saves_s is None else f", saves up to {time_text(piece.saves_s * 1e9)}"
        yield f"{number}. **{_line(piece.kind)}**{saves}: {_line(piece.text)}"
    if not report.advice:
        yield "Nothing that these calls show."
    elif len(report.advice) > 1:
        yield from ("", "What several of them save may be the same time: it does not add up.")


def _since(report: Report) -> Iterator[str]:
    """What changed against the report before, the largest change first."""
    if report.previous is None:
        return
    changed = [
        (name, row, row.change)
        for name, row in report.tools.items()
        if row.change is not None and _size(row.change) > 0
    ]
    changed.sort(key=lambda found: -_size(found[2]))
    rows = [_change(*found) for found in changed[:_MOST_CHANGES]]
    new = sum(row.change is None for row in report.tools.values())
    yield from ("", f"## Since {_line(report.previous)}", "")
    if rows:
        yield from _table(_CHANGES, rows)
    else:
        yield "No tool that both have seen changed by 5 % or more."
    if new:
        yield from ("", f"{new:,} tool{'s are' if new > 1 else ' is'} not in that report.")


def _size(change: Change) -> float:
    """The largest of the changes; 0 where none is worth a line."""
    shares = [abs(one) for one in (change.p50, change.p95) if one is not None]
    rate = abs(change.error_rate or 0.0)
    large = max(shares, default=0.0)
    return max(large if large >= _LEAST_CHANGE else 0.0, rate if rate >= _LEAST_RATE else 0.0)


def _change(name: str, row: ToolReport, change: Change) -> list[str]:
    rate = change.error_rate
    return [
        _name_of(name),
        f"{row.count:,}",
        *(_ms(row.p50_ms), _share(change.p50)),
        *(_ms(row.p95_ms), _share(change.p95)),
        "" if rate is None else f"{100 * rate:+.1f} points",
    ]


def _tables(report: Report) -> Iterator[str]:
    """The evidence."""
    yield from _section("Tools", _TOOLS, [_tool(*row) for row in report.tools.items()])
    edges = [
        [
            _PROGRAM if edge.parent is None else _name_of(edge.parent),
            _name_of(edge.tool),
            f"{edge.calls:,}",
            time_text(edge.total_s * 1e9),
        ]
        for edge in report.edges
    ]
    yield from _section("Who calls whom", _EDGES, edges)
    slowest = [
        [
            _name_of(call.tool),
            _ms(call.duration_ms),
            _line(call.status),
            _code(call.id),
            _code(call.params),
        ]
        for call in report.slowest
    ]
    yield from _section("Slowest calls", _SLOWEST, slowest)
    errors = [
        [_name_of(row.tool), _line(row.status), _code(row.err or ""), f"{row.count:,}"]
        for row in report.errors
    ]
    yield from _section("Failed calls", _ERRORS, errors)


_CHANGES = ("tool", "calls", "p50", "change", "p95", "change", "errors")
_TOOLS = ("tool", "calls", "avg", "p50", "p95", "p99", "errors", "aborted", "own time", "share")
_EDGES = ("from", "to", "calls", "time")
_SLOWEST = ("tool", "duration", "status", "id", "parameters")
_ERRORS = ("tool", "status", "class", "calls")


def _tool(name: str, row: ToolReport) -> list[str]:
    return [
        _name_of(name),
        f"{row.count:,}",
        *(_ms(one) for one in (row.avg_ms, row.p50_ms, row.p95_ms, row.p99_ms)),
        f"{row.errors:,}",
        f"{row.aborted:,}",
        time_text(row.own_s * 1e9),
        f"{row.own_share:.0%}",
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else time_text(value * 1e6)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:+.0%}"


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "")
    yield from _table(columns, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        yield from ("", f"{len(rows) - _MOST_ROWS:,} more are in the JSON beside this file.")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(columns)
    yield _row(["---"] * len(columns))
    for cells in rows:
        yield _row(cells)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name_of(name: str) -> str:
    return _code(name) or "`(no name)`"


def _code(text: str) -> str:
    """Somebody's *text* as code in a cell; a bar is escaped there too."""
    shown = _line(text).replace("`", "'").strip()
    shown = f"{shown[: _LONGEST_CELL - 1]}…" if len(shown) > _LONGEST_CELL else shown
    return "`{}`".format(shown.replace("|", "\\|")) if shown else ""


def _line(text: str) -> str:
    """*text* on one line, without what a terminal obeys."""
    return "".join(one if one.isprintable() else " " for one in text)
