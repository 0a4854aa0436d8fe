"""The interceptor that leaves a record of every exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shmperf.analysis.errorgroups import fingerprint_of
from shmperf.shm.record import Outcome
from shmperf.stdlib import os
from shmperf.worker.capture import error_text
from shmperf.worker.opencall import OpenCall
from shmperf.worker.outcome import status_for
from shmperf.worker.process import Tool, enabled_by, named_callee, tool_named

from .chain import PASSAGE, Context, InterceptorPriority, ToolInterceptor
from .passage import Passage

__all__ = ["BugCatcherInterceptor"]

_MESSAGE_CHARACTERS = 500
_NO_BUGS = frozenset({Outcome.OK, Outcome.CANCELLED})


class BugCatcherInterceptor(ToolInterceptor):
    """
    Leaves a record of every exception: class, message, fingerprint, tool, parameters and parent.

    It is the call's own record that tells them, in both modes, and `shmperf errors` groups them. A
    call that nothing else records is recorded when it fails. Cancellations are no bugs, nor is an
    exit that says that all is well. Off when BUGCATCHER_ENABLED is false.
    """

    wants_call = True

    def __init__(self) -> None:
        super().__init__(InterceptorPriority.FIRST)
        self.enabled = enabled_by(os.environ, "BUGCATCHER_ENABLED")

    def before_execution(
        self,
        tool_name: str,  # noqa: ARG002  the protocol's signature
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Context,
    ) -> Context:
        """Keep the parameters, for the case that the call fails."""
        passage = context.get(PASSAGE)
        if passage is None or passage.args is not args:
            context[PASSAGE] = Passage(None, args, kwargs)
        return context

    def on_exception(self, tool_name: str, exception: BaseException, context: Context) -> bool:
        """Note the exception in the call's record; never suppresses it."""
        if isinstance(exception, GeneratorExit) or status_for(exception) in _NO_BUGS:
            return False
        passage = context.get(PASSAGE) or Passage(None, (), {})
        caught = (error_text(exception)[:_MESSAGE_CHARACTERS], *fingerprint_of(exception))
        opened = passage.call()
        if opened is not None and opened.call_id:
            opened.catch(*caught)
        elif not passage.is_elsewhere:
            _record_failure(tool_named(tool_name), passage, exception, caught)
        return False


def _record_failure(
    tool: Tool, passage: Passage, exception: BaseException, caught: tuple[str, str, str]
) -> None:
    """Record a failed call that nothing else recorded."""
    opened = OpenCall(tool, named_callee(tool))
    if opened.begin(passage.args, passage.kwargs):
        opened.start_ns = passage.start_ns or opened.start_ns
        opened.catch(*caught)
        opened.end(exception)
