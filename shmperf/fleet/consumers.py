"""
Consumers of a partition: durable, acknowledged one by one, shared by all who take under a name.

What was taken and not acknowledged comes again after half a minute, to anybody of that name. One
that nobody has asked for a day is forgotten: where to go on is not its to know (see `holding`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .engine import Backlog, Taken
from .requests import ASK_S, LATE_S, NS, Answer, ConsumerAnswer, Requests
from .wire import kinds_subject

__all__ = ["Consumers"]

_NO_CONSUMER = 10014
_ACK_WAIT_NS = 30 * NS
_MOST_UNACKNOWLEDGED = 1_000
_IDLE_NS = 60 * NS
_ABANDONED_NS = 86_400 * NS
_TAKING: dict[str, object] = {
    "ack_policy": "explicit",
    "ack_wait": _ACK_WAIT_NS,
    "max_ack_pending": _MOST_UNACKNOWLEDGED,
    "max_deliver": -1,
    # Of a holder that was killed, when no other one has dropped it; who comes later makes its own.
    "inactive_threshold": _ABANDONED_NS,
}
# Who only looks acknowledges nothing, and leaves nothing behind when it is killed.
_LOOKING: dict[str, object] = {
    "ack_policy": "none",
    "headers_only": True,
    "inactive_threshold": _IDLE_NS,
    "num_replicas": 1,
    "mem_storage": True,
}


class Consumers:
    """Of one stream; its coroutines run on the link's loop."""

    def __init__(self, requests: Requests, stream: str) -> None:
        self._requests = requests
        self._stream = stream

    async def make(
        self, name: str, partition: int | None, first: int, *, headers_only: bool
    ) -> None:
        answer = await self._requests.ask(
            f"CONSUMER.INFO.{self._stream}.{name}", {}, ConsumerAnswer
        )
        if answer.error is None:
            return
        if answer.error.err_code != _NO_CONSUMER:
            raise self._requests.refusal(answer.error, name)
        subject = kinds_subject(self._stream, partition)
        config: dict[str, object] = {
            "name": name,
            "filter_subject": subject,
            "deliver_policy": "by_start_sequence" if first else "all",
            "replay_policy": "instant",
        }
        if first:
            config["opt_start_seq"] = first
        config |= _LOOKING if headers_only else _TAKING | {"durable_name": name}
        await self._requests.make_consumer(self._stream, name, subject, config)

    async def drop(self, name: str) -> None:
        answer = await self._requests.ask(f"CONSUMER.DELETE.{self._stream}.{name}", {}, Answer)
        if answer.error is not None and answer.error.err_code != _NO_CONSUMER:
            raise self._requests.refusal(answer.error, name)

    async def take(self, name: str, most: int, wait_s: float) -> list[Taken]:
        found = await self._requests.pull(
            self._stream, name, {"batch": most, "no_wait": True}, ASK_S
        )
        if found or wait_s <= 0:
            return found
        # One at first: who waits for more than there is waits to the end.
        one = {"batch": 1, "expires": int(wait_s * NS)}
        found = await self._requests.pull(self._stream, name, one, wait_s + LATE_S)
        if found and most > 1:
            more = {"batch": most - 1, "no_wait": True}
            found += await self._requests.pull(self._stream, name, more, ASK_S)
        return found

    async def backlog(self, name: str) -> Backlog:
        answer = await self._requests.ask(
            f"CONSUMER.INFO.{self._stream}.{name}", {}, ConsumerAnswer
        )
        if answer.error is not None:
            raise self._requests.refusal(answer.error, name)
        return Backlog(answer.num_pending, answer.num_ack_pending, answer.ack_floor.stream_seq)

    async def settle(self, taken: Sequence[Taken], word: bytes) -> None:
        """Say *word* of each; heard when it ends."""
        await self._requests.tell([one.receipt for one in taken], word)
