"""What each sidecar of this room does: live as long as its standard input, and say how it is."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Report, SidecarReport

__all__ = ["live", "say_why_not", "until_input_ends"]

_LOOK_S, _REPORT_S = 0.5, 2.0


def until_input_ends(finish_s: float) -> threading.Event:
    """
    Set when standard input ends: time to finish. Whoever hangs is ended *finish_s* after that.

    A terminal's interrupts are for the programs that record, and pass this process by.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(ended, finish_s), daemon=True).start()
    return ended


def _watch(ended: threading.Event, finish_s: float) -> None:
    with suppress(OSError):
        while os.read(0, 1 << 12):
            pass
    ended.set()
    # A thread of its own, which has nothing else to do.
    time.sleep(finish_s)
    os._exit(1)


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
