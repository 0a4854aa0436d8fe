"""Kept calls as readers see them: the slowest lines, without looking at all of each."""

from __future__ import annotations

import json
import random
from heapq import nlargest

import msgspec
import pytest

from shmperf.shm.record import Call, Detail, Outcome
from shmperf.storage.kept import as_kept, kept_call, kept_in, rising_floor
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
def test_a_damaged_line_takes_nobodys_place(text: bytes) -> None:
    """Files may have been edited by anybody; whoever reads such a line counts it."""
    assert duration_of(text) is None
    is_candidate = rising_floor(1)
    assert is_candidate(text) == (parse(text) is None)
    assert is_candidate(line(1, 1))


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


@pytest.mark.parametrize("in_detail", [False, True])
@pytest.mark.parametrize("duration_ns", [0, 1_500_000, None])
@pytest.mark.parametrize("params", ["{}", '{"a":[1,"é"]}', '{"cut":"wh'])
def test_a_call_is_the_same_with_and_without_a_dictionary(
    in_detail: bool, duration_ns: int | None, params: str
) -> None:
    """Whatever of it is there: what is quick is no other reading."""
    detail = Detail(is_summary="cut" in params) if in_detail else None
    status = Outcome.ERROR if duration_ns else Outcome.ABORTED
    told = {"err": "KeyError", "message": "no \x7f", "fingerprint": "f", "where": "w"}
    above = {"trace": 5, "remote": "ab" * 16} if duration_ns else {}
    text = jsonl(
        [
            Call("a", 7, 9, 3, 10**18, duration_ns, 0, params, detail=detail),
            Call(
                "\n", 8, 9, 0, 10**18, duration_ns, status, params, detail=detail, **told, **above
            ),
        ]
    )
    for one in text.splitlines():
        expected = kept_call(parse(one) or {})
        assert kept_in(one, with_params=True) == expected
        assert kept_in(one, with_params=False) == msgspec.structs.replace(expected, params=None)


@pytest.mark.parametrize(
    "data",
    [
        '{"id":7,"s":"x","pid":1.5,"d":true}',
        '{"s":1e400}',
        '{"s":1' + "0" * 400 + "}",
        '{"d":null,"duration_ms":null,"start":1,"s":2,"parent":"p","parent_tool":"q"}',
        '{"status":null,"trace":"","p":{"a":1}}',
    ],
)
def test_odd_lines_read_alike(data: str) -> None:
    """What is no type of ours is read the slow way."""
    text = f'{{"tool":"a","timestamp":"2026-01-01T00:00:00+00:00","data":{data}}}'.encode()
    parsed = parse(text)
    quick = kept_in(text, with_params=False)
    assert quick == (msgspec.structs.replace(kept_call(parsed), params=None) if parsed else None)


def test_what_is_no_line_is_no_call() -> None:
    """Either way."""
    for text in (b"", b"{", b"[]", b'{"tool":"a"}', b'{"tool":"a","data":7}'):
        assert kept_in(text, with_params=True) is kept_in(text, with_params=False) is None
