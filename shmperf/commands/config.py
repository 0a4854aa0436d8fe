"""``shmperf config``: print the configuration in force, every key."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from shmperf.config.destinations import masked_all
from shmperf.config.file import dump
from shmperf.config.locate import resolve

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    options, path = resolve(given.config, os.environ, Path.cwd())
    options = masked_all(options)
    if given.json:
        print(json.dumps(msgspec.to_builtins(options), indent=2))
    else:
        print(dump(options), end="")
        print(f"shmperf: from {path or 'the built-in defaults'}", file=sys.stderr)
    return 0
