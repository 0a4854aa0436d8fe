"""Kept calls as readers see them: the slowest lines, without looking at all of each."""

from __future__ import annotations

import json
import random
from heapq import nlargest

import pytest

from shmperf.shm.record import Call, Detail, Outcome
from shmperf.storage.kept import as_kept, kept_call, rising_floor
from shmperf.storage.lines import duration_of, jsonl, parse


def line(number: int, duration_ns: int | None, *, in_detail: bool = False) -> bytes:
    detail = Detail() if in_detail else None
    status = Outcome.OK if duration_ns is not None else Outcome.ABORTED
    return jsonl([Call("a", number, 9, 0, 10**18, duration_ns, status, "{}", detail=detail)])


def test_candidates_hold_the_slowest() -> None:
    """Of lines in any order, both shapes and aborted calls among them, whatever is asked for."""
    rng = random.Random(5)  # noqa: S311  the same lines in each run
    durations = [rng.choice((None, rng.randrange(1000), 7)) for _ in range(500)]
    lines = [line(n, ns, in_detail=n % 3 == 0) for n, ns in enumerate(durations, 1)]
    for most in (1, 7, 600):
        chosen = list(filter(rising_floor(most), lines))
        found = nlargest(most, map(duration_of, chosen), key=lambda d: d or 0.0)
        expected = nlargest(most, (ns for ns in durations if ns is not None))
        assert found == pytest.approx([ns / 1e9 for ns in expected])
        assert len(chosen) <= most * 12


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"data":1}', b'{"data":{"d":"x"}}', b'{"data":{"d":1' + b"0" * 400],
)
def test_a_damaged_line_is_no_candidate(text: bytes) -> None:
    """Files may have been edited by anybody."""
    assert duration_of(text) is None
    assert not rising_floor(3)(text)


@pytest.mark.parametrize("in_detail", [False, True])
def test_a_call_reads_as_its_line_would(in_detail: bool) -> None:
    """Whoever merges calls and lines has one shape."""
    text = line(7, 1_500_000, in_detail=in_detail)
    parsed = parse(text)
    assert parsed is not None
    given = Call("a", 7, 9, 0, 10**18, 1_500_000, 0, "{}", detail=Detail() if in_detail else None)
    assert as_kept(given) == kept_call(parsed)
    assert duration_of(text) == pytest.approx(as_kept(given).duration_s)
    assert json.loads(text)["data"]["id"] == as_kept(given).id
