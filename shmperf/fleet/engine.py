"""
What a fleet asks of the system in the middle: two small protocols, and what goes wrong with it.

    Publisher   takes messages, in order, and says of each when it is kept: any log can do that
    Engine      all of it: shared consumers, and buckets of keys with compare-and-set
                (which numbers a node has given out stands in one, so records want that, too)

Every call ends within its time and says in one line what is wrong: `Away` when nobody answers,
`Refused` when somebody does, and says no; `Stale` when somebody else was quicker. None of these
lines holds a secret.

The one engine is `jetstream`. The protocols stand here so that what publishes, collects and asks
names no broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from shmperf.errors import ShmperfError

__all__ = [
    "Away",
    "Backlog",
    "Engine",
    "EngineError",
    "Entry",
    "Kept",
    "Listing",
    "Message",
    "Publisher",
    "Refused",
    "Stale",
    "Stream",
    "Taken",
]


class EngineError(ShmperfError):
    """Something with the system in the middle."""


class Away(EngineError):
    """Nobody answers: none is reachable, none leads, or it took too long. Another time."""


class Refused(EngineError):
    """It answers, and says no: credentials, permissions, limits, a stream of another version."""


class Stale(EngineError):
    """Somebody else has changed that key since; nothing was written."""


class Message(NamedTuple):
    """What is published: *id* tells the engine that it has it already, for some minutes."""

    subject: str
    id: str
    body: bytes
    headers: Mapping[str, str] = {}


class Kept(NamedTuple):
    """What the engine said of a message: where it stands, and whether it stood there before."""

    sequence: int
    is_duplicate: bool


class Stream(NamedTuple):
    """
    A stream of ours: how many partitions it has, what it holds, on how many servers.

    One that was deleted and made anew has another *created*, as the engine tells it.
    """

    partitions: int
    first: int = 0
    last: int = 0
    messages: int = 0
    size_bytes: int = 0
    replicas: int = 1
    name: str = ""
    created: str = ""


class Taken(NamedTuple):
    """
    A message that was taken and is to be acknowledged; others see it again if it is not.

    *sequence* is its place in the stream, *kept_ns* when it came there, by the engine's clock;
    *receipt* is what acknowledging it needs. *order* is its place in all that this consumer was
    ever given, from 1 on: where one is missing, an answer got lost.
    """

    subject: str
    sequence: int
    kept_ns: int
    deliveries: int
    headers: Mapping[str, str]
    body: bytes
    receipt: str
    order: int = 0


class Backlog(NamedTuple):
    """What a consumer has still to take, what it has taken and not acknowledged, and its end."""

    waiting: int
    unacknowledged: int
    acknowledged_to: int


class Entry(NamedTuple):
    """A key's value; *revision* grows with each change, *written_ns* is by the engine's clock."""

    key: str
    value: bytes
    revision: int
    written_ns: int


class Listing(NamedTuple):
    """
    Entries, in the order of their revisions, and keys that were deleted.

    *revision* is that of the bucket's last change: what to ask for next time; *now_ns* is when they
    were listed, by the engine's clock.
    """

    entries: list[Entry]
    gone: list[str]
    revision: int
    now_ns: int


class Publisher(Protocol):
    """Where records go."""

    def open(self, timeout_s: float = ...) -> Stream:
        """Make the stream if it is not there; how it is. Refused when it is not ours."""

    def publish(self, message: Message, timeout_s: float = ...) -> Future[Kept]:
        """Send it on its way, behind those before; the future raises Away or Refused."""

    @property
    def most_bytes(self) -> int:
        """What a message with its headers may have."""

    def close(self) -> None:
        """Let everything go; never raises."""


class Engine(Publisher, Protocol):
    """All that a fleet needs; every method may be called by any thread."""

    def look(self) -> Stream | None:
        """How the stream is; None without one, and none is made. Refused when it is not ours."""

    def make_consumer(
        self, name: str, partition: int | None, first: int = 0, *, headers_only: bool = False
    ) -> None:
        """
        Be known under *name* from now on: what of *partition* was not acknowledged waits.

        None: of all. From the message *first* on, where that is the first time. Without bodies
        nothing is to be acknowledged, and it is known no more soon after nobody takes.
        """

    def drop_consumer(self, name: str) -> None:
        """Be known no more; not one that is not there."""

    def take(self, name: str, most: int, wait_s: float) -> list[Taken]:
        """Up to *most* messages; none when none came for *wait_s*."""

    def acknowledge(self, taken: Sequence[Taken]) -> None:
        """They are done with, for everybody who takes under that name."""

    def terminate(self, taken: Sequence[Taken]) -> None:
        """They are of no use, and are to come never again."""

    def backlog(self, name: str) -> Backlog:
        """What waits for that name."""

    def get(self, bucket: str, key: str) -> Entry | None:
        """The value of a key as it is now; None without one."""

    def put(self, bucket: str, key: str, value: bytes, revision: int | None = None) -> int:
        """
        Write a key: if it still is at *revision*, 0 for one that is not there; None: in any case.

        What it gives is the new revision. Stale when it was another one, and nothing is written.
        """

    def delete(self, bucket: str, key: str, revision: int | None = None) -> None:
        """Take a key away, on the same terms; not one that is not there: that is done already."""

    def entries(self, bucket: str, after: int = 0) -> Listing:
        """Every key that has changed since revision *after*, once; cheap where none has."""
