"""
A run of the optimization cycle: whether one is going on, and what was seen of calls in it.

    threshold reached, or asked for ─► Run ─► calls seen in detail ─► named ─► report ─► over
                                        └── session in detail ──┘

Everything here is journalled, so a collector that is killed in the middle is followed by one that
knows that there is a run, how far it is, and which report it is to write. A run that has a name is
ending: whoever finds it writes that report again, under the same name, and only then is it over.

What is kept of a call is a `Sighting` of bounded size: its parameters as a hash, and a beginning of
their text. Equal parameters have equal hashes, over all processes. The hash has a key that no
report shows, so that short parameters can't be guessed from it; parameters in which something was
masked, or left out, have none: two such calls may differ in what is not seen.

    bounds    sightings: MOST_SEEN, or MOST_SEEN_BYTES of them; every further call is counted only
              windows: MOST_WINDOWS; older ones are merged, which hides more and never less

Why windows: a call recorded in a run that nobody asked for ends perhaps long after that run, and
its parameters are not to be kept all the same. When it began tells whose it is.
"""

from __future__ import annotations

import json
from hashlib import blake2b

import msgspec

from shmperf.shm.record import SUMMARY_CHARACTERS, Call, Detail

from .tooltotals import ToolTotals
from .totals import Totals

__all__ = [
    "MOST_SEEN",
    "MOST_SEEN_BYTES",
    "MOST_TOKENS",
    "MOST_WINDOWS",
    "Marks",
    "Optimization",
    "OptimizationDelta",
    "OptimizationState",
    "Run",
    "Sighting",
    "hash_of",
    "sighting_of",
    "summarize",
]

MOST_SEEN = 20_000
MOST_SEEN_BYTES = 8 << 20
MOST_WINDOWS = 64
# Requests of runs that are over, whose askers may still ask what came of them.
MOST_TOKENS = 64
_SHOWN_CHARACTERS = 100
_SIGHTING_BYTES = 120
_HASH_BYTES = 16
_MASKED = "***"
# Up to when a call may still begin in a mode that was just left: read, and then interrupted.
_LATE_NS = 20_000_000

Window = tuple[int, int | None]


class Sighting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """
    A call recorded in a run; ``start_ns`` is wall time.

    ``params_hash`` is None where it would not tell equal parameters. ``queued_ms`` is how long a
    task had waited before it began, where somebody said so.
    """

    tool: str
    id: int
    parent: int
    pid: int
    start_ns: int
    duration_ns: int
    status: int
    err: str | None = None
    params: str = ""
    params_hash: str | None = None
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    queued_ms: float | None = None

    @property
    def end_ns(self) -> int:
        """Wall time at which it ended."""
        return self.start_ns + self.duration_ns


class Run(msgspec.Struct, array_like=True):
    """
    A run: what started it, its bounds, and, once it is ending, how it ended.

    ``began_s`` is on the collector's clock, which stands still for nobody; ``began_ns`` is wall
    time. ``name`` is that of its report, empty until it is ending.
    """

    trigger: str
    session: str
    began_s: float
    began_ns: int
    most_calls: int
    seconds: float
    keeps: bool = False
    tokens: list[str] = []
    is_on: bool = False
    name: str = ""
    ended_ns: int = 0
    reason: str = ""
    calls: int = 0

    @property
    def is_ending(self) -> bool:
        """True once its report has a name."""
        return bool(self.name)


class Marks(msgspec.Struct, array_like=True):
    """
    What outlives runs.

    ``counted_from`` is how many calls had been drained when counting began anew: with the session,
    or with its last run. ``automatic_s`` is when a run last started by itself in this session.
    """

    session: str = ""
    counted_from: int = 0
    automatic_s: float | None = None
    key: bytes = b""
    boot_id: str = ""
    windows: list[Window] = []
    last_name: str = ""
    last_tokens: list[str] = []


class OptimizationDelta(msgspec.Struct, array_like=True):
    """What has changed; ``seen`` and ``totals`` are added, ``is_over`` ends the run before."""

    marks: Marks | None = None
    run: Run | None = None
    is_over: bool = False
    seen: list[Sighting] = []
    totals: dict[str, Totals] = {}


class OptimizationState(msgspec.Struct, array_like=True):
    """All of it."""

    marks: Marks = msgspec.field(default_factory=Marks)
    run: Run | None = None
    seen: list[Sighting] = []
    totals: dict[str, Totals] = {}


