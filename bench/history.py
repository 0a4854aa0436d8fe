"""
Compressed history: how much smaller, how fast, how long the drain waits for it, what readers need.

Lines are as a program leaves them: ids and times that go on, durations and parameters that differ.
``python -m bench.history [LINES]`` has readers read so many lines (ten millions when none is said);
``python -m bench.history LINES sql csv parquet`` makes these exports of them, and asks in SQL.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from shmperf.shm.record import Call, Outcome
from shmperf.storage.archive import Archive
from shmperf.storage.codecs import codec_named
from shmperf.storage.history import History
from shmperf.storage.pace import Pace
from shmperf.storage.segments import Segments
from shmperf.testing import Room

from .measure import PROGRAMS, Row, private_place, row_of
from .report import table

__all__ = ["Storage", "history", "made_calls"]

_SEGMENT_LINES = 50_000
_BATCH = 10_000
_QUERIES = ("quarterly report", "opening hours", "error 504", "how to reset", "weather tomorrow")
_MANY = 10_000_000
_MIB = 1 << 20
_COMMANDS = ("slow", "errors")


def history(*, quick: bool) -> list[Row]:
    """The rows."""
    rounds = 3 if quick else 9
    return [
        *_moving("zstd", rounds),
        *_moving("gzip", 1),
        *_pauses(20 if quick else 60),
        *_reading(100_000 if quick else 1_000_000),
    ]


def made_calls(first: int, count: int, rng: random.Random) -> list[Call]:
    """*count* calls as a program's workers leave them, numbered from *first* on."""
    start_ns = 1_764_000_000_000_000_000 + first * 1_000_000
    found = []
    for number in range(first, first + count):
        start_ns += rng.randrange(200_000, 1_800_000)
        has_failed = rng.random() < 0.01
        query = f"{rng.choice(_QUERIES)} {rng.randrange(10_000)}"
        params = f'{{"query":"{query}","limit":{rng.randrange(1, 50)}}}'
        found.append(
            Call(
                tool="search",
                id=(7 + number % 4 << 32) | number,
                pid=4711 + number % 4,
                parent=(3 << 32) | number // 8 if number % 3 else 0,
                start_ns=start_ns,
                duration_ns=int(rng.lognormvariate(15, 1)),
                status=Outcome.ERROR if has_failed else Outcome.OK,
                err="TimeoutError" if has_failed else None,
                params=params,
            )
        )
    return found


