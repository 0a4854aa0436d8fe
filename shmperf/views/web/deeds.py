"""What a page may change: the mode, a run of the optimization cycle, and what is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from shmperf.errors import NoAnswer, SessionError
from shmperf.query.answers import Answers
from shmperf.query.switching import switch_mode
from shmperf.session.messages import Optimize, RunProgress

__all__ = [
    "CleanUp",
    "Cleaned",
    "CleanupBody",
    "Deed",
    "ModeBody",
    "Modes",
    "OptimizeBody",
    "deeds",
]

# Clean-up as the command does it: True where it was done.
CleanUp = Callable[[Answers, bool], bool]

_ANSWER_S = 10.0
_LONGEST_S, _MOST_CALLS = 86_400, 1_000_000


class ModeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The mode to switch to."""

    mode: Literal["normal", "optimization"]


class Modes(msgspec.Struct):
    """The mode that is in force."""

    mode: str


class OptimizeBody(msgspec.Struct, forbid_unknown_fields=True):
    """
    A run of *seconds* and *calls* at most, as configured without; *keep* leaves earlier records.

    One that is going on is joined; with *ends* it ends now.
    """

    seconds: Annotated[float, Meta(gt=0, le=_LONGEST_S)] | None = None
    calls: Annotated[int, Meta(ge=1, le=_MOST_CALLS)] | None = None
    keep: bool = False
    ends: bool = False


class CleanupBody(msgspec.Struct, forbid_unknown_fields=True):
    """*force*, whatever ``optimization.cleanup_on_optimize`` says."""

    force: bool = False


class Cleaned(msgspec.Struct):
    """That history and statistics are forgotten."""

    cleaned: bool


class Deed(NamedTuple):
    """One row: its name, the struct of what is sent, that of the answer, and who does it."""

    name: str
    body: Any
    shape: Any
    do: Callable[[Answers, Any], Any]
    text: str


def deeds(clean_up: CleanUp) -> tuple[Deed, ...]:
    """All there are; each may raise ShmperfError."""
    return (
        Deed("mode", ModeBody, Modes, _switch, "switch the mode of the session"),
        Deed(
            "optimize",
            OptimizeBody,
            RunProgress,
            _Runs().begin,
            "begin a run in detail, or end it; how far it is",
        ),
        Deed(
            "cleanup",
            CleanupBody,
            Cleaned,
            lambda answers, body: _forget(answers, body, clean_up),
            "forget statistics and delete history",
        ),
    )


def _switch(answers: Answers, body: ModeBody) -> Modes:
    return Modes(switch_mode(answers, body.mode))


def _forget(answers: Answers, body: CleanupBody, clean_up: CleanUp) -> Cleaned:
    if not clean_up(answers, body.force):
        raise SessionError("optimization.cleanup_on_optimize is false; force it")
    return Cleaned(cleaned=True)


class _Runs:
    """All tabs wait for a run under one name: a collector remembers few."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)

    def begin(self, answers: Answers, body: OptimizeBody) -> RunProgress:
        """Begin, join or end a run."""
        if not answers.has_collector:
            raise NoAnswer("no collector is running: start the program whose calls you want to see")
        if body.ends:
            # Whoever's run it is; under a known name the one before would be meant.
            return _asked(answers, body, secrets.token_hex(8))
        found = _asked(answers, body, self._token)
        if found.is_over:
            # That was the run before.
            self._token = secrets.token_hex(8)
            found = _asked(answers, body, self._token)
        return found


def _asked(answers: Answers, body: OptimizeBody, token: str) -> RunProgress:
    wanted = Optimize(token, body.seconds, body.calls, body.keep, body.ends)
    return msgspec.convert(answers.ask(wanted, _ANSWER_S), RunProgress)
