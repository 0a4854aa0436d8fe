"""The report: what it holds of a session, that it stays in bounds, and that text stays text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.diff import Against, compare
from shmperf.errors import StoreError
from shmperf.query.answers import Answers, find_answers, request_for
from shmperf.query.changed import measured_in
from shmperf.query.parts import PARTS
from shmperf.query.story import Story, story
from shmperf.shm.record import Outcome
from shmperf.testing import Room, ScriptedWorker, assert_books_balance
from shmperf.views.page import SCRIPTS, STYLES
from shmperf.views.report import MOST_BYTES, made_report, write_report

EVIL = "</script><script>alert(1)</script>"
ODD = [
    EVIL,
    "<!--",
    "<!--<script>",
    "a&b 'c' \"d\"",
    "\u2028line\u2029",
    "ünïcode 🐍",
    "x" * 10_000,
]
SHAPES = {(part.name, part.key): part.shape for part in PARTS}

Recorded = Callable[[Callable[[ScriptedWorker], object]], Answers]


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    made = Room(tmp_path, runtime)
    yield made
    made.close()


@pytest.fixture
def recorded(room: Room) -> Recorded:
    """What a worker did, once it has died and all is written."""

    def record(work: Callable[[ScriptedWorker], object]) -> Answers:
        work(room.worker(slots=64, budget_bytes=64 << 20))
        room.turn()
        room.finish()
        return at_rest(room.storage)

    return record


def at_rest(storage: Path) -> Answers:
    return find_answers(
        request_for(session=None, storage=str(storage), config=None, environ=dict(os.environ))
    )


def embedded(page: bytes) -> dict[str, Any]:
    """What a browser's script finds in the page."""
    found: dict[str, Any] = json.loads(_Elements(page).only("application/json"))
    return found


class _Elements(HTMLParser):
    """The elements of a page, as a browser parts them, and the texts of its scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            assert "src" not in dict(attrs)
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"] and self.cdata_elem == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data

    def only(self, kind: str) -> str:
        (text,) = [text for its_kind, text in self.scripts if its_kind == kind]
        return text


def nested(worker: ScriptedWorker) -> None:
    """Ten calls of a tool with a slow child, one of which fails."""
    for number in range(10):
        top = worker.begin("top")
        child = worker.begin("child", top.id)
        worker.end(
            child,
            msgspec.msgpack.encode({"n": number}),
            Outcome.ERROR if number == 3 else Outcome.OK,
        )
        worker.end(top, msgspec.msgpack.encode({"n": number}))


def test_it_holds_what_the_commands_say(recorded: Recorded) -> None:
    """Each part has its command's shape; counts, edges and slow calls are the same."""
    answers = recorded(nested)
    found = embedded(made_report(answers))
    parts = found["parts"]
    for key, value in parts.items():
        name, _, one = key.partition("?")[0].partition("/")
        shape = SHAPES[name, {"trace": "id", "reports": "name"}[name] if one else ""]
        msgspec.convert(value, shape, strict=False)
    assert_books_balance(parts["stats"])
    assert {tool: row["count"] for tool, row in parts["stats"]["tool_stats"].items()} == {
        "top": 10,
        "child": 10,
    }
    assert {(edge["parent"], edge["tool"]) for edge in parts["tree"]} == {
        (None, "top"),
        ("top", "child"),
    }
    assert [call["id"] for call in parts["slow"]] == [call.id for call in answers.slowest(30)]
    assert sum(step["count"] for step in parts["intervals"]["steps"]) == 20
    assert [group["count"] for group in parts["errors?tool=child"]] == [1]
    assert found["report"]["left_out"] == {}
    assert found["look"]["total_calls"] == 20
    assert not found["look"]["is_live"]


def test_each_slow_call_has_its_story(recorded: Recorded) -> None:
    """A link from a list of slow calls leads to the story that `trace` tells of it."""
    answers = recorded(nested)
    parts = embedded(made_report(answers))["parts"]
    for call in parts["slow"]:
        told = msgspec.convert(parts[f"trace/{call['id']}"], Story, strict=False)
        alone = story(answers, call["id"])
        assert told.above == alone.above
        assert [one.id for one in told.call.children] == [one.id for one in alone.call.children]
        assert told.call.params == call["params"] == alone.call.params


def test_what_failed_has_a_story(recorded: Recorded) -> None:
    """A group of errors leads to one of its calls."""
    parts = embedded(made_report(recorded(nested)))["parts"]
    (failed,) = parts["errors?tool=child"]
    told = parts[f"trace/{failed['id']}"]
    assert (told["above"], told["call"]["status"]) == (["top"], "error")


def test_a_call_of_a_trace_too_large_keeps_what_was_kept_with_it(recorded: Recorded) -> None:
    """Of a root of thousands of calls the story is cut, and says so."""

    def work(worker: ScriptedWorker) -> None:
        worker.add_tool("child", slots=4096)
        top = worker.begin("top")
        for number in range(2_000):
            worker.call("child", number, top.id)
        worker.end(top)

    answers = recorded(work)
    parts = embedded(made_report(answers))["parts"]
    (top,) = [call for call in parts["slow"] if call["tool"] == "top"]
    told = parts[f"trace/{top['id']}"]
    assert told["truncated"]
    assert 0 < len(told["call"]["children"]) <= 200


