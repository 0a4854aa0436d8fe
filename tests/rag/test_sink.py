"""The sink: from tracked calls to the tool store, whoever of them is killed, locked or away."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.stats import News
from shmperf.analysis.totals import Totals
from shmperf.config.options import Options, Rag
from shmperf.errors import StoreError
from shmperf.files import internals
from shmperf.query.track import Track
from shmperf.rag import ToolStore
from shmperf.rag.sink import Delivery, Sink, Target, Timing, lock_of, target_of
from shmperf.session.client import Client
from shmperf.session.files import try_lock
from shmperf.session.settings import Settings
from shmperf.session.sidecar import last_report
from shmperf.testing import Clock
from tests.support import Place, program_text, wait_until

NOW_S = 1_800_000_000.0


class Program:
    """A program that records on demand."""

    def __init__(self, place: Place, **environ: str) -> None:
        self.place = place
        self.process = place.start_program("sink/program", **environ)

    def call(self, tool: str, count: int = 1) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{tool} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "called\n"

    def end(self) -> None:
        self.place.finish(self.process)
        self.place.wait_for_end()


def tools(place: Place, *names: str) -> Path:
    """A tool store in the storage directory, with tools of these names."""
    path = place.storage / "tools.db"
    with ToolStore(path) as store:
        for name in names or ("good", "bad"):
            store.put(f"tool_{name}", name, f"what {name} does")
    return path


def stored(path: Path, name: str) -> dict[str, Any]:
    """What the store says of a tool; nothing while it can't be read."""
    try:
        with ToolStore(path, create=False) as store:
            return dict(store.read_perf([name]).get(name, {}))
    except StoreError:
        return {}


def wait_for_count(path: Path, name: str, count: int) -> dict[str, Any]:
    """The stored summary, once it tells of so many calls."""
    wait_until(
        lambda: stored(path, name).get("call_count") == count,
        lambda: f"{count} calls of {name}; there are {stored(path, name)}",
    )
    return stored(path, name)


def sink(place: Place) -> dict[str, Any]:
    """What status says of the sink; empty without one."""
    return place.ask("status")["rag"] or {}


def sink_pid(place: Place) -> int:
    return int(wait_until(lambda: sink(place).get("pid"), "a sink"))


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def configure(place: Place, text: str) -> None:
    """Replace the configuration as a whole, so that nobody reads half of it."""
    aside = place.write("config/aside.yaml", text)
    aside.replace(aside.with_name("tool_perf_limits.yaml"))


# --- with real processes -------------------------------------------------------------------------


def test_calls_show_in_the_tool_store_without_numpy(place: Place) -> None:
    """With the default configuration a tool store is all it needs; status tells what happens."""
    place.write("without/numpy.py", "raise ImportError('there is none')\n")
    path = tools(place, "good", "bad")
    program = Program(place, PYTHONPATH=str(place.cwd / "without"))
    program.call("good", 3)
    program.call("bad", 2)
    good, bad = wait_for_count(path, "good", 3), wait_for_count(path, "bad", 2)
    assert (good["error_rate"], bad["error_rate"], bad["error_count"]) == (0.0, 1.0, 2)
    assert good["half_life_s"] == 600
    found = wait_until(lambda: sink(place) if sink(place).get("sent") else None, "a report")
    assert found["store"] == f"tools {path}"
    assert (found["unknown"], found["refused"], found["retries"]) == (0, 0, 0)
    assert (found["problem"], found["restarts"], found["tools"]) == (None, 0, 2)
    assert "updates sent" in place.shmperf("status")
    program.end()
    report = last_report(place.storage)
    assert report is not None
    assert report.sent >= 2


def test_a_program_that_ends_at_once_leaves_its_figures(place: Place) -> None:
    """What came last is read from disk, after the collector has ended."""
    path = tools(place)
    place.run_program("sink/program", "good 7")
    wait_for_count(path, "good", 7)
    place.wait_for_end()
    place.run_program("sink/program", "good 5")
    wait_for_count(path, "good", 12)
    place.wait_for_end()


