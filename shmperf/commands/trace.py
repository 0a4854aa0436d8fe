"""``shmperf trace``: one call, what lay below it, and when."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import datetime

import msgspec

from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.waterfall import Span, Traced, traced
from shmperf.errors import StoreError
from shmperf.query import Answers
from shmperf.session.messages import OpenCallAnswer
from shmperf.storage.kept import KeptCall, as_kept
from shmperf.storage.reading import EVERYTHING
from shmperf.storage.segmentfile import Window
from shmperf.views import waterfall
from shmperf.views.formatting import printable

from .arguments import add_reader, records_of, show
from .nearest import refuse_unknown

__all__ = ["add_arguments", "run"]

_ID = re.compile(r"[0-9a-fA-F]{16}")


class _Answer(msgspec.Struct, kw_only=True):
    """
    What is shown: the call's tree, and the chain of calls above it, the outermost first.

    ``kept_with_it`` says that what lay below was kept with the call when it settled; otherwise it
    is put together from the calls that are kept each for itself, and some may be missing.
    """

    trace: str
    above: list[str]
    kept_with_it: bool
    truncated: bool
    call: Traced


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument(
        "call", metavar="ID|TOOL", help="a call's 16 hexadecimal digits, or a tool: its slowest"
    )


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    answers = records_of(given)
    exemplar = None
    if _ID.fullmatch(given.call):
        call_id = given.call.lower()
        exemplar = answers.exemplar(call_id)
    else:
        call_id, exemplar = _slowest(answers, given.call)
    return show(given, _answer(answers, call_id, exemplar), waterfall.call)


def _slowest(answers: Answers, tool: str) -> tuple[str, Exemplar | None]:
    refuse_unknown(answers, tool)
    for call in answers.slowest(1, tool):
        if call.id is not None and _ID.fullmatch(call.id):
            return call.id, answers.exemplar(call.id)
    raise StoreError(f"no call of {printable(tool, 100)!r} is kept; its calls may still be open")


def _answer(answers: Answers, call_id: str, exemplar: Exemplar | None) -> _Answer:
    spans = {call.id: _of_open(call) for call in answers.in_flight()}
    trace = _trace_of(answers, call_id, spans)
    if exemplar is not None:
        trace = trace or as_kept(exemplar.call).trace
        spans |= _of_exemplar(exemplar)
    if trace is not None and trace != call_id:
        # What lay above may be kept with the topmost call alone.
        above = answers.exemplar(trace)
        spans |= {} if above is None else _of_exemplar(above)
    # What a line says is more than what is known of a call below an exemplar.
    spans |= {span.id: span for span in _kept_in(answers, trace or call_id)}
    if call_id not in spans:
        raise StoreError(
            f"no call {call_id!r} is kept: neither in the history, nor among the slowest and the "
            "failed ones, nor open"
        )
    root, is_cut = traced(spans.values(), call_id)
    if exemplar is not None and exemplar.is_cut and _count(root) > len(exemplar.nodes()) + 1:
        # The history has more than was kept with it.
        exemplar = None
    return _Answer(
        trace=trace or call_id,
        above=list(_above(spans, spans[call_id])),
        kept_with_it=exemplar is not None,
        truncated=is_cut or (exemplar is not None and exemplar.is_cut),
        call=root,
    )


def _trace_of(answers: Answers, call_id: str, opened: dict[str, Span]) -> str | None:
    """The topmost call above that one, by its line of history, or by the calls that are open."""
    for call in _naming(answers, call_id, Window(id=call_id)):
        if call.id == call_id:
            return call.trace
    if call_id not in opened:
        return None
    chain = [call_id]
    while (parent := opened[chain[-1]].parent) in opened and parent not in chain:
        chain.append(parent)
    return chain[-1]


def _kept_in(answers: Answers, trace: str) -> Iterator[Span]:
    """Every call of a trace that is in the history."""
    for call in _naming(answers, trace):
        span = _of_kept(call) if trace in (call.trace, call.id) else None
        if span is not None:
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
        pid=call.pid,
    )
