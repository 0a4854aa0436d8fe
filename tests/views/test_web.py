"""The page's server: what it answers, and that it is what the commands print."""

from __future__ import annotations

import signal
from urllib.parse import quote

import pytest

from shmperf.views.page import SCRIPTS, STYLES
from tests.support import Place, outputs

from .served import Served
from .visiting import HOST, Visit

PARTS = ("stats", "tree", "slow", "errors", "alerts")


@pytest.fixture
def visit(served: Served) -> Visit:
    """The server of the module."""
    return served.visit


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_what_the_commands_print(served: Served, part: str) -> None:
    """One reads the same, whether by a command or by an address."""
    assert served.visit.browse(f"/api/{part}").json == served.place.ask(part)


def test_the_page_and_its_files_are_there(visit: Visit) -> None:
    """Each file that the page names is had by its name, as what it is."""
    page = visit.browse("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in (*SCRIPTS, *STYLES):
        assert f'"/static/{name}"' in page.content.decode()
        found = visit.browse(f"/static/{name}")
        assert found.status == 200
        assert found.headers["content-type"].startswith("text/css" if "css" in name else "text/j")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/none", 404),
        ("/api/stats/", 404),
        ("/api/trace/0123456789abcdef", 404),
        ("/api/trace/" + quote("<script>\n/../", safe=""), 404),
        ("/api/reports/20200101T000000Z", 404),
        ("/api/reports/..%2f..%2fetc%2fpasswd", 404),
        ("/api/slow?limit=0", 400),
        ("/api/slow?limit=x", 400),
        ("/api/slow?limit=1&limit=2", 400),
        ("/api/slow?open=true", 400),
        ("/api/reports?tool=leaf", 400),
        ("/api/intervals?since=yesterday", 400),
        ("/api/changes?since=yesterday", 400),
        ("/api/changes?against=/etc/passwd", 400),
        ("/api/slow?" + "&".join(f"a{number}=1" for number in range(100)), 400),
        ("/api/rank", 400),
        ("/api/rank?query=find", 503),
        ("/api/mode", 405),
    ],
)
def test_what_is_wrong_is_told_in_one_line(visit: Visit, path: str, status: int) -> None:
    """A status that fits, and JSON with a text for a person."""
    answer = visit.browse(path)
    assert answer.status == status
    assert answer.error


@pytest.mark.parametrize("path", ["/api/trace/0123456789abcdef", "/api/reports/none"])
def test_what_is_missing_is_an_answer_to_who_prefers_that(visit: Visit, path: str) -> None:
    """The page has the same line by a 200, which names what it goes by; only what is missing."""
    told = visit.browse(path, Prefer="missing=told")
    assert told.status == 200
    assert told.headers["preference-applied"] == "missing=told"
    assert told.error == visit.browse(path).error
    assert visit.browse("/api/slow?limit=0", Prefer="missing=told").status == 400
    assert "preference-applied" not in visit.browse("/api/stats", Prefer="missing=told").headers


def test_wishes_are_heard(visit: Visit) -> None:
    """A tool, how many, and from when on."""
    assert [call["tool"] for call in visit.browse("/api/slow?tool=leaf&limit=2").json] == [
        "leaf",
        "leaf",
    ]
    assert visit.browse("/api/intervals?tool=leaf").json["tool"] == "leaf"
    assert visit.browse("/api/intervals?since=99999999999").json["steps"] == []
    assert visit.browse("/api/changes?since=99999999999").json["tools"] == {}
    assert visit.browse("/api/alerts?open=true").json == {"alerts": []}


def test_a_story_is_told_by_a_tools_name_too(served: Served) -> None:
    """What `trace` shows of a tool, a page shows by the same words."""
    told = served.visit.browse("/api/trace/top").json
    assert told["call"]["tool"] == "top"
    assert served.visit.browse(f"/api/trace/{told['call']['id']}").json == told
    assert served.place.ask("trace", "top") == told


def recorded(place: Place) -> Visit:
    """A server of a test's own."""
    place.run_program("export/record")
    place.wait_for_end()
    return Visit(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_open_streams(place: Place, number: int) -> None:
    """Whoever follows is let go at once, and the exit code is 0."""
    visit = recorded(place)
    follower = visit.follow()
    assert follower.next().data["whole"]
    visit.program.send_signal(number)
    assert follower.ends()
    assert place.finish(visit.program) == ""
    assert visit.program.error_text == ""  # type: ignore[attr-defined]  kept by finish


def test_a_taken_port_is_an_error_where_it_was_asked_for(served: Served) -> None:
    """Whoever names a port means that one."""
    other = served.place.start_module("serve", "--listen", f"{HOST}:{served.visit.port}")
    out, err = outputs(other)
    assert (other.returncode, out) == (1, "")
    assert err == f"shmperf: {HOST}:{served.visit.port}: Address already in use\n"


def test_nothing_recorded_is_told_at_once(place: Place) -> None:
    """As by every command that reads."""
    place.shmperf("serve", code=1)
    assert not place.storage.exists()


def test_metrics_are_those_of_the_command(visit: Visit) -> None:
    """In the format that a scraper asks for."""
    answer = visit.ask("/metrics")
    assert b'shmperf_calls_total{gen_ai_tool_name="leaf"} 300\n' in answer.content
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
