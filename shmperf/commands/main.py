"""
The command ``shmperf``: its arguments, and the one place that prints errors and sets exit codes.

0 is success, 1 an error, told in one line on standard error, 2 wrong usage; `run` exits as the
command that it ran.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shmperf.analysis.errorgroups import Bug
from shmperf.config.file import dump
from shmperf.config.locate import resolve
from shmperf.errors import IntegrationError, SessionError, ShmperfError
from shmperf.integrations.registry import ALL, refuse_unknown
from shmperf.query import Answers, find_answers, request_for
from shmperf.session.messages import Cleanup, Ping, Stop
from shmperf.session.rendezvous import Request
from shmperf.shm.record import Status
from shmperf.storage.lines import timestamp
from shmperf.views import terminal
from shmperf.views.formatting import printable

__all__ = ["main"]

Arguments = argparse.Namespace

_STOP_WAIT_S = 60.0
_POLL_S = 0.02


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        code: int = given.do(given)
    except ShmperfError as error:
        print(f"shmperf: {printable(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


# --- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shmperf", description="Records every tool call in many processes."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_running(commands)
    _add_reading(commands)
    _add_others(commands)
    return parser


def _add_running(commands: Any) -> None:
    demo = _add(commands, "demo", _demo, "run real tools in a pool and show what is recorded")
    demo.add_argument("--storage", metavar="DIR", default="perf_data", help="(default: perf_data)")
    demo.add_argument("--json", action="store_true", help="print one JSON object")
    run = _add(commands, "run", _run, "run a command with its tool calls recorded")
    run.add_argument("--storage", metavar="DIR", help="where history goes")
    run.add_argument("--config", metavar="FILE", help="configuration file")
    run.add_argument("--optimize", action="store_true", help="record everything")
    run.add_argument(
        "--instrument",
        metavar="NAMES",
        type=_integrations,
        default=[],
        help="track what these (with commas between) call, auto: all; without a change in the code",
    )
    run.add_argument("command", nargs="+", metavar="-- COMMAND", help="the command, after --")
    collect = _add(commands, "collect", _collect, "collect for a named session, in the foreground")
    collect.add_argument(
        "--session", metavar="NAME", required=True, help="what workers find in SHMPERF_SESSION"
    )
    collect.add_argument("--transient", action="store_true", help=argparse.SUPPRESS)
    collect.add_argument("--storage", metavar="DIR", help="where history goes")
    collect.add_argument("--config", metavar="FILE", help="configuration file")
    collect.add_argument(
        "--ready-fd", type=int, metavar="N", help="descriptor that gets a newline once it drains"
    )


def _add_reading(commands: Any) -> None:
    status = _add_reader(commands, "status", _status, "session, collector, storage, workers")
    status.add_argument("--wait", action="store_true", help="return once a collector drains")
    status.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="for --wait (default: 30)"
    )
    stats = _add_reader(commands, "stats", _stats, "calls and durations of every tool, or of one")
    stats.add_argument("tool", nargs="?", metavar="TOOL")
    _add_reader(commands, "tree", _tree, "which tool calls which: calls, total and own time")
    for name, do, text in (
        ("slow", _slow, "the slowest calls kept"),
        ("errors", _errors, "caught exceptions by fingerprint, other failed calls by class"),
    ):
        found = _add_reader(commands, name, do, text)
        found.add_argument("tool", nargs="?", metavar="TOOL")
        found.add_argument("--limit", type=_positive, default=20, metavar="N", help="rows (20)")
    _add_reader(commands, "inflight", _in_flight, "the calls that are open now")
    _add_rank(commands)


def _add_rank(commands: Any) -> None:
    found = _add_reader(commands, "rank", _rank, "the tools for a task: fitting, reliable and fast")
    found.add_argument("query", metavar="QUERY", help="what is to be done, in words")
    found.add_argument("--k", type=_positive, default=10, metavar="N", help="candidates (10)")
    found.add_argument(
        "--latency-budget", type=float, metavar="S", help="what halves a tool's utility (1)"
    )
    found.add_argument("--gamma", type=float, metavar="G", help="how much latency counts (1)")
    found.add_argument("--gate", type=float, metavar="D", help="stay so close to the best match")
    found.add_argument("--explore", choices=("thompson",), help="try what is little known")
    found.add_argument("--mode", choices=("utility", "similarity", "additive"), default="utility")
    found.add_argument("--store", metavar="FILE", help="the tool store (default: of the storage)")


def _add_others(commands: Any) -> None:
    _add_reader(commands, "stop", _stop, "drain, write everything and end the collector")
    mode = _add_reader(commands, "mode", _mode, "show or switch the mode of a session")
    mode.add_argument("mode", nargs="?", choices=("normal", "optimization"), metavar="MODE")
    cleanup = _add_reader(commands, "cleanup", _cleanup, "forget statistics and delete history")
    cleanup.add_argument("--force", action="store_true", help="whatever cleanup_on_optimize says")
    config = _add(commands, "config", _config, "print the configuration in force, every key")
    config.add_argument("--config", metavar="FILE", help="configuration file")
    config.add_argument("--json", action="store_true", help="print one JSON object")
    doctor = _add_reader(commands, "doctor", _doctor, "check what recording depends on")
    doctor.add_argument("--fix", action="store_true", help="remove memory of dead sessions")


def _add(commands: Any, name: str, do: Callable[[Arguments], int], text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(do=do)
    return parser


def _add_reader(commands: Any, name: str, do: Callable[[Arguments], int], text: str) -> Any:
    parser = _add(commands, name, do, text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--storage", metavar="DIR", help="the session that meets there")
    parser.add_argument("--session", metavar="NAME", help="the session of that name")
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


def _integrations(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    try:
        refuse_unknown(name for name in names if name != ALL)
    except IntegrationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


# --- printing ------------------------------------------------------------------------------------


def _show(given: Arguments, value: Any, screen: Callable[[Any], Any]) -> int:
    if given.json:
        # The default encoder refuses nothing that we make, and escapes what is not ASCII.
        print(json.dumps(value, indent=2))
    else:
        terminal.console_for(sys.stdout).print(screen(value))
    return 0


def _request(given: Arguments) -> Request:
    return request_for(
        session=getattr(given, "session", None),
        storage=given.storage,
        config=given.config,
        environ=os.environ,
        is_transient=getattr(given, "transient", False),
    )


def _answers(given: Arguments) -> Answers:
    return find_answers(_request(given))


# --- running -------------------------------------------------------------------------------------


def _demo(given: Arguments) -> int:
    # sqlite3, ast and a pool: only for whoever asks for them.
    from .demo import demo  # noqa: PLC0415

    if not given.json:
        demo(given.storage, terminal.console_for(sys.stdout))
        return 0
    with Path(os.devnull).open("w") as nowhere:
        found = demo(given.storage, terminal.console_for(nowhere))
    print(json.dumps(found, indent=2))
    return 0


def _run(given: Arguments) -> int:
    from .run import run  # noqa: PLC0415  only for whoever asks for it

    code, _ = run(
        given.command,
        storage=given.storage,
        config=given.config,
        optimize=given.optimize,
        instrument=given.instrument,
    )
    return code


def _collect(given: Arguments) -> int:
    from shmperf.collector.service import serve_named  # noqa: PLC0415  psutil and all the rest

    serve_named(_request(given), given.ready_fd)
    return 0


# --- reading -------------------------------------------------------------------------------------


def _status(given: Arguments) -> int:
    deadline = time.monotonic() + given.timeout
    while given.wait:
        try:
            _answers(given).ask(Ping(), given.timeout)
            break
        except SessionError:
            if time.monotonic() > deadline:
                raise SessionError("no collector came up in time") from None
            time.sleep(_POLL_S)
    return _show(given, _answers(given).status(), terminal.status)


def _stats(given: Arguments) -> int:
    return _show(given, _answers(given).stats(given.tool), terminal.stats)


def _tree(given: Arguments) -> int:
    return _show(given, _answers(given).tree(), terminal.call_tree)


def _in_flight(given: Arguments) -> int:
    return _show(given, _answers(given).in_flight(), terminal.in_flight)


def _slow(given: Arguments) -> int:
    calls = [call for call in _calls(given) if call["duration_s"] is not None]
    calls.sort(key=lambda call: -call["duration_s"])
    return _show(given, calls[: given.limit], terminal.slowest)


def _errors(given: Arguments) -> int:
    caught = [
        _bug(fingerprint, bug)
        for fingerprint, bug in _answers(given).bugs().items()
        if given.tool is None or given.tool in bug.tools
    ]
    found = sorted([*caught, *_failed(given)], key=lambda group: -group["count"])
    return _show(given, found[: given.limit], terminal.errors)


def _bug(fingerprint: str, bug: Bug) -> dict[str, Any]:
    """Caught exceptions of one fingerprint: all since the last cleanup, kept or not."""
    sample = bug.sample
    return {
        "fingerprint": fingerprint,
        "tool": bug.tools[0] if bug.tools else "",
        "tools": bug.tools,
        "status": None if sample is None else Status(sample.status).name.lower(),
        "err": None if sample is None else sample.err,
        "count": bug.count,
        "first": timestamp(bug.first_ns),
        "last": timestamp(bug.last_ns),
        "sample": None if sample is None else sample.message,
        "where": None if sample is None else sample.where,
        "params": None if sample is None else sample.params,
        "id": None if sample is None else f"{sample.id:016x}",
        "parent": f"{sample.parent:016x}" if sample is not None and sample.parent else None,
        "pid": None if sample is None else sample.pid,
    }


def _failed(given: Arguments) -> list[dict[str, Any]]:
    """Failed calls that nobody caught, among those kept: by tool, status and class."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for call in _calls(given):
        if call["status"] == "ok" or call["fingerprint"]:
            continue
        key = (call["tool"], call["status"], str(call["err"]))
        group = groups.setdefault(
            key,
            {
                "fingerprint": None,
                "tool": call["tool"],
                "tools": [call["tool"]],
                "status": call["status"],
                "err": call["err"],
                "count": 0,
                "first": call["timestamp"],
            },
        )
        group["count"] += 1
        group["first"] = min(group["first"], call["timestamp"])
        if call["timestamp"] >= group.get("last", ""):
            group.update(last=call["timestamp"], sample=call["error"] or call["params"])
            group.update({key: call[key] for key in ("params", "id", "parent", "pid")}, where=None)
    return list(groups.values())


