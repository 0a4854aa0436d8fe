"""Runs of the optimization cycle with real processes: by themselves, asked for, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import PYTHON, Place, outputs, wait_until

# A program that no test has started, as far as it knows.
ALONE = dict.fromkeys(("PYTEST_VERSION", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER"), "")
TEXT = "x" * 1_000


def reports(place: Place) -> list[dict[str, Any]]:
    """Every report, the oldest first; each has its text beside it, and nothing is left over."""
    folder = place.storage / "optimization"
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{path.stem}{suffix}" for path in found for suffix in (".json", ".md")
    )
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} <= {0o600}
    return [json.loads(path.read_text()) for path in found]


@pytest.fixture
def calling(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A program that calls until it is told to end."""
    program = place.start_program("optimize/until_told")
    assert program.stdout is not None
    assert program.stdout.readline() == "calling\n"
    yield program
    end(place, program)


def end(place: Place, program: subprocess.Popen[str]) -> None:
    """Let it end; every call that it has made is counted."""
    if program.stdin is None or program.stdin.closed:
        return
    out, err = outputs(program, "")
    assert program.returncode == 0, err
    place.wait_for_end()
    assert place.stats()["total_calls"] == 2 * int(out)


def test_a_program_has_a_report_without_asking(place: Place) -> None:
    """After 10,000 of 30,000 calls: of a thousand in detail, without their whole parameters."""
    place.run_program("optimize/counted", "30000", **ALONE)
    place.wait_for_end()
    (report,) = reports(place)
    assert (report["trigger"], report["ended_by"], report["calls"]) == ("threshold", "calls", 1_000)
    assert report["tools"]["lookup"]["count"] == 1_000
    first = report["advice"][0]
    assert (first["kind"], first["tool"], first["evidence"]["distinct"]) == ("cache", "lookup", 7)
    assert place.ask("mode")["mode"] == "normal"
    assert place.ask("optimize", "--last") == report
    assert place.stats()["total_calls"] == 30_000
    assert place.ask("status")["optimization"]["last_report"]
    lines = place.lines("lookup")
    assert len(lines) == 100
    assert all("d" in line["data"] for line in lines), "the last calls are normal ones"


@pytest.mark.parametrize("name", sorted(ALONE))
def test_nothing_begins_by_itself_under_pytest(place: Place, name: str) -> None:
    """Whatever pytest has set for the program that founds the session."""
    place.write("config/tool_perf_limits.yaml", "optimization: {trigger_threshold: 5}\n")
    place.run_program("optimize/counted", "1000", **{**ALONE, name: "1"})
    place.wait_for_end()
    assert not (place.storage / "optimization").exists()


def test_two_who_ask_have_one_report(place: Place, calling: subprocess.Popen[str]) -> None:
    """Their run is the same; parameters are whole, since they asked; the mode is as before."""
    first = place.start_module("optimize", "--calls", "100", "--json")
    second = place.start_module("optimize", "--calls", "100", "--json")
    found = [json.loads(place.finish(one)) for one in (first, second)]
    assert [one["calls"] for one in found] == [100, 100]
    assert reports(place) in ([found[0]], [found[0], found[1]], [found[1], found[0]])
    assert {edge["parent"] for edge in found[0]["edges"]} <= {None, "outer"}
    assert place.ask("mode")["mode"] == "normal"
    assert "what ended it: calls" in place.shmperf("optimize", "--last")
    end(place, calling)


def test_asked_for_parameters_are_whole(place: Place, calling: subprocess.Popen[str]) -> None:
    """Those of a run that somebody asked for are in the history, all of them."""
    place.ask("optimize", "--calls", "50", "--keep")
    end(place, calling)
    exemplars = (place.storage / "exemplars.jsonl").read_text()
    kept = [json.loads(line)["data"] for line in exemplars.splitlines()] + [
        line["data"] for line in place.lines("inner")
    ]
    detailed = [line for line in kept if "params" in line and "text" in line["params"]]
    assert all(line["params"]["text"] == TEXT for line in detailed)


