"""
A fleet's stream and its buckets: made by whoever comes first, known by what they say of themselves.

    <stream>              subjects <stream>.records.*.*
    KV_<stream>_<name>    a bucket, as NATS's own tools know them: one value a key

A stream of ours has its version and its partitions in its description; another one is refused, and
never changed. In a cluster a stream is kept by three servers, or not made at all: by one it would
be lost with it, and nobody would notice before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from shmperf.errors import FormatError

from .engine import Kept, Message, Refused, Stream
from .requests import NS, Requests, StreamAnswer
from .wire import PARTITIONS, description, kinds_subject, partitions_in

__all__ = ["BUCKETS", "Streams"]

# What is kept beside the records, under `<stream>_<name>`.
BUCKETS = ("nodes", "facts", "leases", "manifests", "presence", "numbers")
# What means nothing any more after a day, whoever is alive says anew; what nodes counted stays.
_AGES_NS = dict.fromkeys(("facts", "leases", "presence"), 86_400 * NS)

_MOST_AGE_NS = 7 * 86_400 * NS
_DUPLICATES_NS = 120 * NS
_REPLICAS = 3
_CREATED = 10058
_LASTING = {
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msg_size": -1,
}


class Streams:
    """Makes them, and publishes; its coroutines run on the link's loop."""

    def __init__(self, requests: Requests, stream: str) -> None:
        self._requests = requests
        self._stream = stream

    async def open(self, deadline_s: float) -> Stream:
        ours = {
            "name": self._stream,
            "subjects": [kinds_subject(self._stream)],
            "description": description(PARTITIONS),
            "max_age": _MOST_AGE_NS,
            "duplicate_window": _DUPLICATES_NS,
        }
        found = await self._make(ours, deadline_s)
        for name in BUCKETS:
            config = _bucket_config(f"{self._stream}_{name}")
            await self._make(config | {"max_age": _AGES_NS.get(name, 0)}, deadline_s)
        return found

    async def _make(self, config: Mapping[str, object], deadline_s: float) -> Stream:
        """The stream of that name, made if it is not there; several at once may try."""
        name = str(config["name"])
        answer = await self._requests.info(name)
        if answer is None:
            is_clustered = await self._requests.is_clustered()
            whole = _LASTING | {"num_replicas": _REPLICAS if is_clustered else 1} | dict(config)
            left_s = max(0.1, deadline_s - time.monotonic())
            made = await self._requests.ask(f"STREAM.CREATE.{name}", whole, StreamAnswer, left_s)
            if made.error is not None and made.error.err_code != _CREATED:
                raise self._requests.refusal(made.error, name)
            answer = await self._requests.info(name) or made
        return self._checked(name, answer)

    async def look(self) -> Stream | None:
        answer = await self._requests.info(self._stream)
        return None if answer is None else self._checked(self._stream, answer)

    def _checked(self, name: str, answer: StreamAnswer) -> Stream:
        try:
            partitions = partitions_in(answer.config.description)
        except FormatError as error:
            raise Refused(f"{self._requests.shown}: {name}: {error}") from None
        state = answer.state
        return Stream(
            partitions,
            state.first_seq,
            state.last_seq,
            state.messages,
            state.bytes,
            answer.config.num_replicas,
            name,
            answer.created,
        )

    async def publish(self, message: Message, timeout_s: float) -> Kept:
        headers = {
            **message.headers,
            "Nats-Msg-Id": message.id,
            "Nats-Expected-Stream": self._stream,
        }
        answer = await self._requests.send(message.subject, message.body, headers, timeout_s)
        if answer.error is not None:
            raise self._requests.refusal(answer.error, self._stream)
        return Kept(answer.seq, answer.duplicate)


def _bucket_config(bucket: str) -> dict[str, object]:
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "description": description(PARTITIONS),
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "duplicate_window": _DUPLICATES_NS,
    }
