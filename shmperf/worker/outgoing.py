"""
The current call as a ``traceparent``: what a request carries on to whoever is called next.

The trace is the one that the export says of the call: somebody else's, where the root above it was
begun under a context from elsewhere; else one made of the storage's origin and that root's id. So
the root is looked for here as the collector does it, by the rows of open calls, in this process and
in those that have handed the call over:

    current call ─parent─► row of this process ─parent─► row of another ─parent─► 0, or a context
                                                  └─► ended: the last id that is known is taken
                                                      for the root, which it mostly is

A call above that has ended is known to the collector alone, so where it was not the root itself,
what is handed on is a trace of its own, beneath the right span.
"""

from __future__ import annotations

from shmperf.files import internals
from shmperf.session.session import Session
from shmperf.shm.inflight import PARENT, row_in
from shmperf.shm.remote import Remote, is_remote
from shmperf.stdlib import Path, os

from .context import current_call, hex_id, parent_of
from .failures import is_programs
from .neighbours import Neighbours
from .process import worker
from .traceparent import format_traceparent, parse_traceparent

__all__ = ["traceparent"]

# Deeper than calls lie one inside the other; damaged rows may name each other.
_MOST_STEPS = 100_000

# Of the process with this pid.
_neighbours: dict[int, Neighbours] = {}
# By a storage's file: which file it was, and what was in it.
_origins: dict[Path, tuple[tuple[int, int], bytes]] = {}


def traceparent() -> str | None:
    """
    The W3C ``traceparent`` of the current call, for the header of a request; None outside of one.

    Whoever takes it up is beneath this call's span, in the trace that is exported for it. Where no
    call is current, and in one that gets no record (sampled out, tracking off), what the process
    itself was given is handed on: by `adopt`, or in the variable ``TRACEPARENT``. Raises nothing.
    """
    try:
        call_id = parent_of(current_call.get())
        session = worker.session
        if not call_id or session is None:
            remote = worker.remotes.own or parse_traceparent(os.environ.get("TRACEPARENT"))
        else:
            remote = worker.guard.run(_handed_on, _refuse, session, call_id)
        return None if remote is None else format_traceparent(remote)
    except Exception as error:
        # A failure of ours: a request without a header.
        if is_programs(error):
            raise
        worker.faults.note(error)
        return None


def _handed_on(session: Session, call_id: int) -> Remote | None:
    """The span of the call, or the context from elsewhere, that *call_id* is."""
    if is_remote(call_id):
        return _remote(session, call_id)
    root, above = _root_above(session, call_id)
    remote = _remote(session, above) if above else _own(session, root)
    trace = remote.trace if remote is not None else _trace_of(session.storage, root)
    return Remote(trace, call_id.to_bytes(8, "big"))


def _refuse(_session: Session, _call_id: int) -> None:
    """A signal handler in the middle of our own work hands nothing on."""


def _root_above(session: Session, call_id: int) -> tuple[int, int]:
    """The topmost call that is known above *call_id*, and the context that it was begun under."""
    for _ in range(_MOST_STEPS):
        parent = _parent_of(session, call_id)
        if not parent:
            return call_id, 0
        if is_remote(parent):
            return call_id, parent
        call_id = parent
    return call_id, 0


def _parent_of(session: Session, call_id: int) -> int | None:
    words, row = worker.rows.words, row_in(worker.rows.blocks, call_id)
    if words is not None and row:
        parent: int = words[row + PARENT]
        return parent if words[row] == call_id else None
    return _others().parent_of(session, call_id)


def _remote(session: Session, context_id: int) -> Remote | None:
    return worker.remotes.find(context_id) or _others().remote(session, context_id)


def _own(session: Session, root: int) -> Remote | None:
    """What the process of *root* was given."""
    if row_in(worker.rows.blocks, root):
        return worker.remotes.own
    return _others().own(session, root)


def _others() -> Neighbours:
    found = _neighbours.get(worker.pid)
    if found is None:
        # In a fork: the parent's are left to it.
        _neighbours.clear()
        found = _neighbours[worker.pid] = Neighbours()
    return found


def _trace_of(storage: Path, root: int) -> bytes:
    """The trace that begins with that call of ours, as it is exported."""
    # Off the hot path, and needed by nobody who only records: what makes ids unique.
    from shmperf.storage.origin import ORIGIN, origin_of, trace_id  # noqa: PLC0415

    path = internals(storage) / ORIGIN
    try:
        found = path.stat()
        mark = found.st_ino, found.st_mtime_ns
    except OSError:
        mark = 0, 0
    known = _origins.get(path)
    if known is None or known[0] != mark or mark == (0, 0):
        known = _origins[path] = mark, origin_of(storage)
    return trace_id(known[1], hex_id(root))
