"""
NATS JetStream as a fleet's engine: what `engine` promises, as plain calls for any thread.

    `link`        a connection that is made again for ever, in a thread of its own
    `requests`    JetStream's requests over it, and what its errors mean
    `streams`, `consumers`, `buckets`    what is asked

Times in what it gives are the servers' own. A bucket is named without the stream's name before it:
``nodes``, ``facts``, ``leases``, ``manifests``, ``presence``, ``numbers``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future

from .access import Access
from .buckets import Buckets
from .consumers import Consumers
from .engine import Backlog, Entry, Kept, Listing, Message, Stream, Taken
from .link import Link
from .requests import ASK_S, LATE_S, Requests
from .streams import Streams

__all__ = ["JetStream"]

_PUBLISH_S, _OPEN_S = 10.0, 15.0


class JetStream:
    """An `engine.Engine`; every method may be called by any thread."""

    def __init__(self, access: Access, stream: str, name: str = "shmperf") -> None:
        """Nothing is connected before something is asked; *name* is for the servers' own lists."""
        self._stream = stream
        self._link = Link(access, name)
        self._requests = Requests(self._link)
        self._streams = Streams(self._requests, stream)
        self._consumers = Consumers(self._requests, stream)
        self._buckets = Buckets(self._requests)

    # --- the publisher's part ---------------------------------------------------------------------

    def open(self, timeout_s: float = _OPEN_S) -> Stream:
        """Make the stream and the buckets that are not there; how the stream is."""
        return self._link.call(self._streams.open(time.monotonic() + timeout_s), timeout_s)

    def look(self) -> Stream | None:
        """How the stream is; None without one. Refused when it is not ours."""
        return self._link.call(self._streams.look(), ASK_S)

    def publish(self, message: Message, timeout_s: float = _PUBLISH_S) -> Future[Kept]:
        """Send it on its way, behind those before; the future raises Away or Refused."""
        return self._link.submit(self._streams.publish(message, timeout_s))

    @property
    def most_bytes(self) -> int:
        """What a message with its headers may have; Away."""
        return self._link.call(self._requests.most_bytes(), ASK_S)

    def close(self) -> None:
        """End the connection; what is under way fails."""
        self._link.close()

    # --- the taker's ------------------------------------------------------------------------------

    def make_consumer(
        self, name: str, partition: int | None, first: int = 0, *, headers_only: bool = False
    ) -> None:
        """Be known under *name* from now on; one that is there stays as it is."""
        work = self._consumers.make(name, partition, first, headers_only=headers_only)
        self._link.call(work, 2 * ASK_S)

    def drop_consumer(self, name: str) -> None:
        """Be known no more; not one that is not there."""
        self._link.call(self._consumers.drop(name), ASK_S)

    def take(self, name: str, most: int, wait_s: float) -> list[Taken]:
        """Up to *most* messages, as soon as there are some; none when none came for *wait_s*."""
        return self._link.call(
            self._consumers.take(name, most, wait_s), 2 * (wait_s + LATE_S) + ASK_S
        )

    def acknowledge(self, taken: Sequence[Taken]) -> None:
        """They are done with; told when the server has heard it. Away: they may come again."""
        self._link.call(self._consumers.settle(taken, b"+ACK"), ASK_S)

    def terminate(self, taken: Sequence[Taken]) -> None:
        """They are of no use, and come never again."""
        self._link.call(self._consumers.settle(taken, b"+TERM"), ASK_S)

    def backlog(self, name: str) -> Backlog:
        """What waits for that name; Refused without such a consumer."""
        return self._link.call(self._consumers.backlog(name), ASK_S)

    # --- buckets ----------------------------------------------------------------------------------

    def get(self, bucket: str, key: str) -> Entry | None:
        """The value of a key as it is now; None without one."""
        return self._link.call(self._buckets.get(self._bucket(bucket), key), ASK_S)

    def put(self, bucket: str, key: str, value: bytes, revision: int | None = None) -> int:
        """Write a key, if it still is at *revision* (0: not there, None: whatever); Stale."""
        work = self._buckets.write(self._bucket(bucket), key, value, revision, {})
        return self._link.call(work, 2 * ASK_S)

    def delete(self, bucket: str, key: str, revision: int | None = None) -> None:
        """Take a key away, if it still is at *revision*."""
        headers = {"KV-Operation": "DEL"}
        work = self._buckets.write(self._bucket(bucket), key, b"", revision, headers)
        self._link.call(work, 2 * ASK_S)

    def entries(self, bucket: str, after: int = 0) -> Listing:
        """Every key that has changed since revision *after*, once; cheap where none has."""
        return self._link.call(self._buckets.entries(self._bucket(bucket), after), 4 * ASK_S)

    def _bucket(self, name: str) -> str:
        return f"{self._stream}_{name}"
