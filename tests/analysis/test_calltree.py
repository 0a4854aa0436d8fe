"""The call tree against a naive model, at its bounds, and told by deltas."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmperf.analysis.calltree import Bounds, CallTree, Edge, Settled, TreeDelta, TreeState

TINY = Bounds(families=20, ids=5, spans=3, edges=12, remembered=10, rows=30, crowd=3)


def self_check(tree: CallTree) -> None:
    """Raise AssertionError when an invariant of the tree is broken."""
    bounds, families = tree.bounds, tree._families
    for edge in tree._edges:
        assert min(edge.calls, edge.total_ns) >= 0, f"less than nothing: {edge}"
    assert len(tree._edges) <= bounds.edges, "too many edges"
    assert 0 not in families.rows, "a family without a parent"
    assert families._sums.keys() <= families.rows.keys(), "a sum without rows"
    assert families._told <= families.rows.keys(), "a family told and gone, but not as removed"
    for family in families._sums.values():
        assert len(family.spans) <= bounds.spans, "too many intervals"
        assert len(family.ids) <= bounds.ids, "too many ids"
        times = [family.barrier_ns, *(time for span in family.spans for time in span)]
        assert times == sorted(times), f"intervals out of order: {times}"
        assert family.marks == sorted(family.marks), "marks out of order"
        assert len(family.marks) <= 400, "too many marks"
    count = sum(len(ids) for _, ids in tree._remembered)
    assert count == len(tree._remembered), f"{count} ids are remembered"


def through_msgpack(told, kind):
    """What a journal makes of *told*."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=kind)


def through_msgpack_whole(tree):
    """The tree that a restart makes of what a snapshot holds of *tree*."""
    return CallTree.restore(through_msgpack(tree.state(), TreeState), tree.bounds)


def add(tree, worker, tool, records):
    """Add *records* (id, parent, start_ns, end_ns), which a tree takes by columns."""
    tree.add(worker, tool, tuple(zip(*records, strict=True)) or ((),) * 4)


def as_set(state):
    """A state without its order."""
    edges = sorted(state.edges, key=lambda edge: (edge.parent is None, edge.parent, edge.tool))
    return msgspec.structs.replace(state, edges=edges)


def rows_of(graph):
    """The graph as {(parent, tool): (calls, total, own)}."""
    return {(e.parent, e.tool): (e.calls, e.total_ns, e.own_ns) for e in graph}


def length_of_union(intervals, start, end):
    """Nanoseconds of *start* to *end* that at least one interval covers, counted one by one."""
    return len({ns for s, e in intervals for ns in range(max(s, start), min(e, end))})


# --- by example ----------------------------------------------------------------------------------


def settle(tree, worker="w"):
    """Two passes behind the last record: what a collector makes before it calls a worker quiet."""
    return tree.pass_done(worker) + tree.pass_done(worker)


def test_a_parent_gets_its_children_and_its_own_time():
    """A settled parent names its children, their totals, and its time without them."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20), (3, 1, 30, 50)])
    add(tree, "w", "", [(4, 1, 60, 65)])
    add(tree, "w", "root", [(1, 0, 0, 100)])
    assert settle(tree) == [Settled(1, [2, 3, 4], {"leaf": (2, 30), "": (1, 5)}, 65)]
    assert rows_of(tree.graph({})) == {
        (None, "root"): (1, 100, 65),
        ("root", "leaf"): (2, 30, 30),
        ("root", ""): (1, 5, 5),
    }


def test_the_empty_name_is_a_tool_and_not_the_absence_of_one():
    """Children of a tool called "" stand under "", not among the roots."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20), (3, 9, 10, 20)])
    add(tree, "w", "", [(1, 0, 0, 100)])
    assert ("", "leaf") in rows_of(tree.graph({}))
    settle(tree)
    assert rows_of(tree.graph({9: ""}))["", "leaf"] == (2, 20, 20)


def test_a_parent_drained_before_its_children_waits_for_them():
    """A child drained one pass after its parent still belongs to it."""
    tree = CallTree()
    add(tree, "w", "root", [(1, 0, 0, 100)])
    assert tree.pass_done("w") == []
    add(tree, "w", "leaf", [(2, 1, 10, 20)])
    assert tree.pass_done("w") == [Settled(1, [2], {"leaf": (1, 10)}, 90)]


