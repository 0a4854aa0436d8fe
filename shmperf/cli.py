"""The command ``shmperf``."""

from __future__ import annotations
import sys
from pathlib import Path


def main() -> int:
    from .daemon import serve_embedded

    a = sys.argv
    serve_embedded(Path(a[a.index("--directory") + 1]), int(a[a.index("--lock-fd") + 1]))
    return 0
