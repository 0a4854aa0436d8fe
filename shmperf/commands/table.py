"""
Every command of ``shmperf``: its name, its module and the line that says what it does.

A command's module offers two functions: ``add_arguments(parser)`` and ``run(given)``, which returns
the exit code and may raise ShmperfError. It is imported when that command is chosen, so that none
costs another's start-up. A new command is such a module and a row here.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """One row: what is typed, the module that does it, and its line in ``shmperf --help``."""

    name: str
    module: str
    help: str


_HERE = "shmperf.commands."

COMMANDS = (
    Command("demo", _HERE + "demo", "run real tools in a pool and show what is recorded"),
    Command("run", _HERE + "run", "run a command with its tool calls recorded"),
    Command("collect", _HERE + "collect", "collect for a named session, in the foreground"),
    Command("top", _HERE + "top", "what goes on now: calls, tools, workers, in a live terminal"),
    Command("status", _HERE + "status", "session, collector, storage, workers"),
    Command("stats", _HERE + "stats", "calls and durations of every tool, or of one"),
    Command("tree", _HERE + "tree", "which tool calls which: calls, total and own time"),
    Command("slow", _HERE + "slow", "the slowest calls"),
    Command(
        "errors",
        _HERE + "errors",
        "caught exceptions by fingerprint, other failed calls by class",
    ),
    Command("trace", _HERE + "trace", "one call: what lay below it, and when"),
    Command("inflight", _HERE + "inflight", "the calls that are open now"),
    Command("alerts", _HERE + "alerts", "what turned bad, since when, and whether it is over"),
    Command("diff", _HERE + "diff", "what got slower between two runs, and how sure that is"),
    Command("report", _HERE + "report", "one file that shows everything, opened from disk"),
    Command("rank", _HERE + "rank", "the tools for a task: fitting, reliable and fast"),
    Command("export", _HERE + "export", "kept calls in a format of other programs"),
    Command("sql", _HERE + "sql", "ask kept calls, totals and intervals in SQL"),
    Command("metrics", _HERE + "metrics", "an endpoint for Prometheus, in the foreground"),
    Command("serve", _HERE + "serve", "the live page for a browser, in the foreground"),
    Command("fleet", _HERE + "fleet", "past one machine: answers of all nodes"),
    Command("optimize", _HERE + "optimize", "a run in detail, and what it advises to change"),
    Command("stop", _HERE + "stop", "drain, write everything and end the collector"),
    Command("mode", _HERE + "mode", "show or switch the mode of a session"),
    Command("cleanup", _HERE + "cleanup", "forget statistics and delete history"),
    Command("config", _HERE + "config", "print the configuration in force, every key"),
    Command("help", _HERE + "help", "the reference: its topics, or one of them"),
    Command("doctor", _HERE + "doctor", "check what recording depends on"),
)
