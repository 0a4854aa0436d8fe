"""Which fleet a command asks: its flags, the environment, the configuration."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from shmperf.config.locate import resolve
from shmperf.config.options import Fleet
from shmperf.errors import ShmperfError

__all__ = ["add_fleet", "fleet_of"]


def add_fleet(parser: ArgumentParser) -> None:
    """The flags of whoever asks a fleet: where it is, and how to get in."""
    parser.add_argument(
        "--url", metavar="URL", help="its servers (default: SHMPERF_FLEET_URL, or fleet.url)"
    )
    parser.add_argument("--stream", metavar="NAME", help="its stream (default: as configured)")
    parser.add_argument("--credentials", metavar="FILE", help="a .creds file")
    parser.add_argument("--ca", metavar="FILE", help="certificates that vouch for the servers'")
    parser.add_argument("--config", metavar="FILE", help="configuration file")


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
