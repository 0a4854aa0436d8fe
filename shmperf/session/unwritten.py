"""
What a storage could not be told: how far its last collector had counted, when the disk stayed full.

    <runtime root>/u-<digest>    msgpack: the storage, the snapshot that lies there, calls, reason

The session's own directory goes with the session, and the storage is what can't be written; so the
note lies beside the sessions. It holds for that very snapshot: a storage that was deleted and made
anew, or was written since, has another one. Whoever reads the storage says what is missing; the
next collector there counts it as lost, and deletes the note.

    killed after …          the next collector
    noted                   counts what is missing as lost
    counted, not deleted    finds nothing missing, and deletes it
"""

from __future__ import annotations

import msgspec

from shmperf.errors import SessionError
from shmperf.files import path_text
from shmperf.stdlib import Path

from .files import read_bounded, write_aside
from .paths import UNWRITTEN, digest

__all__ = ["Unwritten", "forget_unwritten", "note_unwritten", "read_unwritten"]

_LONGEST_REASON = 300


class Unwritten(msgspec.Struct, kw_only=True):
    """
    What was known as a collector ended: *begun* calls of workers that had gone, of all times.

    Workers that were *left* have their own counters, which the next collector reads. *snapshot* is
    how the one begins that lies in the storage, *reason* why there is no newer one.
    """

    storage: str
    snapshot: bytes
    begun: int
    reason: str
    left: list[str] = []


_decode = msgspec.msgpack.Decoder(Unwritten).decode


def note_unwritten(root: Path, storage: Path, note: Unwritten) -> None:
    """Leave *note* below *root*; OSError."""
    note.reason = note.reason[:_LONGEST_REASON]
    write_aside(_path(root, storage), msgspec.msgpack.encode(note))  # point: unwritten-noted


def read_unwritten(root: Path, storage: Path, snapshot: bytes) -> Unwritten | None:
    """The note that holds for the *snapshot* in *storage*; None without one."""
    try:
        note = _decode(read_bounded(_path(root, storage)))
    except (OSError, SessionError, msgspec.MsgspecError, ValueError):
        return None
    if not snapshot or (note.storage, note.snapshot) != (path_text(storage), snapshot):
        return None
    note.reason = "".join(char for char in note.reason if char.isprintable())
    return note


def forget_unwritten(root: Path, storage: Path) -> None:
    """Delete the note, whatever it says."""
    try:
        _path(root, storage).unlink(missing_ok=True)  # point: unwritten-forgotten
    except OSError:
        return


def _path(root: Path, storage: Path) -> Path:
    return root / f"{UNWRITTEN}{digest(path_text(storage))}"
