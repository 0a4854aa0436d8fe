"""The interceptor that tells of calls whose duration left what is usual for their tool."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from typing import Any

import msgspec

from shmperf.analysis.anomaly import UNUSUAL, Finding, sentence
from shmperf.config.options import Watch
from shmperf.errors import ShmperfError, tell
from shmperf.session.files import file_identity
from shmperf.session.session import Session
from shmperf.stdlib import Path, os
from shmperf.worker.api import flush
from shmperf.worker.process import enabled_by, worker

from .chain import PASSAGE, Context, InterceptorPriority, ToolInterceptor

__all__ = ["PerfCatcherInterceptor"]

_LOOK_EVERY_NS = 1_000_000_000
_EXIT_WAIT_S = 5.0
_NOT_ASKED = object()
_decode = msgspec.msgpack.Decoder(list[Finding]).decode


class PerfCatcherInterceptor(ToolInterceptor):
    """
    Tells when a call's duration leaves its tool's usual range.

    It asks the session's collector to watch the durations that are recorded, and tells on the
    ``shmperf`` logger what that found of this process's calls: within seconds while calls are made,
    else when the program ends. `shmperf status` shows it as well. Off when PERFCATCHER_ENABLED is
    false; PERFCATCHER_VARIANCE_THRESHOLD, PERFCATCHER_MIN_SAMPLES and PERFCATCHER_WINDOW_SIZE say
    how far beyond what is usual (0.2: a fifth), and by how many calls.
    """

    wants_call = True

    def __init__(self) -> None:
        super().__init__(InterceptorPriority.HIGH)
        environ = os.environ
        self.enabled = enabled_by(environ, "PERFCATCHER_ENABLED")
        self.watch = _watch_from(environ)
        self._session: Session | object | None = _NOT_ASKED
        self._look_at_ns = 0
        self._seen: tuple[int, ...] = ()
        self._told: set[int] = set()

    @property
    def variance_threshold(self) -> float:
        """How far beyond the usual range, as a share."""
        return self.watch.variance_threshold

    @property
    def min_samples(self) -> int:
        """The calls of a tool before which nothing is told."""
        return self.watch.min_samples

    @property
    def window_size(self) -> int:
        """The newest calls of a tool that make up what is usual."""
        return self.watch.window_size

    def before_execution(
        self,
        tool_name: str,  # noqa: ARG002  the protocol's signature
        args: tuple[Any, ...],  # noqa: ARG002  the protocol's signature
        kwargs: Mapping[str, Any],  # noqa: ARG002  the protocol's signature
        context: Context,
    ) -> Context:
        """Ask the session to watch, once."""
        if self._session is not worker.session:
            self._ask()
        return context

    def after_execution(self, tool_name: str, result: Any, context: Context) -> Any:  # noqa: ARG002  the protocol's signature
        """Once a second, look whether there is something to tell."""
        passage = context.get(PASSAGE)
        if passage is not None and passage.end_ns >= self._look_at_ns and passage.end_ns:
            self._look_at_ns = passage.end_ns + _LOOK_EVERY_NS
            self._tell()
        return result

    def _ask(self) -> None:
        if self._session is _NOT_ASKED:
            atexit.register(self._tell_the_last)
        if not worker.is_off:
            worker.start()
        session = self._session = worker.session
        if session is None or session.settings.current.watch == self.watch:
            return
        try:
            session.settings.amend(lambda known: msgspec.structs.replace(known, watch=self.watch))
        except (ShmperfError, OSError) as error:
            tell(f"durations are not watched: {error}")

    def _tell(self) -> None:
        """Tell what the collector has found of this process's calls since the last look."""
        session = worker.session
        if session is None:
            return
        path = session.directory / UNUSUAL
        passage = file_identity(str(path))
        if passage in (self._seen, ()):
            return
        self._seen = passage
        found = _read_findings(path)
        for finding in found:
            if finding.pid == os.getpid() and finding.id not in self._told:
                tell(sentence(finding))
        self._told = {finding.id for finding in found}

    def _tell_the_last(self) -> None:
        session = worker.session
        if session is not None and worker.pid == os.getpid() and session.has_collector():
            flush(_EXIT_WAIT_S)
            self._tell()


def _watch_from(environ: Mapping[str, str]) -> Watch:
    """What the PERFCATCHER variables say; one that can't be is told, and its default holds."""
    found: dict[str, Any] = {}
    for name in ("variance_threshold", "min_samples", "window_size"):
        text = environ.get(f"PERFCATCHER_{name.upper()}")
        if text is None:
            continue
        try:
            msgspec.convert({name: text}, Watch, strict=False)
            found[name] = text
        except msgspec.ValidationError as error:
            tell(f"PERFCATCHER_{name.upper()}: found {text!r}: {error}; the default holds")
    return msgspec.convert(found, Watch, strict=False)


def _read_findings(path: Path) -> list[Finding]:
    try:
        return _decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, ValueError):
        return []
