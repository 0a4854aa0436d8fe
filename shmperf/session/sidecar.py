"""What a process beside the collector is handed, and what it says of itself to others."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shmperf.errors import NoAnswer
from shmperf.files import internals
from shmperf.stdlib import Path, os

from .client import Client
from .messages import SinkReport
from .settings import Settings

__all__ = ["REPORT", "SETTINGS_FD", "client_of", "handed_settings", "last_report"]

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


def last_report(storage: Path) -> SinkReport | None:
    """What the last sink of *storage* said of itself; None without one."""
    try:
        content = (internals(storage) / REPORT).read_bytes()
        return msgspec.msgpack.decode(content, type=SinkReport)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