def _calls(given: Arguments) -> Iterator[dict[str, Any]]:
    """The kept calls in one shape, whichever mode they were recorded in."""
    for line in _answers(given).history(given.tool):
        found: Mapping[str, Any] = line["data"]
        in_detail = "duration_ms" in found
        params = found.get("params") if in_detail else found.get("p")
        yield {
            "tool": line.get("tool", ""),
            "timestamp": line.get("timestamp", ""),
            "id": found.get("id"),
            "pid": found.get("pid"),
            "parent": found.get("parent_tool" if in_detail else "parent"),
            "duration_s": _duration(found, in_detail=in_detail),
            "status": found.get("status", "ok"),
            "err": found.get("err"),
            "error": found.get("error"),
            "fingerprint": found.get("fingerprint"),
            "params": json.dumps(params) if in_detail else params,
        }


def _duration(found: Mapping[str, Any], *, in_detail: bool) -> float | None:
    value = found.get("duration_ms" if in_detail else "d")
    if not isinstance(value, (int, float)):
        return None
    return value / 1000 if in_detail else float(value)


def _rank(given: Arguments) -> int:
    # sqlite3 and all that searching takes: only for whoever asks for it.
    from shmperf.rag.retrieval import Question, retrieve  # noqa: PLC0415

    wanted = {"latency_budget_s": given.latency_budget, "gamma": given.gamma, "gate": given.gate}
    question = Question(
        given.query,
        given.k,
        {key: value for key, value in wanted.items() if value is not None}
        | {"explore": given.explore, "mode": given.mode},
    )
    answers = _answers(given)
    found = retrieve(question, given.store, answers.storage, answers.options, answers.session)
    return _show(given, found, terminal.ranking)


