"""
The reports of runs: ``<storage>/optimization/<YYYYMMDDTHHMMSSZ>.json``, and ``.md`` beside each.

A second one of the same second is ``…Z-2``. Each file is written aside and renamed, the ``.json``
last: where that is, its ``.md`` is, and both are whole. The newest reports stay. A report has a
name before it is written, so one that is written again after a kill is the same one.

    killed after …           who comes next
    .md renamed              writes both again, under the same name
    .json renamed            the same
    an aside left            is removed with the next report

Files are anybody's of this user: one that is no report is passed over.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import msgspec

from shmperf.analysis.runreport import SCHEMA, Report
from shmperf.errors import StoreError
from shmperf.files import make_storage, open_private, read_private, reason_of, translated

from .writerthread import WriterThread

__all__ = [
    "FOLDER",
    "MOST_REPORTS",
    "SUFFIXES",
    "Reports",
    "is_name",
    "load",
    "names",
    "new_name",
    "newest",
    "stamp",
    "write",
]

FOLDER = "optimization"
MOST_REPORTS = 50
SUFFIXES = (".json", ".md")
_MOST_BYTES = 64 << 20
_NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-([1-9]\d{0,5}))?", re.ASCII)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_decode = msgspec.json.Decoder(Report).decode


class Reports:
    """
    The reports of one directory, as the collector's thread sees them.

    What is done there is done by the *thread* that touches the disk. A folder of reports that can't
    be read or written says nothing of other files.
    """

    def __init__(self, storage: Path, thread: WriterThread) -> None:
        self._storage = storage
        self._thread = thread

    def new_name(self, wall_s: float) -> str:
        """A name for a report of that time."""
        return self._thread.do(lambda: new_name(self._storage, wall_s)) or stamp(wall_s)

    def load(self, name: str) -> tuple[str, Report] | None:
        """The report of that *name*; None when it can't be read."""

        def read() -> tuple[str, Report] | None:
            try:
                return name, load(self._storage, name)
            except StoreError:
                return None

        return self._thread.do(read)

    def before(self, name: str) -> tuple[str, Report] | None:
        """The newest report before that *name*."""
        return self._thread.do(lambda: newest(self._storage, before=name))

    def write(self, name: str, report: Report, text: str) -> None:
        """Write a report under its *name*; StoreError."""

        def put() -> str:
            try:
                write(self._storage, name, report, text)
            except OSError as error:
                return reason_of(error)
            return ""

        problem = self._thread.do(put)
        if problem or problem is None:
            raise StoreError(problem or self._thread.reason or "storage is unavailable")


def new_name(storage: Path, wall_s: float) -> str:
    """A name for a report of that time that no other one has."""
    second = stamp(wall_s)
    taken = [number for at, number in map(_parts, names(storage)) if at == second]
    return f"{second}-{max(taken) + 1}" if taken else second


def stamp(wall_s: float) -> str:
    """That second as a name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall_s))


def names(storage: Path) -> list[str]:
    """The names of all reports, the oldest first."""
    try:
        found = [path.stem for path in (storage / FOLDER).glob("*.json")]
    except OSError:
        return []
    return sorted(filter(is_name, found), key=_parts)


def is_name(text: str) -> bool:
    """True for what a report is named."""
    return _NAME.fullmatch(text) is not None


def load(storage: Path, name: str) -> Report:
    """The report of that *name*; StoreError when it is none, or of another version."""
    path = storage / FOLDER / f"{name}.json"
    try:
        report = _decode(read_private(path, _MOST_BYTES))
    except OSError as error:
        raise translated(error, path, StoreError) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: no report that can be read: {error}") from None
    if report.schema != SCHEMA:
        raise StoreError(f"{path}: found schema {report.schema}, expected {SCHEMA}")
    return report


def newest(storage: Path, *, before: str | None = None) -> tuple[str, Report] | None:
    """The newest report that can be read, and its name; of those *before* that name, if it is."""
    for name in reversed(names(storage)):
        if before is not None and _parts(name) >= _parts(before):
            continue
        try:
            return name, load(storage, name)
        except StoreError:
            continue
    return None


def write(storage: Path, name: str, report: Report, text: str) -> None:
    """Write *report*, and *text* beside it, under *name*; the oldest ones go. OSError."""
    folder = storage / FOLDER
    make_storage(storage)
    folder.mkdir(mode=0o700, exist_ok=True)
    for aside in folder.glob(".*.new"):
        aside.unlink(missing_ok=True)
    content = msgspec.json.format(msgspec.json.encode(report), indent=2)
    _replace(folder / f"{name}.md", text.encode("utf-8", "backslashreplace"))  # point: report-text
    _replace(folder / f"{name}.json", content + b"\n")  # point: report-json
    _prune(storage, name)  # point: report-prune


def _prune(storage: Path, newest_name: str) -> None:
    kept = [name for name in names(storage) if name != newest_name]
    for name in kept[: max(0, len(kept) - (MOST_REPORTS - 1))]:
        for suffix in SUFFIXES:
            with contextlib.suppress(OSError):
                (storage / FOLDER / f"{name}{suffix}").unlink()  # point: report-remove


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(open_private(aside, _NEW), "wb") as file:
            file.write(content)  # point: report-write
        aside.replace(path)  # point: report-rename
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def _parts(name: str) -> tuple[str, int]:
    """Of a name, what it is sorted by."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2] or 1)) if found else ("", 0)