def test_a_late_child_changes_no_settled_parent():
    """A child drained after its parent settled enters the graph under the parent's tool."""
    tree = CallTree()
    add(tree, "w", "root", [(1, 0, 0, 100)])
    settle(tree)
    add(tree, "other", "leaf", [(2, 1, 10, 20)])
    assert settle(tree, "other") == []
    assert rows_of(tree.graph({})) == {
        (None, "root"): (1, 100, 100),
        ("root", "leaf"): (1, 10, 10),
    }


def test_a_late_child_stays_in_the_graph_when_its_parent_is_forgotten():
    """Forgetting a settled call files its late children under its tool."""
    tree = CallTree(TINY)
    add(tree, "w", "root", [(1, 0, 0, 100)])
    settle(tree)
    add(tree, "other", "leaf", [(2, 1, 10, 20)])
    add(tree, "w", "noise", [(i, 0, 0, 1) for i in range(100, 140)])
    settle(tree)
    assert rows_of(tree.graph({}))["root", "leaf"] == (1, 10, 10)
    assert tree.unknown_parents == 0


def test_children_side_by_side_are_not_subtracted_twice():
    """Own time is duration minus the union of the children's intervals, clipped to the call."""
    tree = CallTree()
    children = [(2, 1, 10, 40), (3, 1, 20, 60), (4, 1, 25, 30), (5, 1, 90, 150)]
    add(tree, "w", "leaf", sorted(children, key=lambda record: record[3]))
    add(tree, "w", "root", [(1, 0, 0, 100)])
    assert settle(tree)[0].self_ns == 100 - 50 - 10


def test_the_own_time_of_a_tool_excludes_grandchildren_once():
    """In a chain every edge's own time is what no deeper call covers."""
    tree = CallTree()
    add(tree, "w", "a", [(1, 0, 0, 100)])
    add(tree, "w", "b", [(2, 1, 10, 60)])
    add(tree, "w", "c", [(3, 2, 20, 40)])
    assert [found.id for found in settle(tree)] == [2, 1]
    assert rows_of(tree.graph({})) == {
        (None, "a"): (1, 100, 50),
        ("a", "b"): (1, 50, 30),
        ("b", "c"): (1, 20, 20),
    }


def test_own_time_is_corrected_when_the_parent_has_settled_before():
    """A call of another worker that settles after its parent still gives up its children's time."""
    tree = CallTree()
    add(tree, "w1", "a", [(1, 0, 0, 100)])
    add(tree, "w2", "b", [(2, 1, 10, 60)])
    add(tree, "w2", "c", [(3, 2, 20, 40)])
    settle(tree, "w1")
    settle(tree, "w2")
    assert rows_of(tree.graph({}))["a", "b"] == (1, 50, 30)


def test_what_came_late_is_in_the_state_when_its_worker_is_gone():
    """A restart forgets which calls have settled: a correction counted before is not lost then."""
    tree = CallTree()
    add(tree, "w1", "a", [(1, 0, 0, 100)])
    add(tree, "w2", "b", [(2, 1, 10, 60)])
    add(tree, "w2", "c", [(3, 2, 20, 40)])
    settle(tree, "w1")
    tree.worker_gone("w2")
    after_restart = CallTree.restore(through_msgpack(tree.state(), TreeState))
    assert rows_of(after_restart.graph({})) == rows_of(tree.graph({}))
    assert rows_of(after_restart.graph({})) == {
        (None, "a"): (1, 100, 50),
        ("a", "b"): (1, 50, 30),
        ("b", "c"): (1, 20, 20),
    }


def test_a_correction_for_an_unknown_parent_is_no_call():
    """The graph shows calls only."""
    tree = CallTree()
    add(tree, "w1", "a", [(1, 0, 0, 100)])
    add(tree, "w2", "b", [(2, 1, 10, 60)])
    add(tree, "w2", "c", [(3, 2, 20, 40)])
    settle(tree, "w1")
    settle(tree, "w2")
    after_restart = CallTree.restore(through_msgpack(tree.state(), TreeState))
    assert (None, "b") not in rows_of(after_restart.graph({}))


def test_children_of_an_open_call_show_already():
    """The graph names the tool of a parent that still runs."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20)])
    settle(tree)
    assert rows_of(tree.graph({1: "root"})) == {("root", "leaf"): (1, 10, 10)}
    assert rows_of(tree.graph({})) == {(None, "leaf"): (1, 10, 10)}


def test_children_of_an_aborted_call_keep_its_tool():
    """An aborted call's children, also those drained later, stand under its tool."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20)])
    tree.add_aborted({1: "root"})
    add(tree, "other", "leaf", [(3, 1, 10, 25)])
    assert rows_of(tree.graph({})) == {("root", "leaf"): (2, 25, 25)}


