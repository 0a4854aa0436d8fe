"""The interface described: every address is there, and answers as it is described."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from shmperf.views.web.openapi import described
from shmperf.views.web.questions import QUESTIONS

from .served import Served


@pytest.fixture
def description(served: Served) -> Any:
    """As a server gives it."""
    return served.visit.browse("/openapi.json").json


def references(value: Any) -> set[str]:
    """Every place that is referred to."""
    if isinstance(value, list):
        return set().union(*map(references, value), set())
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(references, value.values()))


def test_every_address_is_described(description: Any) -> None:
    """What is asked, what may be changed, and what others read."""
    assert {question.path for question in QUESTIONS} <= set(description["paths"])
    posted = {path for path, methods in description["paths"].items() if "post" in methods}
    assert posted == {"/api/mode", "/api/optimize", "/api/cleanup"}
    assert {"/api/events", "/metrics", "/healthz"} <= set(description["paths"])
    assert description["paths"]["/healthz"]["get"]["security"] == []


def test_every_reference_leads_somewhere(description: Any) -> None:
    """No struct is named that is not described."""
    known = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert references(description) <= known
    assert json.loads(json.dumps(described(QUESTIONS, ()))) != description


@pytest.mark.parametrize("question", [one for one in QUESTIONS if not one.key])
def test_each_answers_in_its_shape(served: Served, description: Any, question: Any) -> None:
    """The struct that describes an answer reads it, and its parameters are the taken ones."""
    wanted = description["paths"][question.path]["get"].get("parameters", [])
    assert tuple(one["name"] for one in wanted) == question.takes
    answer = served.visit.browse(question.path + ("?query=x" if question.name == "rank" else ""))
    if question.name == "rank":
        assert answer.status == 503  # no tool store there
    else:
        msgspec.json.decode(answer.content, type=question.shape)
