"""What views show is what the commands say; and what a live view sees from one look to the next."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from shmperf.errors import SessionError
from shmperf.query.answers import Answers, find_answers, request_for
from shmperf.query.look import Watch
from shmperf.query.parts import PARTS, Wanted
from shmperf.query.trend import trend
from tests.support import Place

KEYS = {"trace": "top", "reports": ""}
AS_COMMANDS = {"stats", "tree", "errors", "slow", "alerts", "inflight"}


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("commands/record")
    place.wait_for_end()
    return place


def answers_in(place: Place) -> Answers:
    storage = str(place.cwd / "perf_data")
    return find_answers(
        request_for(session=None, storage=storage, config=None, environ=dict(os.environ))
    )


def test_each_part_is_what_its_command_prints(recorded: Place) -> None:
    """A page and a command have the same answer, in the same shape."""
    answers, wanted = answers_in(recorded), Wanted()
    for part in PARTS:
        if part.name in AS_COMMANDS:
            found = json.loads(msgspec.json.encode(part.answer(answers, wanted, "")))
            assert found == recorded.ask(part.name), part.name


def test_each_part_has_the_shape_that_it_says(recorded: Place) -> None:
    """Its description is true: what is answered can be read as what it names."""
    answers = answers_in(recorded)
    for part in PARTS:
        if part.key == "name":
            continue
        found = part.answer(answers, Wanted(), KEYS.get(part.name, ""))
        text = msgspec.json.encode(found)
        assert msgspec.json.encode(msgspec.json.decode(text, type=part.shape)) == text


def test_intervals_add_up_to_what_was_counted(recorded: Place) -> None:
    """The points of a chart and the rows of its heat map hold each timed call once."""
    found = trend(answers_in(recorded))
    stats = recorded.stats()
    assert sum(step.count for step in found.steps) == stats["total_calls"]
    assert sum(step.errors for step in found.steps) == sum(
        row["errors"] for row in stats["tool_stats"].values()
    )
    assert sum(sum(step.heat.values()) for step in found.steps) == stats["total_calls"]
    for step in found.steps:
        assert step.p50_s is not None
        assert 2 ** (min(step.heat) / 2) <= step.p50_s <= 2 ** ((max(step.heat) + 1) / 2)


def test_look_at_rest_shows_what_is_on_disk(recorded: Place) -> None:
    """Without a collector a live view shows the storage, and says that it is not live."""
    look = Watch(lambda: answers_in(recorded)).look()
    stats = recorded.stats()
    assert not look.is_live
    assert look.problem is None
    assert {row.tool: row.count for row in look.tools} == {
        tool: row["count"] for tool, row in stats["tool_stats"].items()
    }
    assert look.begun == look.total_calls + look.aborted + look.in_flight + sum(look.lost.values())
    assert sum(row.own_share for row in look.tools) == pytest.approx(1.0)


def test_look_says_what_is_the_matter_and_keeps_what_was_seen(recorded: Place) -> None:
    """A session that can't be asked leaves the last figures, marked as old."""
    now_s = [100.0]
    watch = Watch(lambda: answers_in(recorded), lambda: now_s[0])
    before = watch.look()

    def gone() -> Answers:
        raise SessionError("the session has gone")

    watch._find = gone
    now_s[0] = 101.0
    look = watch.look()
    assert look.problem == "the session has gone"
    assert look.at_s == 101.0
    assert [row.tool for row in look.tools] == [row.tool for row in before.tools]
    assert Watch(gone).look().tools == []


def test_parts_of_one_tool_have_nothing_of_others(recorded: Place) -> None:
    """A page of one tool asks for it alone; sums stay those of all."""
    answers, parts = answers_in(recorded), {part.name: part for part in PARTS if not part.key}
    whole = parts["stats"].answer(answers, Wanted(), "")
    edges = parts["tree"].answer(answers, Wanted(), "")
    assert len(whole.tool_stats) > 1
    for tool in whole.tool_stats:
        found = parts["stats"].answer(answers, Wanted(tool=tool), "")
        assert found.tool_stats == {tool: whole.tool_stats[tool]}
        assert found.total_calls == whole.total_calls
        near = [edge for edge in edges if tool in (edge.tool, edge.parent)]
        assert parts["tree"].answer(answers, Wanted(tool=tool), "") == near
    assert not parts["stats"].answer(answers, Wanted(tool="nobody"), "").tool_stats
