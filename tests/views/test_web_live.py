"""The live page's events: one look for all, through kills and endings."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Place, wait_until

from .visiting import Visit


@pytest.fixture
def calling(place: Place) -> tuple[Place, subprocess.Popen[str]]:
    """A program that calls a tool each time it is told to."""
    program = place.start_program("views/calls_when_told")
    call(program)
    return place, program


def call(program: subprocess.Popen[str]) -> None:
    """One more call, which has ended."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "called\n"


def counts(tool: str, count: int) -> Callable[[Any], bool]:
    """That a look has so many calls of that tool."""
    return lambda look: any(t["tool"] == tool and t["count"] == count for t in look["tools"])


def test_events_go_on_through_a_collector_killed(
    calling: tuple[Place, subprocess.Popen[str]],
) -> None:
    """The stream stays, and shows calls that ended afterwards; the books balance."""
    place, program = calling
    visit = Visit(place)
    follower = visit.follow()
    assert follower.kind == "text/event-stream; charset=utf-8"
    follower.until(counts("told", 1))
    os.kill(place.ask("status")["collector"]["pid"], signal.SIGKILL)
    call(program)
    follower.until(counts("told", 2))
    place.stats()
    follower.close()


def test_a_lost_connection_is_resumed(calling: tuple[Place, subprocess.Popen[str]]) -> None:
    """Who comes back with the last id gets what changed meanwhile; with an unknown one all."""
    place, program = calling
    visit = Visit(place)
    first = visit.follow()
    seen = first.until(counts("told", 1))
    first.close()
    call(program)
    resumed = visit.follow(seen.id)
    event = resumed.until(counts("told", 2))
    assert not event.data["whole"]
    resumed.close()
    anew = visit.follow("other.1")
    assert anew.next().data["whole"]
    anew.close()


def test_tabs_share_one_look(calling: tuple[Place, subprocess.Popen[str]]) -> None:
    """Ten who follow see the same events, by the same numbers."""
    place, program = calling
    visit = Visit(place)
    tabs = [visit.follow() for _ in range(10)]
    for tab in tabs:
        tab.until(lambda _: True)
    call(program)
    assert len({tab.until(counts("told", 2)).id for tab in tabs}) == 1
    for tab in tabs:
        tab.close()


def test_too_many_tabs_are_refused_and_leaving_makes_room(
    calling: tuple[Place, subprocess.Popen[str]],
) -> None:
    """So many follow and no more; the rest is told why."""
    visit = Visit(calling[0])
    tabs = [visit.follow() for _ in range(64)]
    answer = visit.ask("/api/events")
    assert answer.status == 503
    assert answer.error
    for tab in tabs:
        tab.close()
    wait_until(lambda: visit.ask("/api/events", "HEAD").status == 200, "room for another tab")


def test_a_session_that_ends_and_begins_again_is_followed(
    calling: tuple[Place, subprocess.Popen[str]],
) -> None:
    """What is at rest is said to be, and the next program's calls are seen."""
    place, program = calling
    visit = Visit(place)
    follower = visit.follow()
    follower.until(lambda look: look["is_live"])
    place.finish(program)
    follower.until(lambda look: not look["is_live"] and look["total_calls"] == 1)
    again = place.start_program("views/calls_when_told")
    call(again)
    follower.until(lambda look: look["is_live"] and look["total_calls"] == 2)
    follower.close()


def test_the_mode_is_switched_for_all(calling: tuple[Place, subprocess.Popen[str]]) -> None:
    """By the page as by the command; every tab sees it."""
    place, _ = calling
    visit = Visit(place)
    follower = visit.follow()
    changed = visit.browse("/api/mode", "POST", {"mode": "optimization"})
    assert changed.json == {"mode": "optimization"}
    follower.until(lambda look: look["mode"] == "optimization")
    assert place.ask("mode") == {"mode": "optimization"}
    follower.close()
    assert visit.browse("/api/cleanup", "POST", {}).json == {"cleaned": True}
    assert visit.browse("/api/stats").json["total_calls"] == 0