def test_a_sink_that_comes_up_when_all_is_over_sends_what_is_on_disk(place: Place) -> None:
    """However late it starts, on however slow a machine, no figure is left behind."""
    place.write("late/sitecustomize.py", program_text("sink/comes_up_late"))
    path = tools(place)
    late = {"PYTHONPATH": str(place.cwd / "late")}
    place.run_program("sink/program", "good 7", **late)
    wait_for_count(path, "good", 7)
    place.wait_for_end()


@pytest.mark.parametrize("name", ["sink.lock", "the store's"])
def test_an_end_before_the_first_step_waits_for_the_sink_before(place: Place, name: str) -> None:
    """Told to end as it comes up, while another still holds a lock: every figure is sent."""
    # The former sink has sent what it knew; what the next one is to send is on disk alone.
    place.write("config/tool_perf_limits.yaml", "rag: {enabled: false}\n")
    path = tools(place)
    place.run_program("sink/program", "good 7")
    place.wait_for_end()
    assert stored(path, "good") == {}
    settings = Settings(Options(), str(place.storage))
    late = Sink(Client(place.runtime / "shmperf" / "gone"), settings)
    former = lock_of(target_of(Rag(), place.storage))
    lock = internals(place.storage) / name if name == "sink.lock" else former
    held = try_lock(lock)
    assert held is not None
    ending = threading.Thread(target=late.finish)
    ending.start()
    try:
        wait_until(lambda: "lock" in late._problems, "the late sink to find the lock taken")
    finally:
        os.close(held)
        ending.join()
    assert stored(path, "good")["call_count"] == 7
    assert late._report.sent == 1
    # Its process would end now.
    store = late._delivery._store
    assert isinstance(store, ToolStore)
    store.close()
    for fd in late._locks:
        os.close(fd)


def test_no_sink_runs_where_nobody_wants_one(place: Place) -> None:
    """Without a tool store there is none; it comes with the store."""
    program = Program(place)
    program.call("good", 2)
    assert place.ask("status", "--wait")["rag"] is None
    path = tools(place)
    wait_for_count(path, "good", 2)
    program.end()


def test_a_switch_in_the_running_configuration_is_obeyed(place: Place) -> None:
    """`rag.enabled: false` ends the sink; true starts another, and no call is missed."""
    configure(place, "rag: {enabled: true}\n")
    path = tools(place)
    program = Program(place)
    program.call("good", 1)
    wait_for_count(path, "good", 1)
    pid = sink_pid(place)
    configure(place, "rag: {enabled: false}\n")
    wait_until(lambda: has_ended(pid), "the sink to end")
    program.call("good", 1)
    configure(place, "rag: {enabled: true, half_life_seconds: 30}\n")
    found = wait_for_count(path, "good", 2)
    assert found["half_life_s"] == 30
    program.end()


def test_a_killed_sink_is_started_again_and_counts_right(place: Place) -> None:
    """Nothing twice, nothing lost, however often it dies."""
    path = tools(place)
    program = Program(place)
    for kills in range(1, 4):
        program.call("good", 10)
        pid = sink_pid(place)
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda pid=pid: sink(place).get("pid") not in (None, pid), "another sink to start"
        )
        program.call("good", 10)
        wait_for_count(path, "good", 20 * kills)
    assert sink(place)["restarts"] == 3
    program.end()


def test_a_killed_collectors_sink_ends_and_the_next_one_counts_on(place: Place) -> None:
    """No sink is left over, and the figures go on from where they were."""
    path = tools(place)
    program = Program(place)
    program.call("good", 10)
    wait_for_count(path, "good", 10)
    collector, old = place.collector_pid(), sink_pid(place)
    os.kill(collector, signal.SIGKILL)
    wait_until(lambda: has_ended(old), "the sink to end with its collector")
    program.call("good", 5)
    assert place.collector_pid() != collector
    wait_for_count(path, "good", 15)
    program.end()


