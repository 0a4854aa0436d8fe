"""Who explains whom: a slow child is told alone, its callers are named beside it."""

from __future__ import annotations

from collections.abc import Sequence

from shmperf.analysis.alarm import What
from shmperf.analysis.alerts import Alerts
from shmperf.analysis.alerttext import change_said
from shmperf.analysis.blame import Children, assign
from shmperf.analysis.changes import Change, Kind
from shmperf.analysis.treestate import Edge

# root calls middle, which does little but call leaf; beside does its own work.
EDGES = [
    Edge(None, "root", 10, 1000, 50),
    Edge("root", "middle", 10, 900, 50),
    Edge("middle", "leaf", 10, 850, 850),
    Edge("root", "beside", 10, 40, 40),
]


def worse(
    tool: str,
    kind: Kind = "latency",
    *,
    usual: float = 0.1,
    now: float = 0.2,
    what: What = "p50",
) -> Change:
    return Change(
        tool=tool,
        kind=kind,
        is_begin=True,
        reason="worse",
        what=what if kind == "latency" else "errors",
        since_s=100.0,
        at_s=100.0,
        usual=usual,
        now=now,
        calls=100,
    )


class Story:
    """Looks, 30 s apart, at what detectors say."""

    def __init__(self, edges: Sequence[Edge] = EDGES) -> None:
        self.edges = edges
        self.alerts = Alerts()
        self.now_s = 100.0

    def look(self, *begun: Change, ended: tuple[Change, ...] = ()) -> list[str]:
        """The tools that are told of."""
        for change in ended:
            self.alerts.end((change.kind, change.tool), self.now_s)
        told, held = assign(self.alerts, begun, ended, self.now_s, 30.0, lambda: self.edges)
        for change in told:
            _, text, evidence = change_said(change)
            self.alerts.begin((change.kind, change.tool), "warning", self.now_s, text, evidence)
        self.alerts.hold(held)
        self.alerts.take_delta()
        self.now_s += 30.0
        return [change.tool for change in told]


def test_slow_child_explains_its_callers() -> None:
    """All three are slower in one look: the lowest one is told, and nobody later."""
    story = Story()
    assert story.look(worse("root"), worse("middle"), worse("leaf")) == ["leaf"]
    assert [story.look() for _ in range(5)] == [[]] * 5
    assert {held.cause for held in story.alerts.held.values()} == {"leaf"}


def test_caller_that_is_seen_first_waits_for_its_child() -> None:
    """Detectors need not agree on the look: a caller is held for an interval."""
    story = Story()
    assert story.look(worse("root")) == []
    assert story.look(worse("leaf"), worse("middle")) == ["leaf"]
    assert [story.look() for _ in range(3)] == [[]] * 3


def test_caller_whose_child_is_as_usual_is_told_after_all() -> None:
    """What no child explains is told, an interval later."""
    story = Story()
    assert story.look(worse("root")) == []
    assert story.look() == ["root"]
    assert story.look() == []


def test_a_tool_that_works_itself_is_told_at_once() -> None:
    """Nothing below it could explain it."""
    assert Story().look(worse("leaf")) == ["leaf"]


def test_child_that_takes_little_explains_nothing() -> None:
    """Both are told: the caller's time is not the child's."""
    story = Story()
    assert story.look(worse("root"), worse("beside", usual=0.004, now=0.008)) == ["beside"]
    assert story.look() == ["root"]


def test_child_that_took_little_so_far_explains_what_it_adds() -> None:
    """The graph counts since the last cleanup: a tenth then, and all of the caller's rise now."""
    edges = [Edge(None, "caller", 100, 1_000, 900), Edge("caller", "child", 100, 100, 100)]
    story = Story(edges)
    child, caller = worse("child", usual=0.1, now=1.0), worse("caller", usual=1.0, now=1.9)
    assert story.look(child, caller) == ["child"]
    assert [story.look() for _ in range(5)] == [[]] * 5


def test_child_that_is_told_first_explains_its_caller_later() -> None:
    """By what its alert says, also after a restart."""
    edges = [Edge(None, "caller", 100, 1_000, 900), Edge("caller", "child", 100, 100, 100)]
    story = Story(edges)
    assert story.look(worse("child", usual=0.1, now=1.0)) == ["child"]
    story.alerts = Alerts.restore(story.alerts.state())
    assert story.look(worse("caller", usual=1.0, now=1.9)) == []
    assert [held.cause for held in story.alerts.held.values()] == ["child"]


def test_rarely_called_child_explains_nothing() -> None:
    """One call of a hundred moves no percentile that is watched."""
    edges = [Edge(None, "caller", 100, 1_000, 990), Edge("caller", "child", 1, 10, 10)]
    story = Story(edges)
    assert sorted(story.look(worse("child"), worse("caller"))) == ["caller", "child"]


def test_children_explain_their_caller_together() -> None:
    """Of a wide diamond's middle nobody takes half: the tool below all of them is told alone."""
    middle = [Edge("top", f"middle {n}", 10, 200, 10) for n in range(5)]
    below = [Edge(one.tool, "bottom", 10, 190, 190) for one in middle]
    story = Story([Edge(None, "top", 10, 1_000, 10), *middle, *below])
    names = [f"middle {n}" for n in range(5)]
    shares = [worse(name, what="slow calls", usual=0.0, now=0.1) for name in ("top", *names)]
    assert story.look(*shares, worse("bottom", what="slow calls")) == ["bottom"]
    assert [story.look() for _ in range(5)] == [[]] * 5


def test_tools_that_call_each_other_are_told_once() -> None:
    """Each of them explains the other, and one is told all the same."""
    edges = [Edge(None, "a", 1, 10, 1), Edge("a", "b", 9, 90, 10), Edge("b", "a", 8, 80, 10)]
    story = Story(edges)
    assert story.look(worse("b"), worse("a")) == []
    assert [story.look() for _ in range(5)] == [["a"], [], [], [], []]
    later = Story(edges)
    assert later.look(worse("b")) == []
    assert later.look() == ["b"]
    assert later.look(worse("a")) == []


def test_caller_that_stays_slow_is_told_when_its_child_is_well_again() -> None:
    """What explained it is over, and it is not: that is a trouble of its own."""
    story = Story()
    story.look(worse("root"), worse("leaf"), worse("middle"))
    middle = worse("middle")
    told = [story.look(ended=(worse("leaf"), middle)), *(story.look() for _ in range(8))]
    assert [tool for tools in told for tool in tools] == ["root"]


def test_failing_child_explains_failing_callers_however_quick_it_is() -> None:
    """Errors travel up whatever part of the time a child takes."""
    story = Story()
    assert story.look(worse("root", "errors"), worse("beside", "errors")) == ["beside"]
    assert story.look() == []


def test_tools_that_call_each_other_end() -> None:
    """A circle in the graph has a lowest tool, too."""
    circle = Children([Edge("a", "b", 1, 10, 0), Edge("b", "a", 1, 10, 0)])
    worse_s = {"a": 0.0, "b": 0.0}
    assert {circle.cause(one, "latency", worse_s) for one in worse_s} == {"a"}
    assert {circle.cause(one, "latency", worse_s, ["b"]) for one in worse_s} == {"b"}
