"""joblib's tasks are calls in every backend; what looks after them is none."""

from __future__ import annotations

import pytest

from tests.support import PYTHON, Place, needs, program_text

needs("joblib")


def edges(place: Place, name: str, *arguments: str) -> dict[tuple[str | None, str], int]:
    """Who called what, how often, in a program that is run with every integration."""
    path = place.write("program.py", program_text(f"frameworks/{name}"))
    command = ("run", "--instrument", "auto", "--", PYTHON, str(path), *arguments)
    place.shmperf(*command)
    return {(edge["parent"], edge["tool"]): edge["calls"] for edge in place.ask("tree")}


@pytest.mark.parametrize(
    ("backend", "workers"), [("loky", 2), ("threading", 2), ("multiprocessing", 2), ("loky", 1)]
)
def test_each_element_of_a_batch_is_a_call(place: Place, backend: str, workers: int) -> None:
    """Every task is one call beneath who called ``Parallel``, and no helper thread is a call."""
    found = edges(place, "joblib_tasks", backend, str(workers))
    assert found == {(None, "outer"): 1, ("outer", "square"): 8}


def test_langchains_executor_wrapper_is_no_call(place: Place) -> None:
    """A batch of runnables records what they run, and not the wrapper around it."""
    needs("langchain-core")
    found = edges(place, "langchain_batch")
    assert found == {(None, "outer"): 1, ("outer", "add"): 5, (None, "add"): 1}
