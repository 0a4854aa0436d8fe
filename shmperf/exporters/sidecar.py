"""What each sidecar of this room does until its time is over: hand on, and say how it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Report, SidecarReport

__all__ = ["live", "say_why_not"]

_LOOK_S, _REPORT_S = 0.5, 2.0


def live(
    client: Client,
    name: str,
    ended: threading.Event,
    step: Callable[[], bool],
    report: Callable[[], SidecarReport],
) -> None:
    """Until it is *ended* take one *step* after another, while more may follow; say how it is."""
    told_at_s = 0.0
    while not ended.is_set():
        if not step():
            ended.wait(_LOOK_S)
        if time.monotonic() >= told_at_s:
            told_at_s = time.monotonic() + _REPORT_S
            _say(client, name, report())


def say_why_not(client: Client, name: str, ended: threading.Event, problem: str) -> None:
    """Stay, and say so: who is told of an end by ``status`` starts nothing anew."""
    while not ended.wait(_REPORT_S):
        _say(client, name, SidecarReport(problem=problem))


def _say(client: Client, name: str, report: SidecarReport) -> None:
    """Tell the collector, if it listens."""
    with suppress(ShmperfError, OSError):
        client.ask(Report(name, report), _REPORT_S)
