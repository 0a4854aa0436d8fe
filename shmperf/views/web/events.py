"""
The one look of a server, and all who follow it.

    Watch.look() ──► Feed: looks by number ──► tab 1   all, then what changed since its last
      about once         each tool with the ──► tab 2   the same bytes, where they are as far
      a second           number of the look ──► tab 3   slow: a look or two left out, and told
                         that changed it

It is looked only while somebody follows, in one thread, with a limit of time and of a tenth of a
core. Nothing is kept for anybody: what somebody has not seen yet is what has a higher number than
their last, so that a tab that is slow, or comes back, costs no memory.

Rates, durations and shares of tools have four significant digits: nobody sees more of them, and the
others go out again at every look. Answers of ``/api`` beside it have them all.

An event's id is the feed's own name and the look's number. A name that is not known, of a server
that has ended perhaps, gets everything.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import msgspec

from shmperf.query.look import Look, ToolLook, Watch

from .asking import Threads

__all__ = ["MOST_FOLLOWERS", "Feed", "Following", "LookEvent", "TooMany"]

MOST_FOLLOWERS = 64
_RETRY_MS = 1_000
_HEARTBEAT_S = 10.0
_PAUSE_S = 1.0
_LONGEST_LOOK_S = 10.0
# Of the time between two looks, how much looking may take.
_IDLE_TO_BUSY = 9
_LONGEST_PAUSE_S = 10.0
# Whoever comes back within that time finds rates that are those of seconds.
_LINGER_S = 5.0
# An own share is of all tools: each call of one changes it a little in all.
_LEAST_SHARE = 0.001
_DIGITS = 4
_ROUNDED = ("rate", "p50_s", "p95_s", "p99_s", "own_share")


class LookEvent(Look, kw_only=True):
    """
    A look as an event has it: ``tools`` are those that changed since the event before.

    All of them where it is ``whole``: what is known of others is to be forgotten. ``skipped`` looks
    lay between, for one who takes longer than a look.
    """

    whole: bool
    skipped: int


class TooMany(Exception):
    """So many follow that nobody else can."""


class Feed:
    """Looks by number, each against all before; one thread."""

    def __init__(self, name: str | None = None) -> None:
        self._name = name or secrets.token_hex(4)
        self.number = 0
        self._look: Look | None = None
        self._outline: Look | None = None
        self._tools: dict[str, ToolLook] = {}
        self._shown: dict[str, ToolLook] = {}
        self._changed: dict[str, int] = {}
        self._whole_from = 1
        self._encoded: dict[int | None, bytes] = {}

    def publish(self, look: Look) -> bool:
        """True where *look* shows what the last did not: it is the next one."""
        changed = [tool for tool in look.tools if _has_changed(self._tools.get(tool.tool), tool)]
        gone = self._tools.keys() - {tool.tool for tool in look.tools}
        outline = _outline(look)
        if not changed and not gone and outline == self._outline:
            return False
        self.number += 1
        self._look, self._outline = look, outline
        for tool in changed:
            self._tools[tool.tool] = tool
            self._shown[tool.tool] = _rounded(tool)
            self._changed[tool.tool] = self.number
        for name in gone:
            del self._tools[name], self._shown[name], self._changed[name]
        if gone:
            self._whole_from = self.number
        self._encoded.clear()
        return True

    def seen_by(self, event_id: str) -> int | None:
        """The number of the look that the event of that id was; None where it is not known."""
        name, _, number = event_id.partition(".")
        if name != self._name or not number.isascii() or not number.isdigit() or len(number) > 15:
            return None
        return int(number) if int(number) <= self.number else None

    def since(self, seen: int | None) -> bytes:
        """The event for who has seen that look; empty where there is nothing new."""
        if self._look is None or seen == self.number:
            return b""
        found = self._encoded.get(seen)
        if found is None:
            found = self._encoded[seen] = self._event(self._look, seen)
        return found

    def _event(self, look: Look, seen: int | None) -> bytes:
        is_whole = seen is None or seen < self._whole_from
        first = 0 if is_whole or seen is None else seen
        fields = {name: getattr(look, name) for name in look.__struct_fields__}
        fields["tools"] = [
            tool for name, tool in self._shown.items() if self._changed[name] > first
        ]
        skipped = 0 if seen is None else self.number - seen - 1
        text = msgspec.json.encode(LookEvent(whole=is_whole, skipped=skipped, **fields))
        return b"event: look\nid: %s.%d\ndata: %s\n\n" % (self._name.encode(), self.number, text)


def _has_changed(old: ToolLook | None, new: ToolLook) -> bool:
    if old is None or abs(old.own_share - new.own_share) > _LEAST_SHARE:
        return True
    return (old.count, old.rate, old.errors, old.aborted, old.in_flight) != (
        new.count,
        new.rate,
        new.errors,
        new.aborted,
        new.in_flight,
    )


def _rounded(tool: ToolLook) -> ToolLook:
    """As it is shown."""
    figures = {name: getattr(tool, name) for name in _ROUNDED}
    shown = {
        name: float(f"{figure:.{_DIGITS}g}")
        for name, figure in figures.items()
        if figure is not None
    }
    return msgspec.structs.replace(tool, **shown)


def _outline(look: Look) -> Look:
    """What a look shows beside its tools, without what passes by itself."""
    opened = [msgspec.structs.replace(call, running_s=0.0) for call in look.open]
    return msgspec.structs.replace(look, at_s=0.0, tools=[], open=opened)


class Following:
    """All who follow one feed; of one event loop."""

    def __init__(self, watch: Watch, longest_s: float = _LONGEST_LOOK_S) -> None:
        """After *longest_s* they are told that a look takes too long."""
        self.feed = Feed()
        self.followers = 0
        self._watch = watch
        self._longest_s = longest_s
        # A look is one thread's; of one that hangs there is no second.
        self._threads = Threads(1, None)
        self._looking: asyncio.Task[tuple[Look, float]] | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_fresh = False
        self._has_ended = False

    async def events(self, last_id: str) -> AsyncIterator[bytes]:
        """What to send to one who follows, who has seen the event *last_id*; TooMany at once."""
        if self.followers >= MOST_FOLLOWERS:
            raise TooMany
        self.followers += 1
        try:
            self._begin()
            yield b"retry: %d\n\n" % _RETRY_MS
            seen = self.feed.seen_by(last_id)
            while not self._has_ended:
                event = self.feed.since(seen) if self._is_fresh else b""
                if event:
                    seen = self.feed.number
                    yield event
                elif not await self._waited(_HEARTBEAT_S):
                    yield b": nothing new\n\n"
        finally:
            self.followers -= 1

    def end(self) -> None:
        """Nobody follows any more: whoever does is let go."""
        self._has_ended = True
        self._tell()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._is_fresh = False
            self._task = asyncio.ensure_future(self._go_on())

    async def _go_on(self) -> None:
        followed_s = time.monotonic()
        while time.monotonic() - followed_s < _LINGER_S:
            began_s = time.monotonic()
            busy_s = await self._step()
            looked_s = time.monotonic() - began_s
            pause_s = max(_PAUSE_S - looked_s, busy_s * _IDLE_TO_BUSY)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, pause_s))
            if self.followers:
                followed_s = time.monotonic()

    async def _step(self) -> float:
        """Look once, or go on waiting for a look; for how long it kept a core busy."""
        looking = self._looking or asyncio.ensure_future(self._threads.do(self._timed))
        done, self._looking = (await asyncio.wait({looking}, timeout=self._longest_s))[0], None
        if not done:
            self._looking = looking
            self._publish(self._watch.stale(f"no answer for {self._longest_s:.0f} s"))
            return 0.0
        try:
            look, busy_s = looking.result()
        except Exception as error:  # noqa: BLE001  of ours perhaps: told, and looked again
            look, busy_s = self._watch.stale(f"a look failed: {error!r}"), 0.0
        self._publish(look)
        return busy_s

    def _timed(self) -> tuple[Look, float]:
        """A look, and for how long it kept a core busy."""
        began_s = time.thread_time()
        return self._watch.look(), time.thread_time() - began_s

    def _publish(self, look: Look) -> None:
        if self.feed.publish(look) or not self._is_fresh:
            self._is_fresh = True
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _waited(self, longest_s: float) -> bool:
        """True once there are news."""
        try:
            await asyncio.wait_for(self._news.wait(), longest_s)
        except TimeoutError:
            return False
        return True
