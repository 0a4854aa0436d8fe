"""
Every format of ``shmperf export``: its name, its module and the line that says what it is.

A format's module offers one pure function, ``export(calls)``: from kept calls to chunks of bytes,
in bounded memory. It is imported when that format is chosen. A new format is such a module and a
row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import NamedTuple

from shmperf.storage.kept import KeptCall

__all__ = ["EXPORTERS", "Exporter", "exporter_of"]


class Exporter(NamedTuple):
    """One row: the name of the format, the module that makes it, and its line in the help."""

    name: str
    module: str
    help: str


EXPORTERS = (
    Exporter("csv", "shmperf.exporters.csv_table", "comma-separated values, a line a call"),
)


def exporter_of(name: str) -> Callable[[Iterable[KeptCall]], Iterator[bytes]]:
    """The function that makes a format of the table."""
    module = next(row.module for row in EXPORTERS if row.name == name)
    found: Callable[[Iterable[KeptCall]], Iterator[bytes]] = import_module(module).export
    return found
