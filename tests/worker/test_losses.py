"""What a program is told of calls that get no record: each cause once, and what to do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.errors import Once
from shmperf.session.rendezvous import Request, join
from shmperf.shm.causes import LOSSES, Loss
from shmperf.shm.memory import remove_memory
from shmperf.shm.segment import Segment
from shmperf.worker.guard import Guard
from shmperf.worker.losses import Losses
from tests.support import Place

SMALL = "ring: {budget_bytes: 262144}\n"


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def free_bytes() -> list[int]:
    """What is left of shared memory, the last one."""
    return [1 << 30]


@pytest.fixture
def losses(tmp_path: Path, runtime: Path, guard: Guard, free_bytes: list[int]) -> Iterator[Losses]:
    name = f"shmperf-{secrets.token_hex(6)}"
    segment = Segment(name, budget_bytes=1 << 20)
    found = Losses(guard, Once(), lambda: free_bytes[-1])
    found.open(join(Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})), segment)
    yield found
    remove_memory(name, None)
    segment.close()


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (Loss.RING_FULL, "no collector drains them"),
        (Loss.NO_MEMORY, "raise ring.budget_bytes (now 6 MiB)"),
        (Loss.NO_ROW, "raise ring.budget_bytes (now 6 MiB)"),
        (Loss.RE_ENTERED, "a few are normal"),
        (Loss.TOO_LARGE, "record fewer (params=…)"),
        (Loss.INTERNAL, "the reason is told apart"),
    ],
)
def test_each_cause_is_told_once_with_what_to_do(
    losses: Losses, caplog: pytest.LogCaptureFixture, cause: int, advice: str
) -> None:
    """However many calls are lost, one line names the cause and the way out."""
    for _ in range(3):
        losses.count(cause)
        losses.tell()
    (text,) = [record.getMessage() for record in caplog.records]
    assert f"({LOSSES[cause]})" in text
    assert advice in text


def test_full_shared_memory_is_told_as_that(
    losses: Losses, caplog: pytest.LogCaptureFixture, free_bytes: list[int]
) -> None:
    """Where the budget is not what keeps rings from growing, nobody is told to raise it."""
    free_bytes.append(4096)
    losses.count(Loss.NO_MEMORY)
    losses.tell()
    (record,) = caplog.records
    assert "/dev/shm is full" in record.getMessage()
    assert "budget" not in record.getMessage()


def test_a_refused_call_is_not_told_as_one_without_memory(
    losses: Losses, caplog: pytest.LogCaptureFixture
) -> None:
    """Both stand under one cause in the books; the advice is each one's own."""
    losses.count(Loss.NO_ROW, is_refused=True)
    losses.count(Loss.NO_ROW)
    losses.tell()
    texts = sorted(record.getMessage() for record in caplog.records)
    assert len(texts) == 2
    assert "a signal handler" in texts[0]
    assert "too many are open at once" in texts[1]


def test_nothing_is_told_while_something_is_held(
    losses: Losses, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """A logger is foreign code: what is lost in the middle of a refill is told behind it."""

    def refill() -> None:
        losses.count(Loss.RE_ENTERED)
        losses.tell()

    guard.run(refill, lambda: None)
    assert caplog.records == []
    losses.tell()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("drains", ["nobody", "stopped"])
def test_losses_are_told_once_a_program(place: Place, drains: str) -> None:
    """Threads, forks and a logger that calls the tool itself make it one line all the same."""
    place.write("config/tool_perf_limits.yaml", SMALL)
    environ = {"SHMPERF_SESSION": "nobody"} if drains == "nobody" else {}
    said = json.loads(place.run_program("api/losses_are_told", drains, **environ))
    assert said["lost"]["ring_full"] > 1
    assert said["fork"] == 0
    told = [text for text in said["told"] if "(ring_full)" in text]
    # Another cause is another line; none is there twice.
    assert len(said["told"]) == len(set(said["told"])) <= len(said["lost"])
    (text,) = told
    if drains == "nobody":
        assert "no collector drains them; start one: shmperf collect --session nobody" in text
    else:
        assert "raise ring.budget_bytes (now 0.25 MiB)" in text