# --- changing ------------------------------------------------------------------------------------


def _stop(given: Arguments) -> int:
    _answers(given).ask(Stop(), _STOP_WAIT_S)
    return _show(given, {"stopped": True}, lambda _: "stopped")


def _mode(given: Arguments) -> int:
    answers = _answers(given)
    if given.mode is not None:
        if answers.session is None:
            raise SessionError("there is no session to switch; start one, or use run --optimize")
        answers.session.set_mode(given.mode == "optimization")
    return _show(given, {"mode": answers.mode()}, lambda found: found["mode"])


def _cleanup(given: Arguments) -> int:
    answers = _answers(given)
    if answers.has_collector:
        done = answers.ask(Cleanup(given.force), _STOP_WAIT_S)
    else:
        from shmperf.collector.service import cleanup_at_rest  # noqa: PLC0415  psutil and all the rest

        done = cleanup_at_rest(_request(given), force=given.force)
    if not done:
        raise SessionError("optimization.cleanup_on_optimize is false; use: cleanup --force")
    return _show(given, {"cleaned": True}, lambda _: "history and statistics are forgotten")


def _config(given: Arguments) -> int:
    options, path = resolve(given.config, os.environ, Path.cwd())
    if given.json:
        print(json.dumps(msgspec.to_builtins(options), indent=2))
    else:
        print(dump(options), end="")
        print(f"shmperf: from {path or 'the built-in defaults'}", file=sys.stderr)
    return 0


def _doctor(given: Arguments) -> int:
    from .doctor import examine  # noqa: PLC0415  only for whoever asks for it

    rows: Iterable[Mapping[str, str]] = examine(_request(given), fix=given.fix)
    rows = list(rows)
    _show(given, rows, terminal.checks)
    return int(any(row["state"] == "fail" for row in rows))
