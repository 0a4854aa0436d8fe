"""
Running a collector: from the session and its locks to the end of the cycle.

Two ways lead here. An unnamed session's worker starts one with the collector's lock in its hand;
a person or a service manager starts one for a named session, which takes the lock itself. SIGTERM
and SIGINT end the cycle: everything is drained, written and compacted, and the exit code is 0.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

from shmperf.config.locate import resolve
from shmperf.errors import SessionError, StoreError
from shmperf.files import path_text, refuse_newer
from shmperf.session.claim import StorageClaim
from shmperf.session.paths import runtime_root
from shmperf.session.rendezvous import Request, found_named, join, sweep
from shmperf.session.restarts import note_start
from shmperf.session.server import Server
from shmperf.session.session import Session, attach
from shmperf.storage.history import SUFFIX
from shmperf.storage.writer import Disk

from .cycle import Collector

__all__ = ["cleanup_at_rest", "serve", "serve_embedded", "serve_named"]


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOCK_TRIES = 100
# Sidecars that send what was recorded end themselves before that.
_FAREWELL_S = 12.0
# Objects that hold others, more than there were, before garbage is looked for.
_GARBAGE = 20_000


def serve_embedded(directory: str, lock_fd: int) -> None:
    """Collect for the session in *directory*, whose lock *lock_fd* holds already."""
    os.set_inheritable(lock_fd, False)
    session = attach(Path(directory))
    sweep(runtime_root(os.environ))  # point: daemon-sweep
    _refuse_living_strangers(session)
    serve(session)


def serve_named(request: Request, ready_fd: int | None = None) -> None:
    """
    Collect for the named session of *request*, with its storage and configuration.

    Returns when what it sends elsewhere is sent, or can't be for now: with it a container may end.
    Raises SessionError when another collector serves that session or that storage, FormatError when
    a newer version of the program has written it.
    """
    root = runtime_root(request.environ)
    options, config = resolve(request.config, request.environ, Path(request.cwd))
    session = found_named(root, request)
    lock_fd = _lock(session)  # point: daemon-lock
    try:
        _refuse_living_strangers(session)
        path = request.storage or options.storage.path
        storage = Path(os.path.normpath(Path(request.cwd) / path))
        refuse_newer(storage)
        known = path_text(config) if config else ""
        session.settings.move_to(storage, options, known, request.otlp)  # point: daemon-move
        collector = serve(session, ready_fd, until_stopped=True)
        if not session.is_in_place:
            raise SessionError(f"{session.directory} has gone; what was recorded is on disk")
        session.leave()  # point: daemon-leave
    finally:
        os.close(lock_fd)
    for number in _SIGNALS:
        # Who is in a hurry says so again.
        signal.signal(number, signal.SIG_DFL)
    collector.parts.supervisor.see_out(_FAREWELL_S)
    if collector.disk.reason:
        raise StoreError(
            f"not everything is on disk: {collector.disk.reason}; "
            "the next collector there counts the calls that are missing as lost"
        )


def serve(
    session: Session, ready_fd: int | None = None, *, until_stopped: bool = False
) -> Collector:
    """
    Collect for *session* until it is over or a signal comes; the caller holds the collector's lock.

    Returns the collector, at its end. A byte is written to *ready_fd*
    once records are drained. Raises SessionError when the storage is another collector's.
    """
    claim = StorageClaim(session)  # point: daemon-claim
    collector = Collector(
        session,
        Server(session.directory),
        Disk(session.storage, renew=claim.renew),
        until_stopped=until_stopped,
    )
    for number in _SIGNALS:
        signal.signal(number, lambda *_: collector.stop())
    try:
        collector.open()  # point: daemon-open
        _collect_garbage_rarely()
        note_start(session.directory)
        if ready_fd is not None:
            os.write(ready_fd, b"\n")
            os.close(ready_fd)
        collector.run()  # point: daemon-run
    finally:
        claim.release()
    return collector


def _collect_garbage_rarely() -> None:
    """
    What is kept is much and lives long, and hardly any of it is ever part of a circle.

    By default what is made of each few hundred records looks for some: a tenth of all CPU.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(_GARBAGE, 10, 10)


def cleanup_at_rest(request: Request, *, force: bool) -> bool:
    """
    Forget what a storage without a collector holds; False when its configuration forbids it.

    StoreError where the disk does not let it be forgotten.
    """
    session = join(request)
    if not (force or session.options.optimization.cleanup_on_optimize):
        return False
    lock_fd = _lock(session)
    try:
        claim = StorageClaim(session)
        disk = Disk(session.storage, renew=claim.renew)
        collector = Collector(session, Server(session.directory), disk)
        collector.open()
        if collector.past.is_taken_up:
            collector.cleanup()
            collector.finish()
        session.leave()
        claim.release()
        if collector.disk.reason:
            raise StoreError(collector.disk.reason)
        _refuse_left_over(session.storage)
    finally:
        os.close(lock_fd)
    return True


def _refuse_left_over(storage: Path) -> None:
    """Files that can't be deleted, or that the journal knows nothing of since it was damaged."""
    left = sorted(path.name for path in storage.glob(f"*{SUFFIX}"))
    if left:
        raise StoreError(
            f"{storage}: statistics are forgotten, but {len(left)} history files could not be "
            f"deleted or were in no journal; delete them by hand: {left[0]}"
        )


def _refuse_living_strangers(session: Session) -> None:
    """Workers of another version go on recording for a collector that can read their memory."""
    if session.is_foreign and any(found.is_alive() for found in session.presences()):
        name = session.name or session.directory.name
        raise SessionError(f"session {name} has workers of another version of shmperf; end them")


def _lock(session: Session) -> int:
    """Take the collector's lock; raises SessionError when another collector holds it."""
    # Somebody who only asks whether there is a collector holds the lock for some microseconds.
    tries = (session.try_collector_lock() for _ in range(_LOCK_TRIES))
    fd = next((fd for fd in tries if fd is not None), None)
    if fd is None:
        name = session.name or session.directory.name
        raise SessionError(f"session {name} has a collector already; see: shmperf status")
    return fd
