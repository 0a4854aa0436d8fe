"""Ranking: what the formula promises, what is known of a tool, and the command that shows it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.perfstate import PerfState
from shmperf.analysis.totals import Totals
from shmperf.errors import StoreError
from shmperf.rag import CircuitBreaker, Ranked, ToolStore, Weighing, rank
from shmperf.rag.facts import Facts, facts_of
from shmperf.testing import Clock
from tests.support import Place, measured_slowness, outputs, wait_until

NOW_S = 1_800_000_000.0
HALF_LIFE_S = 600.0

shares = st.floats(0, 1, allow_nan=False)
similarities = st.floats(-1, 1, allow_nan=False)
counts = st.integers(0, 500)
durations = st.floats(1e-6, 60)


def totals(calls: int, failed: int = 0, each_s: float = 0.01, ended_s: float = NOW_S) -> Totals:
    """What a collector counted: so many calls that took so long each."""
    found = Totals()
    found.add([round(each_s * 1e9)] * calls, failed, round(ended_s * 1e9))
    return found


def summary(
    calls: int, failed: int = 0, each_s: float = 0.01, ended_s: float = NOW_S
) -> dict[str, object]:
    """The ``perf_summary`` of the same."""
    state = PerfState(HALF_LIFE_S)
    state.add(totals(calls, failed, each_s, ended_s), NOW_S)
    return state.summary()


def ranked(
    candidates: list[tuple[Any, Any]], summaries: Mapping[str, Any] | None = None, **options: Any
) -> list[Ranked]:
    options = {"live": False, "now_s": NOW_S, **options}
    return rank(candidates, summaries=summaries, **options)


def names(found: list[Ranked]) -> list[str]:
    return [one.name for one in found]


def only(summary: object, **options: Any) -> Ranked:
    """A tool of which only that is known, ranked alone."""
    (found,) = ranked([("tool", 0.5)], {"tool": summary}, **options)
    return found


# --- the formula ---------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(similarities, counts, shares, durations), min_size=2, max_size=6),
    st.floats(-5, 5),
)
def test_only_distances_between_similarities_count(
    tools: list[tuple[float, int, float, float]], shift: float
) -> None:
    """A constant added to every similarity changes no score."""
    summaries = {
        f"t{n}": summary(calls, int(calls * share), each_s)
        for n, (_, calls, share, each_s) in enumerate(tools)
    }
    scores = []
    for added in (0.0, shift):
        found = ranked([(f"t{n}", one[0] + added) for n, one in enumerate(tools)], summaries)
        scores.append({one.name: one.score for one in found})
    for name, score in scores[0].items():
        assert scores[1][name] == pytest.approx(score, rel=1e-6)


@given(counts.filter(bool), shares, durations, durations, st.floats(0, 4), st.floats(0.01, 10))
def test_faster_is_never_worse(
    calls: int, share: float, one_s: float, other_s: float, gamma: float, budget_s: float
) -> None:
    """All else equal, the faster of two tools does not stand behind the slower."""
    fast_s, slow_s = sorted((one_s, other_s))
    failed = int(calls * share)
    found = ranked(
        [("slow", 0.4), ("fast", 0.4)],
        {"slow": summary(calls, failed, slow_s), "fast": summary(calls, failed, fast_s)},
        gamma=gamma,
        latency_budget_s=budget_s,
    )
    by_name = {one.name: one for one in found}
    assert by_name["fast"].score >= by_name["slow"].score * (1 - 1e-9)


@given(counts.filter(bool), counts, counts)
def test_more_failures_are_never_better(calls: int, one: int, other: int) -> None:
    """Of as many calls, the tool with more failed ones does not score higher."""
    few, many = sorted((min(one, calls), min(other, calls)))
    assert only(summary(calls, many)).score <= only(summary(calls, few)).score * (1 + 1e-9)


@given(st.lists(st.tuples(similarities, durations), min_size=1, max_size=6), st.floats(0, 1))
def test_the_gate_holds(tools: list[tuple[float, float]], gate: float) -> None:
    """Whoever is further from the best match than the gate comes after everybody who is not."""
    summaries = {f"t{n}": summary(50, 0, each_s) for n, (_, each_s) in enumerate(tools)}
    given_ = [(f"t{n}", similarity) for n, (similarity, _) in enumerate(tools)]
    found = ranked(given_, summaries, gate=gate)
    best = max(similarity for similarity, _ in tools)
    beyond = [best - dict(given_)[one.name] > gate for one in found]
    assert beyond == sorted(beyond)
    assert sorted(names(found)) == sorted(dict(given_))
    assert all(
        ("beyond the gate" in one.why) == is_out for one, is_out in zip(found, beyond, strict=True)
    )


def test_a_product_is_not_made_up_for() -> None:
    """A perfect tool that does the wrong thing wins by a weighted sum, and not by utility."""
    candidates = [("right", 0.80), ("wrong", 0.55)]
    summaries = {"right": summary(100, 10, 1.0), "wrong": summary(100, 0, 0.001)}
    assert names(ranked(candidates, summaries))[0] == "right"
    weights = Weighing(mode="additive", weights=(0.4, 0.3, 0.3))
    assert names(ranked(candidates, summaries, weighing=weights))[0] == "wrong"
    assert names(ranked(candidates[::-1], summaries, mode="similarity"))[0] == "right"


def test_the_formula_is_the_documented_one() -> None:
    """Relevance × smoothed success × speed, with the figures that `Weighing` holds."""
    weighing = Weighing(latency_budget_s=0.5, gamma=2.0, calibration=(1.0, 10.0), prior=(3.0, 1.0))
    found = ranked(
        [("best", 0.9), ("tool", 0.7)], {"tool": summary(20, 5, 0.25)}, weighing=weighing
    )
    tool = next(one for one in found if one.name == "tool")
    assert tool.relevance == pytest.approx(1 / (1 + math.exp(-(1.0 - 10.0 * 0.2))))
    assert tool.success == pytest.approx((15 + 3) / (20 + 4), abs=1e-6)
    assert tool.speed == pytest.approx((0.5 / 0.75) ** 2, rel=1e-3)
    assert tool.score == pytest.approx(tool.relevance * tool.success * tool.speed)
    assert (tool.calls, tool.source, tool.usable) == (20, "stored", True)
    assert tool.latency_s == pytest.approx(0.25, rel=1e-3)


def test_an_unknown_tool_is_behind_the_good_and_before_the_bad() -> None:
    """Nothing known is no reproach, and no merit."""
    candidates = [("unknown", 0.5), ("good", 0.5), ("bad", 0.5)]
    found = ranked(candidates, {"good": summary(50), "bad": summary(50, 30)})
    assert names(found) == ["good", "unknown", "bad"]
    assert (found[1].calls, found[1].source, found[1].latency_s) == (0, "none", None)
    assert "no call is known" in found[1].why
    assert names(ranked([("a", 0.1), ("b", 0.1)])) == ["a", "b"]


def test_old_evidence_fades() -> None:
    """After many half-lives a tool that failed counts as an unknown one again."""
    fresh, old = only(summary(40, 40)), only(summary(40, 40), now_s=NOW_S + 40 * HALF_LIFE_S)
    assert fresh.success < 0.1
    assert old.success == pytest.approx(0.8, abs=1e-3)


# --- exploring -----------------------------------------------------------------------------------


def test_thompson_explores_and_can_be_repeated() -> None:
    """What is little known comes first now and then; the same seed gives the same order."""
    candidates = [("proven", 0.5), ("new", 0.5)]
    summaries = {"proven": summary(200, 30), "new": summary(1)}

    def firsts(seed: int) -> list[str]:
        rng = random.Random(seed)  # noqa: S311  no secret
        return [
            ranked(candidates, summaries, explore="thompson", rng=rng)[0].name for _ in range(200)
        ]

    assert firsts(1) == firsts(1)
    assert {"proven", "new"} == set(firsts(1))
    hopeless = {"proven": summary(200), "new": summary(200, 200)}
    rng = random.Random(2)  # noqa: S311
    chosen = [ranked(candidates, hopeless, explore="thompson", rng=rng)[0] for _ in range(200)]
    assert set(names(chosen)) == {"proven"}


# --- the circuit breaker -------------------------------------------------------------------------


def test_a_circuit_opens_is_tried_and_closes() -> None:
    """Failures in a row open it; after the cool-down one query tries; a success closes it."""
    clock = Clock(now_s=0.0)
    breaker = CircuitBreaker(failures=3, cooldown_s=10.0, clock=clock)
    assert breaker.look("tool", 100, 2) == "closed"
    assert breaker.look("tool", 102, 4) == "closed"
    assert breaker.look("tool", 103, 5) == "open"
    assert breaker.look("tool", 103, 5) == "open"
    clock.now_s = 10.0
    assert breaker.look("tool", 103, 5) == "half-open"
    assert breaker.look("tool", 103, 5) == "open"
    clock.now_s = 11.0
    assert breaker.look("tool", 104, 6) == "open"
    clock.now_s = 20.9
    assert breaker.look("tool", 104, 6) == "open"
    clock.now_s = 21.0
    assert breaker.look("tool", 104, 6) == "half-open"
    assert breaker.look("tool", 105, 6) == "closed"
    assert breaker.state("tool") == "closed"
    assert breaker.state("another") == "closed"


def test_a_trial_that_nobody_made_is_offered_again() -> None:
    """Half-open is no dead end."""
    clock = Clock(now_s=0.0)
    breaker = CircuitBreaker(failures=1, cooldown_s=10.0, clock=clock)
    assert breaker.look("tool", 4, 4) == "open"
    for now_s, expected in ((10, "half-open"), (19, "open"), (20, "half-open")):
        clock.now_s = now_s
        assert breaker.look("tool", 4, 4) == expected


def test_successes_in_between_keep_a_circuit_closed() -> None:
    """Only failures in a row count; fewer calls than before say nothing."""
    breaker = CircuitBreaker(failures=3)
    for calls, failed in ((2, 2), (4, 3), (6, 5), (3, 3), (4, 3), (5, 4)):
        assert breaker.look("tool", calls, failed) == "closed"
    with pytest.raises(ValueError, match="failures"):
        CircuitBreaker(failures=0)


def test_an_open_circuit_comes_last_and_its_trial_counts_as_unknown() -> None:
    """`rank` feeds the breaker by what it finds of calls."""
    clock = Clock(now_s=0.0)
    breaker = CircuitBreaker(failures=5, cooldown_s=10.0, clock=clock)
    candidates = [("broken", 0.9), ("other", 0.5)]
    summaries = {"broken": summary(20, 20, 0.001), "other": summary(20, 0, 0.001)}
    found = ranked(candidates, summaries, breaker=breaker)
    assert names(found) == ["other", "broken"]
    assert not found[1].usable
    assert "last calls have failed" in found[1].why
    # Whoever is out does not set the measure.
    assert found[0].relevance == only(summary(1)).relevance
    clock.now_s = 10.0
    found = ranked(candidates, summaries, breaker=breaker)
    assert names(found) == ["broken", "other"]
    assert found[0].success == pytest.approx(0.8)
    assert "tried again" in found[0].why


# --- what is known -------------------------------------------------------------------------------


@given(counts.filter(bool), shares, durations, counts, shares, durations)
def test_totals_bring_a_summary_up_to_date(
    calls: int, share: float, each_s: float, more: int, more_share: float, more_s: float
) -> None:
    """What has happened since counts as if the summary had been made now."""
    before = totals(calls, int(calls * share), each_s)
    state = PerfState(HALF_LIFE_S)
    state.add(before, NOW_S)
    after = Totals()
    after.merge(before)
    after.merge(totals(more, int(more * more_share), more_s))
    found = facts_of(state.summary(), after, half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert (found.calls, found.failed, found.source) == (after.count, after.errors, "live")
    assert found.successes == pytest.approx(after.count - after.errors, rel=1e-3, abs=0.01)
    assert found.failures == pytest.approx(after.errors, rel=1e-3, abs=0.01)
    assert found.latency_s == pytest.approx(after.sum_ns / after.count / 1e9, rel=1e-3)


def test_totals_that_are_behind_are_another_history() -> None:
    """After a cleanup, or of another collector: the summary stands alone."""
    found = facts_of(summary(10, 2), totals(3), half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert (found.calls, found.source) == (10, "stored")
    found = facts_of(None, totals(3, 1), half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert (found.calls, found.failed, found.source) == (3, 1, "live")
    found = facts_of(summary(10, 10), Totals(), half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert found.source == "stored"
    nothing = facts_of(None, None, half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert nothing == Facts()


@pytest.mark.parametrize("ahead_s", [1.0, 10 * HALF_LIFE_S, 1e9])
def test_calls_from_the_future_count_as_calls_of_now(ahead_s: float) -> None:
    """A collector or a store whose clock is ahead lends no weight to what it says."""
    for at_s in (NOW_S, NOW_S + ahead_s):
        live = facts_of(
            summary(10, 2), totals(30, 6, ended_s=at_s), half_life_s=HALF_LIFE_S, now_s=NOW_S
        )
        assert (live.successes, live.failures) == pytest.approx((24, 6), rel=1e-3)
        stored = {**summary(10, 2), "last_updated": "2999-01-01T00:00:00+00:00"}
        assert only(stored).success == pytest.approx(only(summary(10, 2)).success)


def test_aborted_calls_are_failures() -> None:
    """A worker that died in a call is the tool's failure, live or stored."""
    died = totals(10)
    died.aborted = 10
    for found in (
        facts_of(None, died, half_life_s=HALF_LIFE_S, now_s=NOW_S),
        facts_of(summary(10), died, half_life_s=HALF_LIFE_S, now_s=NOW_S),
    ):
        assert (found.calls, found.failed) == (20, 10)
        assert found.failures == pytest.approx(10, rel=1e-3)


