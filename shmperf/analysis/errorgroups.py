"""
Exceptions by fingerprint: what makes two of them the same, and how often each was seen.

A fingerprint is a digest of the exception's class and of the functions that it came through, from
the tool to where it was raised, each with the line counted from the function's own first one. So it
is the same in every process and on every machine, and stays when other parts of a file change.
An exception that leaves several intercepted calls on its way has one fingerprint in all of them,
by the way below the innermost; that one has the place where it was raised, and alone is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import FrameType, TracebackType

import msgspec

from shmperf.shm.record import FINGERPRINT_CHARACTERS, Call

__all__ = ["OTHERS", "Bug", "ErrorGroups", "fingerprint_of", "merge"]

# Fingerprints that are counted apart; what comes later is counted in one group.
MOST_BUGS = 1_000
OTHERS = "others"
_MOST_TOOLS = 50
_MOST_FRAMES = 200
_PLACES_SHOWN = 3
_LONGEST_PLACE = 80
_NO_PLACE = "outside of Python"
_OURS, _CHAIN = "shmperf.", "InterceptorChain."


class Bug(msgspec.Struct):
    """
    One fingerprint: how often, when (Unix, nanoseconds), in which tools, and one sample.

    An exception that failed several calls, one inside the other, counts once; its tools are all,
    and ``calls`` counts the failed calls themselves, by tool.
    """

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    tools: list[str] = []
    sample: Call | None = None
    calls: dict[str, int] = {}

    def merge(self, later: Bug) -> None:
        """Add what *later* counted; the sample is the first."""
        self.first_ns = min(self.first_ns or later.first_ns, later.first_ns)
        self.last_ns = max(self.last_ns, later.last_ns)
        self.count += later.count
        new = [tool for tool in later.tools if tool not in self.tools]
        self.tools += new[: max(0, _MOST_TOOLS - len(self.tools))]
        self.sample = self.sample or later.sample
        for tool, count in later.calls.items():
            name = tool if tool in self.calls or len(self.calls) < _MOST_TOOLS else OTHERS
            self.calls[name] = self.calls.get(name, 0) + count


def merge(known: dict[str, Bug], later: Mapping[str, Bug]) -> None:
    """Add *later* to *known*, which stays bounded."""
    for fingerprint, bug in later.items():
        name = fingerprint if fingerprint in known or len(known) < MOST_BUGS else OTHERS
        known.setdefault(name, Bug()).merge(bug)


class ErrorGroups:
    """An analysis (see `table`): ``known`` maps a fingerprint to its group, bounded."""

    def __init__(self) -> None:
        self.known: dict[str, Bug] = {}
        self._new: dict[str, Bug] = {}

    def add(self, fingerprint: str, bug: Bug) -> None:
        """Count an exception."""
        self._new.setdefault(fingerprint, Bug()).merge(bug)

    def lacks_sample(self, fingerprint: str) -> bool:
        """True as long as no call stands for the group."""
        groups = (self._new.get(fingerprint), self.known.get(fingerprint))
        return all(group is None or group.sample is None for group in groups)

    def take_delta(self) -> dict[str, Bug] | None:
        """What was counted since the last delta."""
        delta, self._new = self._new, {}
        if not delta:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: Mapping[str, Bug]) -> None:
        """Add *delta*."""
        merge(self.known, delta)

    def clear(self) -> None:
        """Forget everything."""
        self.known, self._new = {}, {}

    def state(self) -> dict[str, Bug]:
        """All groups."""
        return self.known

    @classmethod
    def restore(cls, state: dict[str, Bug]) -> ErrorGroups:
        """Groups that were written before."""
        found = cls()
        found.known = state
        return found


def fingerprint_of(error: BaseException) -> tuple[str, str]:
    """
    The fingerprint of *error* and, for people, the functions where it was raised.

    The latter is empty when an intercepted call below has had the exception before.
    """
    kind = type(error)
    parts = [f"{_plain(kind.__module__)}.{kind.__qualname__}"]
    shown: list[str] = []
    found, came_before = _below_the_tool(error.__traceback__)
    for traceback in found:
        code = traceback.tb_frame.f_code
        line = traceback.tb_lineno or 0
        name = f"{_module(traceback.tb_frame)}.{code.co_qualname}"
        part = f"{name}+{line - code.co_firstlineno}"
        # A recursion's depth is not what makes a bug.
        if part != parts[-1]:
            parts.append(part)
            shown.append(f"{name}:{line}"[-_LONGEST_PLACE:])
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
    where = "" if came_before else " > ".join(shown[-_PLACES_SHOWN:]) or _NO_PLACE
    return digest[:FINGERPRINT_CHARACTERS], where.encode("utf-8", "backslashreplace").decode()


def _below_the_tool(traceback: TracebackType | None) -> tuple[list[TracebackType], bool]:
    """The newest entries behind the last one of ours; whether calls were intercepted below."""
    found: list[TracebackType] = []
    chains = 0
    while traceback is not None:
        frame = traceback.tb_frame
        if _module(frame).startswith(_OURS):
            found.clear()
            chains += frame.f_code.co_qualname.startswith(_CHAIN)
        else:
            found.append(traceback)
        traceback = traceback.tb_next
    return found[-_MOST_FRAMES:], chains > 1


def _module(frame: FrameType) -> str:
    return _plain(frame.f_globals.get("__name__"))


def _plain(module: object) -> str:
    """The module's name; a spawned process calls its main module by another one."""
    return "__main__" if module == "__mp_main__" else str(module)