@pytest.mark.parametrize("tool", ODD)
def test_text_stays_text(recorded: Recorded, tool: str) -> None:
    """Whatever a tool is called, the page has its own elements, its own scripts and no other."""
    page = made_report(recorded(lambda worker: worker.call(tool)))
    elements = _Elements(page)
    assert len(elements.scripts) == len(SCRIPTS) + 1
    assert elements.tags.count("style") == 1
    (shown,) = embedded(page)["parts"]["stats"]["tool_stats"]
    assert shown == tool
    plain = re.findall(rb"<noscript><table>.*?</table>", page, re.DOTALL)
    assert len(plain) == 1
    assert b"<script" not in plain[0]


@pytest.mark.parametrize("tool", ODD)
def test_without_parameters_names_stay(recorded: Recorded, tool: str) -> None:
    """A tool that is called as a parameter's key is no parameter."""
    answers = recorded(lambda worker: worker.call(tool))
    found = embedded(made_report(answers, with_parameters=False))
    assert found["parts"]["stats"]["tool_stats"][tool]["count"] == 1
    assert [one["tool"] for one in found["look"]["tools"]] == [tool]


def test_lone_surrogates_are_written(recorded: Recorded) -> None:
    """A name that no encoding can hold doesn't keep the report from being written, or read."""
    answers = recorded(nested)
    against = Against("\ud800 before \udfff", compare(measured_in(answers), {}))
    page = made_report(answers, against)
    assert embedded(page)["report"]["against"] == "\ud800 before \udfff"
    page.decode("utf-8")


def test_nothing_from_elsewhere_is_allowed(recorded: Recorded) -> None:
    """The policy names each script by its digest, and allows neither requests nor others."""
    page = made_report(recorded(nested)).decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script")
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"].count("'sha256-") == len(SCRIPTS)
    assert directives["style-src"].count("'sha256-") == 1
    assert not re.search(r"unsafe|https?:|\*", policy)
    assert STYLES


@pytest.mark.parametrize("tools", [100, 20_000])
def test_it_stays_in_bounds(room: Room, recorded: Recorded, tools: int) -> None:
    """Whatever was recorded fits; what does not is counted, and the costliest tools are there."""

    def work(worker: ScriptedWorker) -> None:
        for number in range(tools):
            worker.add_tool(f"tool {number}", slots=2)
            worker.call(f"tool {number}", number)
        slow = worker.begin("the slow one")
        room.pass_ns(10**9)
        worker.end(slow)

    page = made_report(recorded(work))
    assert len(page) <= MOST_BYTES
    found = embedded(page)
    shown = len(found["parts"]["stats"]["tool_stats"])
    assert shown + found["report"]["left_out"].get("tools", 0) == tools + 1
    assert found["look"]["total_calls"] == tools + 1
    assert shown >= 100
    assert next(iter(found["parts"]["stats"]["tool_stats"])) == "the slow one"


def test_long_names_stay_in_bounds(recorded: Recorded) -> None:
    """Names of ten thousand characters fill their shares, and no more than the file may have."""

    def work(worker: ScriptedWorker) -> None:
        top = worker.begin("top")
        for number in range(200):
            worker.call(f"{number:04}{'n' * 9_996}", number, top.id)
        worker.end(top)

    page = made_report(recorded(work))
    assert len(page) <= MOST_BYTES
    found = embedded(page)
    assert found["look"]["total_calls"] == 201
    assert len(found["parts"]["stats"]["tool_stats"]) > 3


MARK = "hunter2 of everybody"


def test_without_parameters_there_are_none(room: Room) -> None:
    """No parameter and no message is anywhere in the file, in whichever mode it was recorded."""
    worker = room.worker(slots=64)
    for number in range(20):
        top = worker.begin("top")
        worker.end(top, msgspec.msgpack.encode({"n": MARK + str(number)}))
        detailed = worker.begin("detailed", in_detail=True)
        worker.end_in_detail(detailed, {"n": MARK})
    room.turn()
    room.finish()
    answers = at_rest(room.storage)
    assert MARK.encode() in made_report(answers)
    page = made_report(answers, with_parameters=False)
    assert MARK.encode() not in page
    found = embedded(page)
    assert "all of it" not in json.dumps(found)
    assert not found["report"]["parameters"]
    assert {call["params"] for call in found["parts"]["slow"]} == {None}
    assert "without parameters" in found["report"]["note"]


def test_what_changed_is_there(recorded: Recorded) -> None:
    """Against another run it holds what `diff` says, and by which name that was given."""
    answers = recorded(nested)
    found = compare({}, measured_in(answers))
    changes = embedded(made_report(answers, Against("before", found)))["changes"]
    assert changes["against"] == "before"
    assert {tool: one["verdict"] for tool, one in changes["tools"].items()} == {
        "top": "new",
        "child": "new",
    }


def test_a_file_is_private_and_whole(recorded: Recorded, tmp_path: Path) -> None:
    """Its owner alone can read it; where it can't be written, what was there before stays."""
    answers = recorded(nested)
    path = tmp_path / "report.html"
    assert write_report(answers, path) == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="no plain file"):
        write_report(answers, tmp_path)
    with pytest.raises(StoreError, match="No such file"):
        write_report(answers, tmp_path / "nowhere" / "report.html")
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".report")]
