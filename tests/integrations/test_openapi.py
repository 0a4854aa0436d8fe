"""The interface as it describes itself, before judges of others: the description, the answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from shmperf.views.web.questions import QUESTIONS
from tests.support import needs

from .serving import Service

needs("openapi-spec-validator")
needs("jsonschema")
needs("uvicorn")

LONG = "long_" + "n" * 9_995
# As described, and as asked. There is no tool store and no report.
ASKED = [
    *((one.path, one.path) for one in QUESTIONS if not one.key and one.name != "rank"),
    ("/api/stats", "/api/stats?tool=answer"),
    ("/api/intervals", "/api/intervals?tool=answer"),
    *(("/api/trace/{id}", f"/api/trace/{tool}") for tool in ("answer", "deliver", LONG)),
]


def had(service: Service, path: str) -> Any:
    """What a program with the token is answered."""
    token = urlsplit(service.url).query.removeprefix("token=")
    asked = Request(service.home[:-1] + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urlopen(asked, timeout=30) as answer:  # noqa: S310  our own server
        return json.load(answer)


@pytest.fixture(scope="module")
def description(service: Service) -> Any:
    """As the server gives it."""
    return had(service, "/openapi.json")


def test_the_description_is_valid(description: Any) -> None:
    """It is what OpenAPI 3.1 says one is: generators of clients take it."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert list(OpenAPIV31SpecValidator(description).iter_errors()) == []


@pytest.mark.parametrize(("path", "asked"), ASKED)
def test_answers_keep_to_the_description(
    service: Service, description: Any, path: str, asked: str
) -> None:
    """Whoever knows the description alone can check what comes."""
    from jsonschema import Draft202012Validator

    content = description["paths"][path]["get"]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"]
    judge = Draft202012Validator(schema | {"components": description["components"]})
    assert [error.message[:200] for error in judge.iter_errors(had(service, asked))] == []
