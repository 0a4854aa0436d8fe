"""
Questions that may take long, asked for many: in a few threads, and once for all who ask the same.

    tab ──┐
    tab ──┼─► Shared: one question ──► Threads: one of a few ──► collector, or storage at rest
    tab ──┘

Whoever waits has an answer or an error in bounded time. What hangs, on a disk that is away, holds
its thread and no other: there are no more than a few, and they end with the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from shmperf.errors import NoAnswer

__all__ = ["Shared", "Threads"]

T = TypeVar("T")

_FRESH_S = 1.0


class Threads:
    """At most so many deeds at once, each in a thread of its own; of one event loop."""

    def __init__(self, most: int, patience_s: float | None) -> None:
        """Who waits for longer than *patience_s* gets NoAnswer; with None they wait."""
        self._free = asyncio.Semaphore(most)
        self._patience_s = patience_s

    async def do(self, deed: Callable[[], T]) -> T:
        """What *deed* returns or raises; NoAnswer where that takes too long."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Of one that nobody waits for any more nobody wants to know.
        result.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
                self._start(deed, result)
                return await asyncio.shield(result)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._patience_s:.0f} s") from None

    def _start(self, deed: Callable[[], T], result: asyncio.Future[T]) -> None:
        thread = threading.Thread(target=_run, args=(deed, result, self._end), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._free.release()
            raise NoAnswer(str(error)) from None

    def _end(self, result: asyncio.Future[T], settle: Callable[[], None]) -> None:
        self._free.release()
        if not result.cancelled():
            settle()


def _run(
    deed: Callable[[], T],
    result: asyncio.Future[T],
    end: Callable[[asyncio.Future[T], Callable[[], None]], None],
) -> None:
    try:
        settle = partial(result.set_result, deed())
    except BaseException as error:  # noqa: BLE001  it is raised where the result is waited for
        settle = partial(result.set_exception, error)
    # The loop may have ended meanwhile, and everybody with it.
    with suppress(RuntimeError):
        result.get_loop().call_soon_threadsafe(end, result, settle)


class Shared:
    """One answer for all who ask the same question while it is answered, and a second longer."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, deed: Callable[[], T]) -> T:
        """What *deed* returns or raises, or did for whoever asked with that *key* just before."""
        task: asyncio.Task[T] | None = self._asked.get(key)
        if task is None:
            task = asyncio.ensure_future(self._threads.do(deed))
            self._asked[key] = task
            task.add_done_callback(lambda done: self._let_go(key, done))
        # Who leaves does not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """What is asked from now on is asked anew: something was changed."""
        self._asked.clear()

    def _let_go(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()
        task.get_loop().call_later(_FRESH_S, self._drop, key, task)

    def _drop(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]
