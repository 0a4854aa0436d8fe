"""The compiled path beside the one in Python: layout, sources, and the bytes that both write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.compiled.build import digest
from shmperf.compiled.chosen import hot, why_not
from shmperf.shm.record import NAMED, PRUNED, kind_of
from shmperf.worker.capture import SHORT, SHORT_ALONE, Cut, short_body
from tests.support import IN_FULL, PROGRAMS, Place, assert_books_balance

from .layout_text import made, there

COMPILED = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")


def test_its_layout_is_that_of_the_python_modules() -> None:
    """Who changes the one has the other written: ``python -m tests.worker.layout_text``."""
    assert there().read_text() == made()


@COMPILED
def test_it_is_built_from_the_sources_that_are_here() -> None:
    """Who changes these installs anew: ``pip install -e .``."""
    assert digest(Path(there()).parent) == hot.SOURCES


class OtherText(str):
    """No exact string."""

    __slots__ = ()


def near(length: int) -> st.SearchStrategy[str]:
    """Texts around that length, of one, two, three and four bytes a character."""
    letters = st.sampled_from(["a", '"', "é", "ツ", "🐍", "\x00"])
    sizes = st.integers(max(0, length - 2), length + 2)
    return st.builds(lambda letter, size: letter * size, letters, sizes)


EDGES = [0, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1]
EDGES += [1 << 63, (1 << 64) - 1, 1 << 64, -1, -32, -33, -128, -129, -32768, -32769]
EDGES += [-(1 << 31), -(1 << 31) - 1, -(1 << 63), -(1 << 63) - 1, 1 << 200]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(EDGES),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from([31, 32, SHORT, SHORT_ALONE, 196, 255]).flatmap(near),
    st.sampled_from(["\ud800", "half \udfff", OtherText("other"), b"bytes", 1j, {1}, ...]),
)
KEYS = st.one_of(st.text(max_size=8), near(SHORT), st.sampled_from([1, OtherText("k"), "\ud800"]))
MEMBERS = st.one_of(LEAVES, st.lists(LEAVES, max_size=2))
VALUES = st.one_of(
    LEAVES,
    st.lists(MEMBERS, max_size=14),
    st.lists(LEAVES, max_size=14).map(tuple),
    st.dictionaries(KEYS, MEMBERS, max_size=14),
)
NAMES = st.one_of(st.text(max_size=6), near(60), st.just("\ud800"))


@COMPILED
@given(st.lists(VALUES, max_size=18), st.dictionaries(NAMES, VALUES, max_size=18))
def test_parameters_are_encoded_as_in_python(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Byte for byte, flags too; what C leaves to Python is only what fills a slot to its end."""
    found = hot.captured(*args, **kwargs)
    expected = short_body(tuple(args), kwargs) if args or kwargs else b""
    if found is None:
        assert expected is None or len(expected) > 190
        return
    body, low_meta = found
    assert body == expected
    assert low_meta & 0xFF == len(body)
    flags = NAMED if args and kwargs else 0
    assert kind_of(low_meta) == flags | (PRUNED if type(expected) is Cut else 0)


@COMPILED
def test_what_a_call_can_do_is_recorded_alike(place: Place) -> None:
    """Arguments, outcomes, depth, threads, contexts, forks: the same records on both paths."""
    found = {}
    for switch in ("0", "1"):
        storage = f"storage: {{path: on_{switch}}}\n"
        limits = "default_perf_points: -1\ntool_limits: {none: 0}\n"
        place.write("config/tool_perf_limits.yaml", limits + storage)
        program = place.run_program(
            "compiled/every_kind_of_call", f"on_{switch}", SHMPERF_COMPILED=switch
        )
        found[switch], stats = json.loads(program)
        assert_books_balance(stats)
    assert len(found["0"][1]) > 700
    assert found["0"] == found["1"]


@COMPILED
def test_where_stores_are_seen_out_of_order_calls_are_recorded_alike(place: Place) -> None:
    """With C, whose stores release what Python has stored too, and with checksums in its place."""
    program, found = PROGRAMS / "compiled/every_kind_of_call.py", {}
    for way in ("pure", "released", "sealed"):
        storage = f"storage: {{path: on_{way}}}\n"
        limits = "default_perf_points: -1\ntool_limits: {none: 0}\n"
        place.write("config/tool_perf_limits.yaml", limits + storage)
        name = "every_kind_of_call" if way == "pure" else "as_on_aarch64"
        printed = place.run_program(
            f"compiled/{name}",
            *(f"on_{way}", str(program), way),
            SHMPERF_COMPILED=str(int(way != "pure")),
        )
        found[way], stats = json.loads(printed)
        assert_books_balance(stats)
    assert found["released"] == found["pure"]
    assert found["sealed"] == found["pure"]


