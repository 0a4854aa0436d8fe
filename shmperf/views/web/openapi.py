"""The interface described for other programs (OpenAPI 3.1), made from the structs that answer."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from .deeds import Deed
from .events import LookEvent
from .questions import Question

__all__ = ["Problem", "described"]

_PLACE = "#/components/schemas/{name}"


class Problem(msgspec.Struct):
    """What is wrong, in one line."""

    error: str


def described(questions: Iterable[Question], deeds: Iterable[Deed]) -> dict[str, Any]:
    """The description of a server that answers these."""
    questions, deeds = list(questions), list(deeds)
    # Each once, however many answer by it.
    shapes = [*(one.shape for one in questions), *(deed.shape for deed in deeds)]
    wanted = list({one.wanted for one in questions})
    schemas, found = msgspec.json.schema_components(
        [*shapes, *(deed.body for deed in deeds), LookEvent, Problem, *wanted],
        ref_template=_PLACE,
    )
    schema_of = iter(schemas)
    paths = {one.path: {"get": _question(one, next(schema_of), found)} for one in questions}
    answers = [next(schema_of) for _ in deeds]
    for deed, answer in zip(deeds, answers, strict=True):
        paths[f"/api/{deed.name}"] = {"post": _deed(deed, answer, next(schema_of))}
    return {
        "openapi": "3.1.0",
        "info": {"title": "shmperf", "version": version("shmperf")},
        "paths": paths | _others(),
        "components": {
            "schemas": {name: one for name, one in found.items() if name not in _names(wanted)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _names(wanted: Iterable[type[msgspec.Struct]]) -> set[str]:
    return {one.__name__ for one in wanted}


def _question(one: Question, shape: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    wishes = found[one.wanted.__name__]
    parameters = [
        {"name": name, "in": "query", "schema": wishes["properties"][name]}
        | ({"required": True} if name in wishes.get("required", ()) else {})
        for name in one.takes
    ]
    if one.key:
        key = {"name": one.key, "in": "path", "required": True, "schema": {"type": "string"}}
        parameters.insert(0, key)
    described = {"summary": one.text, "responses": _answers("application/json", shape)}
    return described | ({"parameters": parameters} if parameters else {})


def _deed(deed: Deed, answer: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": deed.text,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _answers("application/json", answer),
    }


def _answers(kind: str, shape: dict[str, Any]) -> dict[str, Any]:
    problem = {"schema": {"$ref": _PLACE.format(name=Problem.__name__)}}
    return {
        "200": {"description": "the answer", "content": {kind: {"schema": shape}}},
        "default": {"description": "no answer", "content": {"application/json": problem}},
    }


def _others() -> dict[str, Any]:
    """What is no question of a part."""
    text = {"type": "string"}
    look = {"$ref": _PLACE.format(name=LookEvent.__name__)}
    events = {
        "summary": "looks as they come, events of the name `look` with JSON; resumed by their id",
        "parameters": [{"name": "Last-Event-ID", "in": "header", "schema": text}],
        "responses": _answers("text/event-stream", text | {"contentSchema": look}),
    }
    metrics = {"summary": "for Prometheus", "responses": _answers("text/plain", text)}
    health = {"summary": "ok", "responses": _answers("text/plain", text), "security": []}
    return {
        "/api/events": {"get": events},
        "/metrics": {"get": metrics},
        "/healthz": {"get": health},
    }
