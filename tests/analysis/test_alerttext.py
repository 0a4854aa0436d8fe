"""What an alert says: one line that a log and a terminal can bear, whatever a tool is called."""

from __future__ import annotations

import pytest

from shmperf.analysis.alerttext import Stuck, change_said, short_name, stuck_said
from shmperf.analysis.changes import Change


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("search", "search"),
        ("\x1b[2Jgone\nforged: line", "?[2Jgone?forged: line"),
        ("", "(no name)"),
        (" \t", "?"),
        ("x" * 300, "x" * 99 + "…"),
        ("日本 ä", "日本 ä"),
    ],
)
def test_names_are_a_piece_of_one_line(name: str, shown: str) -> None:
    """In whichever sentence they stand; the alert itself has the name as it is."""
    assert short_name(name) == shown
    change = Change(
        tool=name,
        kind="latency",
        is_begin=True,
        reason="worse",
        what="p50",
        since_s=1.0,
        at_s=2.0,
        usual=0.1,
        now=0.2,
        calls=50,
    )
    assert change_said(change).text.startswith(f"{shown}: p50 is 200 ms")
    stuck = stuck_said(name, 1, 1.0, Stuck(1, 2, 3.0, [name]))
    assert stuck.text.startswith(f"{shown}: 1 call is open")
    assert stuck.text.endswith(f"called by {shown}")
