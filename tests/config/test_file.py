"""The configuration: one file and one set of options that can't drift, and errors that help."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.config.file import dump, load
from shmperf.config.locate import find, resolve
from shmperf.config.options import (
    COMPRESSIONS,
    WHEN_FULL,
    Anomaly,
    Capture,
    CollectorOptions,
    Export,
    Fleet,
    HistoryOptions,
    Optimization,
    Options,
    Otlp,
    Prometheus,
    Rag,
    Ring,
    Sampling,
    Storage,
)
from shmperf.errors import ConfigError

SHIPPED = Path(__file__).parent.parent.parent / "config" / "tool_perf_limits.yaml"


def test_shipped_file_is_the_code() -> None:
    """The file in config/ holds every key with its default and a sentence."""
    assert SHIPPED.read_text() == dump(Options())
    assert load(SHIPPED) == Options()


LIMITS = st.integers(-1, 1_000_000_000)
EVERY = st.integers(1, 1_000_000)
WORDS = st.text(min_size=1, max_size=20)
OPTIONS = st.builds(
    Options,
    default_perf_points=LIMITS,
    tool_limits=st.dictionaries(st.text(max_size=20), LIMITS, max_size=5),
    optimization=st.builds(
        Optimization,
        enabled=st.booleans(),
        trigger_threshold=st.integers(0, 1_000_000_000),
        min_interval_seconds=st.floats(1, 31_536_000),
        run_calls=st.integers(1, 1_000_000),
        run_seconds=st.floats(0, 86_400, exclude_min=True),
        cleanup_on_optimize=st.booleans(),
    ),
    storage=st.builds(
        Storage,
        path=WORDS.filter(lambda path: "\0" not in path),
        async_save=st.booleans(),
        batch_size=st.integers(1, 1_000_000),
        flush_interval_seconds=st.floats(0, 86_400, exclude_min=True),
        max_bytes=st.integers(1 << 20, 1 << 62),
    ),
    rag=st.builds(
        Rag,
        enabled=st.booleans(),
        cluster_with_tool=st.booleans(),
        store=st.sampled_from(("", "tools")),
        url=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
        embedder=st.sampled_from(("", "mine.embedding:Model.encode")),
        interval_seconds=st.floats(1, 86_400),
        half_life_seconds=st.floats(1, 31_536_000),
    ),
    capture=st.builds(Capture, secret_keys=st.lists(WORDS, max_size=4).map(tuple)),
    ring=st.builds(
        Ring,
        budget_bytes=st.integers(1 << 18, 1 << 30),
        first_slots=st.integers(2, 12).map(lambda power: 1 << power),
    ),
    collector=st.builds(
        CollectorOptions,
        idle_wait_ms=st.integers(1, 1000),
        sample_interval_seconds=st.floats(0, 3600, exclude_min=True),
    ),
    sampling=st.builds(
        Sampling,
        every=EVERY,
        tools=st.dictionaries(st.text(max_size=20), EVERY, max_size=5),
        overhead_budget=st.floats(0, 1),
    ),
    anomaly=st.builds(
        Anomaly,
        enabled=st.booleans(),
        interval_seconds=st.floats(1, 3600),
        effect=st.floats(1, 1_000, exclude_min=True),
        stuck_factor=st.floats(1, 1_000_000),
        webhook=st.sampled_from(("", "env:ALERTS", "https://user:word@[::1]:8080/in?a=%20#b")),
    ),
    history=st.builds(
        HistoryOptions,
        compress=st.sampled_from(COMPRESSIONS),
        segment_lines=st.integers(100, 100_000_000),
        retention_days=st.floats(0, 36_500),
        when_full=st.sampled_from(WHEN_FULL),
    ),
    export=st.builds(
        Export,
        most_tools=st.integers(1, 1_000_000),
        prometheus=st.sampled_from(("", "127.0.0.1:9464", "[::1]:0", "localhost:1")).map(
            lambda listen: Prometheus(listen=listen)
        ),
        otlp=st.builds(
            Otlp,
            endpoint=st.sampled_from(("", "env:BACKEND", "http://localhost:4318")),
            headers=st.dictionaries(
                st.sampled_from(("a", "x-Key")), st.sampled_from(("b", "{", "env:K"))
            ),
            interval_seconds=st.floats(1, 3600),
            spans=st.booleans(),
        ),
    ),
    fleet=st.builds(
        Fleet,
        url=st.sampled_from(("", "env:NATS_URL", "nats://me:w,1@a:4222,tls://[::1]:4222")),
        node=st.sampled_from(("", "node-7", "é {")),
        stream=st.sampled_from(("shmperf", "A_b-9")),
        records=st.booleans(),
        credentials=st.sampled_from(("", "env:NATS_CREDS", "/etc/shmperf/node.creds")),
    ),
)


@given(OPTIONS)
def test_what_is_dumped_loads_again(
    tmp_path_factory: pytest.TempPathFactory, options: Options
) -> None:
    """Every configuration survives its own text, and the way to the workers."""
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump(options), encoding="utf-8", newline="")
    assert load(path) == options
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(options), type=Options) == options


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("default_perf_pionts: 3", "default_perf_pionts", "default_perf_points"),
        ("storage: {batchsize: 3}", "storage.batchsize", "storage.batch_size"),
        ("export: {otlp: {endpiont: x}}", "export.otlp.endpiont", "export.otlp.endpoint"),
        ("export: {otlp: {endpoint: x}}", "export.otlp.endpoint", "http or https URL"),
        ("export: {prometheus: {listen: x}}", "export.prometheus.listen", "HOST:PORT"),
        ("default_perf_points: '3'", "default_perf_points", "expected int"),
        ("default_perf_points: true", "default_perf_points", "expected int"),
        ("default_perf_points: 1.5", "default_perf_points", "expected int"),
        ("default_perf_points: -2", "default_perf_points", "int >= -1"),
        ("tool_limits: {good: 1, bad: -5}", "tool_limits.bad", "int >= -1"),
        ("tool_limits: {12: 3}", "tool_limits.12", "quotes"),
        ("sampling: {tools: {12: 3}}", "sampling.tools.12", "quotes"),
        ("tool_limits: {yes: 3}", "tool_limits.True", "quotes"),
        ("tool_limits: {a: true}", "tool_limits.a", "expected int"),
        ("tool_limits: {a: .nan}", "tool_limits.a", "finite"),
        ('tool_limits: {"a\\nb": x}', r"tool_limits.'a\nb'", "expected int"),
        ("tool_limits: [a]", "tool_limits", "mapping"),
        ("optimization: {enabled: 1}", "optimization.enabled", "bool"),
        ("storage: {flush_interval_seconds: .nan}", "storage.flush_interval_seconds", "finite"),
        ("collector: {sample_interval_seconds: .inf}", "collector.sample_interval_seconds", "fini"),
        ("ring: {first_slots: 17}", "ring.first_slots", "found int 17, expected a power of two"),
        ("ring: {budget_bytes: 5}", "ring.budget_bytes", "int >= 262144"),
        ("sampling: {every: 0}", "sampling.every", "int >= 1"),
        ("sampling: {tools: {a: -1}}", "sampling.tools.a", "int >= 1"),
        ("sampling: {overhead_budget: 1.5}", "sampling.overhead_budget", "<= 1"),
        ("anomaly: {effect: 1}", "anomaly.effect", "> 1"),
        ("anomaly: {interval_seconds: -30}", "anomaly.interval_seconds", ">= 1"),
        ("anomaly: {stuck_factor: 1.0e+300}", "anomaly.stuck_factor", "<= 1000000"),
        ("anomaly: {webhook: 'file:///etc/passwd'}", "anomaly.webhook", "http or https URL"),
        ("history: {compress: lzma}", "history.compress", "one of zstd, gzip, off"),
        ("history: {when_full: drop}", "history.when_full", "one of stop, drop_oldest"),
        ("history: {retention_days: -1}", "history.retention_days", ">= 0"),
        ("storage: {max_bytes: 99999999999999999999}", "storage.max_bytes", "int <="),
        ("storage: {path: 12}", "storage.path", "expected str"),
        ('storage: {path: ""}', "storage.path", "length >= 1"),
        ('storage: {path: "a\\0"}', "storage.path", "without NUL"),
        ("capture: {secret_keys: token}", "capture.secret_keys", "a list"),
        ("capture: {secret_keys: [a, 3]}", "capture.secret_keys.1", "expected str"),
        ("capture: {secret_keys: ['']}", "capture.secret_keys.0", "length >= 1"),
        ("storage: 5", "storage", "mapping"),
        ("storage:", "storage", "mapping"),
        ("~: 3", "None", "unknown key"),
        ("[1, 2]", "", "mapping"),
        ("a: [", "", "valid YAML"),
        ("storage:\n  path: [\nfoo: }", "", "line 3"),
        ("rag: {}\nrag: {}", "", "stands twice at line 2"),
        ("tool_limits: {a: 1, a: 2}", "", "stands twice"),
        ("? [a]\n: 1", "", "no key"),
        ("tool_limits: {{a: 1}: 2}", "", "no key"),
        ('tool_limits: {"\\ud800": 1}', "", "surrogate"),
        ("default_perf_points: 0x" + "f" * 9000, "", "digits"),
        ("? 0x" + "f" * 9000 + "\n: 1", "", "digits"),
        ("[" * 5000, "", "too many levels"),
        ("optimization: {enabled: !!bool x}", "", "type can't have"),
        ("storage: {path: !!timestamp x}", "", "type can't have"),
        ("a: 1\n---\nb: 2", "", "single document"),
        ("a: !!python/object:os.system {}", "", "valid YAML"),
    ],
)
def test_error_names_file_key_found_and_expected(
    tmp_path: Path, text: str, key: str, expected: str
) -> None:
    """Whatever is wrong is told in one line that names the place and what should stand there."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.file == str(path)
    assert caught.value.key == key
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "anomaly: {webhook: 'https:///hidden'}",
        "anomaly: {webhook: 'ftp://user:hidden@host/hidden'}",
        "anomaly: {webhook: 'http://host:hidden/'}",
        "anomaly: {webhook: 'http://host:99999/hidden'}",
        "anomaly: {webhook: 'https://host/a hidden'}",
        "anomaly: {webhook: 'https://user:hidden@ho st/'}",
        "anomaly: {webhook: 'host/hidden'}",
        "anomaly: {webhook: 'env:https://host/hidden'}",
        "anomaly: {webhook: [hidden]}",
        "anomaly: {webhook: {url: hidden}}",
        "anomaly: {webhook:https://host/hidden}",
        "anomaly:\n  webhook:https://host/hidden",
        "anomaly: {webhook: 'https://host/?hidden', effect: 0}",
        "anomaly: [webhook, 'https://host/hidden']",
        "webhook: https://host/hidden",
        "https://host/hidden: 1",
        "https://host/hidden: 1\nhttps://host/hidden: 2",
        'anomaly: {webhook: "https://host/hidden}',
        "anomaly:\n  webhook: https://host/hidden: b\n",
        "anomaly: {webhook: host/hidden, effect: ]",
        "anomaly: {webhook: !!int https://host/hidden}",
        "export: {otlp: {endpoint: 'host/hidden'}}",
        "export: {otlp: {endpoint: 'http://user:hidden@host:0/'}}",
        "export: {otlp: {headers: {authorization: [hidden]}}}",
        "export: {otlp: {headers: [hidden]}}",
        "export: {otlp: {headers: hidden}}",
        'export: {otlp: {headers: {authorization: "hidden\\nhidden"}}}',
        'export: {otlp: {headers: {"a b": hidden}}}',
        "fleet: {url: 'me:hidden@host:4222'}",
        "fleet: {url: 'nats://me:hidden@host:4222,host'}",
        "fleet: {url: [hidden]}",
        'fleet: {credentials: "-----BEGIN NATS USER JWT-----\\nhidden"}',
    ],
)
def test_no_error_shows_what_a_url_hides(tmp_path: Path, text: str) -> None:
    """Path, user and query of where alerts go are secrets, wherever a typo puts them."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(vars(caught.value))


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b", "\ufeff", "a\nb\n", "# a", "é: 'x'", "~", "yes", "1e3", " "]
)
def test_text_of_any_kind_survives(tmp_path: Path, text: str) -> None:
    """A path, a secret's key or a tool's name is read as it was written, line breaks included."""
    options = Options(
        tool_limits={text: 1}, storage=Storage(path=text), capture=Capture(secret_keys=(text,))
    )
    path = tmp_path / "c.yaml"
    path.write_text(dump(options), encoding="utf-8", newline="")
    assert load(path) == options


def test_close_key_is_the_hint(tmp_path: Path) -> None:
    """A typo is answered with the key that was meant, anything else with the keys there are."""
    path = tmp_path / "c.yaml"
    path.write_text("storage: {pth: x}")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.nearest == "storage.path"
    path.write_text("whatever: {}")
    with pytest.raises(ConfigError, match="one of default_perf_points") as caught:
        load(path)
    assert caught.value.nearest == ""


def test_message_is_short_whatever_the_file_holds(tmp_path: Path) -> None:
    """Neither a long key nor aliases that stand for 10,000,000,000 members make it long or slow."""
    path = tmp_path / "c.yaml"
    tens = [f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path.write_text(f"default_perf_points: [&a0 [{'x, ' * 9}x], {', '.join(tens)}]")
    with pytest.raises(ConfigError, match="expected int") as caught:
        load(path)
    assert len(str(caught.value)) < 1000
    path.write_text(f"? {'k' * 50_000}\n: 1")
    with pytest.raises(ConfigError, match="unknown key") as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """A file with comments only changes nothing."""
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n")
    assert load(path) == Options()


def test_huge_or_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file of more than a mebibyte, or a directory, is no configuration."""
    path = tmp_path / "c.yaml"
    path.write_text("#" * (2 << 20))
    with pytest.raises(ConfigError, match="1 MiB"):
        load(path)
    with pytest.raises(ConfigError, match="readable"):
        load(tmp_path)
    path.write_bytes(b"storage: {path: \xff}")
    with pytest.raises(ConfigError, match="valid YAML"):
        load(path)


