"""
The text of `shmperf.worker.hotcoroutine`: that of the hot path, awaiting.

``python -m tests.worker.hotcoroutine_text`` writes it anew; a test holds the one to the other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from shmperf.worker import hotpath

__all__ = ["made", "there"]

_HEAD = '''"""
A call of a coroutine function: the hot path, awaiting.

`track_coroutine` is the text of `hotpath.track_function` but for what awaiting makes different:
it is for a task of asyncio alone, which has a context of its own; where it ends in another context
all the same (it was closed by whoever collects garbage) that one stays as it is; and of a sampled
tool all calls go the long way. Change it there, and have it written anew: ``python -m
tests.worker.hotcoroutine_text``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from shmperf.compiled.chosen import hot
from shmperf.shm.inflight import CALLEE, GENERATION_STEP, PARENT, START
from shmperf.shm.record import BODY_BYTES, NAMED, PRUNED
from shmperf.stdlib import get_ident, perf_counter_ns

from .byvalue import Number, cell_of, fast_of
from .capture import PLAIN_TYPES, SHORT, Cut, short_body
from .context import TRACKED, Pair, Seen, current_call, parent_of
from .failures import is_programs
from .gcwatch import collecting
from .hotpath import (
    RAISED,
    RETURNED,
    Wrapped,
    encode_plain,
    finish,
    has_forked_in,
    store_slot_at,
    unfinished,
)
from .spans import spans

__all__ = ["know_loop", "track_awaited", "track_coroutine"]


def _unknown() -> None:
    """Nobody has seen a loop of asyncio yet."""


_running_loop: Callable[[], object] = _unknown


def know_loop() -> None:
    """There is a loop of asyncio: from now on it can be asked for quickly."""
    global _running_loop  # noqa: PLW0603  read at each call, where anything else costs more
    _running_loop = sys.modules["asyncio.events"]._get_running_loop
    if hot is not None:
        hot.adopt_loop(_running_loop, _outer_now)


def _outer_now(outer: Any, call_id: int) -> Any:
    """What is current once the call has ended: *outer*, unless it ends in another context."""
    now = current_call.get()
    while isinstance(now, Pair):
        now = now.outer
    return outer if now == call_id else current_call.get()


def track_awaited(wrapped: Wrapped, detour: Any) -> Callable[..., Any]:
    """What records the calls of a coroutine function, compiled where that path is there."""
    wrapper, function = track_coroutine(wrapped, detour), wrapped.function
    if hot is None:
        return wrapper
    fast = wrapped.fast = fast_of(wrapper, wrapped)

    async def entrance(*args: Any, **kwargs: Any) -> Any:
        # Struck before its end is asked for, the call ends as it is let go.
        call = fast.begin(args, kwargs)
        if call is None:
            return await wrapper(*args, **kwargs)
        try:
            # By this name a debugger finds the call on its thread's stack.
            call_id = call.call_id
        except MemoryError:
            call_id = 0  # noqa: F841  as above
        try:
            return call.returned(await function(*args, **kwargs))
        except BaseException as error:
            # Noted and passed on.
            call.failed(error)
            raise

    return entrance


'''
_SAMPLED = re.compile(r"            sampled = tool\.sampled\n.*?(?=        body: bytes)", re.DOTALL)
_REMOTE = """\
    # What is current from there on is no call, and stays so inside one that has no record.
    first_remote = FIRST_REMOTE
"""
_RESTORED = """\
            try:
                current.reset(token)  # point: context-restore
            except ValueError:
                # It ends in another context, which stays as it is.
                outer = _outer_now(outer, call_id)"""
_CHANGES = (
    ("    not_called, raised, returned = _NOT_CALLED, RAISED, RETURNED\n", ""),
    (_REMOTE, ""),
    ("def track_function(wrapped: Wrapped)", "def track_coroutine(wrapped: Wrapped, detour: Any)"),
    ("    def wrapper(", "    async def wrapper("),
    ("C901, PLR0911, PLR0912, PLR0915", "C901, PLR0912, PLR0915"),
    ("return detour(wrapped, args, kwargs)", "return await detour(*args, **kwargs)"),
    ("function(*args, **kwargs)", "await function(*args, **kwargs)"),
    ("or in_collection:", "or in_collection or _running_loop() is None:"),
    ("            current.set(call_id)", "            token = current.set(call_id)"),
    ("            current.set(outer)  # point: context-restore", _RESTORED),
    ("finish(left, outer)", "finish(left, _outer_now(outer, call_id))"),
)


def there() -> Path:
    """Where it stands."""
    return Path(hotpath.__file__).with_name("hotcoroutine.py")


def made() -> str:
    """As it should be."""
    source = Path(hotpath.__file__).read_text()
    text = source[source.index("def track_function(") :]
    text = text[: text.index("\n\n\n")] + "\n"
    text = _SAMPLED.sub(
        "            if tool.sampled is not None:\n"
        "                return await detour(*args, **kwargs)\n"
        "            return function(*args, **kwargs)\n",
        text,
    )
    for old, new in _CHANGES:
        if old not in text:
            raise ValueError(f"the hot path has no {old!r} any more")
        text = text.replace(old, new)
    text = re.sub(r"(# point(?: below)?: )", r"\1awaited-", text)
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(there()), "-"],
        input=_HEAD + text,
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


if __name__ == "__main__":
    there().write_text(made())