def test_a_dead_workers_calls_settle_at_once():
    """Nothing more comes from a worker that is gone, so nothing is waited for."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20)])
    tree.pass_done("w")
    add(tree, "w", "root", [(1, 0, 0, 100)])
    assert [found.id for found in tree.worker_gone("w")] == [1]
    assert tree.worker_gone("w") == tree.pass_done("w") == []


def test_a_cleanup_forgets_what_was_and_counts_what_comes():
    """After a cleanup the graph is empty, and children of calls that were open count again."""
    tree = CallTree()
    add(tree, "w", "leaf", [(2, 1, 10, 20)])
    add(tree, "w", "done", [(7, 0, 0, 5)])
    tree.clear()
    assert tree.graph({}) == []
    add(tree, "w", "leaf", [(3, 1, 30, 40), (8, 7, 1, 2)])
    add(tree, "w", "root", [(1, 0, 0, 100)])
    assert settle(tree) == [Settled(1, [3], {"leaf": (1, 10)}, 90)]
    assert ("done", "leaf") in rows_of(tree.graph({}))


def test_a_parent_of_very_many_children_stays_small_and_exact():
    """Ten thousand children one after the other: first ids kept, totals and own time exact."""
    tree = CallTree(Bounds(rows=500))
    start = 0
    for first in range(10, 10_010, 100):
        batch = []
        for call_id in range(first, first + 100):
            batch.append((call_id, 1, start + 3, start + 10))
            start += 10
        add(tree, "w", "leaf", batch)
        tree.pass_done("w")
        self_check(tree)
    assert len(msgspec.msgpack.encode(tree.take_delta())) < 40_000
    add(tree, "w", "root", [(1, 0, 0, start)])
    (found,) = settle(tree)
    assert found.totals == {"leaf": (10_000, 70_000)}
    assert found.self_ns == 30_000
    assert found.children == list(range(10, 1010))
    assert tree.let_go == 9_000


@pytest.mark.parametrize("inside", [0, 1, 40, 400])
@pytest.mark.parametrize("after", [0, 1, 150, 3_000])
def test_children_that_outlive_a_call_take_none_of_its_own_time(inside, after):
    """Tasks that go on when their parent has ended: what they do then is not taken off it."""
    tree = CallTree()
    end = 1_000 + 100 * inside
    spans = [(500 + 100 * n, 530 + 100 * n) for n in range(inside)]
    spans += [(end + 10 + 100 * n, end + 90 + 100 * n) for n in range(after)]
    for first in range(0, len(spans), 100):
        add(tree, "w", "leaf", [(10 + first, 1, *span) for span in spans[first : first + 100]])
        tree.take_delta()
        self_check(tree)
    tree = through_msgpack_whole(tree)
    add(tree, "w", "root", [(1, 0, 0, end)])
    settled = settle(tree)
    assert len(settled) == (1 if spans else 0)
    for found in settled:
        assert abs(found.self_ns - (end - 30 * inside)) <= end // 100
    if spans:
        edge = rows_of(tree.graph({}))[None, "root"]
        assert edge == (1, end, settled[0].self_ns)


def test_an_interval_older_than_the_barrier_is_clipped_and_counted():
    """What comes too late for the union of a crowded parent is not subtracted twice."""
    tree = CallTree(TINY)
    spans = [(10 * i, 10 * i + 5) for i in range(1, 6)]
    add(tree, "w", "leaf", [(100 + i, 1, s, e) for i, (s, e) in enumerate(spans)])
    tree.take_delta()
    add(tree, "v", "slow", [(200, 1, 5, 55)])
    tree.take_delta()
    add(tree, "w", "root", [(1, 0, 0, 100)])
    (found,) = settle(tree)
    assert found.totals == {"leaf": (5, 25), "slow": (1, 50)}
    assert 100 - 55 <= found.self_ns <= 100 - 25
    assert tree.let_go == 2


def test_families_without_a_parent_are_let_go_and_counted():
    """Children of parents that never come are bounded; the graph counts them as roots."""
    tree = CallTree(TINY)
    add(tree, "w", "leaf", [(i, 1000 + i, 0, 10) for i in range(1, 101)])
    settle(tree)
    self_check(tree)
    assert rows_of(tree.graph({})) == {(None, "leaf"): (100, 1000, 1000)}
    assert tree.unknown_parents == tree.let_go > 0


@pytest.mark.parametrize("record", [(1, 1, 5, 9), (1, 2, 9, 5), (0, 3, 0, 2**64 - 1)])
def test_nonsense_does_no_harm(record):
    """A call that is its own parent, ends before it starts or lasts for ever is only counted."""
    tree = CallTree(TINY)
    for _ in range(40):
        add(tree, "w", "t", [record, (2, 1, 0, 2**64 - 1)])
        settle(tree)
        self_check(tree)
        through_msgpack(tree.take_delta(), TreeDelta)
        through_msgpack(tree.state(), TreeState)
        msgspec.msgpack.encode(tree.graph({}))


# --- against a model -----------------------------------------------------------------------------


class Forest:
    """Random calls of several workers, each drained in passes that obey the rings' order."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.calls = {}
        self.workers = [f"w{i}" for i in range(random.randint(1, 3))]
        for call_id in range(1, random.randint(2, 40)):
            self._make(call_id)
        self.undrained = set(self.calls)

    def _make(self, call_id):
        random = self.random
        parent = random.choice([0, *self.calls, *self.calls])
        worker, start, end = random.choice(self.workers), random.randint(0, 50), None
        if parent:
            worker, earliest, latest = self._room_in(parent, worker)
            start = random.randint(earliest, latest)
            end = random.randint(start, latest)
        else:
            end = start + random.randint(0, 60)
        tool = random.choice(["", "a", "b"])
        self.calls[call_id] = (worker, tool, parent, start, end)

    def _room_in(self, parent, worker):
        home, _, _, start, end = self.calls[parent]
        if self.random.random() < 0.7:
            return home, start, end
        if worker == home:
            return worker, start, end
        return worker, start, end + 20

    def committed(self, worker, tool, now):
        """What a look at one ring at time *now* finds, in the order in which it was stored."""
        found = [
            (call_id, parent, start, end)
            for call_id in self.undrained
            for home, name, parent, start, end in [self.calls[call_id]]
            if (home, name) == (worker, tool) and end <= now
        ]
        self.undrained.difference_update(record[0] for record in found)
        return sorted(found, key=lambda record: (record[3], -record[2], -record[0]))


