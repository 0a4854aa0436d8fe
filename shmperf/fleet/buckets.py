"""
Buckets of keys with compare-and-set, laid out as NATS's own tools have them: one message a key.

A key is read from the one server that leads, so that who writes with compare-and-set has read what
is there. A listing is a consumer of a moment: its making tells the servers' time, too.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Mapping, Sequence

import msgspec

from .engine import EngineError, Entry, Listing, Refused, Stale, Taken
from .requests import ASK_S, NS, Answer, Requests, ns_of, waiting_behind

__all__ = ["Buckets"]

_NO_MESSAGE, _WRONG_SEQUENCE = 10037, 10071
_IDLE_NS = 30 * NS
# Entries that are listed by one request.
_PORTION = 256
_DELETED = (b"KV-Operation: DEL", b"KV-Operation: PURGE")


class _Stored(msgspec.Struct):
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _MessageAnswer(Answer):
    message: _Stored | None = None


class Buckets:
    """Of one link; its coroutines run on the link's loop."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def get(self, bucket: str, key: str) -> Entry | None:
        stored = await self._stored(bucket, key)
        if stored is None or _is_deletion(stored):
            return None
        return Entry(key, base64.b64decode(stored.data), stored.seq, ns_of(stored.time))

    async def _stored(self, bucket: str, key: str) -> _Stored | None:
        request = {"last_by_subj": f"$KV.{bucket}.{key}"}
        answer = await self._requests.ask(f"STREAM.MSG.GET.KV_{bucket}", request, _MessageAnswer)
        if answer.error is not None and answer.error.err_code == _NO_MESSAGE:
            return None
        if answer.error is not None:
            raise self._requests.refusal(answer.error, bucket)
        return answer.message

    async def write(
        self,
        bucket: str,
        key: str,
        value: bytes,
        revision: int | None,
        headers: Mapping[str, str],
    ) -> int:
        if revision == 0:
            # What was deleted has a revision, too.
            before = await self._stored(bucket, key)
            if before is not None and not _is_deletion(before):
                raise Stale(f"{self._requests.shown}: {bucket}: {key} is there already")
            revision = 0 if before is None else before.seq
        whole = dict(headers)
        if revision is not None:
            whole["Nats-Expected-Last-Subject-Sequence"] = str(revision)
        answer = await self._requests.send(f"$KV.{bucket}.{key}", value, whole, ASK_S)
        if answer.error is None:
            return answer.seq
        if answer.error.err_code == _WRONG_SEQUENCE:
            raise Stale(f"{self._requests.shown}: {bucket}: {key} has changed")
        raise self._requests.refusal(answer.error, bucket)

    async def entries(self, bucket: str, after: int) -> Listing:
        stream = f"KV_{bucket}"
        info = await self._requests.info(stream)
        if info is None:
            raise Refused(f"{self._requests.shown}: there is no bucket {bucket}")
        name = f"list-{secrets.token_hex(8)}"
        subject = f"$KV.{bucket}.>"
        config = {
            "name": name,
            "filter_subject": subject,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence" if after else "all",
            "replay_policy": "instant",
            "inactive_threshold": _IDLE_NS,
            "num_replicas": 1,
            "mem_storage": True,
        } | ({"opt_start_seq": after + 1} if after else {})
        made = await self._requests.make_consumer(stream, name, subject, config)
        try:
            found = await self._all_of(stream, name, made.num_pending)
        finally:
            with contextlib.suppress(EngineError):
                await self._requests.ask(f"CONSUMER.DELETE.{stream}.{name}", {}, Answer)
        return _listing(bucket, found, max(after, info.state.last_seq), ns_of(made.created))

    async def _all_of(self, stream: str, name: str, pending: int) -> list[Taken]:
        """All that a consumer sees: what is written again meanwhile comes behind the others."""
        found: list[Taken] = []
        most = 2 * pending + _PORTION
        while pending and len(found) < most:
            part = await self._requests.pull(
                stream, name, {"batch": _PORTION, "no_wait": True}, ASK_S
            )
            found += part
            if not part or waiting_behind(part[-1]) == 0:
                break
        return found


def _is_deletion(stored: _Stored) -> bool:
    return bool(stored.hdrs) and any(mark in base64.b64decode(stored.hdrs) for mark in _DELETED)


def _listing(bucket: str, found: Sequence[Taken], revision: int, now_ns: int) -> Listing:
    begin = len(f"$KV.{bucket}.")
    newest = {one.subject[begin:]: one for one in sorted(found, key=lambda one: one.sequence)}
    gone = [key for key, one in newest.items() if one.headers.get("KV-Operation")]
    entries = [
        Entry(key, one.body, one.sequence, one.kept_ns)
        for key, one in newest.items()
        if not one.headers.get("KV-Operation")
    ]
    return Listing(sorted(entries, key=lambda one: one.revision), gone, revision, now_ns)
