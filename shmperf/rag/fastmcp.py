"""FastMCP servers: a middleware that lists the reliable and fast tools first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .delivery import load_package
from .live import LiveStatistics
from .ranking import rank

__all__ = ["ranked_listing"]


def ranked_listing(*, top_n: int | None = None, **options: Any) -> Any:
    """
    For ``FastMCP(…, middleware=[ranked_listing()])``; *options* are those of `rank`.

    A listing answers no query, so that all tools count as equally alike; equal ones stay in the
    server's order. *top_n* lists only the best. StoreError says which command installs the
    framework.
    """
    found: Any = load_package("fastmcp.server.middleware", "fastmcp")
    options.setdefault("live", LiveStatistics())
    rank([], **options)

    class ShmperfListing(found.Middleware):  # type: ignore[misc]  # a class of the framework, untyped here
        async def on_list_tools(self, context: Any, call_next: Callable[[Any], Any]) -> Any:
            tools = {tool.name: tool for tool in await call_next(context)}
            ranked = rank([(name, 0.0) for name in tools], **options)
            return [tools[one.name] for one in ranked[:top_n]]

    return ShmperfListing()
