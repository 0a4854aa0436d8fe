"""What a call's exception says of how it ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess

import pytest

from shmperf.shm.record import Outcome
from shmperf.worker.outcome import status_for
from tests.support import PROGRAMS, PYTHON, Place, needs


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, Outcome.OK),
        (ValueError(), Outcome.ERROR),
        (KeyboardInterrupt(), Outcome.ERROR),
        (TimeoutError(), Outcome.TIMEOUT),
        (asyncio.CancelledError(), Outcome.CANCELLED),
        (concurrent.futures.CancelledError(), Outcome.CANCELLED),
    ],
)
def test_outcome_follows_the_exception(error: BaseException | None, status: int) -> None:
    """Errors, timeouts and cancellations are told apart."""
    assert status_for(error) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (type("Late", (TimeoutError,), {})(), Outcome.TIMEOUT),
        (TimeoutError(), Outcome.TIMEOUT),
        (concurrent.futures.TimeoutError(), Outcome.TIMEOUT),
        (type("Stopped", (asyncio.CancelledError,), {})(), Outcome.CANCELLED),
        (GeneratorExit(), Outcome.ERROR),
        (SystemExit(0), Outcome.OK),
        (SystemExit(), Outcome.OK),
        (SystemExit(False), Outcome.OK),
        (SystemExit(1), Outcome.ERROR),
        (SystemExit("0"), Outcome.ERROR),
        (asyncio.InvalidStateError(), Outcome.ERROR),
        (OSError(110, "timed out"), Outcome.TIMEOUT),
        (ExceptionGroup("g", [TimeoutError()]), Outcome.ERROR),
        (
            BaseExceptionGroup("g", [BaseExceptionGroup("h", [asyncio.CancelledError()])]),
            Outcome.CANCELLED,
        ),
        (BaseExceptionGroup("g", [asyncio.CancelledError(), ValueError()]), Outcome.ERROR),
    ],
    ids=lambda found: type(found).__name__,
)
def test_outcome_follows_the_family_of_the_exception(error: BaseException, status: int) -> None:
    """Subclasses count as what they derive from."""
    assert status_for(error) == status


def test_outcomes_are_told_without_asyncio() -> None:
    """A program that does not use asyncio does not import it for its errors."""
    subprocess.run([PYTHON, str(PROGRAMS / "outcome/outcomes_without_asyncio.py")], check=True)


@pytest.mark.parametrize("library", ["trio", "gevent"])
def test_being_told_to_stop_is_no_error(place: Place, library: str) -> None:
    """Cancelled by trio or gevent, or ended by an exit without a fault: no tool has failed."""
    needs(library)
    place.run_program("outcome/told_to_stop", library)
    tools = place.stats()["tool_stats"]
    assert {name: row["errors"] for name, row in tools.items()} == {
        "stopped": 0,
        "group": 0,
        "leaves": 0,
        "fails": 2,
    }
    place.wait_for_end()
    assert {name: [line["data"].get("status") for line in place.lines(name)] for name in tools} == {
        "stopped": ["cancelled"] * 2,
        "group": ["cancelled"] * 2,
        "leaves": [None] * 2,
        "fails": ["error"] * 2,
    }
    assert {line["data"].get("err") for line in place.lines("leaves")} == {None}
