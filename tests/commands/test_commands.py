"""The command: what it prints, for people and for programs, and how it exits."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess

import pytest

from tests.support import PYTHON, Place, outputs, program_text, wait_until

RECORD = program_text("commands/record")


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("commands/record")
    place.wait_for_end()
    return place


def test_readers_answer_from_disk_in_plain_text(recorded: Place) -> None:
    """Without a collector every reading command shows what the directory holds, uncoloured."""
    for command in ("stats", "tree", "slow", "errors", "inflight", "status", "doctor", "mode"):
        out = recorded.shmperf(command)
        assert "\x1b" not in out
        assert out.strip()
    stats = recorded.shmperf("stats")
    assert "0 lost" in stats
    assert "0 aborted" in stats
    tree = recorded.shmperf("tree")
    assert tree.index("evil") < tree.index("top") < tree.index("leaf")
    assert "ValueError" in recorded.shmperf("errors")
    assert "hidden" not in recorded.shmperf("slow")


def test_control_characters_are_shown_and_not_sent(recorded: Place) -> None:
    """A tool's name can't drive the terminal."""
    for command in ("stats", "tree", "slow"):
        out = recorded.shmperf(command)
        assert "\x1b" not in out
        assert "evil\\x1b[31m" in out


def test_json_is_one_value_of_the_promised_shape(recorded: Place) -> None:
    """``--json`` prints the same figures for programs."""
    assert recorded.ask("stats")["total_calls"] == 7
    assert recorded.ask("stats", "leaf")["errors"] == 1
    edges = {(edge["parent"], edge["tool"]): edge["calls"] for edge in recorded.ask("tree")}
    assert edges == {(None, "evil\x1b[31m\n"): 1, ("evil\x1b[31m\n", "top"): 1, ("top", "leaf"): 5}
    (group,) = recorded.ask("errors")
    assert (group["tool"], group["err"], group["count"]) == ("leaf", "ValueError", 1)
    assert recorded.ask("status")["collector"] is None
    assert len(recorded.ask("slow", "leaf", "--limit", "2")) == 2
    assert recorded.ask("inflight") == []
    assert {row["check"] for row in recorded.ask("doctor")} >= {"storage", "clock", "journal"}
    assert recorded.ask("config")["default_perf_points"] == 100


def test_a_terminal_gets_colours_unless_told_otherwise(recorded: Place) -> None:
    """Tables are coloured on a terminal, and NO_COLOR takes that away."""
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        leader, follower = pty.openpty()
        subprocess.run(
            [PYTHON, "-m", "shmperf", "stats"],
            cwd=recorded.cwd,
            env={**recorded.environ, "TERM": "xterm", **environ},
            stdout=follower,
            check=True,
        )
        os.close(follower)
        out = os.read(leader, 100_000).decode()
        os.close(leader)
        assert ("\x1b[31m" in out or "\x1b[2m" in out) == coloured


def test_run_passes_input_exit_code_and_signals_on(place: Place) -> None:
    """The command has our input and output; its end is ours."""
    echo = "import sys; print(sys.stdin.read().upper()); sys.exit(7)"
    program = place.start_module("run", "--", PYTHON, "-c", echo)
    out, error = outputs(program, "hello")
    assert (out.strip(), program.returncode) == ("HELLO", 7)
    assert "nothing was recorded" in error
    place.shmperf("run", "--", "no-such-command-anywhere", code=127)
    not_runnable = place.write("plain.txt", "x")
    place.shmperf("run", "--", str(not_runnable), code=126)
    wait = "import signal, time; print('up', flush=True); signal.pause()"
    program = place.start_module("run", "--", PYTHON, "-c", wait)
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    program.send_signal(signal.SIGTERM)
    outputs(program)
    assert program.returncode == 128 + signal.SIGTERM


def test_run_in_optimization_mode_records_everything(place: Place) -> None:
    """``run --optimize`` starts in optimization mode."""
    path = place.write("tool.py", RECORD)
    place.shmperf("run", "--optimize", "--storage", "out", "--", PYTHON, str(path))
    (line,) = place.lines("top", place.cwd / "out")
    assert line["data"]["params"] == {"password": "***"}
    assert line["data"]["children"]["leaf"]["count"] == 5


def test_mode_is_shown_and_switched(place: Place) -> None:
    """``mode`` switches a session for calls that start afterwards."""
    daemon = place.start_module("collect", "--session", "m", "--storage", "out")
    place.collector_pid("--session", "m")
    assert place.ask("mode", "--session", "m") == {"mode": "normal"}
    assert place.ask("mode", "optimization", "--session", "m") == {"mode": "optimization"}
    assert place.stats("--session", "m")["mode"] == "optimization"
    place.shmperf("stop", "--session", "m")
    place.finish(daemon)
    assert place.sessions() == []


def test_errors_are_one_line_and_exit_1(place: Place) -> None:
    """What can't be done is told on standard error."""
    for command in (
        ("stats", "--session", "nobody"),
        ("stop",),
        ("slow",),
        ("mode", "normal"),
        ("stats", "--config", "missing.yaml"),
    ):
        program = place.start_module(*command)
        out, error = outputs(program)
        assert program.returncode == 1, command
        assert out == ""
        assert len(error.splitlines()) == 1
        assert error.startswith("shmperf: ")