def test_a_locked_store_gets_the_newest_once_it_is_free(place: Place) -> None:
    """Meanwhile statistics go on, and status says why nothing is sent."""
    path = tools(place)
    program = Program(place)
    program.call("good", 1)
    wait_for_count(path, "good", 1)
    connection = sqlite3.connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        program.call("good", 8)
        found = wait_until(lambda: sink(place) if sink(place)["problem"] else None, "a problem")
        assert "locked" in found["problem"]
        assert (found["waiting"], found["retries"] > 0) == (1, True)
        program.call("good", 1)
    finally:
        connection.close()
    wait_for_count(path, "good", 10)
    wait_until(lambda: sink(place)["problem"] is None, "the problem to be over")
    assert "locked" in sink(place)["last_error"]
    program.end()


def test_a_store_deleted_while_running_is_told_and_never_made_again(place: Place) -> None:
    """Once there is one again it gets everything."""
    configure(place, "rag: {store: tools}\n")
    path = tools(place)
    program = Program(place)
    program.call("good", 1)
    wait_for_count(path, "good", 1)
    for file in path.parent.glob("tools.db*"):
        file.unlink()
    program.call("good", 1)
    wait_until(lambda: sink(place).get("problem"), "a problem")
    assert not path.exists()
    tools(place)
    wait_for_count(path, "good", 2)
    program.end()


def test_a_store_that_is_away_from_the_start_is_waited_for(place: Place) -> None:
    """A configured store that is not there costs nothing but a line in status."""
    configure(place, "rag: {store: tools, url: ../elsewhere/tools.db}\n")
    program = Program(place)
    program.call("good", 4)
    path = place.cwd / "elsewhere" / "tools.db"
    assert wait_until(lambda: sink(place).get("problem"), "a problem")
    with ToolStore(path) as store:
        store.put("tool_good", "good", "good")
    wait_for_count(path, "good", 4)
    program.end()


def test_a_tool_that_comes_later_gets_what_was_counted(place: Place) -> None:
    """Names that the store does not have are counted, told, and tried again."""
    path = tools(place, "bad")
    program = Program(place)
    program.call("good", 3)
    found = wait_until(lambda: sink(place) if sink(place).get("unknown") else None, "an unknown")
    assert (found["unknown_names"], found["waiting"]) == (["good"], 0)
    tools(place, "good")
    wait_for_count(path, "good", 3)
    wait_until(lambda: sink(place)["unknown"] == 0, "no unknown name")
    program.end()


