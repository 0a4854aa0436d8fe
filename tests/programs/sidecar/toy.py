"""A toy sidecar: says that it runs, and dies, or ends with its standard input."""

from __future__ import annotations

import os
from pathlib import Path


def main(directory: str) -> int:
    """Run until standard input ends; at once over where the file ``die`` says so."""
    place = Path(directory)
    with (place / "lives").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if (place / "die").exists():
        return 7
    while os.read(0, 64):
        pass
    (place / "ended").touch()
    return 0
