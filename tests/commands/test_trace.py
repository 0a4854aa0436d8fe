"""``trace``: the tree of one call, by its id or as the slowest of a tool; kept, open, or below."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Place, outputs

LIMIT = "default_perf_points: 4\n"


@pytest.fixture
def recorded(place: Place) -> Place:
    place.write("config/tool_perf_limits.yaml", LIMIT)
    place.run_program("commands/nested")
    place.wait_for_end()
    return place


def nodes(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield call
    for child in call["children"]:
        yield from nodes(child)


def test_the_slowest_call_of_a_tool_has_all_that_lay_below(recorded: Place) -> None:
    """Whole, though of its leaves none is among the newest; times, own times and gaps add up."""
    found = recorded.ask("trace", "root")
    top = found["call"]
    times = json.loads(top["params"])["times"]
    assert [child["tool"] for child in top["children"]] == ["branch"] * times
    below = [leaf for child in top["children"] for leaf in child["children"]]
    assert [leaf["tool"] for leaf in below] == ["leaf"] * times
    assert (found["kept_with_it"], found["truncated"], found["above"]) == (True, False, [])
    assert len(recorded.lines("leaf")) < 20
    for node in nodes(top):
        spent_s = sum(child["duration_s"] for child in node["children"])
        assert node["own_s"] == pytest.approx(node["duration_s"] - spent_s, abs=1e-3)
        if node["children"]:
            assert node["own_s"] == pytest.approx(sum(gap["duration_s"] for gap in node["gaps"]))
        for child in node["children"]:
            assert child["offset_s"] >= node["offset_s"] - 1e-4
            assert child["parent"] == node["id"]
    assert top["duration_s"] == recorded.ask("stats", "root")["max_duration_s"]


def test_a_call_is_found_by_its_id_wherever_it_is_kept(recorded: Place) -> None:
    """In the history, or below a call that is kept as one of the slowest."""
    newest = recorded.lines("root")[-1]["data"]
    found = recorded.ask("trace", newest["id"].upper())
    assert recorded.ask("trace", f"0x{newest['id']}") == found
    assert [node["tool"] for node in nodes(found["call"])] == ["root", *["branch", "leaf"] * 2]
    assert [node["status"] for node in found["call"]["children"]] == ["error"] * 2
    assert [node["err"] for node in found["call"]["children"]] == ["ValueError"] * 2
    leaf = recorded.ask("trace", "root")["call"]["children"][1]["children"][0]
    below = recorded.ask("trace", leaf["id"])
    assert below["above"] == ["root", "branch"]
    assert below["call"]["duration_s"] == leaf["duration_s"]


def test_an_open_call_is_shown_with_what_has_ended_below(place: Place) -> None:
    """By its id, while it runs."""
    program = place.start_program("commands/nested", "wait")
    assert program.stdout is not None
    call_id = program.stdout.readline().split()[1]
    found = place.ask("trace", call_id)
    assert (found["call"]["status"], found["call"]["duration_s"]) == ("open", None)
    assert [node["tool"] for node in nodes(found["call"])] == ["waiting", "branch", "leaf"]
    assert "open" in place.shmperf("trace", call_id)
    outputs(program, "\n")
    assert program.returncode == 0
    place.wait_for_end()


def test_a_terminal_shows_tree_times_and_pauses(recorded: Place) -> None:
    """One line a call, in the order in which they began, with the time between."""
    lines = recorded.shmperf("trace", "root").splitlines()
    assert lines[0].startswith("root  ")
    assert " of its time" in lines[1]
    calls = [line.split() for line in lines if "━" in line]
    assert [words[0] for words in calls][:1] == ["root"]
    names = [next(word for word in words if word.isalpha()) for words in calls]
    assert names.count("branch") == names.count("leaf") >= 2
    assert names.count("own") >= 1
    assert "kept with the call" in lines[-1]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("00000000000000ff", "no call '00000000000000ff' is kept"),
        ("roots", "did you mean 'root'?"),
        ("\x1b[31m", "no calls of '\\\\x1b[31m' were recorded"),
    ],
)
def test_a_call_that_is_not_there_is_told(recorded: Place, call: str, expected: str) -> None:
    """One line, exit 1."""
    program = recorded.start_module("trace", call)
    recorded.finish(program, code=1)
    assert expected in program.error_text  # type: ignore[attr-defined]  # kept by the place


def test_a_tool_none_of_whose_calls_has_ended(place: Place) -> None:
    """Its open call is shown while it runs, and as aborted once its process has died."""
    program = place.start_program("trace/open_calls_killed_worker_name")
    assert program.stdout is not None
    assert program.stdout.readline() == "there\n"
    assert place.ask("trace", "inner")["call"]["status"] == "open"
    program.kill()
    program.wait()
    place.wait_for_end()
    found = place.ask("trace", "inner")
    assert (found["call"]["status"], found["above"]) == ("aborted", ["outer"])


def test_a_tool_that_is_called_as_ids_look(place: Place) -> None:
    """It is the tool that is meant; its calls have ids of their own."""
    place.run_program("trace/called_as_ids_look")
    place.wait_for_end()
    found = place.ask("trace", "deadbeefdeadbeef")["call"]
    assert (found["tool"], found["status"]) == ("deadbeefdeadbeef", "ok")
    assert place.ask("trace", found["id"])["call"] == found


def test_a_call_with_very_many_below_it(place: Place) -> None:
    """The nearest are shown, and of one of those below all that is near to it."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    root, leaf = place.run_program("trace/many_below_one").split()
    place.wait_for_end()
    found = place.ask("trace", root)
    assert found["truncated"]
    top = found["call"]
    assert [child["tool"] for child in top["children"]] == ["branch"] * 4_000
    assert 5_000 < len(list(nodes(top))) <= 10_000
    below = place.ask("trace", leaf)
    assert (below["trace"], below["above"], below["truncated"]) == (root, ["root", "branch"], False)
    branch = place.ask("trace", below["call"]["parent"])
    assert [node["tool"] for node in nodes(branch["call"])] == ["branch", *["leaf"] * 5]
    assert (branch["above"], branch["truncated"]) == (["root"], False)


def test_a_damaged_line_costs_itself_alone(recorded: Place) -> None:
    """What somebody has edited is passed over, and a circle of parents has an end."""
    root = recorded.lines("root")[-1]["data"]["id"]
    path = recorded.storage / "branch_perf.jsonl"
    lines = path.read_text().splitlines()
    loop = lines[-1].replace('"tool":"branch"', '"tool":"loop"')
    ids = ('"id":"00000000000000aa","parent":"00000000000000aa"', f'"trace":"{root}"')
    loop = f'{{"tool":"loop","timestamp":"x","data":{{{ids[0]},{ids[1]}}}}}'
    odd = loop.replace('"timestamp":"x"', '"timestamp":"2026-01-01T00:00:00+00:00"')
    path.write_text("\n".join([*lines, loop, odd, "{", f'"{root}"']) + "\n")
    found = recorded.ask("trace", root)
    assert [node["tool"] for node in nodes(found["call"])] == ["root", *["branch", "leaf"] * 2]
