"""
What a running collector knows of tools now, for whoever ranks them; asked, never waited for long.

Without a session, a collector or an answer in time there is nothing live, and stored summaries
stand alone: ranking goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shmperf import control
from shmperf.control import Client
from shmperf.errors import SessionError, ShmperfError
from shmperf.meeting import session_of_storage
from shmperf.options import Rag, resolve
from shmperf.places import named_directory, runtime_root
from shmperf.session import Session, attach
from shmperf.statistics import Figures
from shmperf.totals import Totals
from shmperf.worker import worker

__all__ = ["LiveStatistics", "session_here"]

_ASK_S = 0.5
# So few are asked for one by one, which costs the collector less than all of thousands.
_FEW = 16
_LOOK_S = 1.0


class LiveStatistics:
    """
    Totals of the tools of a session; one thread at a time, in any process of the same user.

    *session* is the one that a program started here would join, unless it is given. All tools at
    once are asked for at most every *max_age_s* seconds. ``problem`` says why nothing came.
    """

    def __init__(self, session: Session | None = None, *, max_age_s: float = 0.2) -> None:
        self.problem = ""
        self._given = session
        self._session = session
        self._max_age_s = max_age_s
        self._look_at_s = 0.0
        self._all: dict[str, Totals] = {}
        self._asked_at_s = -max_age_s

    @property
    def half_life_s(self) -> float:
        """Of the session's summaries."""
        session = self._session
        return (Rag() if session is None else session.options.rag).half_life_seconds

    def totals(self, names: Iterable[str]) -> dict[str, Totals]:
        """The totals of these tools, every call that had ended included; only those known."""
        wanted = set(names)
        now_s = time.monotonic()
        if self._session is None and now_s >= self._look_at_s:
            self._session, self._look_at_s = session_here(), now_s + _LOOK_S
        if self._session is None or not self._session.has_collector():
            self.problem = "no collector is running"
            # It may have been founded anew meanwhile.
            self._session = self._given
            return {}
        client = Client(self._session.directory)
        try:
            found = self._few(client, wanted) if len(wanted) <= _FEW else self._many(client)
        except ShmperfError as error:
            self.problem = str(error)
            return {}
        except msgspec.MsgspecError as error:
            self.problem = f"the collector's answer is none: {error}"
            return {}
        self.problem = ""
        return {name: totals for name, totals in found.items() if name in wanted}

    def _few(self, client: Client, names: set[str]) -> dict[str, Totals]:
        found: dict[str, Totals] = {}
        deadline_s = time.monotonic() + _ASK_S
        for name in names:
            left_s = max(0.001, deadline_s - time.monotonic())
            found |= _figures(client, name, left_s)
        return found

    def _many(self, client: Client) -> dict[str, Totals]:
        if time.monotonic() - self._asked_at_s >= self._max_age_s:
            self._all = _figures(client, None, _ASK_S)
            self._asked_at_s = time.monotonic()
        return self._all


def _figures(client: Client, tool: str | None, timeout_s: float) -> dict[str, Totals]:
    answer = client.ask(control.Figures(tool), timeout_s)
    return msgspec.convert(answer, Figures).totals


def session_here() -> Session | None:
    """The session of this process, or the one that a program started here would join; or None."""
    if worker.session is not None and worker.pid == os.getpid():
        return worker.session
    name = os.environ.get("SHMPERF_SESSION")
    try:
        if name:
            return attach(named_directory(runtime_root(os.environ), name))
        options, _ = resolve(None, os.environ, Path.cwd())
    except (SessionError, ShmperfError, OSError):
        return None
    return session_of_storage(Path(os.path.normpath(Path.cwd() / options.storage.path)))