class Model:
    """Says by brute force what is settled when, and what the graph is in the end."""

    def __init__(self, forest: Forest) -> None:
        self.calls = forest.calls
        self.passes = Counter()
        self.drained = {}
        self.settled = set()
        self.covered = {}

    def drain(self, worker, records):
        for call_id, *_ in records:
            self.drained[call_id] = self.passes[worker]

    def pass_done(self, worker):
        self.passes[worker] += 1
        due = [
            call_id
            for call_id, at in self.drained.items()
            if call_id not in self.settled
            and self.calls[call_id][0] == worker
            and at < self.passes[worker] - 1
        ]
        self.settled.update(due)
        return {found[0]: found for call_id in due if (found := self._settled(call_id))}

    def _settled(self, call_id):
        _, _, _, start, end = self.calls[call_id]
        children = [i for i in self.drained if self.calls[i][2] == call_id]
        if not children:
            return None
        intervals = [self.calls[i][3:] for i in children]
        self.covered[call_id] = length_of_union(intervals, start, end)
        totals = Counter()
        times = Counter()
        for i in children:
            totals[self.calls[i][1]] += 1
            times[self.calls[i][1]] += self.calls[i][4] - self.calls[i][3]
        own = end - start - self.covered[call_id]
        return call_id, set(children), {t: (totals[t], times[t]) for t in totals}, own

    def graph(self):
        found = {}
        for call_id, (_, tool, parent, start, end) in self.calls.items():
            key = (self.calls[parent][1] if parent else None, tool)
            calls, total, own = found.get(key, (0, 0, 0))
            duration = end - start
            own += duration - self.covered.get(call_id, 0)
            found[key] = (calls + 1, total + duration, own)
        return found


def run(random, tree, replica=None):
    """Drain a random forest in random passes; the tree does as the model says, pass by pass."""
    forest = Forest(random)
    model = Model(forest)
    now = 0
    while forest.undrained or len(model.settled) < len(forest.calls):
        worker = random.choice(forest.workers)
        tools = ["", "a", "b"]
        random.shuffle(tools)
        for tool in tools:
            now += random.choice([0, 1, 5, 20])
            records = forest.committed(worker, tool, now)
            model.drain(worker, records)
            add(tree, worker, tool, records)
            if replica is not None and random.random() < 0.3:
                tell(tree, replica)
        settled = tree.pass_done(worker)
        ends = [forest.calls[f.id][4] for f in settled]
        assert ends == sorted(ends), "children settle before their parents"
        found = {f.id: (f.id, set(f.children), f.totals, f.self_ns) for f in settled}
        assert found == model.pass_done(worker)
        self_check(tree)
    assert rows_of(tree.graph({})) == model.graph()
    return forest, model


