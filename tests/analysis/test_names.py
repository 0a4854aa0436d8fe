"""Names that vary without end: told by what they have in common, and nothing else is told."""

from __future__ import annotations

import uuid

import pytest

from shmperf.analysis.names import advice_for, varying


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"job {n}" for n in range(17, 217)], "job *"),
        ([f"v{n}.{n}/search" for n in range(60)], "v*/search"),
        ([f"fetch:{uuid.UUID(int=n << 80 | 0xABC)}:done" for n in range(60)], "fetch:*:done"),
        ([f"doc {n * 7919 + 0x1ABCDEF0123:x}" for n in range(60)], "doc *"),
        ([f"task kq9X{n:03}zT4bB7pQ" for n in range(60)], "task *"),
        ([f"größe {n},5" for n in range(60)], "größe *"),
    ],
)
def test_names_that_differ_in_a_number_or_an_id_are_one_pattern(
    names: list[str], pattern: str
) -> None:
    """Fifty and more are told as one, with how many there are and the first of them."""
    (found,) = varying(["search", "llm_call", *names])
    assert (found.pattern, found.tools) == (pattern, len(names))
    assert found.examples == names[:3]


def test_names_that_share_a_first_word_are_told_from_five_hundred_on() -> None:
    """A URL, a path or a user's name behind the tool's own name varies without numbers, too."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    users = [f"greet {a}{b}" for a in letters for b in letters]
    (found,) = varying(users)
    assert (found.pattern, found.tools) == ("greet *", 676)
    assert varying(users[:499]) == []


def test_tools_that_are_merely_many_are_left_alone() -> None:
    """Versions, a large catalogue and the empty name are nobody's mistake."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"{a}{b}{c}" for a in letters for b in letters for c in "xyz"]
    assert varying(["", "v1", *(f"model {n}" for n in range(12)), *words]) == []
    assert varying([]) == []


def test_the_advice_names_a_tool_to_write_instead() -> None:
    """What is left of the pattern is the name, what varies is a parameter."""
    (found,) = varying(f"job {n}" for n in range(17, 1217))
    assert advice_for(found) == (
        "1,200 tools are named 'job *' ('job 17', 'job 18'): "
        "one tool 'job' with a parameter has statistics of its own"
    )
    (numbers,) = varying(str(n) for n in range(60))
    assert advice_for(numbers).endswith(": one tool with a parameter has statistics of its own")


def test_of_a_very_long_name_its_begin_is_looked_at() -> None:
    """Names that differ in a number there are one pattern; behind it they stay as they are."""
    long = "x" * 10_000
    assert [one.tools for one in varying(f"job {n} {long}" for n in range(60))] == [60]
    assert varying(f"{long} {n}" for n in range(60)) == []