def test_wrong_usage_exits_2(place: Place) -> None:
    """Unknown commands and flags are wrong usage."""
    for command in ((), ("nonsense",), ("stats", "--nonsense"), ("collect",), ("mode", "fast")):
        place.shmperf(*command, code=2)


def test_demo_prints_statistics_tree_overhead_and_place(place: Place) -> None:
    """The demo shows real figures whose books balance, and leaves nothing behind."""
    found = json.loads(place.shmperf("demo", "--storage", "here", "--seconds", "1", "--json"))
    lost = sum(found["lost"].values())
    assert found["begun"] == found["total_calls"] + lost + found["aborted"] + found["in_flight"]
    assert found["total_calls"] > 500
    assert found["tool_stats"]["search_index"]["errors"] > 0
    assert {edge["parent"] for edge in found["tree"]} >= {None, "study_library", "study_module"}
    assert found["overhead"]["call_us"] > 0
    assert place.lines("study_module", place.cwd / "here")
    place.wait_for_end()


def test_demo_has_calls_in_flight_and_ends_with_what_to_open(place: Place) -> None:
    """Beside it its open calls are seen; what it says at its end are commands that show them."""
    where = ("--storage", "over here")
    program = place.start_module("demo", *where, "--seconds", "5")

    def opened() -> set[str]:
        return {call["tool"] for call in place.ask("inflight", *where)}

    wait_until((place.cwd / "over here").is_dir, "storage")
    wait_until(lambda: opened() >= {"study_library", "study_module"}, "calls in flight")
    said = place.finish(program).split("look at it\n")[1].split("\n\n")[0]
    named = [shlex.split(line.split("   ")[0]) for line in said.splitlines()]
    assert {command[1] for command in named} == {"report", "serve", "trace", "top"}
    assert {tuple(command[-2:]) for command in named} == {where}
    (trace,) = (command for command in named if command[1] == "trace")
    assert "study_module" in place.shmperf(*trace[1:])
    place.wait_for_end()


def test_a_command_costs_no_other_commands_start(recorded: Place) -> None:
    """Help imports no command at all, and a reader none of what others need."""
    program = "commands/modules_of_a_command"
    loaded = set(recorded.run_program(program, "--help").split())
    assert not loaded & {"rich", "msgspec", "shmperf.query.answers", "shmperf.commands.arguments"}
    loaded = set(recorded.run_program(program, "stats").split())
    assert "shmperf.commands.stats" in loaded
    assert not loaded & {"sqlite3", "psutil", "numpy", "asyncio", "yaml"}
    commands = {name for name in loaded if name.startswith("shmperf.commands.")}
    assert commands == {
        f"shmperf.commands.{name}" for name in ("arguments", "main", "nearest", "stats", "table")
    }
    rooms = {name.split(".")[1] for name in loaded if name.startswith("shmperf.")}
    assert not rooms & {"collector", "rag", "worker", "exporters", "integrations", "interceptors"}


def test_a_run_whose_collector_is_killed_counts_all_the_same(place: Place) -> None:
    """The summary is of everything that the command has called, whoever drains it in the end."""
    path = place.write("program.py", program_text("commands/kills_its_collector"))
    program = place.start_module("run", "--", PYTHON, str(path))
    _, summary = outputs(program)
    assert program.returncode == 0, summary
    assert "600 calls · 0 lost" in summary
    assert "not complete" not in summary
    stats = place.stats()
    assert (stats["total_calls"], stats["complete"]) == (600, True)
    place.wait_for_end()
