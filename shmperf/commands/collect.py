"""``shmperf collect``: the collector of a named session, in the foreground."""

from __future__ import annotations

import argparse

from shmperf.collector.service import serve_named

from .arguments import add_otlp, request_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--session", metavar="NAME", required=True, help="what workers find in SHMPERF_SESSION"
    )
    parser.add_argument("--transient", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--storage", metavar="DIR", help="where history goes")
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    add_otlp(parser)
    parser.add_argument(
        "--ready-fd", type=int, metavar="N", help="descriptor that gets a newline once it drains"
    )


def run(given: argparse.Namespace) -> int:
    """Do it; the exit code."""
    serve_named(request_of(given), given.ready_fd)
    return 0