class Storage:
    """History and archive of a directory, written without a collector."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History(path)
        self.archive = Archive(path, self.history, Pace(time.monotonic))
        self.segments = Segments()
        self._rng = random.Random(1)  # noqa: S311  the same lines every time
        self._next = 0

    def write(self, count: int) -> None:
        """So many further lines, in whole batches."""
        for _ in range(0, count, _BATCH):
            calls = {"search": made_calls(self._next, _BATCH, self._rng)}
            self.history.prepare_all({"search": _BATCH}, {"search": -1})
            self.history.append_all(calls, {"search": -1})
            self._next += _BATCH

    def move(self, codec: str) -> None:
        """All lines that fill segments."""
        work = self.archive.move("search", self.segments, codec_named(codec), _SEGMENT_LINES)
        for moved in work:
            if moved is not None:
                self.segments = moved.segments


def _moving(codec: str, rounds: int) -> Iterator[Row]:
    """How much smaller segments are, and how many bytes of lines move in a second of CPU time."""
    ratios, rates = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="shmperf-bench-") as place:
            storage = Storage(Path(place))
            storage.write(2 * _SEGMENT_LINES)
            raw = storage.history.files["search"].size
            start_s = time.process_time()
            storage.move(codec)
            rates.append(raw / 1e6 / (time.process_time() - start_s))
            ratios.append(raw / storage.segments.size)
    is_zstd = codec == "zstd"
    yield row_of(
        f"{codec}: lines are larger by", ratios, "×", target=6.0 if is_zstd else None, at_least=True
    )
    yield row_of(
        f"{codec}: moved, index and rest of the file included",
        rates,
        "MB/s",
        target=200.0 if is_zstd else None,
        at_least=True,
    )


def _pauses(rounds: int) -> Iterator[Row]:
    """The longest round of a collector that drains and writes, with segments and without."""
    longest = {"off": [0.0], "zstd": [0.0]}
    for codec in ("off", "zstd", "zstd", "off"):
        with tempfile.TemporaryDirectory(prefix="sp-", dir="/tmp") as place:
            worst_s, segments = _longest_round(Path(place), codec, rounds)
            if bool(segments) != (codec != "off"):
                raise RuntimeError(f"{codec}: {segments} segments")
            longest[codec].append(worst_s * 1e3)
    for codec, found in longest.items():
        yield row_of(f"{codec}: the drain's longest round", found[1:], "ms")


def _longest_round(place: Path, codec: str, rounds: int) -> tuple[float, int]:
    text = f"tool_limits: {{search: -1}}\nhistory: {{segment_lines: 5000, compress: '{codec}'}}\n"
    room = Room(place, place, text)
    try:
        worker = room.worker(slots=4096)
        room.turn(2)
        worst_s = 0.0
        for _ in range(rounds):
            for number in range(2_000):
                worker.call("search", number)
            for _ in range(10):
                start_s = time.perf_counter()
                room.turn()
                worst_s = max(worst_s, time.perf_counter() - start_s)
        return worst_s, len(list(room.storage.glob("search_perf.0*")))
    finally:
        room.finish()
        room.close()


def _reading(lines: int, whole: Sequence[str] = ()) -> Iterator[Row]:
    """
    Time and memory of commands that read it all; of one that looks for a minute of it.

    With *whole*, formats and ``sql``, that of exports of all lines instead.
    """
    with private_place() as (cwd, environ):
        storage = Storage(cwd / "perf_data")
        for _ in range(0, lines, _SEGMENT_LINES):
            storage.write(_SEGMENT_LINES)
            storage.move("zstd")
        disk = sum(path.stat().st_size for path in storage.path.iterdir())
        title = f"{lines:,} lines"
        yield row_of(f"{title}: on disk", [disk / _MIB], "MiB")
        minute = ("--since", _moment(lines // 2), "--until", _moment(lines // 2 + 60_000))
        commands = {name: (name,) for name in _COMMANDS}
        commands |= {"export": ("export", "csv", *minute)}
        if whole:
            commands = {name: _whole(name) for name in whole}
        for name, words in commands.items():
            seconds, mib = _command(words, cwd, environ)
            yield row_of(f"{title}: shmperf {name}", [seconds], "s")
            target = None if whole else 64.0
            yield row_of(f"{title}: shmperf {name}, memory", [mib], "MiB", target=target)


def _whole(name: str) -> tuple[str, ...]:
    """The command that reads all calls for that format, or for a query."""
    if name == "sql":
        return ("sql", "SELECT status, count(*), quantile_cont(ms, 0.95) FROM calls GROUP BY ALL")
    return ("export", name.partition(".")[0], "-o", f"calls.{name}")


def _command(words: Sequence[str], cwd: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Seconds, and resident MiB at most, of a command that reads."""
    # What the system says of a child's peak has the parent's in it, whose memory it begins with.
    program = str(PROGRAMS / "memory_of_command.py")
    start_s = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, program, *words, "--storage", "perf_data"],
        cwd=cwd,
        env=environ,
        check=False,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    peak_kib = int(ended.stderr.splitlines()[-1])
    return time.perf_counter() - start_s, peak_kib * 1024 / _MIB


def _moment(number: int) -> str:
    """When about the call of that number began."""
    began_s = 1_764_000_000 + number / 1_000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began_s))


def main() -> None:
    """Readers over very many lines."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else _MANY
    free = shutil.disk_usage(tempfile.gettempdir()).free
    whole = sys.argv[2:]
    # An export, what it puts aside, and that of a query beside it.
    needed = lines * (1_500 if whole else 60)
    if free < needed:
        sys.exit(f"{lines:,} lines need {needed >> 20} MiB in {tempfile.gettempdir()}")
    Console().print(table("history", list(_reading(lines, whole))))


if __name__ == "__main__":
    main()
