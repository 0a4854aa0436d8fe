"""
Requests to JetStream and their answers: JSON over NATS, as its servers have it (`$JS.API.…`).

Nothing of an answer is believed: each is decoded into what it should be. What goes wrong becomes
one of `engine`'s errors, by the number that the server gives, in one line without secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from nats import errors

from .engine import Away, EngineError, Refused, Taken
from .link import Link, shortened

__all__ = [
    "ASK_S",
    "LATE_S",
    "NS",
    "Answer",
    "ConsumerAnswer",
    "Error",
    "Requests",
    "StreamAnswer",
    "ns_of",
    "waiting_behind",
]

ASK_S: Final = 5.0
NS: Final = 1_000_000_000
# What a server may spend on answering a pull beyond its time.
LATE_S: Final = 1.0
# Numbers of errors (nats-server's server/errors.json).
NO_STREAM, _NO_PEERS = 10059, 10005
_CLUSTER = 3
_FULL = frozenset({10023, 10028, 10047, 10077})
# Not now: nobody leads, or those that should are not there.
_LATER = frozenset({10008, 10009, 10041, 10118, 10119})
_TIME = re.compile(r"([0-9T:-]{19})(?:\.([0-9]{1,9}))?(Z|[+-]\d\d:\d\d)\Z")
_T = TypeVar("_T")


class Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Answer(msgspec.Struct):
    """What of JetStream's answers is looked at; each answer has some of it."""

    error: Error | None = None
    seq: int = 0
    duplicate: bool = False


class _Config(msgspec.Struct):
    description: str = ""
    num_replicas: int = 1


class _State(msgspec.Struct):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class StreamAnswer(Answer):
    created: str = ""
    config: _Config = msgspec.field(default_factory=_Config)
    state: _State = msgspec.field(default_factory=_State)


class _Place(msgspec.Struct):
    stream_seq: int = 0


class ConsumerAnswer(Answer):
    created: str = ""
    num_pending: int = 0
    num_ack_pending: int = 0
    ack_floor: _Place = msgspec.field(default_factory=_Place)


