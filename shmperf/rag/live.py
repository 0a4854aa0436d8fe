"""
What a running collector knows of tools now, for whoever ranks them; asked, never waited for long.

Without a session, a collector or an answer in time there is nothing live, and stored summaries
stand alone: ranking goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from shmperf.analysis.totals import Totals
from shmperf.config.locate import resolve
from shmperf.config.options import Rag
from shmperf.errors import SessionError, ShmperfError
from shmperf.query.fleetfacts import FleetReader, ToolFacts
from shmperf.session.client import Client
from shmperf.session.messages import TotalsOf
from shmperf.session.paths import named_directory, runtime_root
from shmperf.session.rendezvous import session_of_storage
from shmperf.session.session import Session, attach
from shmperf.worker.process import worker

__all__ = ["LiveStatistics", "session_here"]

_ASK_S = 0.5
_LOOK_S = 1.0


class LiveStatistics:
    """
    Totals of the tools of a session; one thread at a time, in any process of the same user.

    *session* is the one that a program started here would join, unless it is given. ``problem``
    says why nothing came.
    """

    def __init__(self, session: Session | None = None) -> None:
        self.problem = ""
        self._given = session
        self._session = session
        self._look_at_s = 0.0
        self._fleet: tuple[Path, FleetReader] | None = None

    @property
    def half_life_s(self) -> float:
        """Of the session's summaries."""
        session = self._session
        return (Rag() if session is None else session.options.rag).half_life_seconds

    def totals(self, names: Iterable[str]) -> dict[str, Totals]:
        """The totals of these tools, every call that had ended included; only those known."""
        now_s = time.monotonic()
        if self._session is None and now_s >= self._look_at_s:
            self._session, self._look_at_s = session_here(), now_s + _LOOK_S
        if self._session is None or not self._session.has_collector():
            self.problem = "no collector is running"
            # It may have been founded anew meanwhile.
            self._session = self._given
            return {}
        try:
            answer = Client(self._session.directory).ask(TotalsOf(sorted(set(names))), _ASK_S)
            found = msgspec.convert(answer, dict[str, Totals])
        except (ShmperfError, msgspec.ValidationError, UnicodeEncodeError) as error:
            self.problem = f"the collector did not answer: {error}"
            return {}
        self.problem = ""
        return found

    def fleet(self) -> Mapping[str, ToolFacts]:
        """What all nodes know of tools, where the session is one of a fleet; after `totals`."""
        session = self._session
        if session is None or not session.options.fleet.url or not session.options.fleet.facts:
            return {}
        if self._fleet is None or self._fleet[0] != session.storage:
            self._fleet = session.storage, FleetReader(session.storage)
        found = self._fleet[1].read()
        return {} if found is None else found.tools


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
