"""
What the middlewares for web servers share: what a request is called, and when it has failed.

A tool's name must be one of few, so it is the method and the *template* of the route, never the
path. Where nobody knows the route (another framework, an address that is nobody's) it is `REQUEST`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import Observer, Sight

__all__ = ["REQUEST", "begin", "failure", "observer", "tool_of"]

REQUEST = "request"
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_LONGEST = 200
_FIRST_SERVER_ERROR = 500
observer = Observer("web")


def begin(name: Callable[[Any], str | None], request: Any, method: str, path: str) -> Sight:
    """Begin the call of a *request*, which *name* may have a name for; None or "": it has not."""
    found = observer.guard(name, request)
    tool = found if isinstance(found, str) and found else REQUEST
    return observer.begin(tool, {"method": method, "path": path})


def tool_of(method: str, template: object) -> str | None:
    """The name of requests by *method* to a route of that *template*; None where it is none."""
    if not isinstance(template, str) or not template or method not in _METHODS:
        return None
    return f"{method} {template[:_LONGEST]}"


def failure(outcome: object, status: int) -> BaseException | str | None:
    """The error that *outcome*, an exception or a result with that *status*, stands for."""
    if isinstance(outcome, BaseException):
        return outcome
    return f"ServerError: {status}" if status >= _FIRST_SERVER_ERROR else None
