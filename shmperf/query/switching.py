"""The one thing that a reader may change: in which mode a session records."""

from __future__ import annotations

from shmperf.errors import SessionError

from .answers import Answers

__all__ = ["switch_mode"]


def switch_mode(answers: Answers, mode: str) -> str:
    """The session in *mode*, normal or optimization; SessionError where there is none."""
    if answers.session is None:
        raise SessionError("there is no session to switch; start one, or use run --optimize")
    answers.session.settings.set_mode(mode == "optimization")
    return answers.mode()
