"""A run's report as Markdown, for people and for programs that read prose: first what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .runreport import Report, ToolReport

__all__ = ["markdown"]

_MOST_ROWS = 50
_ESCAPED = str.maketrans({"|": "\\|", "`": "'", "\n": " ", "\r": " "})


def markdown(report: Report) -> str:
    """*report* as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.calls:,} calls in detail, {report.started} to {report.ended}"
    yield ""
    how = "by itself" if report.trigger == "threshold" else "because somebody asked for it"
    yield f"The run began {how}; what ended it: {report.ended_by}."
    if report.note:
        yield f"Note: {report.note}."
    yield from ("", "## What to do", "")
    for piece in report.advice:
        yield f"- {_cell(piece.text)}"
    if not report.advice:
        yield "Nothing that these calls show."
    yield from _section("Tools", _TOOLS, [_tool(*row) for row in report.tools.items()])
    yield from _section(
        "Who calls whom",
        _EDGES,
        [
            [edge.parent or "(the program)", edge.tool, f"{edge.calls:,}", f"{edge.total_s:.3f} s"]
            for edge in report.edges
        ],
    )
    yield from _section(
        "Slowest calls",
        _SLOWEST,
        [
            [call.tool, f"{call.duration_ms:,.3f} ms", call.status, call.id, call.params]
            for call in report.slowest
        ],
    )
    yield from _section(
        "Failed calls",
        _ERRORS,
        [[row.tool, row.status, row.err or "", f"{row.count:,}"] for row in report.errors],
    )


_TOOLS = ("tool", "calls", "avg", "p50", "p95", "p99", "errors", "own time", "share", "p95 before")
_EDGES = ("from", "to", "calls", "time")
_SLOWEST = ("tool", "duration", "status", "id", "parameters")
_ERRORS = ("tool", "status", "class", "calls")


def _tool(name: str, row: ToolReport) -> list[str]:
    times = [_ms(one) for one in (row.avg_ms, row.p50_ms, row.p95_ms, row.p99_ms)]
    change = None if row.change is None else row.change.p95
    return [
        name,
        f"{row.count:,}",
        *times,
        f"{row.errors:,}",
        f"{row.own_s:.3f} s",
        f"{row.own_share:.0%}",
        "" if change is None else f"{change:+.0%}",
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.3f} ms"


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "")
    yield _row(columns)
    yield _row(["---"] * len(columns))
    for row in rows[:_MOST_ROWS]:
        yield _row([_cell(text) for text in row])
    if len(rows) > _MOST_ROWS:
        yield from ("", f"{len(rows) - _MOST_ROWS:,} more are in the JSON beside this file.")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text.translate(_ESCAPED))
