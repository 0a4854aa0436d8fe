"""W3C trace context: what calls us from elsewhere is taken up, and shown where it goes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.support import Place, needs

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def lines(place: Place, *tools: str) -> list[dict[str, Any]]:
    return [line["data"] for tool in tools for line in place.lines(tool)]


def spans(place: Place) -> dict[str, dict[str, Any]]:
    """What the export says, by the id of the span."""
    text = place.shmperf("export", "otlp")
    return {
        span["spanId"]: span
        for line in text.splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def test_calls_under_a_traceparent_belong_to_that_trace(place: Place) -> None:
    """In the same context, in threads and in other processes; what is outside does not."""
    place.run_program("trace/adopts_a_traceparent")
    place.wait_for_end()
    top, leaf = lines(place, "top"), lines(place, "leaf")
    assert [found.get("remote") for found in top] == [None, f"{TRACE}-{SPAN}", f"{TRACE}-{SPAN}"]
    by_number = {json.loads(found["p"])["n"]: found.get("remote") for found in leaf}
    assert by_number == {
        0: None,
        1: TRACE,
        2: TRACE,
        3: TRACE,
        4: f"{TRACE}-{SPAN}",
        5: None,
        6: None,
    }
    exported = spans(place)
    roots = {found["id"] for found in lines(place, "top", "asks", "leaf") if "parent" not in found}
    for found in lines(place, "top", "middle", "leaf", "asks"):
        span = exported[found["id"]]
        assert (span["traceId"] == TRACE) == ("remote" in found)
        if found["id"] in roots:
            assert span.get("parentSpanId") == (SPAN if "remote" in found else None)
        else:
            assert span["parentSpanId"] == found["parent"]


def test_a_process_is_in_the_trace_of_its_environment(place: Place) -> None:
    """``TRACEPARENT`` is what its roots belong to, and those of the processes that it starts."""
    here = f"00-{TRACE}-{SPAN}-01"
    place.run_program("trace/trace_goes_through_processes", TRACEPARENT=here)
    place.wait_for_end()
    (outermost,) = lines(place, "outermost")
    assert outermost["remote"] == f"{TRACE}-{SPAN}"
    inner = lines(place, "inner")
    assert len(inner) == 8
    assert all(found["remote"] == TRACE for found in inner)


def test_an_environment_that_names_no_trace_changes_nothing(place: Place) -> None:
    """A value that is not valid is as if it were not there."""
    place.run_program("trace/three_roots", TRACEPARENT=f"00-{'0' * 32}-{SPAN}-01")
    place.wait_for_end()
    assert all("remote" not in found for found in lines(place, "inner", "outer"))


def told(output: str) -> dict[str, str]:
    """What each call of the program said that it hands on."""
    return dict(json.loads(line) for line in output.splitlines())


@pytest.mark.parametrize("own", ["", f"00-{'ab' * 16}-{'cd' * 8}-01"])
def test_what_is_handed_on_is_what_is_exported(place: Place, own: str) -> None:
    """In threads, tasks, forks and pools: the trace and the span that the export gives the call."""
    handed_on = told(place.run_program("trace/hands_on", TRACEPARENT=own))
    place.wait_for_end()
    exported = spans(place)
    assert len(handed_on) == 23
    for call_id, text in handed_on.items():
        span = exported[call_id]
        assert text == f"00-{span['traceId']}-{call_id}-01"
    traces = Counter(text[3:35] for text in handed_on.values())
    expected = {TRACE: 12, "ab" * 16: 11} if own else {TRACE: 12}
    assert traces.items() >= expected.items()


def test_outside_of_a_call_what_was_given_is_handed_on(place: Place) -> None:
    """What was adopted, else the environment's, else nothing; with tracking off the last two."""
    here = f"00-{TRACE}-{SPAN}-01"
    program = "trace/hands_on_outside"
    assert place.run_program(program).split() == ["None", "None", here, "None", here, "None"]
    own = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assert place.run_program(program, TRACEPARENT=own).split() == [own, own, here, own, here, own]
    off = place.run_program(program, TRACEPARENT=own, OPTIMIZED_PERF_TRACKER_ENABLED="0")
    assert off.split() == [own] * 6


def test_roots_in_a_span_of_opentelemetry_are_beneath_it(place: Place) -> None:
    """Where one records: roots alone, unless a context was adopted, however they are called."""
    needs("opentelemetry-sdk")
    nothing, said = place.run_program("trace/in_spans").splitlines()
    assert nothing == "None"
    place.wait_for_end()
    named = json.loads(said)
    expected = {
        "before": None,
        "outside": None,
        "first": named["first"],
        "adopted": f"{TRACE}-{SPAN}",
        "second": named["second"],
        "unrecorded": None,
        "not recording": None,
        "after": None,
    }
    for found in lines(place, "top", "task", "leaf"):
        remote = expected[json.loads(found["p"])["name"]]
        below = "parent" in found
        assert found.get("remote") == (remote[:32] if remote and below else remote)
    remotes = [found.get("remote") for found in lines(place, "block")]
    assert remotes == [None, named["first"]]
    assert len(lines(place, "top")) == 12
    assert place.stats()["faults"] == {}


def test_what_roots_without_a_record_call_is_in_their_trace(place: Place) -> None:
    """A call that is sampled out is nobody's parent, and the trace it was called in is not lost."""
    place.write("config/tool_perf_limits.yaml", "sampling: {tools: {seldom: 1000000}}\n")
    place.run_program("trace/sampled_and_forked")
    place.wait_for_end()
    found = {json.loads(one["p"])["n"]: one.get("remote") for one in lines(place, "leaf")}
    assert set(found) == {*range(43), *range(50, 61)}
    whole = {n: remote for n, remote in found.items() if remote is not None}
    assert set(whole) == set(range(43))
    recorded = [one["id"] for one in lines(place, "seldom")]
    below = {one.get("parent") for one in lines(place, "leaf") if one.get("remote") == TRACE}
    assert below <= set(recorded)
    assert len(recorded) <= 1
    stats = place.stats()
    assert stats["tool_stats"]["seldom"]["sampled_out"] == 51 - len(recorded)
    assert stats["faults"] == {}


def test_a_request_is_beneath_its_servers_span(place: Place) -> None:
    """Where OpenTelemetry records one, that has read the header; else the header is taken up."""
    needs("opentelemetry-sdk")
    span = place.run_program("trace/request_in_span").strip()
    place.wait_for_end()
    remotes = [found.get("remote") for found in lines(place, "request")]
    assert remotes == [f"{TRACE}-{SPAN}"] * 2 + [span] * 2


def test_contexts_without_room_are_counted(place: Place) -> None:
    """Blocks that are open at once, beyond what can be written down: recorded, as roots of ours."""
    place.run_program("trace/many_at_once")
    place.wait_for_end()
    stats = place.stats()
    assert stats["faults"] == {"no_context": 9}
    assert stats["tool_stats"]["leaf"]["count"] == 2
    assert [found.get("remote") is None for found in lines(place, "leaf")] == [False, True]
