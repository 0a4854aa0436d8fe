"""Runs of the optimization cycle as people read them: the report, and what is going on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.text import Text

from shmperf.analysis.reporttext import markdown
from shmperf.analysis.runreport import Report

from .formatting import duration, printable

__all__ = ["RunReport", "going_on", "progress"]


class RunReport:
    """A report: set on a terminal, as Markdown in a pipe."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._text = markdown(msgspec.convert(report, Report))

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        """What is printed."""
        yield Markdown(self._text) if console.is_terminal else Text(self._text.rstrip("\n"))


def going_on(found: Mapping[str, Any]) -> str:
    """The run that is going on and the newest report, in one line; empty for neither."""
    parts = []
    if found.get("trigger"):
        parts.append(f"a run ({found['trigger']}): {progress(found, found['ends_in_s'])}")
    if found.get("last_report"):
        parts.append(f"last report {printable(found['last_report'])}")
    return "; ".join(parts)


def progress(found: Mapping[str, Any], left_s: float) -> str:
    """How far a run is."""
    calls = f"{found['calls']:,} of {found['most_calls']:,} calls in detail"
    return f"{calls}, at most {duration(max(0.0, left_s))} more"
