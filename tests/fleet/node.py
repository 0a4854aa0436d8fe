"""A node: a program that calls when it is told to, with its collector and its publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shmperf.storage.consumer import consumers
from tests.rounds import Rounds
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


class Node(Rounds):
    """One of them; its program is in the place, and ends with it."""

    def __init__(self, place: Place, **environ: str) -> None:
        super().__init__(place, "fleet", **environ)

    def publisher(self) -> dict[str, Any]:
        """What `status` shows of it."""
        return self.sidecar()

    def publish_rest(self) -> None:
        """Until nothing waits: as a session ends there are some seconds for that, and no more."""
        wait_until(
            lambda: not consumers(self.place.storage)["fleet"].lag,
            lambda: f"all to be sent: {self.publisher()}",
        )
