"""What commands share: the flags of those that read, whom they ask, and how an answer is shown."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from shmperf.config.options import address_of, expected_of
from shmperf.query.answers import Answers, check_storage, find_answers, request_for
from shmperf.session.rendezvous import Request
from shmperf.views.terminal import console_for

from .nearest import refuse_missing, refuse_unknown

__all__ = [
    "add_against",
    "add_otlp",
    "add_reader",
    "add_rows",
    "address",
    "answers_for",
    "positive",
    "records_of",
    "request_of",
    "show",
]


# As in a configuration file: that variable, those of single signals, or the standard's default.
_STANDARD = "env:OTEL_EXPORTER_OTLP_ENDPOINT"


def add_reader(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that reads a session or a storage directory."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--storage", metavar="DIR", help="the session that meets there")
    parser.add_argument("--session", metavar="NAME", help="the session of that name")
    parser.add_argument("--config", metavar="FILE", help="configuration file")


def add_against(parser: argparse.ArgumentParser) -> None:
    """The flag of those that show what has changed."""
    parser.add_argument(
        "--against", metavar="A", help="show what has changed since: whatever diff compares"
    )


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Those of a command that lists kept calls: of one tool, and how many rows."""
    parser.add_argument("tool", nargs="?", metavar="TOOL")
    parser.add_argument("--limit", type=positive, default=20, metavar="N", help="rows (20)")


def add_otlp(parser: argparse.ArgumentParser) -> None:
    """The flag of those that start a collector."""
    parser.add_argument(
        "--otlp",
        nargs="?",
        type=_endpoint,
        const=_STANDARD,
        default="",
        metavar="URL",
        help="send spans and metrics (OTLP over HTTP); without URL where the environment says",
    )


def _endpoint(text: str) -> str:
    # argparse asks for its default, too: no endpoint.
    expected = "" if not text or re.fullmatch(r"env:\w+", text) else expected_of(text)
    if expected:
        raise argparse.ArgumentTypeError(f"expected {expected}")
    return text


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, as an argument."""
    try:
        return address_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, {error}") from None


def request_of(given: argparse.Namespace) -> Request:
    """Which session or storage directory the flags and the environment mean."""
    request = request_for(
        session=getattr(given, "session", None),
        storage=given.storage,
        config=given.config,
        environ=os.environ,
        is_transient=getattr(given, "transient", False),
    )
    return msgspec.structs.replace(request, otlp=getattr(given, "otlp", ""))


def answers_for(given: argparse.Namespace) -> Answers:
    """
    Who answers: the collector of a session, or what lies in a storage directory.

    StoreError, which names what is near, for a directory that the user named and where nothing was
    recorded.
    """
    answers = find_answers(request_of(given))
    if given.storage is not None:
        refuse_missing(answers)
    return answers


def records_of(given: argparse.Namespace, tool: str | None = None) -> Answers:
    """
    Who answers questions about calls, of *tool* or of all.

    StoreError where there were none, or where nobody can tell.
    """
    answers = answers_for(given)
    refuse_missing(answers)
    check_storage(answers)
    if tool is not None:
        refuse_unknown(answers, tool)
    return answers


def show(given: argparse.Namespace, value: Any, screen: Callable[[Any], Any]) -> int:
    """Print *value*, structs too, as JSON, or as *screen* makes it; the exit code."""
    value = msgspec.to_builtins(value)
    if given.json:
        # The default encoder refuses nothing that we make, and escapes what is not ASCII.
        print(_in_lines(json.dumps(value)))
    else:
        console_for(sys.stdout).print(screen(value))
    return 0


def _in_lines(text: str) -> str:
    """The JSON *text* as ``indent=2`` has it, which makes the encoder one in Python: slow."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text  # a number that JSON does not have