def test_a_collector_that_is_killed_is_followed_by_one_that_ends_the_run(
    place: Place, calling: subprocess.Popen[str]
) -> None:
    """Who waits has the one report, and nobody is stuck in optimization mode."""
    asking = place.start_module("optimize", "--seconds", "600", "--calls", "1000000", "--json")
    for _ in range(3):
        found = wait_until(lambda: _in_run(place), "the run")
        killed = found["collector"]["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: _pid(place) not in (None, killed), "another collector")
    wait_until(lambda: _in_run(place), "the run, which goes on")
    asking.send_signal(signal.SIGINT)
    report = json.loads(outputs(asking)[0])
    assert report["ended_by"] == "request"
    assert report["calls"] > 0
    assert reports(place) == [report]
    assert place.ask("mode")["mode"] == "normal"
    end(place, calling)


def _in_run(place: Place) -> dict[str, Any] | None:
    found: dict[str, Any] = place.ask("status")
    return found if found["collector"] and found["optimization"]["trigger"] else None


def _pid(place: Place) -> int | None:
    found = place.ask("status")["collector"]
    return None if found is None else int(found["pid"])


def test_who_waits_as_the_session_ends_has_the_report(
    place: Place, calling: subprocess.Popen[str]
) -> None:
    """A run ends with its session, and nobody has to look for what it has seen."""
    asking = place.start_module("optimize", "--seconds", "600", "--calls", "1000000", "--json")
    wait_until(lambda: _in_run(place), "the run")
    end(place, calling)
    report = json.loads(place.finish(asking))
    assert report["ended_by"] == "session"
    assert reports(place) == [report]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_leaves_ends_the_run_with_its_report(
    place: Place, calling: subprocess.Popen[str], number: signal.Signals
) -> None:
    """By Ctrl-C, told to end, or as the terminal goes: it is printed, and the mode is as before."""
    asking = place.start_module("optimize", "--seconds", "600", "--calls", "1000000", "--json")
    wait_until(lambda: _in_run(place), "the run")
    asking.send_signal(number)
    out, _ = outputs(asking)
    assert asking.returncode == 128 + number
    assert json.loads(out)["ended_by"] == "request"
    assert reports(place) == [json.loads(out)]
    assert place.ask("mode")["mode"] == "normal"
    end(place, calling)


def test_a_terminal_shows_how_far_it_is(place: Place, calling: subprocess.Popen[str]) -> None:
    """One line that is replaced; a pipe has none of it."""
    code = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'shmperf', 'optimize', "
    shown = place.run(
        PYTHON, "-c", f"{code}'--seconds', '1', '--calls', '1000000']))", TERM="xterm"
    )
    assert "calls in detail, at most" in shown
    assert "\x1b[K" in shown
    asking = place.start_module("optimize", "--seconds", "0.2")
    assert outputs(asking)[1] == ""
    end(place, calling)


def test_a_program_asks_for_a_run_itself(place: Place) -> None:
    """The report of its own calls; without a call there is one that says so."""
    first, second = json.loads(place.run_program("optimize/asks"))
    assert (first["trigger"], first["calls"], first["tools"]["tool"]["count"]) == ("manual", 20, 20)
    assert (second["calls"], second["previous"] is not None) == (0, True)
    assert "no call" in second["note"]


def test_without_tracking_there_is_an_empty_report(place: Place) -> None:
    """It says why, at once."""
    out = place.run_program("optimize/off", OPTIMIZED_PERF_TRACKER_ENABLED="off")
    report = json.loads(out)
    assert (report["calls"], report["tools"], report["note"]) == (0, {}, "tracking is off")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ((), 1, "no collector is running"),
        (("--last",), 1, "no report of a run"),
        (("--seconds", "nan"), 2, "--seconds: found nan"),
        (("--seconds", "x"), 2, "--seconds: found x, expected more than 0"),
        (("--calls", "0"), 2, "--calls: found 0"),
        (("--calls", "x"), 2, "--calls: found 'x', expected a whole number"),
        (("--seconds", "0"), 2, "--seconds: found 0, expected more than 0"),
        (("--calls", "2000000"), 2, "--calls: found 2000000"),
    ],
)
def test_what_can_t_be_is_said_in_a_line(
    place: Place, flags: tuple[str, ...], code: int, said: str
) -> None:
    """Nothing to ask, nothing to print, or numbers that are none."""
    place.run_program("optimize/counted", "1")
    place.wait_for_end()
    asking = place.start_module("optimize", *flags)
    _, err = outputs(asking)
    assert asking.returncode == code
    assert said in err
    assert "Traceback" not in err
