"""Alerts as an analysis: one a trouble, told once, kept over restarts, bounded."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.alerts import Alerts, AlertsDelta, AlertsState, Kind, known_alerts, shown

KINDS: list[Kind] = ["latency", "errors", "stuck", "lost"]


def journalled(alerts: Alerts) -> AlertsDelta | None:
    """The next delta, as a journal gives it back."""
    delta = alerts.take_delta()
    return delta and msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=AlertsDelta)


def restarted(alerts: Alerts) -> Alerts:
    """The same from a snapshot."""
    state = msgspec.msgpack.encode(alerts.state())
    return Alerts.restore(msgspec.msgpack.decode(state, type=AlertsState))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "amend", "tell", "clear", "restart"]),
        st.sampled_from(KINDS),
        st.sampled_from(["one", "two"]),
        st.floats(0, 2e9),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_is_open_is_what_was_told_to_begin(steps: list[tuple[str, Kind, str, float]]) -> None:
    """Whatever happens, begins and ends alternate, and deltas and snapshots hold the same."""
    alerts, replayed = Alerts(), Alerts()
    heard: dict[str, list[bool]] = {}
    for what, kind, tool, at_s in steps:
        alerts.look(at_s)
        if what == "begin":
            alerts.begin((kind, tool), "warning", at_s, "worse", {"id": "0" * 15 + "7"})
        elif what == "end":
            alerts.end((kind, tool), at_s)
        elif what == "amend":
            alerts.amend((kind, tool), {"outcome": "ok"}, "; it ended")
        elif what == "restart":
            alerts = restarted(alerts)
        elif what == "clear":
            alerts.clear()
            replayed.clear()
        if what == "tell" and alerts.untold:
            for alert in alerts.untold.values():
                heard.setdefault(alert.id, []).append(alert.ended_s is None)
            alerts.tell(max(alerts.untold))
        delta = journalled(alerts)
        if delta is not None:
            replayed.apply(delta)
        assert replayed.state() == alerts.state()
        assert replayed.awaited == alerts.awaited
    for alert in alerts.untold.values():
        heard.setdefault(alert.id, []).append(alert.ended_s is None)
    opened = {alert.id for alert in alerts.open.values()}
    assert all(told == ([True] if one in opened else [True, False]) for one, told in heard.items())
    assert opened <= heard.keys()


def test_one_trouble_is_one_alert() -> None:
    """What is open, or begins in the same look, does not begin again."""
    alerts = Alerts()
    assert alerts.begin(("stuck", "one"), "warning", 1.0, "first", {})
    assert not alerts.begin(("stuck", "one"), "warning", 2.0, "second", {})
    alerts.take_delta()
    assert not alerts.begin(("stuck", "one"), "warning", 3.0, "third", {})
    assert [alert.text for alert in alerts.open.values()] == ["first"]


def test_explained_tools_stand_in_the_evidence_of_the_end() -> None:
    """What an open alert explains is part of it, once a tool."""
    alerts = Alerts()
    alerts.begin(("latency", "child"), "warning", 1.0, "slow", {"now": 2.0})
    alerts.take_delta()
    alerts.explain("latency", "child", "parent")
    alerts.explain("latency", "child", "parent")
    alerts.take_delta()
    alerts.end(("latency", "child"), 5.0, {"reason": "usual again"})
    alerts.take_delta()
    begun, ended = alerts.untold.values()
    assert begun.evidence == {"now": 2.0}
    assert ended.evidence == {"now": 2.0, "explains": ["parent"], "reason": "usual again"}


def test_what_becomes_known_is_in_evidence_and_text_of_the_end() -> None:
    """Of an open alert, also where it ends in the same look; its begin stays what it was."""
    alerts = Alerts()
    alerts.begin(("stuck", "tool"), "warning", 1.0, "it hangs", {"id": f"{7:016x}", "params": None})
    alerts.begin(("stuck", "other"), "warning", 1.0, "so does this", {"id": "no id"})
    alerts.take_delta()
    assert alerts.awaited == {7: "tool"}
    assert restarted(alerts).awaited == {7: "tool"}
    alerts.amend(("stuck", "tool"), {"params": "{}", "outcome": "ok"}, "; it ended")
    assert alerts.awaited == {}
    alerts.end(("stuck", "tool"), 5.0)
    alerts.take_delta()
    alerts.amend(("stuck", "tool"), {"params": "[]"}, "; too late")
    assert alerts.take_delta() is None
    begun, _, ended = alerts.untold.values()
    assert (begun.text, begun.evidence["params"]) == ("it hangs", None)
    assert (ended.text, ended.evidence["params"]) == ("it hangs; it ended", "{}")


def test_alerts_are_bounded() -> None:
    """A flood of troubles fills neither memory nor journal; what is let go is counted."""
    alerts = Alerts()
    for place in range(3_000):
        alerts.begin(("stuck", f"tool {place}"), "warning", 1.0, "stuck", {})
    alerts.take_delta()
    opened = len(alerts.open)
    assert opened == 1_000
    for at_s in range(2, 6):
        for key in list(alerts.open):
            alerts.end(key, float(at_s))
        alerts.take_delta()
        for place in range(1_000):
            alerts.begin(("stuck", f"tool {place}"), "warning", float(at_s), "stuck", {})
        alerts.take_delta()
    assert len(alerts.untold) == 2_000
    assert alerts.let_go == 9_000 - 2_000


def test_times_of_any_kind_can_be_shown() -> None:
    """A journal from elsewhere may hold any time: it is held to the years that have a name."""
    alerts = Alerts()
    alerts.begin(("lost", None), "critical", -1e300, "lost", {})
    alerts.take_delta()
    alerts.end(("lost", None), 1e300)
    alerts.take_delta()
    (found,) = known_alerts(alerts)
    assert (found.began[:4], str(found.ended)[:4]) == ("1970", "9999")
    assert shown(next(iter(alerts.untold.values()))).ended is None