def test_two_sinks_on_one_store_do_not_mix(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second one says so, and takes over when the first one ends."""
    shared = tmp_path_factory.mktemp("shared") / "tools.db"
    with ToolStore(shared) as store:
        store.put("tool_good", "good", "good")
    place.write("config/tool_perf_limits.yaml", f"rag: {{store: tools, url: {shared}}}\n")
    first = Program(place)
    first.call("good", 1)
    wait_for_count(shared, "good", 1)
    other = Place(tmp_path_factory.mktemp("other"), place.runtime)
    try:
        other.write("config/tool_perf_limits.yaml", f"rag: {{store: tools, url: {shared}}}\n")
        second = Program(other)
        second.call("good", 5)
        found = wait_until(lambda: sink(other) if sink(other).get("problem") else None, "a problem")
        assert "another sink serves this store" in found["problem"]
        assert stored(shared, "good")["call_count"] == 1
        place.finish(first.process)
        wait_for_count(shared, "good", 5)
        other.finish(second.process)
    finally:
        other.close()
    place.wait_for_end()


def test_a_cleanup_forgets_in_the_store_too(place: Place) -> None:
    """What was cleaned up is not told of a tool any more."""
    path = tools(place)
    program = Program(place)
    program.call("bad", 4)
    wait_for_count(path, "bad", 4)
    place.shmperf("cleanup")
    found = wait_for_count(path, "bad", 0)
    assert "error_rate" not in found
    program.call("bad", 1)
    wait_for_count(path, "bad", 1)
    program.end()


def test_facts_can_be_kept_out_of_the_artifacts(place: Place) -> None:
    """`cluster_with_tool: false`: they are read by name, and no artifact shows them."""
    configure(place, "rag: {store: tools, cluster_with_tool: false}\n")
    path = place.storage / "tools.db"
    program = Program(place)
    program.call("good", 2)
    wait_for_count(path, "good", 2)
    tools(place)
    program.call("good", 1)
    wait_for_count(path, "good", 3)
    with ToolStore(path) as store:
        found = store.get("tool_good")
    assert found is not None
    assert found["metadata"] == {}
    program.end()


def test_facts_can_take_part_in_what_is_embedded(place: Place) -> None:
    """`embedding_include: true`: the named embedder gets content and a sentence, once."""
    place.write("mine.py", program_text("sink/embeds"))
    configure(place, "rag: {embedding_include: true, embedder: 'mine:embed'}\n")
    path = tools(place, "good")
    program = Program(place)
    program.call("bad", 1)
    program.call("good", 1)
    wait_for_count(path, "good", 1)
    texts = place.cwd / "texts"
    wait_until(texts.exists, "the embedder to be called")
    for count in range(2, 4):
        program.call("good", 1)
        wait_for_count(path, "good", count)
    told = [json.loads(line) for line in texts.read_text().splitlines()]
    assert told[0].startswith("what good does\nUsually takes ")
    assert told[0].endswith("Succeeds in 100 of 100 calls.")
    with ToolStore(path) as store:
        (found,) = store.search([1.0, 0.0])
        assert found[0]["content"] == "what good does"
    program.end()


def test_an_embedder_that_can_not_be_had_is_told(place: Place) -> None:
    """The reason stands in status, and nothing else suffers."""
    configure(place, "rag: {embedding_include: true, embedder: 'nowhere:embed'}\n")
    tools(place)
    program = Program(place)
    program.call("good", 1)
    problem = wait_until(lambda: sink(place).get("problem"), "a problem")
    assert "rag.embedder: nowhere:embed: ModuleNotFoundError" in problem
    program.end()


def test_a_missing_package_is_one_line_that_says_what_to_install(place: Place) -> None:
    """A store whose client is not installed fails nothing."""
    place.write("without/psycopg.py", "raise ImportError('there is none')\n")
    configure(place, "rag: {store: pgvector, url: 'postgresql://h/db?table=t'}\n")
    program = Program(place, PYTHONPATH=str(place.cwd / "without"))
    program.call("good", 1)
    problem = wait_until(lambda: sink(place).get("problem"), "a problem")
    assert "pip install 'shmperf[pgvector]'" in problem
    program.end()


def test_a_sink_held_up_by_a_store_still_ends_with_its_collector(place: Place) -> None:
    """A foreign call that never returns keeps no process alive."""
    place.write("mine.py", program_text("sink/hangs"))
    configure(place, "rag: {embedding_include: true, embedder: 'mine:embed'}\n")
    tools(place)
    program = Program(place)
    program.call("good", 1)
    wait_until((place.cwd / "held").exists, "the embedder to hang")
    pid = sink_pid(place)
    program.end()
    wait_until(lambda: has_ended(pid), "the sink to end")


def test_a_sink_that_always_dies_is_given_up(place: Place) -> None:
    """Started again with growing pauses, a bounded number of times; tracking goes on."""
    configure(place, "rag: {store: tools, half_life_seconds: 100}\n")
    place.write("broken/sqlite3.py", "raise SystemExit(7)\n")
    program = Program(place, PYTHONPATH=str(place.cwd / "broken"))
    program.call("good", 1)
    # Between a start and the next death there is no problem to tell: both in one answer.
    found = wait_until(lambda: _given_up(sink(place)), "two restarts and a problem")
    assert "ended with code 7" in found["problem"]
    program.call("good", 1)
    assert place.ask("stats", "good")["count"] == 2
    program.end()


def _given_up(found: dict[str, Any]) -> dict[str, Any] | None:
    return found if found.get("restarts", 0) >= 2 and found.get("problem") else None


# --- its parts -----------------------------------------------------------------------------------


class Shelf:
    """A store that knows some names, and can be away."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.held: dict[str, dict[str, object]] = {}
        self.requests: list[set[str]] = []
        self.refused = 0
        self.is_away = False

    def update_perf(self, summaries: Mapping[str, Mapping[str, object]]) -> int:
        if self.is_away:
            raise StoreError("the store is away")
        self.requests.append(set(summaries))
        found = summaries.keys() & self.names
        self.held |= {name: dict(summaries[name]) for name in found}
        return len(summaries) - len(found)

    def read_perf(self, names: Iterable[str]) -> dict[str, dict[str, object]]:
        return {name: self.held[name] for name in names if name in self.held}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def delivery_to(shelf: Shelf, clock: Clock) -> Delivery:
    return Delivery(lambda: shelf, lambda _, due: shelf.update_perf(due), Timing(1.0, 5.0), clock)


def test_a_store_that_is_away_gets_the_newest_of_each_tool(clock: Clock) -> None:
    """Tried again after pauses that double; what came meanwhile replaces what waits."""
    shelf = Shelf("a", "b")
    shelf.is_away = True
    delivery = delivery_to(shelf, clock)
    tries = 0
    for number in range(64):
        delivery.offer({"a": {"call_count": number}, "b": {"call_count": 2 * number}})
        delivery.attempt()
        clock.now_s += 0.5
    tries = delivery.report.retries
    assert 4 <= tries <= 6
    assert (delivery.report.waiting, delivery.problem) == (2, "the store is away")
    shelf.is_away = False
    clock.now_s += 60
    assert delivery.attempt()
    assert shelf.held == {"a": {"call_count": 63}, "b": {"call_count": 126}}
    assert (delivery.report.sent, delivery.report.retries) == (2, tries)
    assert (delivery.problem, delivery.report.last_error) == (None, "the store is away")


def test_a_tool_at_rest_costs_the_store_nothing(clock: Clock) -> None:
    """Only what has changed is sent, at most once an interval."""
    shelf = Shelf("a")
    delivery = delivery_to(shelf, clock)
    for number in (1, 2, 3, 3, 3, 3, 3):
        delivery.offer({"a": {"call_count": number}})
        delivery.attempt()
        clock.now_s += 0.4
    assert shelf.requests == [{"a"}, {"a"}]
    assert shelf.held == {"a": {"call_count": 3}}


def test_unknown_names_alone_are_tried_again(clock: Clock) -> None:
    """The others of the same request are not sent twice."""
    shelf = Shelf("a")
    delivery = delivery_to(shelf, clock)
    delivery.offer({"a": {"call_count": 1}, "b": {"call_count": 1}})
    for _ in range(12):
        delivery.attempt()
        clock.now_s += 1.0
    assert shelf.requests == [{"a", "b"}, {"b"}, {"b"}]
    assert (delivery.report.unknown, delivery.report.unknown_names) == (1, ["b"])
    shelf.names.add("b")
    clock.now_s += 5.0
    delivery.attempt()
    assert shelf.held["b"] == {"call_count": 1}
    assert (delivery.report.unknown, delivery.report.sent) == (0, 2)


def test_the_last_attempt_waits_for_no_pause(clock: Clock) -> None:
    """Who is about to end tries once more."""
    shelf = Shelf("a")
    shelf.is_away = True
    delivery = delivery_to(shelf, clock)
    delivery.offer({"a": {"call_count": 1}})
    assert not delivery.attempt()
    shelf.is_away = False
    clock.now_s += 0.5
    assert not delivery.attempt()
    clock.now_s += 0.5
    assert delivery.attempt(is_last=True)
    assert shelf.held == {"a": {"call_count": 1}}


# Four calls of a tool: none, 1, 2 and 3 ms.
FIRST_SCHEMA = bytes.fromhex(
    "83a6736368656d6101a9666f72676f7474656e00a5746f6f6c7381a161929a04010000ce005b8d8000ce002d"
    "c6c00183cd013e01cd014e01cd015801cf0de0b6b3a76400009fcb4059000000000000cb41cdcd6500000000"
    "cb41cdcd6500000000040100cb4018000000000000cb0000000000000000cb4008000000000000cb40100000"
    "00000000cb3ff0000000000000cb0000000000000000cb4018000000000000cb3ff000000000000083cd013e"
    "cb3ff0000000000000cd014ecb3ff0000000000000cd0158cb3ff0000000000000"
)


def totals(count: int, errors: int = 0, at_s: float = NOW_S) -> Totals:
    made = Totals()
    made.add([1_000_000] * count, errors, round(at_s * 1e9))
    return made


def test_figures_go_on_after_a_restart(tmp_path: Path) -> None:
    """What was written is taken up, under the half-life that holds now."""
    track = Track(100.0, lambda: NOW_S)
    track.follow(News(totals={"a": totals(3)}))
    track.write(tmp_path / "sink")
    other = Track(200.0, lambda: NOW_S)
    assert other.read(tmp_path / "sink") is None
    assert other.summaries()["a"]["call_count"] == 3
    found = other.follow(News(totals={"a": totals(5), "b": totals(1)}))
    assert (found["a"]["call_count"], found["a"]["half_life_s"]) == (5, 200.0)
    assert other.tools == 2
    assert (tmp_path / "sink").stat().st_mode & 0o077 == 0


def test_figures_of_the_first_schema_go_on(tmp_path: Path) -> None:
    """What the first version wrote, its buckets in nanoseconds, is taken up within a bucket."""
    (tmp_path / "sink").write_bytes(FIRST_SCHEMA)
    track = Track(100.0, lambda: 1e9 + 1)
    assert track.read(tmp_path / "sink") is None
    found = track.summaries()["a"]
    assert (found["call_count"], found["error_count"], found["avg_duration_ms"]) == (4, 1, 1.5)
    assert found["p50_ms"] == pytest.approx(1.0, rel=0.09)
    later = Totals()
    later.add([0, 1_000_000, 2_000_000, 3_000_000], 1, 10**18)
    assert track.follow(News(totals={"a": later}))["a"]["p95_ms"] == pytest.approx(3.0, rel=0.05)
    track.write(tmp_path / "sink")
    again = Track(100.0, lambda: 1e9 + 1)
    assert again.read(tmp_path / "sink") is None
    assert again.summaries() == track.summaries()


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"\x83\xa6schema\x01", b"\x83\xa6schema\x63\xa9forgotten\0\xa5tools\x80"],
)
def test_figures_that_can_not_be_read_start_anew(tmp_path: Path, content: bytes) -> None:
    """Damaged, or of a newer version: told, and nothing fails."""
    (tmp_path / "sink").write_bytes(content)
    track = Track(100.0, lambda: NOW_S)
    assert "start anew" in str(track.read(tmp_path / "sink"))
    assert track.summaries() == {}
    assert Track(100.0, lambda: NOW_S).read(tmp_path / "none") is None


