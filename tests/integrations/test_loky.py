"""loky's tasks are calls, with ``auto``, where no joblib stands between."""

from __future__ import annotations

from tests.support import PYTHON, Place, needs, program_text

needs("loky")


def test_each_task_is_a_call(place: Place) -> None:
    """Submitted and mapped tasks of every executor are one call each, and no helper is one."""
    path = place.write("program.py", program_text("frameworks/loky_tasks"))
    place.shmperf("run", "--instrument", "auto", "--", PYTHON, str(path))
    found = {(edge["parent"], edge["tool"]): edge["calls"] for edge in place.ask("tree")}
    assert found == {(None, "outer"): 1, ("outer", "square"): 9}
