"""
The command ``shmperf``: the one place that parses its arguments, prints errors and sets exit codes.

0 is success, 1 an error, told in one line on standard error, 2 wrong usage; `run` exits as the
command that it ran.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from shmperf.errors import ShmperfError
from shmperf.files import reason_of
from shmperf.views.encoding import print_what_fits
from shmperf.views.formatting import printable

from . import table

__all__ = ["main"]

# What a stream says that can't be written, whatever is behind it.
_UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
_RELATIVE_TIME = re.compile(r"-\d[\d.]*[smhdw]", re.ASCII)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        print_what_fits(stream, os.environ)
    try:
        return _done(sys.argv[1:] if arguments is None else arguments)
    except ShmperfError as error:
        _say(printable(error))
        return 1
    except BrokenPipeError:
        _let_go(sys.stdout)
        return 1
    except OSError as error:
        where = error.filename or ("standard output" if error.errno in _UNWRITTEN else "")
        _say(f"{printable(where)}: {reason_of(error)}" if where else reason_of(error))
        _let_go(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return 130


def _done(arguments: Sequence[str]) -> int:
    try:
        given = _parse(arguments)
        code: int = given.do(given)
    finally:
        # Here, where it can be told: what can't be written at exit is a complaint of Python's.
        _flush_errors()
        sys.stdout.flush()
    return code


def _open_closed() -> None:
    """A place for output where its stream is closed (``>&-``): nobody is to see it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # As Python's own: what it opens at its start it never closes.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", closefd=False))


def _say(text: str) -> None:
    """One line on standard error, if there is anybody to read it."""
    with suppress(OSError):
        print(f"shmperf: {text}", file=sys.stderr)
    _flush_errors()


def _flush_errors() -> None:
    try:
        sys.stderr.flush()
    except OSError:
        _let_go(sys.stderr)


def _let_go(stream: TextIO) -> None:
    """Whoever read *stream* has left, or its disk is full; Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
