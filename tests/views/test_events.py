"""Looks by number: what each who follows is sent, and what it costs."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from shmperf.query.look import Look, ToolLook, Watch
from shmperf.session.messages import OpenCallAnswer
from shmperf.views.web.events import Feed


def empty() -> Look:
    """A look that shows nothing."""

    def nobody() -> Any:
        raise AssertionError("nobody is asked")

    return msgspec.structs.replace(Watch(nobody).stale(""), problem=None)


def tool(name: str, count: int, own_share: float = 0.5) -> ToolLook:
    return ToolLook(
        tool=name,
        count=count,
        rate=None,
        p50_s=None,
        p95_s=None,
        p99_s=None,
        errors=0,
        aborted=0,
        own_share=own_share,
        in_flight=0,
    )


def look(*tools: ToolLook, at_s: float = 1.0, **others: Any) -> Look:
    return msgspec.structs.replace(empty(), at_s=at_s, tools=list(tools), **others)


def sent(feed: Feed, seen: int | None) -> tuple[bool, int, list[str]]:
    """What an event has: whether it is whole, how many it skipped, and the tools' names."""
    event = feed.since(seen).decode()
    assert event.endswith("\n\n")
    fields = dict(line.split(": ", 1) for line in event.strip().split("\n"))
    assert fields["event"] == "look"
    assert feed.seen_by(fields["id"]) == feed.number
    content = json.loads(fields["data"])
    return content["whole"], content["skipped"], [one["tool"] for one in content["tools"]]


def test_only_what_changed_follows_the_first() -> None:
    """The first has all tools, each further one those that changed, and nothing new is nothing."""
    feed = Feed()
    assert feed.since(None) == b""
    assert feed.publish(look(tool("a", 1), tool("b", 1)))
    assert sent(feed, None) == (True, 0, ["a", "b"])
    assert feed.publish(look(tool("a", 1), tool("b", 2)))
    assert sent(feed, 1) == (False, 0, ["b"])
    assert feed.since(2) == b""


def test_time_alone_is_no_news() -> None:
    """The age of an open call and a share that moved by less than is seen are not sent."""
    feed = Feed()
    call = OpenCallAnswer(id="1", tool="a", pid=1, parent=None, started=1.0, running_s=1.0)
    older = msgspec.structs.replace(call, running_s=2.0)
    assert feed.publish(look(tool("a", 1, 0.5), open=[call]))
    assert not feed.publish(look(tool("a", 1, 0.5004), at_s=2.0, open=[older]))
    assert feed.publish(look(tool("a", 1, 0.5011), at_s=3.0, open=[older]))
    assert feed.publish(look(tool("a", 1, 0.5011), at_s=4.0, open=[]))


def test_figures_have_as_many_digits_as_are_seen() -> None:
    """Counts are exact; rates, durations and shares have four digits; what is unknown stays so."""
    feed = Feed()
    long = {"rate": 2.4368312841251543, "p50_s": 4.07251e-06, "p95_s": 1234.56}
    feed.publish(look(msgspec.structs.replace(tool("a", 1_234_567, 0.00076142026), **long)))
    (shown,) = json.loads(feed.since(None).decode().partition("data: ")[2])["tools"]
    assert shown["count"] == 1_234_567
    assert (shown["rate"], shown["p50_s"], shown["p95_s"]) == (2.437, 4.073e-06, 1235.0)
    assert (shown["p99_s"], shown["own_share"]) == (None, 0.0007614)


def test_less_than_is_seen_is_compared_with_what_was_and_not_with_what_was_shown() -> None:
    """A share that only its rounding would carry over the least change is no news."""
    feed = Feed()
    assert feed.publish(look(tool("a", 1, 0.12344)))
    assert not feed.publish(look(tool("a", 1, 0.12443)))


def test_who_is_slow_or_comes_back_gets_what_has_changed_since() -> None:
    """Looks that lay between are counted, and cost nobody memory."""
    feed = Feed()
    for count in range(1, 6):
        feed.publish(look(tool("a", count), tool("b", 1)))
    assert sent(feed, 1) == (False, 3, ["a"])
    assert sent(feed, 4) == (False, 0, ["a"])


def test_what_is_gone_makes_the_next_whole() -> None:
    """After a cleanup nobody keeps tools that are no more, however long they were away."""
    feed = Feed()
    feed.publish(look(tool("a", 1), tool("b", 1)))
    feed.publish(look(tool("b", 1)))
    feed.publish(look(tool("b", 2)))
    assert sent(feed, 1) == (True, 1, ["b"])
    assert sent(feed, 2) == (False, 0, ["b"])


def test_an_id_of_another_server_is_not_known() -> None:
    """Nor one that was never sent, nor what is none."""
    feed = Feed("name")
    feed.publish(look(tool("a", 1)))
    assert feed.seen_by("name.1") == 1
    for unknown in ("", "name", "name.", "name.2", "other.1", "name.x", "name.-1", "name.²"):
        assert feed.seen_by(unknown) is None
    assert feed.seen_by("name." + "9" * 5000) is None
