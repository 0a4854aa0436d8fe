"""
``python -m bench.fleet [--seed N] [--nodes N] [--rate N] [--minutes N | --short] [--json FILE]``.
``python -m bench.fleet --self-test``

A fleet on one machine in which things go wrong: servers, publishers and collectors are killed,
links cut, slow and lossy, disks full, clocks apart. Exits with 1 when a call is missing or there
twice.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console

from bench.measure import environment

from .campaign import Size, campaign
from .network import what_is_missing
from .selftest import test_campaign

_SHORT_S = 45.0


def main() -> int:
    """Run it; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet")
    parser.add_argument("--seed", type=int, help="draw the same faults again")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second, of each node")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--keep", action="store_true", help="leave all of a run that went wrong")
    parser.add_argument("--short", action="store_true", help="each kind of fault about once")
    parser.add_argument(
        "--window", type=float, default=4.0, help="seconds in which the stream knows its messages"
    )
    parser.add_argument("--self-test", action="store_true", help="plant faults, and find them")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    missing = what_is_missing()
    if missing:
        console.print(f"no fleet can be made here: {missing}")
        return 1
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    if given.self_test:
        return test_campaign(seed)
    env = {"seed": str(seed), **{key: str(value) for key, value in environment().items()}}
    console.print(", ".join(f"{key} {value}" for key, value in env.items()), style="dim")
    begun_s = time.monotonic()

    def tell(text: str) -> None:
        console.print(f"{time.monotonic() - begun_s:6.1f} s  {text}", style="dim")

    directory = Path(tempfile.mkdtemp(prefix="sf-"))
    try:
        seconds = _SHORT_S if given.short else given.minutes * 60.0
        outcome = campaign(
            directory,
            seconds=seconds,
            size=Size(given.nodes, given.rate, given.window),
            seed=seed,
            tell=tell,
        )
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if given.keep and not outcome.is_right:
        console.print(f"all of it is left in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    for name, times in sorted(outcome.faults.items()):
        console.print(f"{times:4}  {name}")
    found = f"{outcome.lost} lost, {outcome.doubled} doubled, {outcome.foreign} of nobody"
    calls = f"{outcome.calls:,} calls, {outcome.kept:,} kept"
    console.print(f"{calls}: {found}; settled in {outcome.settled_s:.0f} s")
    for text in outcome.wrong:
        console.print(f"wrong: {text}", style="red")
    if given.json:
        given.json.write_bytes(msgspec.json.encode({"environment": env, "outcome": outcome}))
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