@COMPILED
@pytest.mark.parametrize("collector", ["0", "1"])
def test_pure_and_compiled_processes_share_a_session(place: Place, collector: str) -> None:
    """Whichever path a collector takes, it reads each segment as that was written."""
    daemon = place.start_module(
        *("collect", "--session", "both", "--storage", "out"), SHMPERF_COMPILED=collector
    )
    place.collector_pid("--session", "both")
    for switch in ("0", "1"):
        place.run_program(
            "end_to_end/pools", "fork", SHMPERF_SESSION="both", SHMPERF_COMPILED=switch
        )
    stats = place.stats("--session", "both")
    assert stats["tool_stats"]["leaf"]["count"] == 2 * 1120
    assert_books_balance(stats)
    daemon.terminate()
    place.finish(daemon)
    assert len(place.lines("leaf", place.cwd / "out")) == 100


@COMPILED
def test_what_is_not_known_yet_is_refused(place: Place) -> None:
    """Modules are imported when they are needed: nothing is looked at before it is there."""
    found = json.loads(place.run_program("compiled/knows_nothing_yet"))
    errors = {"TypeError", "RuntimeError", "ValueError", "AttributeError", "NotImplementedError"}
    assert [one for one in found if one not in errors] == []


@COMPILED
def test_calls_leave_no_references_behind(place: Place) -> None:
    """After thousands of each kind (a million by command) as much memory is in use as before."""
    place.write("config/tool_perf_limits.yaml", "sampling: {tools: {counted: 1000000}}\n")
    count = 1_000_000 if IN_FULL else 10_000
    found, stats = json.loads(place.run_program("compiled/leaves_no_references", str(count)))
    assert_books_balance(stats)
    # Rows, a larger ring, a thread's first: what comes once and not with each call.
    assert {kind: more for kind, more in found.items() if more > count // 20} == {}


@COMPILED
def test_what_is_common_enters_no_function_in_python(place: Place) -> None:
    """Whatever a call leaves out that it may leave out; but for what people call themselves."""
    place.write(
        "config/tool_perf_limits.yaml",
        "optimization: {trigger_threshold: 0}\nsampling: {tools: {counted: 1000000}}\n",
    )
    normal, in_detail = json.loads(place.run_program("compiled/stays_in_c"))
    own = {kind: ["track_tool_call", "end_tool_call"] for kind in normal if "pair" in kind}
    own |= {kind: [] for kind in normal if "block" in kind}
    own |= {kind: ["entrance"] for kind in normal if "coroutine" in kind}
    # 3.11 enters no function but by its body.
    a_functions = ["entrance"] if sys.version_info < (3, 12) else []
    assert normal == {kind: own.get(kind, a_functions) for kind in normal}
    assert in_detail == normal


def test_calls_may_be_as_deep_as_the_program_allows(place: Place) -> None:
    """Whichever way they go, calls of C within calls of C come to an end long before."""
    place.write(
        "config/tool_perf_limits.yaml",
        "tool_limits: {unrecorded: 0}\noptimization: {trigger_threshold: 0}\n"
        "sampling: {tools: {sampled: 1000}}\n",
    )
    reached, stats = json.loads(place.run_program("compiled/as_deep"))
    deep, flat = 12_000, {0, 1}
    assert [n for n in reached if n not in flat] == [deep] * 13
    assert_books_balance(stats)
    assert (stats["in_flight"], stats["faults"]) == (0, {})


def test_a_tool_may_be_bound_anew_as_its_calls_begin(place: Place) -> None:
    """By another thread, or a finaliser: what a call begins by is held until it has begun."""
    place.write(
        "config/tool_perf_limits.yaml",
        "ring: {first_slots: 4}\noptimization: {trigger_threshold: 0}\n"
        "sampling: {tools: {counted: 100}}\n",
    )
    out = place.run_program("compiled/bound_anew_meanwhile", PYTHONMALLOC="debug")
    stats = json.loads(out)
    assert_books_balance(stats)
    assert (stats["in_flight"], stats["faults"]) == (0, {})
    assert stats["begun"] > 10_000
