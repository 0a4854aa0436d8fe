"""What a process beside the collector is handed, and what it says of itself to others."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from shmperf.errors import NoAnswer
from shmperf.files import internals
from shmperf.stdlib import Path, os

from .client import Client
from .messages import SinkReport
from .settings import Settings

__all__ = [
    "REPORT",
    "SETTINGS_FD",
    "client_of",
    "handed_settings",
    "last_report",
    "until_input_ends",
]

# Where such a process finds the session's settings, opened by who started it.
SETTINGS_FD = 3

# In the storage directory's own: what the last sink said of itself.
REPORT = "sink-report"


def handed_settings() -> Settings:
    """
    The session's settings as they were when this process was started, once.

    They outlast the session, which may be over before a process has come up on a busy machine.
    Raises OSError and ValueError when there are none.
    """
    with os.fdopen(SETTINGS_FD, "rb") as file:
        return msgspec.msgpack.decode(file.read(), type=Settings)


def client_of(directory: Path, is_over: Callable[[], bool]) -> Client:
    """
    Who asks the collector of the session in *directory*, until that *is_over*.

    Nobody waits then for one to come up, nor goes on waiting: there is little time left, which is
    for sending what is on disk.
    """

    def is_of_use() -> None:
        if is_over():
            raise NoAnswer("the collector has ended")

    return Client(directory, is_of_use)


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
    # In a thread of its own, which has nothing to do but to end what hangs.
    time.sleep(finish_s)
    os._exit(1)


def last_report(storage: Path) -> SinkReport | None:
    """What the last sink of *storage* said of itself; None without one."""
    try:
        content = (internals(storage) / REPORT).read_bytes()
        return msgspec.msgpack.decode(content, type=SinkReport)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
