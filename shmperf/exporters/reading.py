"""One look at what a session counts: by its collector's answers, or by what lies on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from shmperf.analysis.bucketcalls import BucketNews, bucket_news
from shmperf.analysis.stats import Figures
from shmperf.errors import NoAnswer, SessionError
from shmperf.query.answers import Answers
from shmperf.session.client import Client
from shmperf.session.messages import (
    BucketCallsOf,
    FiguresOf,
    InFlight,
    OpenCallAnswer,
    Question,
    SessionStatus,
    Status,
)
from shmperf.storage.state import load

from .families import Reading
from .traced import ByTool, Traces

__all__ = ["ask", "read"]

_ASK_S = 10.0
T = TypeVar("T")


def read(answers: Answers, traces: Traces | None = None) -> Reading:
    """What a session, or a storage at rest, shows now, with its *traces*; ShmperfError."""
    # First, so that each of these calls is in the figures.
    known = partial(_bucket_calls, answers)
    traced = {} if traces is None else traces.follow(answers.storage, known)
    status = answers.status(with_sizes=False)
    return Reading(answers.figures(), answers.in_flight(), status, traced)


def _bucket_calls(answers: Answers, after: int) -> BucketNews:
    try:
        return msgspec.convert(answers.ask(BucketCallsOf(after)), BucketNews)
    except NoAnswer:
        return bucket_news(load(answers.storage, answers.options)[0].exemplars, after)


def ask(
    client: Client,
    longest_s: float = _ASK_S,
    traces: Callable[[Callable[[int], BucketNews]], ByTool] = lambda _: {},
) -> Reading:
    """
    One reading of the session whose collector *client* asks; ShmperfError.

    Each question waits *longest_s* at most. *traces* follows what is asked of exemplars, if anybody
    is to see them.
    """

    def answer(question: Question, kind: type[T]) -> T:
        return msgspec.convert(client.ask(question, longest_s), kind)

    try:
        traced = traces(lambda after: answer(BucketCallsOf(after), BucketNews))
        return Reading(
            answer(FiguresOf(), Figures),
            answer(InFlight(), list[OpenCallAnswer]),
            answer(Status(), SessionStatus),
            traced,
        )
    except msgspec.ValidationError as error:
        raise SessionError(f"the collector's answer can't be read: {error}") from None
