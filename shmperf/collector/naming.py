"""
How many tools a storage knows: names that come beyond a great many are counted under one.

A worker has room for so many names, but workers come and go, and a program that makes up names
makes up others the next day. Each tool has totals, exemplars and a file for as long as nobody
cleans up, so there has to be an end: from there on who is known stays known, who has a limit of its
own in the configuration gets in, and the calls of all others are those of one tool that says so.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shmperf.shm.beyond import MOST_SHOWN, beyond_name
from shmperf.shm.record import Callee
from shmperf.storage.state import Ledger

__all__ = ["Naming"]

_MOST_TOOLS = 100_000


class Naming:
    """Under which tool the calls of a line of a name table are counted; the collector's thread."""

    def __init__(
        self, ledger: Ledger, fault: Callable[[str, str], None], *, most: int = _MOST_TOOLS
    ) -> None:
        """*fault* counts and tells names beyond the first *most*."""
        self.most = most
        self._ledger = ledger
        self._fault = fault
        # Published, but no call of theirs is journalled yet.
        self._coming: set[str] = set()
        self._first: list[str] = []
        self._forgotten = 0

    def __call__(self, callee: Callee) -> Callee:
        """*callee* as it is counted: itself, or the one that stands for all beyond."""
        tool = callee.tool
        if self._forgotten != self._ledger.state.forgotten.begun:
            self._forgotten = self._ledger.state.forgotten.begun
            self._coming, self._first = set(), []  # a cleanup has made room
        if self._has_room_for(tool):
            return callee
        beyond = beyond_name(self.most)
        if tool not in self._first:
            self._fault("no_name", f"{self.most:,} tools are known; {tool!r} counts as {beyond!r}")
            self._first = [*self._first, tool][:MOST_SHOWN]
        return msgspec.structs.replace(callee, tool=beyond)

    def take_change(self) -> dict[str, list[str]]:
        """The first tools that are counted together, where the journal does not know them yet."""
        beyond = beyond_name(self.most)
        if not self._first or self._ledger.state.nameless.get(beyond) == self._first:
            return {}
        return {beyond: self._first}

    def _has_room_for(self, tool: str) -> bool:
        known = self._ledger.totals.known
        if tool in known or tool in self._coming:
            return True
        if len(known) + len(self._coming) >= self.most:
            self._coming.difference_update(known)
            is_full = len(known) + len(self._coming) >= self.most
            if is_full and tool not in self._ledger.options.tool_limits:
                return False
        self._coming.add(tool)
        return True
