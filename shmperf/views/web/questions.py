"""
What a page's server is asked: the parts of every view, and the tools for a task, each an address.

    /api/NAME?…          what its struct of wishes has and it takes
    /api/NAME/KEY        of those of which there are many
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from shmperf.query.answers import Answers
from shmperf.query.parts import PARTS, Part, Wanted
from shmperf.rag.retrieval import Question as Task
from shmperf.rag.retrieval import RankedTool, retrieve

__all__ = ["QUESTIONS", "Question", "RankWanted", "answered", "wishes"]


class RankWanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, in words; how many candidates, and how they are weighed."""

    query: Annotated[str, Meta(min_length=1, max_length=10_000)]
    k: Annotated[int, Meta(ge=1, le=200)] = 10
    latency_budget: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    mode: Literal["utility", "similarity", "additive"] = "utility"


class Question(NamedTuple):
    """
    One row: its address, the struct of the answer, that of what is wished, and what of it counts.

    *answer* is told who answers, what is wished and the key, if the address has one.
    """

    name: str
    key: str
    shape: Any
    wanted: type[msgspec.Struct]
    takes: tuple[str, ...]
    answer: Callable[[Answers, Any, str], Any]
    text: str

    @property
    def path(self) -> str:
        """Its address, with the key's name in braces."""
        return f"/api/{self.name}/{{{self.key}}}" if self.key else f"/api/{self.name}"


def _rank(answers: Answers, wanted: RankWanted, _: str) -> list[RankedTool]:
    weighing: dict[str, Any] = {"mode": wanted.mode}
    if wanted.latency_budget is not None:
        weighing["latency_budget_s"] = wanted.latency_budget
    task = Task(wanted.query, wanted.k, weighing)
    return retrieve(task, None, answers.storage, answers.options, answers.session)


def _of_part(part: Part) -> Question:
    return Question(part.name, part.key, part.shape, Wanted, part.takes, part.answer, part.text)


QUESTIONS = (
    *map(_of_part, PARTS),
    Question(
        "rank",
        "",
        list[RankedTool],
        RankWanted,
        RankWanted.__struct_fields__,
        _rank,
        "the tools for a task: fitting, reliable and fast",
    ),
)


def wishes(question: Question, given: Mapping[str, list[str]]) -> Any:
    """*given*, what stands behind the question mark of an address, as a struct; ValueError."""
    for name, values in given.items():
        if name not in question.takes:
            known = ", ".join(question.takes) or "nothing"
            raise ValueError(f"{name[:100]}: not known here, expected {known}")
        if len(values) != 1:
            raise ValueError(f"{name}: expected once")
    single = {name: values[0] for name, values in given.items()}
    try:
        return msgspec.convert(single, question.wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def answered(question: Question, find: Callable[[], Answers], wanted: Any, key: str) -> bytes:
    """The answer as JSON; ShmperfError."""
    return msgspec.json.encode(question.answer(find(), wanted, key))
