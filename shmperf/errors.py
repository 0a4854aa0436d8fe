"""
The exception tree.

    ShmperfError
    ├── ConfigError    a configuration that can't be used: file, key, found, expected
    ├── FormatError    bytes of another layout version, or not ours at all
    ├── SegmentGone    a worker's memory has disappeared
    ├── StoreError     the storage directory can't be read or written
    │   └── NotKept        there is no such call or report
    ├── IntegrationError  a framework that is unknown, missing or without the hook
    └── SessionError   a session can't be founded, joined or reached
        ├── SessionGone    it has ended meanwhile: look again
        └── NoAnswer       no collector answered: none runs, it was killed, or it takes too long

Raised in commands, the collector and at start-up. A worker that records raises none of them: it
counts.
"""

from __future__ import annotations

import signal
import sys

__all__ = [
    "ConfigError",
    "FormatError",
    "IntegrationError",
    "NoAnswer",
    "NotKept",
    "Once",
    "SegmentGone",
    "SessionError",
    "SessionGone",
    "ShmperfError",
    "StoreError",
    "tell",
]


# Windows has none, and gets no further than one line that says so.
_mask = getattr(signal, "pthread_sigmask", None)


def tell(text: str) -> None:
    """
    Say *text* on the ``shmperf`` logger: what a program's user should know; never fails itself.

    Signals wait for its end: what a program's handler raises in the middle, a time limit perhaps,
    would be dropped by whoever writes the line. It comes out of here instead.
    """
    if _mask is None:
        _say(text)
        return
    before = _mask(signal.SIG_BLOCK, ())
    try:
        _mask(signal.SIG_BLOCK, signal.valid_signals())
        _say(text)
    finally:
        _mask(signal.SIG_SETMASK, before)


class Once(dict[object, object]):
    """
    What has been told already, in this process: a dictionary, so that a look at it takes no frame.

    A fork that inherits it has the same program, whose user has been told.
    """

    def claim(self, key: object) -> bool:
        """True for the first who asks with that *key*, whatever other threads do meanwhile."""
        mine = object()
        return self.setdefault(key, mine) is mine


def _say(text: str) -> None:
    # A program that has no logging has set none up: importing it would cost more than most of us,
    # and come to this line. Nor is it there where imports are refused.
    get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
    try:
        if get_logger is not None:
            get_logger("shmperf").warning("%s", text)
        elif sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except Exception:  # noqa: BLE001  foreign code: filters and handlers
        return


class ShmperfError(Exception):
    """Anything that shmperf itself reports; its text is one line for a person."""


class ConfigError(ShmperfError):
    """A configuration value that can't be used; the text names file, key, found and expected."""

    def __init__(self, file: str, key: str, found: str, expected: str, nearest: str = "") -> None:
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        where = f"{file}: {key}" if key else file
        super().__init__(f"{where}: found {found}, expected {expected}{hint}")
        self.file = file
        self.key = key
        self.found = found
        self.expected = expected
        self.nearest = nearest


class FormatError(ShmperfError):
    """Bytes that are not of the expected layout; names what was found and what was expected."""


class IntegrationError(ShmperfError):
    """A framework that is not known, not installed, or of a version without the hook."""


class SegmentGone(ShmperfError):
    """The shared memory of a worker does not exist any more."""


class StoreError(ShmperfError):
    """The storage directory can't be read or written."""


class NotKept(StoreError):
    """What is asked for by its id or name is not there, or not any more."""


class SessionError(ShmperfError):
    """A session can't be founded, joined or reached."""


class SessionGone(SessionError):
    """The session's directory is not there (any more): look again."""


class NoAnswer(SessionError):
    """No collector answered: none runs, it was killed meanwhile, or it takes too long."""
