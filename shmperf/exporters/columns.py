"""
The columns of a call, wherever calls are rows: in CSV, in Parquet, in SQL.

The schema is stable: a column is added at the end or not at all. ``timestamp`` is the start, UTC,
to the microsecond; ``ms`` the duration in milliseconds; ``params`` JSON, perhaps cut. What is not
known is NULL, or an empty cell.
"""

from __future__ import annotations

from operator import attrgetter

__all__ = ["CALLS", "values_of"]

# Each is a field of `KeptCall`; behind it its type in SQL.
CALLS = {
    "tool": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "id": "VARCHAR",
    "parent": "VARCHAR",
    "trace": "VARCHAR",
    "pid": "BIGINT",
    "ms": "DOUBLE",
    "status": "VARCHAR",
    "err": "VARCHAR",
    "params": "VARCHAR",
}

# The values of a call's row, in their order.
values_of = attrgetter(*CALLS)
