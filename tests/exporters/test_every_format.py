"""Every row of the formats' table, a new one too: odd calls harm no file, and no other call."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.exporters.table import EXPORTERS, Exporter, exporter_of
from shmperf.storage.kept import KeptCall, kept_call
from tests.support import DEADLINE_S, PROGRAMS, PYTHON

from .names_in import NAMES_IN
from .test_lanes import FIRST_S, call

# Each format, and the other form that its files may have.
FORMS = [
    pytest.param(row, output, id=output)
    for row in EXPORTERS
    for output in (f"calls.{row.name}", f"calls.{row.ending}")
    if not output.endswith(".")
]
TEXTS = [
    "",
    " ",
    "a \"b\" 'c'",
    "'; DROP TABLE calls; --",
    "line\r\nend\n",
    "nul\0nul",
    "\x1b[31mred\x07",
    "a;b c 7",
    "</script><script>alert(1)</script>&amp;",
    '"},{"name":"forged"',
    "=cmd|' /C calc'!A0",
    "\u2028\u2029\ufeff",
    "ключ 工具 🛠",
    "x" * 10_000,
]
PLAIN = "plain"


def numbered(calls: list[KeptCall]) -> Iterator[KeptCall]:
    """*calls* with ids of ours, where they have none that is odd itself."""
    for number, one in enumerate(calls, 1):
        own = one.id if one.id is None or one.id.startswith("odd") else f"{number:016x}"
        yield msgspec.structs.replace(one, id=own)


def odd_times() -> list[KeptCall]:
    """Calls of no length, of an hour, of no end; clocks that step; what somebody has edited."""
    an_hour_us = 3_600e6
    lengths = [0, an_hour_us, None, -5, math.nan, math.inf, 1e300]
    starts = [0.0, -an_hour_us, 1e-9, -FIRST_S * 1e6, 1e15]
    found = [call(PLAIN, start, length) for start in starts for length in lengths]
    none = {"start_s": None, "timestamp": "yesterday", "id": None, "pid": None}
    return [*found, msgspec.structs.replace(call(PLAIN, 0, 1), **none)]


def odd_families() -> list[KeptCall]:
    """Ids twice, a call below itself, two below each other, parents that nobody knows."""
    return [
        call("odd.same", 0, 10),
        call("odd.same", 5, 10),
        call("odd.self", 0, 10, "odd.self"),
        call("odd.a", 0, 10, "odd.b"),
        call("odd.b", 0, 10, "odd.a"),
        call("odd.orphan", 0, 10, "nobody"),
        call("odd.before", 0, 10, "odd.later"),
        call("odd.later", 50, 10),
        call("odd.wide", 100, 10),
        *(call(f"odd.deep{n}", 100, 10, f"odd.deep{n - 1}") for n in range(2_000)),
    ]


def edited_lines() -> list[KeptCall]:
    """Lines of history as any editor may leave them."""
    values: list[Any] = [None, True, -1, 10**400, 1e308, "text", [], {}, [[]], {"a": [None]}]
    keys = ("p", "s", "e", "d", "id", "pid", "parent", "trace", "remote", "status", "err")
    keys += ("error", "fingerprint", "params", "duration_ms", "start", "parent_tool")
    found = [kept_call({"data": {key: value}}) for key in keys for value in values]
    for value in values:
        found.append(kept_call({"tool": value, "timestamp": value, "data": {}}))
        found.append(kept_call({"tool": "x", "data": dict.fromkeys(keys, value)}))
    return found


def written(row: Exporter, output: str, calls: Any, place: Path) -> Path:
    """The file of *calls*."""
    path = place / output
    path.write_bytes(b"".join(exporter_of(row.name, output, place)(iter(calls))))
    if row.is_text and not row.is_other(output):
        path.read_bytes().decode()
    return path


def names_in(row: Exporter, output: str, path: Path) -> set[str] | None:
    """The tools that it shows; None for a form that nobody reads here."""
    read = None if row.is_other(output) else NAMES_IN.get(row.name)
    return None if read is None else read(path)


@pytest.mark.parametrize(("row", "output"), FORMS)
def test_any_text_is_text(row: Exporter, output: str, tmp_path: Path) -> None:
    """As a name, an error, an id or a parameter it ends nothing, begins nothing, hides nobody."""
    odd = [
        msgspec.structs.replace(call("odd", 10, 5), **{field: text})
        for text in TEXTS
        for field in ("tool", "err", "error", "params", "status", "parent", "trace", "fingerprint")
    ]
    calls = [*numbered(odd), *numbered([call(PLAIN, 0, 5)])]
    calls += [msgspec.structs.replace(call("odd", 10, 5), id=text, remote=text) for text in TEXTS]
    names = names_in(row, output, written(row, output, calls, tmp_path))
    assert names is None or PLAIN in names
    assert names is None or "forged" not in names


@pytest.mark.parametrize(("row", "output"), FORMS)
@pytest.mark.parametrize("calls", [odd_times, odd_families, edited_lines])
def test_any_call_is_written(row: Exporter, output: str, calls: Any, tmp_path: Path) -> None:
    """Whatever its times, ids and parents are: the others stand in the file."""
    plain = msgspec.structs.replace(call(PLAIN, 10, 5), id="f" * 16)
    path = written(row, output, [*calls(), plain], tmp_path)
    names = names_in(row, output, path)
    assert names is None or PLAIN in names


@pytest.mark.parametrize(("row", "output"), FORMS)
def test_a_file_of_no_call_can_be_read(row: Exporter, output: str, tmp_path: Path) -> None:
    """There is a file, and it shows nothing."""
    names = names_in(row, output, written(row, output, [], tmp_path))
    assert not names or names == {""}


@pytest.mark.parametrize(("row", "output"), FORMS)
def test_what_fails_on_the_way_is_raised(row: Exporter, output: str, tmp_path: Path) -> None:
    """An end that came too early is no end."""

    def calls() -> Iterator[KeptCall]:
        yield from islice((call(f"x.{n}", n, 1) for n in count()), 3_000)
        raise OSError("the disk is gone")

    with pytest.raises(Exception, match="the disk is gone"):
        written(row, output, calls(), tmp_path)


@pytest.mark.parametrize(("row", "output"), FORMS)
def test_memory_does_not_grow_with_calls(row: Exporter, output: str) -> None:
    """Of 45,000 further calls, 40 MiB where they are held, next to nothing is there in the end."""
    words = [PYTHON, PROGRAMS / "export" / "peaks.py", row.name, output]
    told = subprocess.run(
        [*words, "105000", "150000"], capture_output=True, text=True, check=True, timeout=DEADLINE_S
    )
    few, many = map(int, told.stdout.split())
    assert many - few < 20 << 10, "KiB"