def test_facts_come_from_the_artifact_a_mapping_or_a_store(tmp_path: Any) -> None:
    """The three ways give the same; a given mapping counts more than the artifact's own."""
    told = summary(10, 3)
    artifact = {"name": "tool", "metadata": {"perf_summary": told}}
    (by_artifact,) = ranked([(artifact, 0.5)])
    with ToolStore(tmp_path / "tools.db") as store:
        store.put("tool_tool", "tool", "what it does")
        store.update_perf({"tool": told})
        (by_store,) = rank([("tool", 0.5)], summaries=store, live=False, now_s=NOW_S)
        (by_search,) = ranked(store.search("does"), now_s=NOW_S)
    assert by_artifact.score == by_store.score == only(told).score
    assert by_artifact.artifact is artifact
    assert by_search.success == by_store.success
    (newer,) = ranked([(artifact, 0.5)], {"tool": summary(11)})
    assert newer.calls == 11


# --- bad input -----------------------------------------------------------------------------------


def test_what_is_no_similarity_comes_last_and_says_so() -> None:
    """NaN, infinities, text and None are refused one by one; the others are ranked."""
    bad = [float("nan"), float("inf"), -float("inf"), None, "0.9", True, 10**400]
    found = ranked([*((f"bad{n}", value) for n, value in enumerate(bad)), ("good", 0.1)])
    assert found[0].name == "good"
    assert found[0].usable
    for one in found[1:]:
        assert (one.usable, one.score, one.similarity) == (False, 0.0, None)
        assert "no finite number" in one.why
    numpy = pytest.importorskip("numpy")
    assert ranked([("tool", numpy.float32(0.5))])[0].similarity == 0.5


