"""
``alerts.jsonl``: a line when an alert begins and another when it ends, the newest of them.

    {"id", "kind", "tool", "severity", "began", "ended": null or when, "text", "evidence": {…}}

Lines are appended before the frame that says so is journalled; whoever was killed in between is
followed by one who finds the lines there, and appends only what is not.

    killed after …              who comes next
    a part of a line written    cuts it back
    lines appended              finds them among the last lines, and passes them over
    an aside written            writes another, which replaces it

The file is anybody's of this user: a damaged line is passed over, and a file that was deleted
begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from shmperf.analysis.shownalert import ShownAlert
from shmperf.files import check_ours, make_storage, open_private, read_private, reason_of

from .writerthread import WriterThread

__all__ = ["ALERTS", "MOST_LINES", "AlertFile", "append", "expire", "read", "remove"]

ALERTS = "alerts.jsonl"
MOST_LINES = 10_000

# The newest lines are copied when there are so many more.
_SLACK = 500
# Behind so many bytes nothing is looked for: more than all that can wait to be written.
_TAIL_BYTES = 8 << 20
_MOST_BYTES = 256 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_encode_lines = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(ShownAlert).decode


class AlertFile:
    """
    The file of one directory, as the collector's thread sees it.

    What is done there is done by the *thread* that touches the disk; a file that can't be written
    says nothing of other files.
    """

    def __init__(self, storage: Path, thread: WriterThread) -> None:
        self._storage = storage
        self._thread = thread

    def append(self, alerts: Sequence[ShownAlert]) -> str | None:
        """Append *alerts*; why that can't be, None when storage is unavailable."""
        return self._thread.do(lambda: _reason(lambda: append(self._storage, alerts)))

    def remove(self) -> None:
        """Delete the file, if that can be."""
        self._thread.do(lambda: _reason(lambda: remove(self._storage)))


def _reason(work: Callable[[], None]) -> str:
    """Do *work*; why it failed, if it did."""
    try:
        work()
    except OSError as error:
        return reason_of(error)
    return ""


def append(storage: Path, alerts: Sequence[ShownAlert]) -> None:
    """Append those of *alerts* that are not among the last lines; OSError."""
    make_storage(storage)
    path = storage / ALERTS
    fd = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    with os.fdopen(fd, "rb+", buffering=0) as file:
        size = check_ours(fd).st_size
        start = max(0, size - _TAIL_BYTES)
        tail = os.pread(fd, size - start, start)
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            os.ftruncate(fd, start + whole)
        known = {(one.id, one.ended is None) for one in _read_lines(tail[:whole])}
        new = [one for one in alerts if (one.id, one.ended is None) not in known]
        text = memoryview(_encode_lines(new))  # point: alerts-append
        while text:
            text = text[file.write(text) or 0 :]  # point: alerts-write
    if tail.count(b"\n") + len(new) > MOST_LINES + _SLACK or start:
        _shorten(storage)


def _shorten(storage: Path) -> None:
    """Leave the newest lines."""
    lines = read_private(storage / ALERTS, _MOST_BYTES).splitlines(keepends=True)
    _replace(storage, lines[-MOST_LINES:])


def expire(storage: Path, cutoff: str) -> None:
    """Leave out alerts that ended before *cutoff*, an ISO time in UTC; OSError."""
    try:
        lines = read_private(storage / ALERTS, _MOST_BYTES).splitlines(keepends=True)
    except FileNotFoundError:
        return
    shown = [next(iter(_read_lines(line)), None) for line in lines]
    old = {one.id for one in shown if one is not None and one.ended and one.ended < cutoff}
    kept = [
        line for line, one in zip(lines, shown, strict=True) if one is None or one.id not in old
    ]
    if len(kept) < len(lines):
        _replace(storage, kept)


def _replace(storage: Path, lines: Iterable[bytes]) -> None:
    path, aside = storage / ALERTS, storage / f".{ALERTS}.new"
    aside.unlink(missing_ok=True)
    with os.fdopen(open_private(aside, _NEW), "wb") as file:
        file.writelines(lines)  # point: alerts-shorten
    aside.replace(path)  # point: alerts-replace


def read(storage: Path) -> list[ShownAlert]:
    """Each alert as its last line has it, in the order of their begins; OSError."""
    try:
        text = read_private(storage / ALERTS, _MOST_BYTES)
    except FileNotFoundError:
        return []
    found: dict[str, ShownAlert] = {}
    for alert in _read_lines(text):
        if alert.id not in found or alert.ended is not None:
            found[alert.id] = alert
    return list(found.values())[-MOST_LINES:]


def remove(storage: Path) -> None:
    """Delete the file; OSError."""
    (storage / ALERTS).unlink(missing_ok=True)


def _read_lines(text: bytes) -> Iterable[ShownAlert]:
    for line in text.splitlines():
        try:
            yield _decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
