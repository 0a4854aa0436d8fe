"""At the end of a program: wait, bounded, until its calls are on disk."""

from __future__ import annotations

from shmperf.errors import ShmperfError, tell
from shmperf.session.asking import Flush
from shmperf.session.client import Client
from shmperf.stdlib import time

__all__ = ["wait_until_written"]

_ANSWER_S = 10.0
# Many tools are many files: who has more to write waits longer, as long as it becomes less.
_PATIENCE_S = 3.0
_LONGEST_S = 60.0


def wait_until_written(client: Client) -> None:
    """Ask for a flush and wait for it while there is progress; what is not written is told."""
    try:
        left = _left_unwritten(client)
    except ShmperfError as error:
        tell(f"not every call was on disk when the program ended: {error}")
        return
    if left:
        tell(f"{left} calls were not in their files when the program ended; its collector goes on")


def _left_unwritten(client: Client) -> int:
    """How many calls are not in their files, when there is no waiting any more."""
    end_s = time.monotonic() + _LONGEST_S
    left: int = client.ask(Flush(_PATIENCE_S), _ANSWER_S)
    while left and time.monotonic() < end_s:
        before, left = left, client.ask(Flush(_PATIENCE_S), _ANSWER_S)
        if left >= before:
            break
    return left
