"""A node: a program that calls when it is told to, with its collector and its publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shmperf.storage.consumer import consumers
from tests.support import Place, wait_until

__all__ = ["NODE", "Node", "configure"]

NODE = "node-7"
_CONFIG = "config/tool_perf_limits.yaml"


def configure(place: Place, url: str, more: str = "") -> Path:
    """Keep all, write at once, and publish there; the file, which may be written again."""
    return place.write(
        _CONFIG,
        f"default_perf_points: -1\nstorage: {{async_save: false}}\n"
        f"fleet: {{url: '{url}', node: {NODE}{more}}}\n",
    )


class Node:
    """One of them; its program is in the place, and ends with it."""

    def __init__(self, place: Place, **environ: str) -> None:
        self.place = place
        self.process = place.start_program("export/rounds", **environ)
        self._answer()

    def make(self, searches: int) -> None:
        """So many searches, each with a fetch."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{searches}\n")
        self.process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def publisher(self) -> dict[str, Any]:
        """What `status` shows of it."""
        found: dict[str, Any] = self.place.ask("status")["sidecars"].get("fleet", {})
        return found

    def publish_rest(self) -> None:
        """Until nothing waits: as a session ends there are some seconds for that, and no more."""
        wait_until(
            lambda: not consumers(self.place.storage)["fleet"].lag,
            lambda: f"all to be sent: {self.publisher()}",
        )

    def end(self) -> set[str]:
        """Let it end; the ids of all that it has made."""
        self.place.finish(self.process)
        self.place.wait_for_end()
        return {*self.place.ids("search"), *self.place.ids("fetch")}