class Optimization:
    """
    An analysis (see `table`): ``run`` is the one that is going on, ``seen`` the calls in it.

    Whoever changes ``marks`` or ``run`` says so by `note`.
    """

    def __init__(self) -> None:
        self.marks = Marks()
        self.run: Run | None = None
        self.seen: list[Sighting] = []
        self.totals = ToolTotals()
        self._new: list[Sighting] = []
        self._seen_bytes = 0
        self._is_noted = self._is_over = False

    @property
    def unseen(self) -> int:
        """Calls of the run that are counted, and of which nothing else is kept."""
        calls = self.run.calls if self.run is not None else 0
        return max(0, calls - len(self.seen) - len(self._new))

    @property
    def has_news(self) -> bool:
        """True when there is something to tell in a delta."""
        return self._is_noted

    @property
    def wants_more(self) -> bool:
        """True while calls of a run are to be added."""
        return self.run is not None and self.run.calls < self.run.most_calls

    def note(self) -> None:
        """Marks or run have changed."""
        self._is_noted = True

    def begin(self, run: Run) -> None:
        """*run* begins, with nothing seen."""
        self._forget()
        self.run = run
        self.note()

    def add(self, sighting: Sighting, errors: int) -> None:
        """A call of the run, which has failed once or not at all."""
        run = self.run
        if run is None:
            return
        run.calls += 1
        self.note()
        self.totals.of(sighting.tool).add([sighting.duration_ns], errors, sighting.end_ns)
        size = _SIGHTING_BYTES + len(sighting.tool) + len(sighting.params)
        if len(self.seen) + len(self._new) < MOST_SEEN and self._seen_bytes < MOST_SEEN_BYTES:
            self._seen_bytes += size
            self._new.append(sighting)

    def add_aborted(self, tool: str) -> None:
        """A call of the run whose process died."""
        self.note()
        self.totals.of(tool).aborted += 1

    def end(self) -> None:
        """The run is over, and what was seen of it goes."""
        self._forget()
        self.run = None
        self._is_over = True
        self.note()

    def is_private(self, start_ns: int) -> bool:
        """True for a call that began at *start_ns*, monotonic, in a run that nobody asked for."""
        return any(
            begin <= start_ns and (end is None or start_ns < end)
            for begin, end in self.marks.windows
        )

    def open_window(self, at_ns: int) -> None:
        """From now on nobody has asked for parameters."""
        if self.marks.windows and self.marks.windows[-1][1] is None:
            return
        windows = [*self.marks.windows, (at_ns, None)]
        if len(windows) > MOST_WINDOWS:
            windows[:2] = [(windows[0][0], windows[1][1])]
        self.marks.windows = windows
        self.note()

    def close_window(self, at_ns: int, *, is_switched: bool) -> None:
        """The run has ended; *is_switched* when by somebody who may want parameters from now on."""
        if self.marks.windows and self.marks.windows[-1][1] is None:
            end = at_ns if is_switched else at_ns + _LATE_NS
            self.marks.windows[-1] = (self.marks.windows[-1][0], end)
            self.note()

    # --- journal ---------------------------------------------------------------------------------

    def take_delta(self) -> OptimizationDelta | None:
        """What has changed since the last delta."""
        if not self._is_noted:
            return None
        seen, self._new = self._new, []
        self.seen += seen
        totals = self.totals.take_delta() or {}
        delta = OptimizationDelta(self.marks, self.run, self._is_over, seen, totals)
        self._is_noted = self._is_over = False
        return delta

    def apply(self, delta: OptimizationDelta) -> None:
        """Make the change of *delta*."""
        if delta.is_over or (delta.run is not None and not self._is_same(delta.run)):
            self._forget()
            self.run = None
        if delta.marks is not None:
            self.marks = delta.marks
        self.run = delta.run
        self.seen += delta.seen
        self._seen_bytes += sum(_SIGHTING_BYTES + len(s.tool) + len(s.params) for s in delta.seen)
        self.totals.apply(delta.totals)

    def clear(self) -> None:
        """Forget what was seen; a run goes on, and what it has still to see counts."""
        self._forget()
        if self.run is not None:
            self.run.calls = 0
            self.note()

    def state(self) -> OptimizationState:
        """All that a restart needs."""
        return OptimizationState(self.marks, self.run, self.seen, self.totals.state())

    @classmethod
    def restore(cls, state: OptimizationState) -> Optimization:
        """What was written before."""
        found = cls()
        found.apply(OptimizationDelta(state.marks, state.run, False, state.seen, state.totals))
        return found

    def _is_same(self, run: Run) -> bool:
        return self.run is not None and self.run.began_ns == run.began_ns

    def _forget(self) -> None:
        self.seen, self._new, self._seen_bytes = [], [], 0
        self.totals.clear()

    def remember(self, run: Run) -> None:
        """Who asked for *run*, which is over, may ask for its report."""
        self.marks.last_name = run.name
        self.marks.last_tokens = run.tokens
        self.note()


# --- calls ---------------------------------------------------------------------------------------


def hash_of(params: str, key: bytes) -> str | None:
    """
    What tells calls with equal parameters: 32 hexadecimal digits of *params*, a JSON text.

    BLAKE2b (RFC 7693) with *key*, of the text with all names sorted. None where something in it was
    masked: equal texts would not tell equal parameters.
    """
    if _MASKED in params:
        return None
    try:
        # Not msgspec: it makes floats of integers that it can't hold, and so equal ones of others.
        text = json.dumps(json.loads(params), sort_keys=True)
    except (ValueError, RecursionError):
        text = params
    return blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES, key=key
    ).hexdigest()


def summarize(call: Call, key: bytes) -> None:
    """Cut the parameters of *call*, recorded in detail, to what normal mode keeps of them."""
    detail = call.detail
    if detail is None or detail.is_summary:
        return
    detail.params_hash = None if call.truncated else hash_of(call.params, key)
    detail.is_summary = True
    if len(call.params) > SUMMARY_CHARACTERS:
        call.params, call.truncated = call.params[:SUMMARY_CHARACTERS], True


def sighting_of(call: Call, key: bytes) -> Sighting:
    """What is kept of *call*, recorded in detail, for the report; *call* stays as it is."""
    detail = call.detail or Detail()
    is_whole = not (call.truncated or detail.is_summary)
    return Sighting(
        tool=call.tool,
        id=call.id,
        parent=call.parent,
        pid=call.pid,
        start_ns=call.start_ns,
        duration_ns=call.duration_ns or 0,
        status=call.status,
        err=call.err,
        params=call.params[:_SHOWN_CHARACTERS],
        params_hash=hash_of(call.params, key) if is_whole else detail.params_hash,
        memory_bytes=detail.memory_bytes,
        cpu_percent=detail.cpu_percent,
        queued_ms=_queued(detail.metadata),
    )


class _Metadata(msgspec.Struct):
    queued_ms: float | None = None


def _queued(metadata: str | None) -> float | None:
    try:
        return msgspec.json.decode(metadata or "{}", type=_Metadata).queued_ms
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
