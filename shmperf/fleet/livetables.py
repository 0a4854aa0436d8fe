"""
What nodes say of themselves, as tables that can be asked in SQL: how they are, and what they count.

    nodes    a row a node and storage, as ``shmperf fleet nodes`` shows it
    tools    exact totals, a row a node and tool: ``percentile(list(histogram), 0.95)`` of any rows
"""

from __future__ import annotations

from collections.abc import Iterator

from shmperf.exporters.database import COUNTED, Database, Row, counted

from .asking import Look

__all__ = ["add_tables"]

_NODES = {
    "node": "VARCHAR",
    "origin": "VARCHAR",
    "state": "VARCHAR",
    "age_s": "DOUBLE",
    "workers": "BIGINT",
    "rate": "DOUBLE",
    "begun": "BIGINT",
    "total_calls": "BIGINT",
    "errors": "BIGINT",
    "in_flight": "BIGINT",
    "aborted": "BIGINT",
    "lost": "BIGINT",
    "waiting": "BIGINT",
    "dropped": "BIGINT",
    "problem": "VARCHAR",
}
_TOOLS = {
    "node": "VARCHAR",
    "origin": "VARCHAR",
    "tool": "VARCHAR",
    **COUNTED,
    "in_flight": "BIGINT",
}


def add_tables(database: Database, look: Look) -> None:
    """Add them; StoreError where there is no room."""
    database.add("nodes", _NODES, _nodes(look))
    database.add("tools", _TOOLS, _tools(look))
    database.add_percentile()


def _nodes(look: Look) -> Iterator[Row]:
    for row in look.rows:
        found = {name: getattr(row, name) for name in _NODES}
        yield found | {"lost": sum(row.lost.values())}


def _tools(look: Look) -> Iterator[Row]:
    for snapshot in look.snapshots():
        node, figures = snapshot.node, snapshot.figures
        for tool, totals in figures.totals.items():
            yield {
                "node": node.name,
                "origin": node.origin,
                "tool": tool,
                **counted(totals),
                "in_flight": figures.books.opened.get(tool, 0),
            }