@pytest.mark.parametrize(
    "spoilt",
    [
        {"avg_duration_ms": float("nan")},
        {"avg_duration_ms": -1.0},
        {"error_rate": 1.5},
        {"success_lower_bound": float("inf")},
        {"call_count": "many"},
        {"error_count": -1},
        {"half_life_s": []},
    ],
)
def test_a_summary_that_cannot_be_believed_is_passed_over(spoilt: dict[str, object]) -> None:
    """The tool counts as unknown, and its line says why."""
    found = only(summary(50, 50) | spoilt)
    assert (found.source, found.calls) == ("none", 0)
    assert next(iter(spoilt)) in found.why
    assert math.isfinite(found.score)
    assert only(["nonsense"]).source == "none"


def test_artifacts_without_metadata_or_name_are_no_accident() -> None:
    """Without metadata nothing is known; without a name it comes last."""
    found = ranked(
        [({"name": None}, 0.9), ({"name": "a", "metadata": None}, 0.1), ({"name": "b"}, 0)]
    )
    assert names(found) == ["a", "b", ""]
    assert "no name" in found[2].why
    assert ranked([]) == []


@pytest.mark.parametrize("candidate", [("tool",), 7, ("tool", 0.5, 1), None])
def test_what_is_no_candidate_is_told(candidate: Any) -> None:
    """A TypeError names the place."""
    with pytest.raises(TypeError, match="candidate 1: found"):
        ranked([("fine", 0.5), candidate])
    with pytest.raises(TypeError, match="candidate 0: found int, expected an artifact"):
        ranked([(7, 0.5)])


