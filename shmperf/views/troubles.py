"""Alerts on a terminal: the newest last, what is open in colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from .columns import Column, Columns
from .formatting import printable

__all__ = ["alerts", "watched"]

_LONGEST_TEXT = 300
_MOST_NAMES = 5


def alerts(found: Mapping[str, Any]) -> RenderableType:
    """All *alerts* of it, one a row."""
    rows = found["alerts"]
    if not rows:
        return Text("no alerts")
    columns = [
        Column("kind", 1, is_text=True),
        Column("severity", 3, is_text=True),
        Column("began", 2, is_text=True),
        Column("ended", 4, is_text=True),
        Column("what", 0, 40, is_text=True),
    ]
    return Columns(columns, map(_row, rows))


def watched(found: Mapping[str, Any]) -> Text:
    """What ``status`` says of open alerts, and of tools that are being learnt."""
    lines = Text()
    for alert in found.get("alerts", ()):
        lines.append(f"\nalert      {_opened(alert)}", _style(alert))
    learning = list(found.get("learning", ()))
    if learning:
        names = ", ".join(printable(name, 30) for name in learning[:_MOST_NAMES])
        left = len(learning) - _MOST_NAMES
        more = f" and {left:,} more" if left > 0 else ""
        lines.append(f"\nlearning   what is usual of {names}{more}")
    return lines


def _style(alert: Mapping[str, Any]) -> str:
    return "red" if alert["severity"] == "critical" else "yellow"


def _opened(alert: Mapping[str, Any]) -> str:
    text = printable(alert["text"], _LONGEST_TEXT)
    return f"{alert['severity']} since {_moment(alert['began'])}: {alert['kind']}: {text}"


def _row(alert: Mapping[str, Any]) -> list[str | Text]:
    style = "" if alert["ended"] else _style(alert)
    return [
        Text(alert["kind"], style),
        alert["severity"],
        _moment(alert["began"]),
        _moment(alert["ended"]) if alert["ended"] else "open",
        printable(alert["text"], _LONGEST_TEXT),
    ]


def _moment(iso: str) -> str:
    return printable(iso[:19].replace("T", " ")) + "Z"
