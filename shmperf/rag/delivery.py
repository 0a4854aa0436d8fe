"""
What every vector-store adapter does around its store's own calls.

    update_perf ─► admit ─► batches ─► _merge   one or two requests a batch, metadata only
    read_perf ───► batches ─► _read

A summary is refused, and counted, when a store could only spoil it: a NaN, a number beyond 64
bits, a value that is not a number, text, truth value or None. A name that can't be UTF-8 text is
in no store: not found. Whatever a store or its package raises becomes one StoreError; the
connection is dropped and opened again by the next call, so that a caller may simply try again:
merging the same summary twice changes nothing.

None takes its key away: Chroma can't hold a null, nor can Qdrant in every version.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from shmperf.errors import StoreError

__all__ = [
    "TIMEOUT_S",
    "Address",
    "Batched",
    "Summary",
    "admit",
    "as_summary",
    "inode",
    "load_package",
    "parse_url",
    "require_store",
    "take_option",
]

# A store that is silent for so long counts as away: whoever sends tries again later.
TIMEOUT_S = 5.0

Summary = dict[str, object]

_INT64 = range(-(2**63), 2**63)


class Address(NamedTuple):
    """Where a store is: its place without credentials for messages, and what the query said."""

    place: str
    options: dict[str, str]


def parse_url(url: str, needed: str, optional: Sequence[str] = ()) -> Address:
    """
    Split ``place?needed=…`` into its place (directory or web address) and its options.

    Raises StoreError when the needed option is missing or one is not known.
    """
    place, _, query = url.rpartition("?") if "?" in url else (url, "", "")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = [needed, *optional]
    unknown = sorted(set(options) - set(known))
    if not place or not options.get(needed) or unknown:
        what = f"does not know {unknown[0]!r}" if unknown else f"needs ?{needed}=NAME"
        raise StoreError(f"{shown(place)}: the store's url {what}")
    return Address(place, options)


def take_option(url: str, name: str) -> tuple[str, str]:
    """Take one option out of a URL whose others are somebody else's; the rest, and its value."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    values = [value for key, value in options if key == name]
    if not values or not values[0]:
        raise StoreError(f"{shown(url)}: the store's url needs ?{name}=NAME")
    rest = urlencode([pair for pair in options if pair[0] != name])
    return parts._replace(query=rest).geturl(), values[0]


def shown(url: str) -> str:
    """A URL as a message may show it: without user, password and options."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def load_package(module: str, extra: str) -> Any:
    """Import an optional package; StoreError says which command installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StoreError(
            f"can't import {module} ({error}): pip install 'shmperf[{extra}]'"
        ) from None


def require_store(place: str, there: bool, what: str) -> None:
    """StoreError unless the store is *there*: an adapter never founds one."""
    if not there:
        raise StoreError(f"{shown(place)}: {what}")


class Admission(NamedTuple):
    """What may be sent, and how many were left out, by cause."""

    summaries: dict[str, Summary]
    unnameable: int
    refused: int


def admit(summaries: Mapping[str, Mapping[str, object]]) -> Admission:
    """Part the summaries that every store can hold from those that one would spoil."""
    accepted: dict[str, Summary] = {}
    unnameable = refused = 0
    for name, summary in summaries.items():
        if not _is_storable(name):
            unnameable += 1
        elif not all(_is_storable(key) and _is_scalar(value) for key, value in summary.items()):
            refused += 1
        else:
            accepted[name] = dict(summary)
    return Admission(accepted, unnameable, refused)


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return _is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    # True and False are integers.
    return value is None or (isinstance(value, int) and value in _INT64)


def _is_storable(text: str) -> bool:
    # Postgres has no zero byte in its texts; no store has half a surrogate pair.
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def inode(path: Path) -> tuple[int, int] | None:
    """Which file is there now: another one under the same name is another store."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def as_summary(value: object) -> Summary:
    """What was stored under ``perf_summary``, without nulls; nothing if it is not ours."""
    if not isinstance(value, dict):
        return {}
    return {str(key): fact for key, fact in value.items() if fact is not None}


class Batched:
    """
    A vector store's summaries, in batches and behind one kind of error.

    Any thread, one at a time. ``refused`` counts the summaries that were not sent because the
    store would have spoilt them. A store's own part is five steps: ``_open`` and ``_release`` the
    connection, ``_check`` that it still reaches the same store, ``_merge`` and ``_read`` a batch.
    """

    batch_size = 256

    def __init__(self, place: str) -> None:
        self.refused = 0
        self._place = place
        self._is_open = False
        self._lock = threading.Lock()
        with self._reaching():
            pass

    def update_perf(self, summaries: Mapping[str, Mapping[str, object]]) -> int:
        """
        Merge summaries into the artifacts of those names; how many names were not found.

        Refused summaries are counted in ``refused``, not here. Raises StoreError; some batches
        may have been stored then, each completely.
        """
        admission = admit(summaries)
        missing = admission.unnameable
        with self._lock:
            self.refused += admission.refused
            for names in self._batches(admission.summaries):
                batch = {name: admission.summaries[name] for name in names}
                with self._reaching():
                    missing += len(batch.keys() - self._merge(batch))
        return missing

    def read_perf(self, names: Iterable[str]) -> dict[str, Summary]:
        """Stored summaries by name; names without one are left out. Raises StoreError."""
        by_name: dict[str, Summary] = {}
        with self._lock:
            for batch in self._batches(filter(_is_storable, names)):
                with self._reaching():
                    # Of several artifacts of a name, one that was added later has none yet.
                    by_name |= {name: summary for name, summary in self._read(batch) if summary}
        return by_name

    def close(self) -> None:
        """Let go of the store; another call opens it again."""
        with self._lock:
            self._drop()

    def _batches(self, names: Iterable[str]) -> Iterator[list[str]]:
        distinct = list(dict.fromkeys(names))
        for start in range(0, len(distinct), self.batch_size):
            yield distinct[start : start + self.batch_size]

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Open the store if it is not; on any failure drop it and raise StoreError."""
        try:
            if not self._is_open:
                # First, for what a failing open leaves behind is dropped as well.
                self._is_open = True
                self._open()
            self._check()
            yield
        except BaseException as error:
            # The connection's state is unknown after any interruption.
            self._drop()
            if isinstance(error, StoreError) or not _is_foreign(error):
                raise
            raise StoreError(f"{shown(self._place)}: {_first_line(error)}") from error

    def _drop(self) -> None:
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(Exception):
                self._release()

    def _open(self) -> None:
        raise NotImplementedError

    def _check(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        """Merge these summaries; the names that were found."""
        raise NotImplementedError

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        """Name and summary, empty if it has none, of each artifact that has one of these names."""
        raise NotImplementedError


def _is_foreign(error: BaseException) -> bool:
    # A panic in a package written in Rust is no Exception.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
