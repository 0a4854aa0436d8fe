"""The coalescer: newest, at most once an interval, and only what moved."""

from __future__ import annotations

import random
import time

from shmperf.rag.coalesce import Coalescer
from shmperf.testing import Clock


def test_the_newest_is_kept() -> None:
    """Of several summaries of a tool only the last is handed out."""
    coalescer = Coalescer(1.0, Clock())
    for count in range(5):
        coalescer.offer("a", {"call_count": count})
    coalescer.offer("b", {"call_count": 7})
    assert coalescer.due() == {"a": {"call_count": 4}, "b": {"call_count": 7}}
    assert coalescer.due() == {}


def test_a_tool_is_due_once_an_interval() -> None:
    """A second summary waits until the interval since the first has passed."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    coalescer.offer("a", {"call_count": 1})
    assert coalescer.due()
    coalescer.offer("a", {"call_count": 2})
    clock.now_s += 0.999
    assert coalescer.due() == {}
    clock.now_s += 0.001
    assert coalescer.due() == {"a": {"call_count": 2}}


def test_tools_wait_for_themselves_only() -> None:
    """A tool that was sent just now does not hold up another."""
    coalescer = Coalescer(1.0, Clock())
    coalescer.offer("a", {"call_count": 1})
    coalescer.due()
    coalescer.offer("a", {"call_count": 2})
    coalescer.offer("b", {"call_count": 1})
    assert coalescer.due() == {"b": {"call_count": 1}}


def test_nothing_is_due_when_nothing_moved() -> None:
    """The same summary again is not sent, not even after a detour that was never sent."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    coalescer.offer("a", {"call_count": 1})
    coalescer.due()
    clock.now_s += 10
    coalescer.offer("a", {"call_count": 1})
    assert coalescer.due() == {}
    coalescer.offer("a", {"call_count": 2})
    coalescer.offer("a", {"call_count": 1})
    assert coalescer.due() == {}


def test_what_failed_is_due_again_after_the_interval() -> None:
    """A summary that did not arrive is kept, though nothing new is offered."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    coalescer.offer("a", {"call_count": 1})
    coalescer.failed(coalescer.due())
    assert coalescer.due() == {}
    clock.now_s += 1
    assert coalescer.due() == {"a": {"call_count": 1}}


def test_what_failed_does_not_replace_a_newer_one() -> None:
    """A summary offered while an older one was on its way is the one that is sent."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    coalescer.offer("a", {"call_count": 1})
    sent = coalescer.due()
    coalescer.offer("a", {"call_count": 2})
    coalescer.failed(sent)
    clock.now_s += 1
    assert coalescer.due() == {"a": {"call_count": 2}}


def test_the_same_summary_is_sent_again_after_a_failure() -> None:
    """Nobody knows what the store holds then, so equal is not enough."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    coalescer.offer("a", {"call_count": 1})
    coalescer.failed(coalescer.due())
    coalescer.offer("a", {"call_count": 1})
    clock.now_s += 1
    assert coalescer.due() == {"a": {"call_count": 1}}


def test_names_that_were_never_sent_are_passed_over() -> None:
    """A failure report about a stranger changes nothing."""
    coalescer = Coalescer(1.0, Clock())
    coalescer.failed(["a"])
    assert coalescer.due() == {}


def test_summaries_are_copies() -> None:
    """Neither the one who offers nor the one who sends can change what is kept."""
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    mine: dict[str, object] = {"call_count": 1}
    coalescer.offer("a", mine)
    mine["call_count"] = 2
    sent = coalescer.due()
    sent["a"]["call_count"] = 3
    coalescer.failed(["a"])
    clock.now_s += 1
    assert coalescer.due() == {"a": {"call_count": 1}}


def test_a_store_that_fails_now_and_then_ends_up_with_the_newest() -> None:
    """Whatever comes when, the store holds every tool's last summary, sent once an interval."""
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 - the seed is told, no secret
    clock = Clock()
    coalescer = Coalescer(1.0, clock)
    newest: dict[str, dict[str, object]] = {}
    store: dict[str, dict[str, object]] = {}
    sent_at: dict[str, float] = {}

    def send(works: bool) -> None:
        for name, summary in coalescer.due().items():
            assert clock.now_s - sent_at.get(name, 0) >= 1, seed
            sent_at[name] = clock.now_s
            if works:
                assert store.get(name) != summary, seed
                store[name] = summary
            else:
                # It may have arrived all the same; the next one says so for certain.
                store.pop(name, None)
                coalescer.failed([name])

    for _ in range(2000):
        name = f"tool{chance.randrange(5)}"
        newest[name] = {"call_count": chance.randrange(3)}
        coalescer.offer(name, newest[name])
        if chance.random() < 0.5:
            clock.now_s += chance.random()
        if chance.random() < 0.5:
            send(chance.random() < 0.7)
    clock.now_s += 1
    send(True)
    assert store == newest, seed
