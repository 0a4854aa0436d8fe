"""What a key may change of a running session, done in another thread than the screen's."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from shmperf.query.answers import Answers
from shmperf.query.switching import switch_mode
from shmperf.session.messages import Optimize
from shmperf.views.runs import progress

__all__ = ["Done", "optimize", "switch"]

_ANSWER_S = 30.0
_LEAST_S, _MOST_S = 0.05, 0.5


class Done(NamedTuple):
    """What there is to say, and the report of a run."""

    said: str
    report: dict[str, Any] | None = None


def switch(answers: Answers, wanted: str) -> Done:
    """The session in the mode *wanted*; raises ShmperfError."""
    return Done(f"mode {switch_mode(answers, wanted)}")


def optimize(
    find: Callable[[], Answers], tell: Callable[[str], None], goes_on: Callable[[], bool]
) -> Done:
    """A run in detail to its end, or as long as that is waited for; raises ShmperfError."""
    token = secrets.token_hex(8)
    while goes_on():
        found = find().ask(Optimize(token), _ANSWER_S)
        if found["is_over"]:
            return Done(found["problem"] or f"report {found['name']}", found["report"])
        tell(progress(found, found["left_s"]))
        # In a thread of its own, which nobody waits for; a collector has no way to call back.
        time.sleep(min(_MOST_S, max(_LEAST_S, found["left_s"])))
    return Done("")
