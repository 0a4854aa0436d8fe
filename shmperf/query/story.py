"""
One call's story: its chain of callers, what lay below it, and when.

Put together from what was kept with the call when it settled, from the history, and from what is
open now.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from shmperf.analysis.culprit import Culprit, culprit
from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.waterfall import MOST_LEVELS, MOST_SPANS, Span, Traced, traced
from shmperf.errors import NotKept
from shmperf.session.messages import OpenCallAnswer
from shmperf.storage.kept import KeptCall, as_kept
from shmperf.storage.reading import EVERYTHING
from shmperf.storage.segmentfile import Window

from .answers import Answers

__all__ = [
    "Sought",
    "Story",
    "is_id",
    "slowest_of",
    "sought_by_id",
    "stories",
    "story",
    "story_of",
]

_ID = re.compile(r"(?:0[xX])?([0-9a-fA-F]{16})")
_IDS = re.compile(rb'"(?:id|parent|parent_tool)":"([0-9a-f]{16})"')
_TRACES = re.compile(rb'"(?:id|trace)":"([0-9a-f]{16})"')
# Of a few stories at once, so many times the calls of one are held of each trace.
_STORIES_DEEP = 4
# Calls of a trace that are held at once: twice as many as are shown.
_MOST_AT_ONCE = 2 * MOST_SPANS


class Story(msgspec.Struct, kw_only=True):
    """
    A call's tree, and the chain of calls above it, the outermost first.

    ``kept_with_it`` says that what lay below was kept with the call when it settled; otherwise it
    is put together from the calls that are kept each for itself, and some may be missing.
    ``culprit`` is what took most of its time, None where that is not known.
    """

    trace: str
    above: list[str]
    kept_with_it: bool
    truncated: bool
    culprit: Culprit | None
    call: Traced


def is_id(text: str) -> bool:
    """True for what ids look like; a tool may be called so, too."""
    return _ID.fullmatch(text) is not None


def story_of(answers: Answers, text: str) -> Story:
    """
    The story of the call *text*, an id, or of the slowest call of the tool of that name.

    NotKept where no such call is kept.
    """
    found = _ID.fullmatch(text)
    if found and not _is_tool(answers, text):
        return story(answers, found[1].lower())
    return story(answers, slowest_of(answers, text))


def story(answers: Answers, call_id: str) -> Story:
    """The story of that call (16 hexadecimal digits); NotKept where it is not."""
    return _told(answers, call_id, answers.exemplar(call_id))


class Sought(NamedTuple):
    """A call whose story is wanted, and the topmost call above it, as far as that is known."""

    id: str
    trace: str
    span: Span | None

    @classmethod
    def of_kept(cls, call: KeptCall) -> Sought:
        """The one that *call* is; its id is empty where its line has none."""
        call_id = call.id or ""
        return cls(call_id, call.trace or call_id, _of_kept(call))


def sought_by_id(answers: Answers, ids: Iterable[str]) -> Iterator[Sought]:
    """Those of *ids* that are open, or kept apart as slow or failed; the others are left out."""
    opened = _opened(answers)
    for call_id in ids:
        if call_id in opened:
            yield Sought(call_id, _topmost(opened, call_id), opened[call_id])
        elif _ID.fullmatch(call_id) and (found := answers.exemplar(call_id)) is not None:
            call = as_kept(found.call)
            if call.id == call_id:
                yield Sought.of_kept(call)


def stories(answers: Answers, wanted: Sequence[Sought], most: int) -> Iterator[Story]:
    """
    The stories of the calls that are *wanted*, in their order, each of at most *most* calls.

    By one pass over the history for all of them. Of a trace of far more calls than a story has,
    what was kept with the call stands for it, and the story is truncated.
    """
    of_trace = _of_traces(answers, {one.trace for one in wanted}, most)
    opened = _opened(answers)
    for call_id, trace, span in wanted:
        exemplar = answers.exemplar(call_id) if _ID.fullmatch(call_id) else None
        kept, is_whole = of_trace[trace]
        spans = opened | _kept_with(answers, call_id, trace, exemplar)
        spans |= {} if span is None else {span.id: span}
        spans |= kept
        if call_id in spans:
            found = _put_together(call_id, trace, spans, exemplar, most)
            found.truncated = found.truncated or not is_whole
            yield found


def _of_traces(
    answers: Answers, traces: AbstractSet[str], most: int
) -> dict[str, tuple[dict[str, Span], bool]]:
    """What the history has of each trace, and whether that is all; nothing of a large one."""
    found: dict[str, dict[str, Span]] = {trace: {} for trace in traces}
    most_held = max(most, min(_STORIES_DEEP * most, _MOST_AT_ONCE // max(1, len(traces))))
    large: set[str] = set()
    named = {trace.encode() for trace in traces}
    for call in answers.calls(None, lambda line: not named.isdisjoint(_TRACES.findall(line))):
        span, trace = _of_kept(call), call.trace or call.id or ""
        if span is None or trace not in found or trace in large:
            continue
        found[trace][span.id] = span
        if len(found[trace]) > most_held:
            # Which of them lie near to a call would take a pass for each level.
            large.add(trace)
            named.discard(trace.encode())
            found[trace] = {}
    return {trace: (spans, trace not in large) for trace, spans in found.items()}


def _is_tool(answers: Answers, text: str) -> bool:
    """True when a tool is called as ids look."""
    return text in answers.stats()["tool_stats"]


def slowest_of(answers: Answers, tool: str) -> str:
    """
    The id of the slowest call of *tool*.

    Of one none of whose calls has ended the one that has been open for longest, or else the last of
    those that never will. NotKept without any.
    """
    opened = (call for call in answers.in_flight() if call.tool == tool)
    for ids in (
        (call.id for call in answers.slowest(1, tool)),
        (call.id for call in sorted(opened, key=_started)[:1]),
        (call.id for call in deque(answers.calls(tool), maxlen=1)),
    ):
        for call_id in ids:
            if call_id is not None and _ID.fullmatch(call_id):
                return call_id
    raise NotKept(f"no call of {tool[:100]!r} is kept")


def _started(call: OpenCallAnswer) -> float:
    return call.started


def _told(answers: Answers, call_id: str, exemplar: Exemplar | None) -> Story:
    spans = _opened(answers)
    trace = _trace_of(answers, call_id, spans)
    if exemplar is not None:
        trace = trace or as_kept(exemplar.call).trace
    spans |= _kept_with(answers, call_id, trace, exemplar)
    # What a line says is more than what is known of a call below an exemplar.
    spans |= _kept_of(answers, trace or call_id, call_id)
    return _put_together(call_id, trace or call_id, spans, exemplar)


def _put_together(
    call_id: str,
    trace: str,
    spans: dict[str, Span],
    exemplar: Exemplar | None,
    most: int = MOST_SPANS,
) -> Story:
    if call_id not in spans:
        raise NotKept(
            f"no call {call_id!r} is kept: neither in the history, nor among the slowest and the "
            "failed ones, nor open"
        )
    root, is_cut = traced(spans.values(), call_id, most)
    if exemplar is not None and exemplar.is_cut and _count(root) > len(exemplar.nodes()) + 1:
        # The history has more than was kept with it.
        exemplar = None
    return Story(
        trace=trace,
        above=list(_above(spans, spans[call_id])),
        kept_with_it=exemplar is not None,
        truncated=is_cut or (exemplar is not None and exemplar.is_cut),
        culprit=culprit(root, time.time()),
        call=root,
    )


def _kept_with(
    answers: Answers, call_id: str, trace: str | None, exemplar: Exemplar | None
) -> dict[str, Span]:
    """What was kept with a call when it settled, and with the topmost one above it."""
    spans = {} if exemplar is None else _of_exemplar(exemplar)
    if trace is not None and trace != call_id:
        # What lay above may be kept with the topmost call alone.
        above = answers.exemplar(trace)
        # Of what lay below that only the names and times are kept with it.
        spans = ({} if above is None else _of_exemplar(above)) | spans
    return spans


def _trace_of(answers: Answers, call_id: str, opened: dict[str, Span]) -> str | None:
    """The topmost call above that one, by its line of history, or by the calls that are open."""
    for call in _naming(answers, call_id, Window(id=call_id)):
        if call.id == call_id:
            return call.trace
    return _topmost(opened, call_id) if call_id in opened else None


def _topmost(opened: dict[str, Span], call_id: str) -> str:
    """The topmost open call above that open one, or itself."""
    chain = [call_id]
    while (parent := opened[chain[-1]].parent) in opened and parent not in chain:
        chain.append(parent)
    return chain[-1]


def _opened(answers: Answers) -> dict[str, Span]:
    return {call.id: _of_open(call) for call in answers.in_flight()}


def _kept_of(answers: Answers, trace: str, call_id: str) -> dict[str, Span]:
    """What the history has of a trace; of a large one, only what is near to that call."""
    of_trace = (
        span
        for call in _naming(answers, trace)
        if trace in (call.trace, call.id) and (span := _of_kept(call)) is not None
    )
    found = list(islice(of_trace, _MOST_AT_ONCE))
    if len(found) == _MOST_AT_ONCE:
        return _nearest(answers, call_id)
    return {span.id: span for span in found}


def _nearest(answers: Answers, call_id: str) -> dict[str, Span]:
    """
    The call, those above it, and those nearest below: more than are shown, if there are more.

    By a pass over the history for each level, so that a root of millions of calls needs no memory
    for all of them.
    """
    found: dict[str, Span] = {}
    above, level = {call_id}, {call_id}
    for _ in range(MOST_LEVELS):
        reached: dict[str, Span] = {}
        for span in _near(answers, above, level):
            if span.id in above:
                found[span.id] = span
            elif len(found) + len(reached) <= MOST_SPANS:
                reached[span.id] = span
        above = {parent for one in above & found.keys() if (parent := found[one].parent)}
        level = reached.keys() - found.keys()
        found |= reached
        if not above and not level:
            break
    return found


def _near(answers: Answers, ids: AbstractSet[str], parents: AbstractSet[str]) -> Iterator[Span]:
    """The kept calls that have one of these ids, or of these parents."""
    sought = {one.encode() for one in (*ids, *parents)}
    for call in answers.calls(None, lambda line: not sought.isdisjoint(_IDS.findall(line))):
        span = _of_kept(call)
        if span is not None and (span.id in ids or span.parent in parents):
            yield span


def _naming(answers: Answers, call_id: str, window: Window = EVERYTHING) -> Iterator[KeptCall]:
    """The kept calls whose lines name that call; the other lines are not taken apart."""
    sought = f'"{call_id}"'.encode()
    return answers.calls(None, lambda line: sought in line, window)


def _count(root: Traced) -> int:
    found, level = 0, [root]
    while level:
        found += len(level)
        level = [child for node in level for child in node.children]
    return found


def _above(spans: dict[str, Span], span: Span) -> Iterator[str]:
    """The names of the calls above *span*, as far as they are known, the outermost first."""
    chain: list[str] = []
    seen = {span.id}
    while span.parent is not None and span.parent in spans and span.parent not in seen:
        span = spans[span.parent]
        seen.add(span.id)
        chain.append(span.tool)
    return reversed(chain)


def _of_exemplar(exemplar: Exemplar) -> dict[str, Span]:
    top = _of_kept(as_kept(exemplar.call))
    below = {span.id: span for span in _below(exemplar)}
    return below if top is None else below | {top.id: top}


def _below(exemplar: Exemplar) -> Iterator[Span]:
    for node in exemplar.nodes():
        yield Span(
            id=f"{node.id:016x}",
            tool=node.tool,
            parent=f"{node.parent:016x}",
            start_s=node.start_ns / 1e9,
            duration_s=node.duration_ns / 1e9,
        )


def _of_kept(call: KeptCall) -> Span | None:
    """*call* as a span; None where its line has been damaged."""
    try:
        start_s = datetime.fromisoformat(call.timestamp).timestamp()
    except (ValueError, OverflowError):
        return None
    if call.id is None:
        return None
    return Span(
        id=call.id,
        tool=call.tool,
        parent=call.parent,
        start_s=start_s,
        duration_s=call.duration_s,
        status=call.status,
        err=call.err,
        params=call.params,
        pid=call.pid,
    )


def _of_open(call: OpenCallAnswer) -> Span:
    return Span(
        id=call.id,
        tool=call.tool,
        parent=call.parent,
        start_s=call.started,
        duration_s=None,
        status="open",
        params=call.params,
        pid=call.pid,
    )
