"""
Every format of ``shmperf export``: its name, its module and the line that says what it is.

A format's module offers one pure function, ``export(calls)``: from kept calls to chunks of bytes,
in bounded memory. It is imported when that format is chosen. A new format is such a module and a
row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from shmperf.storage.origin import origin_of

__all__ = ["EXPORTERS", "OF_FIGURES", "Exporter", "exporter_of", "row_of"]


class Exporter(NamedTuple):
    """
    One row: the name of the format, the module that makes it, and its line in the help.

    A file whose name ends in *ending* is made by the module's ``export_<ending>``. Where ids are to
    be unique *among_storages*, the function gets the storage's origin, too.
    """

    name: str
    module: str
    help: str
    is_text: bool = True
    ending: str = ""
    among_storages: bool = False

    def is_other(self, output: str) -> bool:
        """True for a file of the other form."""
        return bool(self.ending) and output.endswith(f".{self.ending}")


_HERE = "shmperf.exporters."

EXPORTERS = (
    Exporter("csv", _HERE + "csv_table", "comma-separated values, a line a call: for spreadsheets"),
    Exporter(
        "chrome",
        _HERE + "chrome",
        "trace events (JSON): who ran when, in Perfetto or chrome://tracing",
    ),
    Exporter(
        "speedscope", _HERE + "speedscope", "flame charts, a profile a lane, for speedscope.app"
    ),
    Exporter(
        "parquet",
        _HERE + "parquet",
        "a Parquet file, compressed, for data tools (-o FILE)",
        is_text=False,
    ),
    Exporter(
        "otlp",
        _HERE + "otlp",
        "OpenTelemetry spans, OTLP/JSON lines; protobuf where FILE ends in .pb",
        ending="pb",
        among_storages=True,
    ),
    Exporter("folded", _HERE + "folded", "stacks weighted by own time, for flame graph tools"),
)

# Made of exact figures and not of kept calls, by ``export(answers, tools)``.
OF_FIGURES = (
    Exporter(
        "openmetrics",
        _HERE + "openmetrics",
        "counts and durations of all calls, exactly, as Prometheus scrapes them",
    ),
)


def row_of(name: str) -> Exporter:
    """The row of a format of either table."""
    return next(row for row in (*EXPORTERS, *OF_FIGURES) if row.name == name)


def exporter_of(
    name: str, output: str = "", storage: Path | None = None
) -> Callable[..., Iterator[bytes]]:
    """The function that makes a format of the table, for a file *output* of calls of *storage*."""
    row = row_of(name)
    function = f"export_{row.ending}" if row.is_other(output) else "export"
    found: Callable[..., Iterator[bytes]] = getattr(import_module(row.module), function)
    if row.among_storages and storage is not None:
        return partial(found, origin=origin_of(storage))
    return found
