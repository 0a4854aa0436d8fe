"""
The command ``shmperf``: the one place that parses its arguments, prints errors and sets exit codes.

0 is success, 1 an error, told in one line on standard error, 2 wrong usage; `run` exits as the
command that it ran.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from shmperf.errors import ShmperfError
from shmperf.views.encoding import print_what_fits
from shmperf.views.formatting import printable

from . import table

__all__ = ["main"]

_RELATIVE_TIME = re.compile(r"-\d[\d.]*[smhdw]", re.ASCII)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        print_what_fits(stream, os.environ)
    given = _parse(sys.argv[1:] if arguments is None else arguments)
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


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was typed; of all modules of commands only the chosen one's is imported."""
    parser = argparse.ArgumentParser(
        prog="shmperf", description="Records every tool call in many processes."
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    chosen = next((text for text in arguments if not text.startswith("-")), None)
    if chosen is not None and chosen not in {row.name for row in table.COMMANDS}:
        parser.error(_unknown(chosen))
    for name, module, text in table.COMMANDS:
        one = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            command = import_module(module)
            command.add_arguments(one)
            one.set_defaults(do=command.run)
    given = parser.parse_args(_with_times(arguments))
    if given.version:
        print(_version())
        parser.exit()
    if chosen is None:
        # Whoever types the name alone wants to know what there is; a script has left it out.
        parser.print_help()
        parser.exit(2)
    return given


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  10 ms that no command needs

    return f"shmperf {version('shmperf')}"


def _unknown(command: str) -> str:
    from shmperf.commands.nearest import did_you_mean  # noqa: PLC0415  difflib, for an error alone

    hint = did_you_mean(command, [row.name for row in table.COMMANDS])
    return f"no command {printable(command)!r}{hint or '; shmperf --help lists them'}"


def _with_times(arguments: Sequence[str]) -> list[str]:
    """``--since -10m`` as ``--since=-10m``: argparse takes the time for another flag."""
    joined: list[str] = []
    for position, text in enumerate(arguments):
        if text == "--":
            return [*joined, *arguments[position:]]
        if _RELATIVE_TIME.fullmatch(text) and joined and joined[-1] in {"--since", "--until"}:
            joined[-1] += f"={text}"
        else:
            joined.append(text)
    return joined