class Requests:
    """Asks over one link; its coroutines run on the link's loop."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def shown(self) -> str:
        """Where it asks, as it may be told."""
        return self._link.shown

    async def ask(
        self, place: str, request: Mapping[str, object], kind: type[_T], most_s: float = ASK_S
    ) -> _T:
        client = await self._link.client(most_s)
        body = msgspec.json.encode(request) if request else b""
        with self.translating():
            answer = await client.request(f"$JS.API.{place}", body, timeout=most_s)
        return self._decoded(answer.data, kind)

    async def send(
        self, subject: str, body: bytes, headers: Mapping[str, str], most_s: float
    ) -> Answer:
        client = await self._link.client(most_s)
        with self.translating():
            answer = await client.request(subject, body, timeout=most_s, headers=dict(headers))
        return self._decoded(answer.data, Answer)

    async def info(self, name: str) -> StreamAnswer | None:
        answer = await self.ask(f"STREAM.INFO.{name}", {}, StreamAnswer)
        if answer.error is not None and answer.error.err_code == NO_STREAM:
            return None
        if answer.error is not None:
            raise self.refusal(answer.error, name)
        return answer

    async def pull(
        self, stream: str, name: str, request: Mapping[str, object], most_s: float
    ) -> list[Taken]:
        """What comes until there are enough, or the server says that there is no more."""
        client = await self._link.client(ASK_S)
        inbox = client.new_inbox()
        place = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        batch, found = int(str(request["batch"])), list[Taken]()
        with self.translating():
            subscription = await client.subscribe(inbox)
            try:
                await client.publish(place, msgspec.json.encode(request), reply=inbox)
                async with asyncio.timeout(most_s):
                    while len(found) < batch:
                        message = await subscription.next_msg(timeout=most_s)
                        if taken := self._taken(message, name):
                            found.append(taken)
                        elif not _is_heartbeat(message):
                            break
            except TimeoutError:
                if not found:
                    # Whoever waits for nothing is answered, too: this one was not heard.
                    raise
            finally:
                with contextlib.suppress(errors.Error, OSError):
                    await subscription.unsubscribe()
        return found

    def _taken(self, message: Any, name: str) -> Taken | None:
        headers: dict[str, str] = dict(message.headers or {})
        status = headers.get("Status")
        if status is None:
            return _taken(message, headers)
        if status in ("404", "408", "100", "409"):
            return None
        if status == "503":
            raise Away(f"{self._link.shown}: {name}: there is no such consumer, or nobody leads it")
        raise Refused(
            f"{self._link.shown}: {name}: {shortened(headers.get('Description', status))}"
        )

    def _decoded(self, content: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise Refused(f"{self._link.shown}: found no answer of JetStream's") from None

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Errors of nats-py as ours."""
        where = self._link.shown
        try:
            yield
        except errors.NoRespondersError:
            raise Away(f"{where}: no JetStream there, or nobody leads it now") from None
        except errors.MaxPayloadError:
            raise Refused(f"{where}: a message is larger than it takes") from None
        except TimeoutError:
            if self._link.complaint:
                raise Refused(f"{where}: {self._link.complaint}") from None
            raise Away(f"{where}: no answer in time") from None
        except (errors.Error, OSError) as error:
            text = shortened(str(error).removeprefix("nats: ")) or type(error).__name__
            raise Away(f"{where}: {text}") from None

    def refusal(self, error: Error, what: str) -> EngineError:
        text = f"{self._link.shown}: {what}: {shortened(error.description) or error.err_code}"
        if error.err_code == _NO_PEERS:
            return Away(f"{text}; a cluster needs {_CLUSTER} servers")
        if error.err_code in _FULL:
            return Refused(text)
        return Away(text) if error.code == 503 or error.err_code in _LATER else Refused(text)

    async def tell(self, places: Sequence[str], word: bytes) -> None:
        """Say *word* at each place; heard, all of it, when it ends."""
        if not places:
            return
        client = await self._link.client(ASK_S)
        with self.translating():
            for place in places[:-1]:
                await client.publish(place, word)
            # The last one is answered, behind all before it.
            await client.request(places[-1], word, timeout=ASK_S)

    async def make_consumer(
        self, stream: str, name: str, subject: str, config: Mapping[str, object]
    ) -> ConsumerAnswer:
        """Make one, or take the one that is there with the same settings."""
        request = {"stream_name": stream, "config": config}
        answer = await self.ask(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}", request, ConsumerAnswer
        )
        if answer.error is not None:
            raise self.refusal(answer.error, name)
        return answer

    async def most_bytes(self) -> int:
        """What a message may have there."""
        return int((await self._link.client(ASK_S)).max_payload)

    async def is_clustered(self) -> bool:
        """Whether the server is one of several."""
        client = await self._link.client(ASK_S)
        # What the server said as we came; nats-py shows no more of it than its version.
        return bool(getattr(client, "_server_info", {}).get("cluster"))


def _taken(message: Any, headers: Mapping[str, str]) -> Taken:
    """A message with what its reply subject says of it (JetStream's, with a domain or without)."""
    parts = str(message.reply or "").split(".")
    numbers = parts[6:11] if len(parts) >= 11 else parts[4:9]
    try:
        deliveries, sequence, order, kept_ns, _ = map(int, numbers)
    except ValueError:
        raise Refused("found a message that is not from JetStream") from None
    return Taken(
        message.subject, sequence, kept_ns, deliveries, headers, message.data, message.reply, order
    )


def waiting_behind(taken: Taken) -> int:
    parts = taken.receipt.split(".")
    return int(parts[10] if len(parts) >= 11 else parts[8])


def _is_heartbeat(message: Any) -> bool:
    return bool((message.headers or {}).get("Status") == "100")


def ns_of(text: str) -> int:
    """A time of JetStream's answers (RFC 3339, up to nanoseconds) as Unix nanoseconds."""
    found = _TIME.match(text)
    if found is None:
        raise Refused("found a time that is none")
    seconds = datetime.fromisoformat(found[1] + (found[3] or "Z")).timestamp()
    return int(seconds) * NS + int((found[2] or "").ljust(9, "0")[:9])