def test_another_history_under_a_known_name_starts_anew() -> None:
    """Totals that have shrunk are no later ones of the same."""
    track = Track(100.0, lambda: NOW_S)
    track.follow(News(totals={"a": totals(9)}))
    assert track.follow(News(totals={"a": totals(4)}))["a"]["call_count"] == 4


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12))
def test_looking_often_or_seldom_counts_the_same(steps: list[tuple[int, bool]]) -> None:
    """However many looks there are in between, every call is counted once."""
    track = Track(100.0, lambda: NOW_S)
    sums, found = Totals(), {}
    for count, looks in steps:
        sums.merge(totals(count))
        if looks:
            copied = Totals()
            copied.merge(sums)
            found = track.follow(News(totals={"a": copied}))
            assert found["a"]["call_count"] == sums.count


def test_one_store_has_one_lock_whatever_it_is_called(tmp_path: Path, runtime: Path) -> None:
    """Paths are the same wherever they are looked at from; addresses are compared as they are."""
    (tmp_path / "a").mkdir()
    one = target_of(Rag(), tmp_path / "a")
    other = target_of(Rag(store="tools", url="../a/tools.db"), tmp_path / "a")
    assert lock_of(one) == lock_of(other) == tmp_path / "a" / ".tools.db.sink"
    remote = Target("chroma", "http://h:8000?collection=c")
    assert lock_of(remote) == lock_of(target_of(Rag(store="chroma", url=remote.url), tmp_path))
    assert lock_of(remote).is_relative_to(runtime)