@pytest.mark.parametrize(
    "options",
    [
        {"latency_budget_s": 0},
        {"latency_budget_s": float("nan")},
        {"gamma": -1},
        {"gate": -0.1},
        {"mode": "best"},
        {"explore": "greedy"},
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any]) -> None:
    """A ValueError names the option, before anything is asked."""
    with pytest.raises(ValueError, match=f"{next(iter(options))}: found"):
        ranked([("tool", 0.5)], **options)
    for figures in ({"prior": (0.0, 1.0)}, {"weights": (-1.0, 0, 0)}, {"calibration": (0.0, -1.0)}):
        with pytest.raises(ValueError, match=f"{next(iter(figures))}: found"):
            Weighing(**figures)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.none(), st.text()),
            st.dictionaries(
                st.sampled_from(list(summary(3))),
                st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()),
            ),
        ),
        max_size=5,
    )
)
def test_nothing_that_a_store_may_hold_breaks_a_query(
    tools: list[tuple[Any, dict[str, Any]]],
) -> None:
    """Every candidate comes back once, with finite figures, whatever was said of it."""
    found = ranked(
        [(f"t{n}", one[0]) for n, one in enumerate(tools)],
        {f"t{n}": one[1] for n, one in enumerate(tools)},
        explore="thompson",
    )
    assert sorted(names(found)) == [f"t{n}" for n in range(len(tools))]
    for one in found:
        assert math.isfinite(one.score)
        assert 0 <= one.relevance <= 1
        assert 0 <= one.success <= 1
        assert 0 <= one.speed <= 1
        assert one.why.endswith(".")


