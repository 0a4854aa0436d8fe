"""
What tells the records of one storage from those of all others: sixteen random bytes, made once.

Record ids are unique within a storage. Whoever hands records on to others, where those of many
storages meet, makes ids of them that are unique there: of the origin and the record's id. It lies
in ``<storage>/.shmperf/origin``, survives a clean-up, and is another one once the storage was
deleted, as ids begin anew then.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b

from shmperf.files import internals, make_storage, open_private, read_private
from shmperf.stdlib import Path, os, secrets

__all__ = ["ORIGIN", "origin_of", "trace_id"]

ORIGIN = "origin"
_BYTES = 16


def origin_of(storage: Path) -> bytes:
    """
    The origin of *storage*, made now where there is none.

    Where none can be written it is made of the path: the same as long as nobody moves it.
    """
    path = internals(storage) / ORIGIN
    try:
        return _known(path) or _made(path)
    except OSError:
        place = os.fsencode(storage.absolute())
        return blake2b(place, digest_size=_BYTES, person=b"shmperf origin").digest()


def trace_id(origin: bytes, root: str) -> bytes:
    """Sixteen bytes, never all zero: of the trace that begins with that call of that storage."""
    return blake2b(origin + root.encode(), digest_size=16, person=b"shmperf trace").digest()


def _known(path: Path) -> bytes:
    try:
        found = read_private(path, _BYTES)
    except FileNotFoundError:
        return b""
    return found if len(found) == _BYTES else b""


def _made(path: Path) -> bytes:
    """A new one, whole from the first moment; that of somebody who was quicker."""
    make_storage(path.parent.parent)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    aside = path.with_name(f".{ORIGIN}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(open_private(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
        with suppress(FileExistsError):
            os.link(aside, path)
        if not _known(path):
            # What was there is damaged: shorter than one is.
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return _known(path)
