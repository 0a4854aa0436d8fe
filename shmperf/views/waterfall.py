"""One call as a waterfall: its tree, and a bar for the time of each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from shmperf.analysis.culprit import HALF
from shmperf.analysis.waterfall import ENDLESS

from .columns import Column, Columns
from .formatting import duration, printable

__all__ = ["call"]

_LONGEST_NAME = 60
_BAR = 24
# A pause that is worth a line: this share of its call.
_LONG_GAP = 0.1
_MOST_ROWS = 500
_STYLES = {"ok": "", "open": "yellow", "cancelled": "yellow"}
_COLUMNS = [
    Column("call", 0, 12, is_text=True),
    Column("begins", 3),
    Column("time", 0),
    Column("own", 2),
    Column("", 1, is_text=True),
    Column("outcome", 1, is_text=True),
    Column("parameters", 4, 16, is_text=True),
]


def call(found: Mapping[str, Any]) -> RenderableType:
    """What ``shmperf trace`` shows."""
    top = found["call"]
    rows = _rows(top, top, "", "")
    shown = [row for row, _ in zip(rows, range(_MOST_ROWS), strict=False)]
    parts: list[RenderableType] = [_head(found), Columns(_COLUMNS, shown)]
    if found["culprit"] is not None:
        parts.insert(1, _mostly(top, found["culprit"]))
    if next(rows, None) is not None:
        parts.append(Text(f"the first {_MOST_ROWS:,} lines; --json has all", "yellow"))
    parts.append(Text("; ".join(_said(found)), "dim"))
    return Group(*parts)


def _head(found: Mapping[str, Any]) -> Text:
    top = found["call"]
    started = datetime.fromtimestamp(top["start_s"], UTC).isoformat(" ", "milliseconds")
    head = Text(printable(top["tool"], _LONGEST_NAME), "bold")
    head.append(f"  {top['id']} · began {started}", "default")
    if top["pid"] is not None:
        head.append(f" · pid {top['pid']}", "default")
    if found["above"]:
        chain = " › ".join(printable(name, _LONGEST_NAME) for name in found["above"])
        head.append(f"\nbelow {chain}", "default")
    return head


def _mostly(top: Mapping[str, Any], culprit: Mapping[str, Any]) -> Text:
    """What took most of its time, in a line."""
    *way, name = [printable(tool, _LONGEST_NAME) for tool in culprit["path"]] or ["its own work"]
    so_far = "so far " if top["status"] == "open" else ""
    line = Text(f"{so_far}most of its time: ")
    if culprit["share"] < HALF:
        line = Text(f"{so_far}nothing took half of its time; the most: ")
    line.append(name, "bold").append(f" ({100 * culprit['share']:.0f} %{_calls(culprit)})")
    if way:
        line.append(f", by way of {' › '.join(way)}")
    return line


def _calls(culprit: Mapping[str, Any]) -> str:
    if not culprit["path"]:
        return ""
    count, still = culprit["calls"], culprit["open"]
    calls = f", {count:,} call{'' if count == 1 else 's'}"
    if still == count:
        return f"{calls}, {'open' if count == 1 else 'all open'}"
    return f"{calls}, {still:,} of them open" if still else calls


def _said(found: Mapping[str, Any]) -> Iterator[str]:
    if found["truncated"]:
        yield "more calls lay below; the nearest are shown"
    elif found["kept_with_it"]:
        yield "what lay below was kept with the call"
    else:
        yield "put together from kept calls: others may have lain below"
    yield "own: without the calls below"


def _rows(
    top: Mapping[str, Any], node: Mapping[str, Any], first: str, rest: str
) -> Iterator[list[str | Text]]:
    yield _row(top, node, first)
    children = node["children"]
    between = [gap for gap in node["gaps"] if gap["duration_s"] >= _LONG_GAP * node["duration_s"]]
    parts: list[tuple[float, bool, Any]]
    parts = [(child["offset_s"], False, child) for child in children]
    parts += [(node["offset_s"] + gap["offset_s"], True, gap) for gap in between]
    parts.sort(key=lambda part: part[:2])
    for number, (offset_s, is_gap, part) in enumerate(parts, 1):
        is_last = number == len(parts)
        branch, stem = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        if is_gap:
            yield _pause(top, offset_s, part["duration_s"], rest + branch)
        else:
            yield from _rows(top, part, rest + branch, rest + stem)


def _row(top: Mapping[str, Any], node: Mapping[str, Any], prefix: str) -> list[str | Text]:
    status = node["status"]
    outcome = f"{status} {printable(node['err'] or '', 40)}".rstrip() if status != "ok" else ""
    return [
        Text(prefix, "dim").append(printable(node["tool"], _LONGEST_NAME), "bold"),
        _since(node["offset_s"]),
        duration(node["duration_s"]),
        duration(node["own_s"]),
        _bar(top, node["offset_s"], _lasted(node), "cyan"),
        Text(outcome, _STYLES.get(status, "red")),
        printable(node["params"] or "", 80),
    ]


def _lasted(node: Mapping[str, Any]) -> float | None:
    """How long a call is drawn: of one that nobody timed only a moment."""
    duration_s: float | None = node["duration_s"]
    return 0.0 if duration_s is None and node["status"] not in ENDLESS else duration_s


def _pause(
    top: Mapping[str, Any], offset_s: float, duration_s: float, prefix: str
) -> list[str | Text]:
    name = Text(prefix + "own work", "dim")
    bar = _bar(top, offset_s, duration_s, "dim")
    return [name, _since(offset_s), duration(duration_s), "", bar, "", ""]


def _since(offset_s: float) -> str:
    return "0" if offset_s == 0 else f"{'-' if offset_s < 0 else '+'}{duration(abs(offset_s))}"


def _bar(top: Mapping[str, Any], offset_s: float, duration_s: float | None, style: str) -> Text:
    whole_s = top["duration_s"]
    if not whole_s:
        return Text("")
    begin = min(_BAR - 1, max(0, int(offset_s / whole_s * _BAR)))
    end_s = whole_s if duration_s is None else offset_s + duration_s
    end = min(_BAR, max(begin + 1, round(end_s / whole_s * _BAR)))
    return Text(" " * begin).append("━" * (end - begin), style)
