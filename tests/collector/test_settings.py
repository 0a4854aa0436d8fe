"""Settings of a running collector: every key that can change while it runs does so everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.changes import Changes
from shmperf.collector.cycle import Collector
from shmperf.collector.resources import Sampler
from shmperf.config.options import Options
from shmperf.session.rendezvous import Request, join
from shmperf.session.server import Server
from shmperf.session.session import attach
from shmperf.storage.writer import Disk
from shmperf.testing import Room

from .lab import FEW

# Keys that a running collector does not follow, each with the reason.
FIXED = {
    "optimization.enabled": "the mode that a session begins in; afterwards it is switched",
    "storage.path": "processes meet by it, and the journal lies there",
    "ring.budget_bytes": "a worker takes it when it makes its memory",
    "ring.first_slots": "a worker takes it when it makes a ring; the collector reads the ring",
}


def keys_of(group: msgspec.Struct, above: str = "") -> Iterator[str]:
    """Every key of the configuration, with its groups before it."""
    for name in group.__struct_fields__:
        value = getattr(group, name)
        if isinstance(value, msgspec.Struct):
            yield from keys_of(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


# Who holds what: each of them says the value that it uses.
Holder = Callable[[Collector], Any]
HOLDERS: dict[str, list[Holder]] = {
    "default_perf_points": [
        lambda c: c.ledger.options.limit_of("any"),
        lambda c: c.ingest.limit_of("any"),
        lambda c: c.flusher.limit_of("any"),
    ],
    "tool_limits": [
        lambda c: {"few": c.ledger.options.limit_of("few")},
        lambda c: {"few": c.ingest.limit_of("few")},
        lambda c: {"few": c.flusher.limit_of("few")},
    ],
    "optimization.trigger_threshold": [lambda c: c.optimizing.options.trigger_threshold],
    "optimization.min_interval_seconds": [lambda c: c.optimizing.options.min_interval_seconds],
    "optimization.run_calls": [lambda c: c.optimizing.options.run_calls],
    "optimization.run_seconds": [lambda c: c.optimizing.options.run_seconds],
    "optimization.cleanup_on_optimize": [
        lambda c: c.requests.may_clean_up,
        lambda c: c.optimizing.options.cleanup_on_optimize,
    ],
    "sampling.every": [lambda c: c.parts.choosing.every_of("any")],
    "sampling.tools": [lambda c: {"few": c.parts.choosing.every_of("few")}],
    "sampling.overhead_budget": [lambda c: c.parts.choosing.sampling.overhead_budget],
    "storage.async_save": [
        lambda c: c.options.storage.async_save,
        lambda c: c.flusher.storage.async_save,
    ],
    "storage.batch_size": [lambda c: c.flusher.storage.batch_size],
    "storage.flush_interval_seconds": [lambda c: c.options.storage.flush_interval_seconds],
    "storage.max_bytes": [
        lambda c: c.flusher.storage.max_bytes,
        lambda c: c.parts.archiving.most_bytes,
    ],
    "storage.outbox_bytes": [
        lambda c: c.flusher.storage.outbox_bytes,
        lambda c: c.parts.alerting._outbox_bytes,
    ],
    "capture.secret_keys": [
        lambda c: tuple(key for key in ("colour", "password") if c.parts.bodies.mask.hides(key, ""))
    ],
    "capture.secret_words": [
        lambda c: tuple(word for word in ("hue", "auth") if c.parts.bodies.mask.hides(word, ""))
    ],
    "anomaly.enabled": [lambda c: c.parts.watching.anomaly.enabled],
    "anomaly.interval_seconds": [
        lambda c: c.parts.watching.anomaly.interval_seconds,
        lambda c: c.ledger.analyses.of(Changes)._interval_s,
    ],
    "anomaly.effect": [
        lambda c: c.parts.watching.anomaly.effect,
        lambda c: round(2 ** c.ledger.analyses.of(Changes)._effect, 9),
    ],
    "anomaly.webhook": [lambda c: c.parts.supervisor._options.anomaly.webhook],
    "anomaly.stuck_factor": [lambda c: c.parts.watching.anomaly.stuck_factor],
    "history.compress": [lambda c: c.parts.archiving.history.compress],
    "history.retention_days": [lambda c: c.parts.archiving.history.retention_days],
    "history.when_full": [
        lambda c: c.parts.archiving.history.when_full,
        lambda c: "drop_oldest" if c.flusher.drops_oldest else "stop",
    ],
    "history.segment_lines": [lambda c: c.parts.archiving.history.segment_lines],
    "collector.idle_wait_ms": [lambda c: c.options.collector.idle_wait_ms],
    "collector.sample_interval_seconds": [lambda c: c.parts.sampler.interval_s],
} | {
    f"{group}.{key}": [lambda c, of=attrgetter(f"{group}.{key}"): of(c.parts.supervisor._options)]
    for group in ("rag", "export", "fleet")
    for key in keys_of(getattr(Options(), group))
}

# Other values than the defaults, where adding to those does not give one.
EXAMPLES: dict[str, dict[str, Any]] = {
    "tool_limits": {"tool_limits": {"few": 3}},
    "anomaly.webhook": {"webhook": "env:NOT_SET"},
    "history.compress": {"compress": "gzip"},
    "sampling.tools": {"tools": {"few": 3}},
    "history.when_full": {"when_full": "drop_oldest"},
    "capture.secret_keys": {"secret_keys": ("colour",)},
    "capture.secret_words": {"secret_words": ("hue",)},
    "export.prometheus.listen": {"listen": "127.0.0.1:0"},
    "export.otlp.endpoint": {"endpoint": "env:NOT_SET"},
    "export.otlp.headers": {"headers": {"few": "3"}},
    "fleet.url": {"url": "env:NOT_SET"},
    "rag.store": {"store": "chroma", "url": "somewhere"},
    "rag.embedder": {"embedder": "module:function"},
    "rag.embedding_include": {"embedding_include": True, "embedder": "module:function"},
}


def changed(key: str) -> tuple[Any, Any]:
    """Options in which *key* has another value, and that value."""
    *groups, name = key.split(".")
    holders: list[Any] = [Options()]
    for group in groups:
        holders.append(getattr(holders[-1], group))
    change = EXAMPLES.get(key) or {name: other_than(getattr(holders[-1], name))}
    whole = msgspec.structs.replace(holders.pop(), **change)
    for group in reversed(groups):
        whole = msgspec.structs.replace(holders.pop(), **{group: whole})
    return whole, change[name]


def other_than(value: Any) -> Any:
    """Another value of the same kind, within the bounds of every key."""
    if isinstance(value, bool):
        return not value
    return value + ("x" if isinstance(value, str) else 1)


@pytest.fixture
def collector(tmp_path: Path, runtime: Path) -> Iterator[Collector]:
    """A collector of a session of its own, and nobody else there."""
    session = join(Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)}))
    found = Collector(session, Server(session.directory), Disk(session.storage))
    found.open()
    found.step()
    yield found
    found.finish()


def test_every_key_is_live_or_says_why_not() -> None:
    """A new key is followed by a running collector, or has a reason in the list."""
    assert sorted([*HOLDERS, *FIXED]) == sorted(keys_of(Options()))


@pytest.mark.parametrize("key", sorted(HOLDERS))
def test_a_live_key_is_live(collector: Collector, key: str) -> None:
    """After somebody has published another value every part of a running collector uses that."""
    options, value = changed(key)
    assert value not in [holder(collector) for holder in HOLDERS[key]]
    attach(collector.session.directory).settings.publish(options)
    collector.step()
    assert [holder(collector) for holder in HOLDERS[key]] == [value] * len(HOLDERS[key])


def test_a_shorter_sampling_interval_holds_at_once() -> None:
    """Nobody waits for the end of an interval that the settings no longer know."""
    now_s, looks = [0.0], []
    sampler = Sampler(3600.0, lambda: now_s[0])

    def pids() -> list[int]:
        looks.append(now_s[0])
        return []

    now_s[0] = 2.0
    sampler.look(pids)
    options = msgspec.convert({"collector": {"sample_interval_seconds": 5}}, Options)
    sampler.configure(options)
    for now_s[0] in (6.9, 7.0, 11.9, 12.0):
        sampler.look(pids)
    assert looks == [2.0, 7.0, 12.0]


@pytest.mark.parametrize("back", ["the same", "another"])
def test_a_configuration_file_that_has_gone_is_told_and_the_settings_stay(
    room: Room, back: str
) -> None:
    """Once, however long it is away, until it is back; an exchange is nothing to tell."""
    faults, limit_of = room.collector.parts.faults, room.collector.ingest.limit_of
    aside = room.config.with_name("aside")

    def look(count: int) -> None:
        for _ in range(count):
            room.clock.now_s += 1
            room.collector.step()

    look(1)
    room.config.rename(aside)
    look(1)
    aside.rename(room.config)
    look(3)
    assert "config" not in faults.told
    room.config.rename(aside)
    look(5)
    assert str(room.config) in faults.told["config"]
    assert "found no such file" in faults.told["config"]
    assert room.stats()["faults"] == {"config": 1}
    assert limit_of("few") == FEW
    if back == "the same":
        aside.rename(room.config)
    else:
        room.config.write_text("tool_limits: {few: 5}\n")
    look(2)
    assert "config" not in faults.told
    assert room.collector.ingest.limit_of("few") == (FEW if back == "the same" else 5)
