"""The configuration: one file and one set of options that can't drift, and errors that help."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.config import dump, load, resolve, without_effect
from shmperf.errors import ConfigError
from shmperf.options import Options, find

SHIPPED = Path(__file__).parent.parent / "config" / "tool_perf_limits.yaml"


def test_shipped_file_is_the_code() -> None:
    """The file in config/ holds every key with its default and a sentence."""
    assert SHIPPED.read_text() == dump(Options())
    assert load(SHIPPED) == Options()


@given(
    st.integers(-1, 10**6),
    st.dictionaries(st.text(max_size=20), st.integers(-1, 100), max_size=5),
    st.floats(0.001, 86_400),
    st.booleans(),
)
def test_what_is_dumped_loads_again(
    tmp_path_factory: pytest.TempPathFactory,
    points: int,
    limits: dict[str, int],
    interval: float,
    save: bool,
) -> None:
    """Every configuration survives its own text."""
    storage = msgspec.structs.replace(
        Options().storage, async_save=save, flush_interval_seconds=interval
    )
    options = Options(default_perf_points=points, tool_limits=limits, storage=storage)
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(dump(options))
    assert load(path) == options


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("default_perf_pionts: 3", "default_perf_pionts", "default_perf_points"),
        ("storage: {batchsize: 3}", "storage.batchsize", "storage.batch_size"),
        ("default_perf_points: '3'", "default_perf_points", "expected int"),
        ("default_perf_points: true", "default_perf_points", "expected int"),
        ("default_perf_points: 1.5", "default_perf_points", "expected int"),
        ("default_perf_points: -2", "default_perf_points", "int >= -1"),
        ("tool_limits: {good: 1, bad: -5}", "tool_limits.bad", "int >= -1"),
        ("tool_limits: {12: 3}", "tool_limits.12", "quotes"),
        ("tool_limits: [a]", "tool_limits", "object"),
        ("optimization: {enabled: 1}", "optimization.enabled", "bool"),
        ("storage: {flush_interval_seconds: .nan}", "storage.flush_interval_seconds", "finite"),
        ("ring: {first_slots: 17}", "ring", "power of two"),
        ("storage: 5", "storage", "object"),
        ("[1, 2]", "", "mapping"),
        ("a: [", "", "valid YAML"),
        ("rag: {}\nrag: {}", "", "stands twice"),
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


def test_keys_without_effect_are_listed(tmp_path: Path) -> None:
    """Keys that nothing reads yet are accepted and named."""
    path = tmp_path / "c.yaml"
    path.write_text("rag: {enabled: false}\noptimization: {trigger_threshold: 5}\n")
    load(path)
    assert without_effect(path) == ["optimization.trigger_threshold", "rag.enabled"]


def test_limits_are_by_tool() -> None:
    """A tool's own limit goes before the default."""
    options = Options(default_perf_points=7, tool_limits={"a": -1, "": 0})
    assert [options.limit_of(tool) for tool in ("a", "", "b")] == [-1, 0, 7]
