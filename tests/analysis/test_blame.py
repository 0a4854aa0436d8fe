"""Who explains whom: a slow child is told alone, its callers are named beside it."""

from __future__ import annotations

from shmperf.analysis.alerts import Alerts
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


def worse(tool: str, kind: Kind = "latency", at_s: float = 100.0) -> Change:
    return Change(
        tool=tool,
        kind=kind,
        is_begin=True,
        reason="worse",
        what="p50" if kind == "latency" else "errors",
        since_s=at_s,
        at_s=at_s,
        usual=0.1,
        now=0.2,
        calls=100,
    )


class Story:
    """Looks, 30 s apart, at what detectors say."""

    def __init__(self) -> None:
        self.alerts = Alerts()
        self.now_s = 100.0

    def look(self, *begun: Change, ended: tuple[Change, ...] = ()) -> list[str]:
        """The tools that are told of."""
        for change in ended:
            self.alerts.end((change.kind, change.tool), self.now_s)
        told, held = assign(self.alerts, begun, ended, self.now_s, 30.0, lambda: EDGES)
        for change in told:
            self.alerts.begin((change.kind, change.tool), "warning", self.now_s, "worse", {})
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
    assert story.look(worse("root"), worse("beside")) == ["beside"]
    assert story.look() == ["root"]


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
    assert circle.cause("a", "latency", {"a", "b"}) == "b"
