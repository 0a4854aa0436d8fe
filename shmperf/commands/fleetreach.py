"""Which fleet a command asks: its flags, the environment, the configuration."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shmperf.config.locate import resolve
from shmperf.config.options import Fleet
from shmperf.errors import ShmperfError, StoreError

if TYPE_CHECKING:
    from shmperf.fleet.answers import Source
    from shmperf.fleet.engine import Engine

__all__ = ["Reached", "add_access", "add_fleet", "fleet_of", "reach", "source_of"]


def add_fleet(parser: ArgumentParser) -> None:
    """The flags of whoever asks a fleet: where it is, and how to get in."""
    parser.add_argument(
        "--url", metavar="URL", help="its servers (default: SHMPERF_FLEET_URL, or fleet.url)"
    )
    add_access(parser)
    parser.add_argument("--config", metavar="FILE", help="configuration file")


def add_access(parser: ArgumentParser) -> None:
    """How to get in, for those that have a ``--url`` of their own."""
    parser.add_argument("--stream", metavar="NAME", help="its stream (default: as configured)")
    parser.add_argument("--credentials", metavar="FILE", help="a .creds file")
    parser.add_argument("--ca", metavar="FILE", help="certificates that vouch for the servers'")


def fleet_of(given: Namespace, *, must: bool = True) -> Fleet:
    """
    Which fleet the flags, the environment and the configuration mean.

    ShmperfError for none, unless there *must* be none: then one without a URL.
    """
    options, _ = resolve(given.config, os.environ, Path.cwd())
    said = {
        "url": given.url or os.environ.get("SHMPERF_FLEET_URL"),
        "stream": given.stream,
        "credentials": given.credentials,
        "ca": given.ca,
    }
    fields = msgspec.structs.asdict(options.fleet)
    try:
        fleet = Fleet(**fields | {key: value for key, value in said.items() if value})
    except ValueError as error:
        key, _, expected = str(error).partition(": ")
        raise ShmperfError(f"{key}: expected {expected}") from None
    if must and not fleet.url:
        raise ShmperfError(
            "no fleet is known here: name its servers with --url, SHMPERF_FLEET_URL or fleet.url"
        )
    return fleet


class Reached(NamedTuple):
    """A fleet's engine, and what may be shown of where it is."""

    engine: Engine
    shown: str


def reach(given: Namespace, name: str) -> Reached:
    """The fleet's engine, where some node has published; ShmperfError. Close it in the end."""
    from shmperf.fleet.access import access_of  # noqa: PLC0415  for those who have a fleet
    from shmperf.fleet.reach import engine_of  # noqa: PLC0415  the same

    fleet = fleet_of(given)
    engine = engine_of(fleet, os.environ, name)
    try:
        if engine.look() is None:
            raise StoreError(
                f"no node has published in {fleet.stream} yet: there is no such stream"
            )
    except ShmperfError:
        engine.close()
        raise
    return Reached(engine, access_of(fleet, os.environ).shown)


def source_of(reached: Reached) -> Source:
    """The fleet's answers, for views."""
    from shmperf.fleet.answers import Source  # noqa: PLC0415  for those who have a fleet
    from shmperf.fleet.asking import States  # noqa: PLC0415  the same

    return Source(States(reached.engine), reached.shown)
