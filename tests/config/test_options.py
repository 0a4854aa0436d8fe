"""The options: the promised defaults, bounds that hold on any way in, and a light import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shmperf.config.file import sentences_of
from shmperf.config.options import Options


def groups(of: msgspec.Struct) -> Iterator[msgspec.Struct]:
    for value in msgspec.structs.astuple(of):
        if isinstance(value, msgspec.Struct):
            yield value
            yield from groups(value)


GROUPS = list(groups(Options()))


def test_defaults_are_the_promised_ones() -> None:
    """The keys and defaults that users rely on stay as they are."""
    options = msgspec.to_builtins(Options())
    assert options["default_perf_points"] == 100
    assert options["tool_limits"] == {}
    assert options["optimization"] == {
        "enabled": False,
        "trigger_threshold": 10_000,
        "min_interval_seconds": 3600,
        "run_calls": 1000,
        "run_seconds": 60,
        "cleanup_on_optimize": True,
    }
    assert options["storage"] | {"max_bytes": 0, "outbox_bytes": 0} == {
        "path": "perf_data",
        "async_save": True,
        "batch_size": 100,
        "flush_interval_seconds": 30,
        "max_bytes": 0,
        "outbox_bytes": 0,
    }
    assert options["rag"] == {
        "enabled": True,
        "cluster_with_tool": True,
        "embedding_include": False,
        "store": "",
        "url": "",
        "embedder": "",
        "interval_seconds": 1,
        "half_life_seconds": 600,
    }
    assert options["sampling"] == {"every": 1, "tools": {}, "overhead_budget": 0}
    assert options["anomaly"] == {
        "enabled": True,
        "interval_seconds": 30,
        "effect": 1.25,
        "stuck_factor": 10,
        "webhook": "",
    }
    assert options["history"] == {
        "compress": "zstd",
        "segment_lines": 50_000,
        "retention_days": 0,
        "when_full": "stop",
    }
    assert options["export"] == {
        "most_tools": 1_000,
        "prometheus": {"listen": ""},
        "otlp": {
            "endpoint": "",
            "headers": {},
            "interval_seconds": 10,
            "spans": True,
            "metrics": True,
            "arguments": False,
        },
    }
    assert options["fleet"] == {
        "url": "",
        "node": "",
        "stream": "shmperf",
        "records": True,
        "arguments": False,
        "facts": True,
        "credentials": "",
        "ca": "",
    }
    assert options["ring"] == {"budget_bytes": 6 << 20, "first_slots": 16}


def test_defaults_are_within_their_own_bounds() -> None:
    """What the code takes by default it would also take from a file."""
    assert msgspec.convert(msgspec.to_builtins(Options()), Options, strict=True) == Options()


@pytest.mark.parametrize("word", ["password", "token", "api_key", "authorization", "cookie"])
def test_common_names_of_secrets_are_known(word: str) -> None:
    """Nobody has to configure anything for the usual secrets to be masked."""
    assert word in Options().capture.secret_keys


@pytest.mark.parametrize("group", [Options(), *GROUPS], ids=lambda group: type(group).__name__)
def test_every_option_has_a_sentence(group: msgspec.Struct) -> None:
    """Each group and each option can be explained by the code that defines it."""
    assert type(group).__doc__
    names = {
        name
        for name in group.__struct_fields__
        if not isinstance(getattr(group, name), msgspec.Struct)
    }
    assert set(sentences_of(type(group))) == names


@pytest.mark.parametrize("group", [Options(), *GROUPS], ids=lambda group: type(group).__name__)
def test_options_do_not_change(group: msgspec.Struct) -> None:
    """Options that one part of the program holds are never changed by another."""
    with pytest.raises(AttributeError):
        setattr(group, group.__struct_fields__[0], None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_perf_points": -2},
        {"default_perf_points": True},
        {"default_perf_points": "100"},
        {"tool_limits": {"a": -2}},
        {"tool_limits": {"a": False}},
        {"storage": {"path": ""}},
        {"storage": {"path": "a\0b"}},
        {"storage": {"flush_interval_seconds": 0}},
        {"storage": {"flush_interval_seconds": float("nan")}},
        {"storage": {"max_bytes": 1 << 63}},
        {"capture": {"secret_keys": [""]}},
        {"ring": {"budget_bytes": (256 << 10) - 1}},
        {"ring": {"first_slots": 24}},
        {"whatever": {}},
        {"rag": {"enabled": None}},
        {"rag": {"store": "tolls"}},
        {"rag": {"store": "chroma"}},
        {"rag": {"url": "a\0b"}},
        {"rag": {"embedding_include": True}},
        {"rag": {"embedding_include": True, "embedder": "a:b", "cluster_with_tool": False}},
        {"rag": {"embedding_include": True, "embedder": "a:b", "store": "chroma", "url": "x"}},
        {"rag": {"embedder": "no function"}},
        {"rag": {"interval_seconds": 0.5}},
        {"rag": {"half_life_seconds": 0}},
        {"export": {"most_tools": 0}},
        {"export": {"prometheus": {"listen": "9464"}}},
        {"export": {"prometheus": {"listen": "host:99999"}}},
        {"export": {"prometheus": {"listen": "a b:1"}}},
        {"export": {"prometheus": {"listen": "host:١"}}},
        {"export": {"otlp": {"endpoint": "localhost:4318"}}},
        {"export": {"otlp": {"headers": {"a b": "x"}}}},
        {"export": {"otlp": {"headers": {"a": "x\ny"}}}},
        {"export": {"otlp": {"interval_seconds": 0}}},
        {"fleet": {"url": "localhost:4222"}},
        {"fleet": {"url": "http://host"}},
        {"fleet": {"url": "nats://a,b"}},
        {"fleet": {"url": "nats://a,nats://"}},
        {"fleet": {"stream": "a.b"}},
        {"fleet": {"stream": ""}},
        {"fleet": {"node": "a\nb"}},
        {"fleet": {"credentials": "a\0b"}},
    ],
    ids=str,
)
def test_settings_from_another_process_are_checked(wrong: dict[str, Any]) -> None:
    """A worker takes no option from a session's settings that a file could not set."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(wrong), type=Options)


def test_limits_are_by_tool() -> None:
    """A tool's own limit goes before the default, for the empty name too."""
    options = Options(default_perf_points=7, tool_limits={"a": -1, "": 0})
    assert [options.limit_of(tool) for tool in ("a", "", "b")] == [-1, 0, 7]


def test_import_is_light() -> None:
    """A worker that imports the options gets neither YAML nor psutil nor a terminal library."""
    code = (
        "import sys, shmperf.config.options\n"
        "print(*{'yaml', 'psutil', 'rich', 'shmperf.config.file'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