def tell(tree, replica):
    """Hand the tree's changes to its replica by way of a journal."""
    delta = tree.take_delta()
    if delta is not None:
        replica.apply(through_msgpack(delta, TreeDelta))
    assert as_set(replica.state()) == as_set(tree.state())


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_settled_calls_and_graph_agree_with_a_naive_model(random):
    """Whatever the trees, the workers and the order of draining, late children included."""
    run(random, CallTree())


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_a_parent_has_every_child_that_its_own_worker_stored_before_it(random):
    """Settling two passes after the drain misses no child that ended inside its parent."""
    forest, model = run(random, CallTree(Bounds(crowd=2, rows=1)))
    for call_id, (worker, _, parent, _, _) in forest.calls.items():
        if parent and forest.calls[parent][0] == worker:
            assert model.covered.get(parent) is not None, f"{call_id} came too late for {parent}"


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_deltas_in_order_give_an_equal_state(random):
    """A replica that is told every change is in the same state, whenever it is asked."""
    tree, replica = CallTree(), CallTree()
    run(random, tree, replica)
    tell(tree, replica)


@pytest.mark.parametrize("passes", range(4))
def test_a_delta_tells_of_any_number_of_passes(passes):
    """What was told as just drained ages in the replica as it did in the tree."""
    tree, replica = CallTree(), CallTree()
    add(tree, "w", "a", [(1, 0, 0, 9)])
    tell(tree, replica)
    add(tree, "w", "a", [(2, 0, 0, 9)])
    for call_id in range(passes):
        tree.pass_done("w")
        add(tree, "w", "b", [(10 + call_id, 0, 0, 9)])
    tell(tree, replica)


# --- deltas, with everything that can happen ----------------------------------------------------

IDS = st.integers(1, 60)
TOOLS = st.sampled_from(["", "a", "b", "c"])
WORKERS = st.sampled_from(["w1", "w2"])


class Journalled(RuleBasedStateMachine):
    """A tree at its bounds, and the one that a restart would build from what it told."""

    @initialize()
    def begin(self):
        self.tree, self.replica = CallTree(TINY), CallTree(TINY)

    @rule(
        worker=WORKERS,
        tool=TOOLS,
        batch=st.lists(
            st.tuples(IDS, st.one_of(st.just(0), IDS), st.integers(0, 50), st.integers(0, 90)),
            max_size=12,
        ),
    )
    def add(self, worker, tool, batch):
        add(self.tree, worker, tool, batch)

    @rule(worker=WORKERS)
    def pass_done(self, worker):
        for found in self.tree.pass_done(worker):
            assert found.self_ns >= 0
            assert 0 < len(found.children) <= TINY.ids

    @rule(worker=WORKERS)
    def worker_gone(self, worker):
        self.tree.worker_gone(worker)

    @rule(call_id=IDS, tool=TOOLS)
    def abort(self, call_id, tool):
        self.tree.add_aborted({call_id: tool})

    @rule()
    def clear(self):
        self.tree.clear()

    @rule(call_id=IDS)
    def ask(self, call_id):
        before = self.tree.state()
        assert all(isinstance(e, Edge) and e.own_ns >= 0 for e in self.tree.graph({call_id: "a"}))
        assert self.tree.state() == before

    @rule()
    def journal(self):
        tell(self.tree, self.replica)
        assert self.tree.take_delta() is None

    @rule()
    def restart(self):
        """The collector dies after its last frame; the next one goes on from a snapshot."""
        tell(self.tree, self.replica)
        snapshot = through_msgpack(self.replica.state(), TreeState)
        self.tree = CallTree.restore(snapshot, TINY)
        assert as_set(self.tree.state()) == as_set(self.replica.state())

    @invariant()
    def is_sound(self):
        self_check(self.tree)
        self_check(self.replica)


TestJournalled = Journalled.TestCase
TestJournalled.settings = settings(max_examples=150, stateful_step_count=40)


def test_a_worker_that_comes_again_has_none_of_what_it_had():
    """Gone and back between two deltas, it leaves its reader only what came afterwards."""
    tree, read = CallTree(), CallTree()
    add(tree, "w", "root", [(1, 0, 0, 100)])
    read.apply(through_msgpack(tree.take_delta(), TreeDelta))
    tree.worker_gone("w")
    add(tree, "w", "root", [(2, 0, 0, 100)])
    read.apply(through_msgpack(tree.take_delta(), TreeDelta))
    assert as_set(read.state()) == as_set(tree.state())