# --- with real processes -------------------------------------------------------------------------


class Agent:
    """A program with both tools in a tool store, which calls them on demand."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process = place.start_program("rank/agent")

    def call(self, tool: str, how: str, count: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{tool} {how} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "called\n"


def ask(place: Place, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.ask("rank", "weather in a city", *options)
    return found


@pytest.mark.parametrize("how", ["badly", "slowly"])
def test_the_fast_and_reliable_of_two_is_preferred_within_two_seconds(
    place: Place, how: str
) -> None:
    """With the default configuration, from the moment at which the difference shows."""
    agent = Agent(place)
    for tool in ("fetch_weather", "weather_report"):
        agent.call(tool, "well", 20)
    first = ask(place)
    assert {one["name"] for one in first} == {"fetch_weather", "weather_report"}
    victim, other = first[0]["name"], first[1]["name"]
    agent.call(victim, how, 12)
    slowness, shown_s = measured_slowness(), time.monotonic()
    wait_until(
        lambda: ask(place)[0]["name"] == other,
        lambda: f"{other} to be preferred to {victim}; {ask(place)}",
    )
    took_s = time.monotonic() - shown_s
    # A machine that is busy now may take the more time, before or after.
    assert took_s < (2.0 + 1.0) * max(slowness, measured_slowness())
    found = {one["name"]: one for one in ask(place)}
    assert found[victim]["calls"] == 32
    assert found[victim]["source"] == "live"
    if how == "badly":
        assert found[victim]["success"] < 0.7 < found[other]["success"]
    else:
        assert found[victim]["speed"] < found[other]["speed"]
    agent.place.finish(agent.process)
    place.wait_for_end()
    # What the sink wrote stays when nothing runs any more.
    at_rest = ask(place)
    assert (at_rest[0]["name"], at_rest[0]["source"]) == (other, "stored")
    assert {one["calls"] for one in at_rest} == {20, 32}


def test_a_program_ranks_with_what_it_has_just_called(place: Place) -> None:
    """`rank` in the tracking process sees its own calls at once, without a store."""
    place.run_program("rank/program_ranks_with_what_has")
    place.wait_for_end()


def test_without_a_session_there_is_nothing_live(place: Place) -> None:
    """Ranking goes on without a collector, founds no session and waits for nothing."""
    place.run_program("rank/without_session_there_nothing_live")
    assert place.sessions() == []
    assert not place.storage.exists()


def test_the_command_prints_a_table_and_takes_options(place: Place) -> None:
    """``shmperf rank``: relevance, success, speed, score and why; a store by its path."""
    with ToolStore(place.cwd / "own.db") as store:
        for name, content in (
            ("fetch_weather", "weather of a city"),
            ("slow_weather", "weather of a city"),
            ("send_mail", "a mail to a city hall"),
        ):
            store.put(f"tool_{name}", name, content)
        now_s = time.time()
        for name, each_s in (("fetch_weather", 0.01), ("slow_weather", 3.0)):
            state = PerfState(HALF_LIFE_S)
            state.add(totals(50, 0, each_s, now_s), now_s)
            store.update_perf({name: state.summary()})
    out = place.shmperf("rank", "weather of a city", "--store", "own.db")
    for word in ("score", "relevance", "success", "speed", "why", "fetch_weather", "fits best"):
        assert word in out
    found = place.ask("rank", "weather of a city", "--store", "own.db")
    assert [one["name"] for one in found] == ["fetch_weather", "slow_weather", "send_mail"]
    assert set(found[0]) == {
        *("name", "artifact_id", "score", "similarity", "relevance", "success", "latency_s"),
        *("speed", "calls", "source", "usable", "why"),
    }
    lenient = place.ask(
        *("rank", "weather of a city", "--store", "own.db", "--k", "2", "--gamma", "0"),
        *("--latency-budget", "9", "--gate", "0.01", "--explore", "thompson"),
    )
    assert {one["name"] for one in lenient} == {"fetch_weather", "slow_weather"}
    assert [one["speed"] for one in lenient] == [1.0, 1.0]
    assert "no tool in the store" in place.shmperf("rank", "xylophone", "--store", "own.db")


def test_the_command_says_what_is_missing(place: Place) -> None:
    """Without a store, with one of another kind, with options that make no sense: one line."""
    configured = place.write("other.yaml", "rag: {store: chroma, url: 'tools?collection=tools'}\n")
    ToolStore(place.cwd / "own.db").close()
    for options, expected in (
        ((), "there is no tool store yet"),
        (("--config", str(configured)), "rag.store is chroma"),
        (("--store", "own.db", "--gamma", "-1"), "gamma: found -1.0, expected"),
        (("--store", "own.db", "--latency-budget", "nan"), "latency_budget_s: found nan"),
    ):
        program = place.start_module("rank", "anything", *options)
        out, error = outputs(program)
        assert (program.returncode, out) == (1, ""), error
        assert len(error.splitlines()) == 1, error
        assert expected in error


def test_a_store_that_cannot_be_read_is_told(tmp_path: Any) -> None:
    """A StoreError of the store that was to give summaries reaches the caller."""
    store = ToolStore(tmp_path / "tools.db")
    (tmp_path / "tools.db").unlink()
    with store, pytest.raises(StoreError):
        rank([("tool", 0.5)], summaries=store, live=False)
