"""
One call as people look into it: what lay below, when, and where nothing below was going on.

    spans (any order, any process) ──► children by parent ──► offsets, own time, gaps

Own time is the duration minus the union of the children's intervals, so children that overlap are
not counted twice. A gap is a piece of it: between children, before the first or behind the last.
A child that outlives its parent takes nothing beyond the parent's end. Of one that nobody timed (it
failed, and was sampled out) only the moment is known: it takes no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["ENDLESS", "MOST_LEVELS", "MOST_SPANS", "Gap", "Span", "Traced", "traced"]

MOST_SPANS = 10_000
# How a call is that has no end yet, or never had one.
ENDLESS = frozenset({"open", "aborted"})
# A tree that is deeper is cut: JSON of more levels is read by hardly anybody.
MOST_LEVELS = 200


class Span(msgspec.Struct, kw_only=True):
    """
    A call; *start_s* is Unix time.

    *duration_s* is None for one that is open or was aborted, and for one that nobody timed.
    """

    id: str
    tool: str
    parent: str | None = None
    start_s: float
    duration_s: float | None
    status: str = "ok"
    err: str | None = None
    params: str | None = None
    pid: int | None = None

    @property
    def runs_on(self) -> bool:
        """True for one whose end nobody knows."""
        return self.duration_s is None and self.status in ENDLESS


class Gap(msgspec.Struct, kw_only=True):
    """A time within a call in which no child of it ran; *offset_s* from the call's own start."""

    offset_s: float
    duration_s: float


class Traced(Span, kw_only=True):
    """
    A span and those below; *offset_s* counts from the start of the topmost one.

    ``own_s`` and ``gaps`` are None and empty while the call is open.
    """

    offset_s: float
    own_s: float | None
    gaps: list[Gap] = []
    children: list[Traced] = []


def traced(spans: Iterable[Span], top: str, most: int = MOST_SPANS) -> tuple[Traced, bool]:
    """
    The tree below the span with the id *top*, and whether spans are missing from it.

    Of more than *most*, or of very many levels, those nearest to the top stay. KeyError when
    there is no such span.
    """
    by_id = {span.id: span for span in spans}
    below: dict[str, list[Span]] = {}
    for span in by_id.values():
        if span.parent is not None and span.id != top:
            below.setdefault(span.parent, []).append(span)
    root = _node(by_id[top], by_id[top].start_s)
    level, count = [root], 1
    for _ in range(MOST_LEVELS):
        reached: list[Traced] = []
        for node in level:
            # Taken out: what stands twice, or above itself, in a damaged file ends here.
            children = sorted(below.pop(node.id, ()), key=lambda span: span.start_s)
            if count + len(children) > most:
                children = children[: most - count]
                _close(node, children, root.start_s)
                return root, True
            count += len(children)
            _close(node, children, root.start_s)
            reached += node.children
        level = reached
    return root, any(node.id in below for node in level)


def _node(span: Span, top_s: float) -> Traced:
    fields = msgspec.structs.asdict(span)
    return Traced(**fields, offset_s=span.start_s - top_s, own_s=span.duration_s)


def _close(node: Traced, children: list[Span], top_s: float) -> None:
    """Give *node* its *children*, in the order in which they began."""
    node.children = [_node(child, top_s) for child in children]
    if node.duration_s is None:
        return
    node.gaps = list(_gaps(node, children)) if children else []
    if children:
        node.own_s = sum(gap.duration_s for gap in node.gaps)


def _gaps(node: Traced, children: list[Span]) -> Iterator[Gap]:
    end_s = node.start_s + (node.duration_s or 0.0)
    reached_s = node.start_s
    for child in children:
        if child.start_s > reached_s:
            until_s = min(child.start_s, end_s)
            if until_s > reached_s:
                yield Gap(offset_s=reached_s - node.start_s, duration_s=until_s - reached_s)
        # One that is open, or has died, is taken to have run on.
        lasted_s = end_s if child.runs_on else child.start_s + (child.duration_s or 0.0)
        reached_s = max(reached_s, lasted_s)
    if end_s > reached_s:
        yield Gap(offset_s=reached_s - node.start_s, duration_s=end_s - reached_s)