def test_file_is_found_in_order(tmp_path: Path) -> None:
    """Flag, environment, ./config, ./code_evolver/config, defaults."""
    assert find(None, {}, tmp_path) is None
    assert resolve(None, {}, tmp_path) == (Options(), None)
    for place in ("code_evolver/config", "config", "env", "flag"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "tool_perf_limits.yaml").write_text("")
    name = "tool_perf_limits.yaml"
    environ = {"SHMPERF_CONFIG": f"env/{name}"}
    assert find(f"flag/{name}", environ, tmp_path) == tmp_path / "flag" / name
    assert find(None, environ, tmp_path) == tmp_path / "env" / name
    assert find(None, {}, tmp_path) == tmp_path / "config" / name
    (tmp_path / "config" / name).unlink()
    assert find(None, {}, tmp_path) == tmp_path / "code_evolver/config" / name


def test_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A flag or variable that names no file is an error, not the defaults."""
    with pytest.raises(ConfigError, match="no such file"):
        find("nowhere.yaml", {}, tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        find(None, {"SHMPERF_CONFIG": "nowhere.yaml"}, tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        find(None, {"SHMPERF_CONFIG": "x" * 5000}, tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("store: tolls", "rag.store", "expected one of tools, chroma, qdrant, pgvector, lancedb"),
        ("store: qdrant", "rag.store", "with a url, which qdrant needs"),
        ("embedding_include: true", "rag.embedding_include", "with an embedder, which it needs"),
        ("embedder: mine", "rag.embedder", "module:function"),
        ("interval_seconds: 0.1", "rag.interval_seconds", ">= 1"),
    ],
)
def test_a_tool_store_that_can_not_be_is_named(
    tmp_path: Path, text: str, key: str, said: str
) -> None:
    """What one key needs of another is an error at that key."""
    path = tmp_path / "config.yaml"
    path.write_text(f"rag: {{{text}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.key == key
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["off", "'off'", "no", "false"])
def test_off_needs_no_quotes(tmp_path: Path, text: str) -> None:
    """YAML reads a plain ``off`` as false; as a compression it is what it says."""
    path = tmp_path / "limits.yaml"
    path.write_text(f"history: {{compress: {text}}}\n")
    assert load(path).history.compress == "off"
