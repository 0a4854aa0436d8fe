"""The embedded tool store: artifacts, searches, performance, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import shmperf
from shmperf.errors import StoreError
from shmperf.rag import (
    NewArtifact,
    ToolStore,
    from_functions,
    from_json_lines,
    from_langchain,
    from_mcp,
    open_store,
)
from shmperf.rag.toolfile import _APPLICATION, _VERSION
from tests.support import PYTHON, Place, wait_until


class Letters:
    """An embedder: how often each letter occurs. It remembers what it was given."""

    name = "letters"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.texts += texts
        return [[float(text.lower().count(letter)) for letter in "abcdefghij"] for text in texts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tools.db"


@pytest.fixture
def open_tools(path: Path) -> Iterator[Callable[..., ToolStore]]:
    """Opens stores that are closed with the test."""
    opened: list[ToolStore] = []

    def make(*arguments: Any, **options: Any) -> ToolStore:
        opened.append(ToolStore(path, *arguments, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_tools: Callable[..., ToolStore]) -> ToolStore:
    return open_tools()


SUMMARY = {"avg_duration_ms": 12.5, "call_count": 3, "schema": 1}


def vectors(path: Path) -> list[tuple[str, int]]:
    """What the file holds of embeddings, looked at from outside."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT id, embedding FROM artifact ORDER BY id").fetchall()
    finally:
        connection.close()
    return [(id_, zlib.crc32(blob) if blob else 0) for id_, blob in found]


# --- artifacts -----------------------------------------------------------------------------------


def test_an_artifact_comes_back_as_it_was_put(store: ToolStore) -> None:
    """The object has the promised keys, and metadata of its own."""
    assert store.get("tool_x") is None
    store.put("tool_x", "x", "does x", metadata={"tags": ["a", {"b": None}]})
    assert store.get("tool_x") == {
        "artifact_id": "tool_x",
        "artifact_type": "function",
        "name": "x",
        "content": "does x",
        "metadata": {"tags": ["a", {"b": None}]},
    }
    store.put("tool_x", "y", "does y", "workflow")
    found = store.get("tool_x")
    assert found is not None
    assert (found["name"], found["artifact_type"], found["metadata"]) == ("y", "workflow", {})
    assert ("tool_x" in store, "x" in store, len(store)) == (True, False, 1)


def test_iteration_gives_all_in_order(store: ToolStore) -> None:
    """More artifacts than are read at once, as they were added."""
    count = store.put_many(NewArtifact(f"tool_{n}", f"t{n}", f"number {n}") for n in range(700))
    assert count == len(store) == 700
    assert [artifact["name"] for artifact in store] == [f"t{n}" for n in range(700)]


def test_the_files_are_the_users_alone(store: ToolStore, path: Path) -> None:
    """Neither the store nor SQLite's files beside it can be read by others."""
    store.put("a", "a", "a")
    files = list(path.parent.glob("tools.db*"))
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_deleting_forgets_the_performance_of_the_last_of_a_name(store: ToolStore) -> None:
    """As long as another artifact has the name, the facts stay."""
    store.put("one", "x", "first")
    store.put("two", "x", "second")
    store.update_perf({"x": SUMMARY})
    assert (store.delete("one"), store.delete("one")) == (True, False)
    assert store.read_perf(["x"]) == {"x": SUMMARY}
    assert store.delete("two")
    assert store.read_perf(["x"]) == {}
    assert store.search("first second") == []


# --- performance ---------------------------------------------------------------------------------


def test_performance_is_found_by_name_and_touches_nothing_else(
    path: Path, open_tools: Callable[..., ToolStore]
) -> None:
    """After 1,000 updates vectors and the embedder's calls are what they were."""
    embedder = Letters()
    store = open_tools(embedder)
    for number in range(5):
        store.put(f"id-{number}", f"tool{number}", "abc" * (number + 1))
    before, calls = vectors(path), list(embedder.texts)
    for number in range(1_000):
        missing = store.update_perf({f"tool{number % 5}": {"call_count": number}, "nobody": {}})
        assert missing == 1
    assert (vectors(path), embedder.texts) == (before, calls)
    found = store.get("id-4")
    assert found is not None
    assert found["metadata"]["perf_summary"] == {"call_count": 999}
    assert store.read_perf(["tool3", "nobody"]) == {"tool3": {"call_count": 998}}


def test_summaries_are_merged_and_none_takes_away(store: ToolStore) -> None:
    """Keys that are not sent stay."""
    store.put("a", "a", "a")
    store.update_perf({"a": SUMMARY})
    store.update_perf({"a": {"call_count": 4, "avg_duration_ms": None}})
    assert store.read_perf(["a"]) == {"a": {"call_count": 4, "schema": 1}}


def test_what_would_spoil_a_summary_is_refused_and_counted(store: ToolStore) -> None:
    """A NaN in one summary keeps no other from being stored."""
    store.put("a", "a", "a")
    store.put("b", "b", "b")
    missing = store.update_perf({"a": {"x": math.nan}, "b": SUMMARY, "\ud800": SUMMARY})
    assert (missing, store.refused) == (1, 1)
    assert store.read_perf(["a", "b", "\ud800"]) == {"b": SUMMARY}


def test_summaries_kept_apart_show_in_no_artifact(store: ToolStore) -> None:
    """They are read by name, also of names that no artifact has."""
    store.put("a", "a", "a")
    store.keep_apart({"a": SUMMARY, "nobody": SUMMARY})
    found = store.get("a")
    assert found is not None
    assert found["metadata"] == {}
    assert store.read_perf(["a", "nobody"]) == {"a": SUMMARY, "nobody": SUMMARY}
    store.update_perf({"a": {"call_count": 4}})
    found = store.get("a")
    assert found is not None
    assert found["metadata"]["perf_summary"] == SUMMARY | {"call_count": 4}


def test_a_stores_artifact_can_be_put_again_with_its_summary(store: ToolStore) -> None:
    """A summary that comes with the metadata is kept where there is none yet."""
    store.put("a", "a", "a", metadata={"x": 1, "perf_summary": SUMMARY})
    store.put("a", "a", "a", metadata={"x": 2, "perf_summary": {"call_count": 1}})
    found = store.get("a")
    assert found is not None
    assert found["metadata"] == {"x": 2, "perf_summary": SUMMARY}


# --- searching -----------------------------------------------------------------------------------


def test_texts_are_found_without_an_embedder(store: ToolStore) -> None:
    """By their words, whatever their ending, the best first; similarity lies between 0 and 1."""
    store.put("1", "search_web", "Searches the web for pages about a topic")
    store.put("2", "send_mail", "Sends an e-mail to somebody")
    store.put("3", "web_page", "Fetches one web page")
    found = store.search("searching the web", k=2)
    assert [artifact["name"] for artifact, _ in found] == ["search_web", "web_page"]
    assert 1 >= found[0][1] > found[1][1] > 0
    assert store.search("nothing_has_this") == []
    assert store.search('"*():^-" OR NEAR') == []
    assert store.search("") == []


def test_equal_texts_are_equally_similar(store: ToolStore) -> None:
    """Of two tools for one thing, neither is ahead by its words."""
    for name in ("x", "y"):
        store.put(name, name, "translates a text")
    found = store.search("translate")
    assert [artifact["name"] for artifact, _ in found] == ["x", "y"]
    assert found[0][1] == found[1][1] > 0


def test_content_alone_is_embedded_and_only_when_it_changes(
    open_tools: Callable[..., ToolStore],
) -> None:
    """Names, types, metadata and the same content again cost no call of the embedder."""
    embedder = Letters()
    store = open_tools(embedder)
    store.put("1", "one", "aaa")
    store.put("1", "uno", "aaa", "workflow", {"k": 1})
    assert embedder.texts == ["aaa"]
    store.put("1", "uno", "bbb")
    assert embedder.texts == ["aaa", "bbb"]
    store.put_many([NewArtifact("2", "two", "abc"), NewArtifact("3", "three", "bbb")])
    assert embedder.texts[2:] == ["abc", "bbb"]
    found = store.search("b", k=2)
    assert [artifact["artifact_id"] for artifact, _ in found] == ["1", "3"]
    assert found[0][1] == pytest.approx(1.0)


def test_vectors_are_found_by_their_cosine(store: ToolStore) -> None:
    """Given embeddings, of any length; a zero vector is like none."""
    given = [(3.0, 0.0), (0.0, 1e30), (1.0, 1.0), (0.0, 0.0)]
    for number, vector in enumerate(given):
        store.put(f"{number}", f"t{number}", "", embedding=vector)
    store.put("bare", "bare", "without an embedding")
    found = store.search([0.0, 2.0], k=10)
    assert [artifact["artifact_id"] for artifact, _ in found] == ["1", "2", "0", "3"]
    assert [score for _, score in found] == pytest.approx([1.0, math.sqrt(0.5), 0.0, 0.0])
    assert len(store.search([1.0, 0.0], k=1)) == 1


def test_changed_content_loses_an_embedding_that_nobody_can_make_anew(store: ToolStore) -> None:
    """A vector of what the tool was would find it wrongly."""
    store.put("a", "a", "before", embedding=[1.0, 0.0])
    store.put("a", "a", "before")
    assert len(store.search([1.0, 0.0])) == 1
    store.put("a", "a", "after")
    assert store.search([1.0, 0.0]) == []
    store.put("b", "b", "another dimension is welcome now", embedding=[1.0, 0.0, 0.0])


def test_a_search_sees_what_another_process_changed(
    place: Place, path: Path, store: ToolStore
) -> None:
    """The vectors kept in memory are read again once another process has put a tool."""
    store.put("a", "a", "a", embedding=[1.0, 0.0])
    assert len(store.search([1.0, 0.0])) == 1
    place.run_program(
        "toolstore/search_sees_what_another_process",
        str(path),
    )
    found = store.search([1.0, 0.0])
    assert [artifact["artifact_id"] for artifact, _ in found] == ["a", "b"]
    assert found[0][0]["metadata"]["perf_summary"] == {"call_count": 1}


def test_performance_can_take_part_in_what_is_embedded(
    open_tools: Callable[..., ToolStore],
) -> None:
    """As a sentence behind the content; embedded again only when that has materially changed."""
    embedder = Letters()
    store = open_tools(embedder)
    store.put("a", "a", "abc")
    assert store.embed_performance({"a": {"p50_ms": 100.0, "error_rate": 0.0}}) == 1
    told = embedder.texts[-1]
    assert told == "abc\nUsually takes 100.000 ms. Succeeds in 100 of 100 calls."
    assert store.embed_performance({"a": {"p50_ms": 140.0, "error_rate": 0.04}}) == 0
    assert store.embed_performance({"a": {"p50_ms": 140.0, "error_rate": 0.05}}) == 1
    assert store.embed_performance({"a": {"p50_ms": 300.0, "error_rate": 0.05}}) == 1
    found = store.get("a")
    assert found is not None
    assert found["content"] == "abc"
    store.put("a", "a", "def")
    assert embedder.texts[-1].startswith("def\nUsually takes 300.000 ms.")
    assert store.embed_performance({"a": {"call_count": 0}}) == 1
    assert embedder.texts[-1] == "def"


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector", [[1.0], [1.0, 2.0, 3.0], [], [math.nan, 1.0], [math.inf, 1.0], ["a", "b"], [1e300, 1]]
)
def test_embeddings_that_fit_nothing_are_refused(store: ToolStore, vector: list[Any]) -> None:
    """Another dimension, a NaN, no numbers: an error for put and search, and nothing changes."""
    store.put("a", "a", "a", embedding=[1.0, 0.0])
    with pytest.raises(StoreError):
        store.put("b", "b", "b", embedding=vector)
    with pytest.raises(StoreError):
        store.search(vector)
    assert len(store) == len(store.search([1.0, 0.0])) == 1


def test_another_model_is_refused_until_all_is_embedded_anew(
    open_tools: Callable[..., ToolStore],
) -> None:
    """Vectors of two models in one store would compare what can't be compared."""
    open_tools(Letters()).put("a", "a", "aaa")
    other = Letters()
    other.name = "other"
    store = open_tools(other)
    for attempt in (lambda: store.put("b", "b", "bbb"), lambda: store.search("b")):
        with pytest.raises(StoreError, match="found the embedder 'other', expected 'letters'"):
            attempt()
    assert len(store) == 1
    assert store.reembed() == 1
    store.put("b", "b", "bbb")
    assert len(store.search("b")) == 2


@pytest.mark.parametrize(
    ("embedder", "said"),
    [
        (lambda texts: 1 / 0, "ZeroDivisionError"),
        (lambda texts: [], "gave 0 vectors, expected 1"),
        (lambda texts: [[math.nan]], "NaN"),
        (lambda texts: 7, "TypeError"),
    ],
)
def test_an_embedder_that_fails_changes_nothing(
    open_tools: Callable[..., ToolStore], embedder: Any, said: str
) -> None:
    """What it raises or returns wrongly is one clear error."""
    store = open_tools(embedder)
    with pytest.raises(StoreError, match=said):
        store.put("a", "a", "aaa")
    assert len(store) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        NewArtifact("a\0", "a", "a"),
        NewArtifact("a", "\ud800", "a"),
        NewArtifact("a", "a", None),  # type: ignore[arg-type]
        NewArtifact(7, "a", "a"),  # type: ignore[arg-type]
        NewArtifact("a", "a", "a", metadata={"x": math.nan}),
        NewArtifact("a", "a", "a", metadata={"x": object()}),
        NewArtifact("a", "a", "a", metadata={"perf_summary": {"x": math.inf}}),
        NewArtifact("a", "a", "a", metadata={"perf_summary": 7}),
    ],
)
def test_an_artifact_that_can_not_be_stored_keeps_the_others_out_too(
    store: ToolStore, wrong: NewArtifact
) -> None:
    """A put of many happens as a whole."""
    with pytest.raises(StoreError):
        store.put_many([NewArtifact("good", "good", "good"), wrong])
    assert len(store) == 0


@pytest.mark.parametrize("k", [0, -1])
def test_a_search_for_nothing_is_an_error(store: ToolStore, k: int) -> None:
    """At least one result is asked for."""
    with pytest.raises(ValueError, match="k must be"):
        store.search("x", k)


# --- the file ------------------------------------------------------------------------------------


def test_a_newer_store_is_refused_and_left_as_it_is(store: ToolStore, path: Path) -> None:
    """Both versions are named, and not a byte is changed."""
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"version {_VERSION + 1}, expected {_VERSION}"):
        ToolStore(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(path: Path) -> None:
    """A file that is not ours is never written."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        ToolStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 10, b"\0" * 5000])
def test_a_file_that_is_none_is_refused(path: Path, content: bytes) -> None:
    """Whatever it is, it stays."""
    path.write_bytes(content)
    with pytest.raises(StoreError):
        ToolStore(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_an_error(store: ToolStore, path: Path) -> None:
    """SQLite notices, and says so through us."""
    store.put_many(NewArtifact(f"{n}", f"t{n}", "text " * 50) for n in range(300))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:-4096] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError):
        list(ToolStore(path))


def test_a_damaged_embedding_is_left_out_and_counted(store: ToolStore, path: Path) -> None:
    """A flipped bit, or a vector cut short, spoils no search."""
    for number in range(3):
        store.put(f"{number}", f"t{number}", "", embedding=[1.0, float(number)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE artifact SET embedding = x'0000803f0000803e' WHERE id = '0'")
    connection.execute("UPDATE artifact SET embedding = x'0000' WHERE id = '1'")
    connection.commit()
    connection.close()
    with ToolStore(path) as other:
        assert [artifact["name"] for artifact, _ in other.search([1.0, 0.0])] == ["t2"]
        assert other.damaged == 2


def test_a_store_that_is_not_there_is_an_error_where_none_may_be_made(path: Path) -> None:
    """Who only updates performance never founds a store."""
    with pytest.raises(StoreError, match="there is no tool store"):
        open_store("tools", str(path))
    assert not path.exists()
    with pytest.raises(StoreError, match="expected one of tools, chroma"):
        open_store("tolls", "")


def test_a_store_deleted_while_in_use_is_told_and_not_made_again(
    store: ToolStore, path: Path
) -> None:
    """Nothing is written to a file without a name; once there is one again, it is used."""
    store.put("a", "a", "a", embedding=[1.0, 0.0])
    store.search([1.0, 0.0])
    for file in path.parent.glob("tools.db*"):
        file.unlink()
    for _ in range(2):
        with pytest.raises(StoreError):
            store.update_perf({"a": SUMMARY})
    assert not path.exists()
    with ToolStore(path) as other:
        other.put("b", "b", "b", embedding=[0.0, 1.0])
    assert [artifact["name"] for artifact, _ in store.search([1.0, 0.0])] == ["b"]


def test_a_locked_store_is_an_error_and_works_again_afterwards(
    place: Place, path: Path, open_tools: Callable[..., ToolStore]
) -> None:
    """A writer that holds the file keeps others waiting for a bounded time; readers not at all."""
    store = open_tools(timeout_s=0.05)
    store.put("a", "a", "a")
    holder = place.start_program(
        "toolstore/locked_store_error_works_again",
        str(path),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="locked"):
        store.update_perf({"a": SUMMARY})
    assert store.get("a") is not None
    place.finish(holder)
    assert store.update_perf({"a": SUMMARY}) == 0


def test_several_processes_found_write_and_read_at_once(place: Place, path: Path) -> None:
    """All are through without an error, and everything is there."""
    writers = [
        place.start_program(
            "toolstore/several_processes_found_write_read",
            str(path),
            str(who),
        )
        for who in range(3)
    ]
    for writer in writers:
        place.finish(writer)
    with ToolStore(path) as store:
        assert len(store) == 150
        assert all(a["metadata"]["perf_summary"]["call_count"] >= 0 for a in store)


def test_a_killed_writer_damages_nothing(place: Place, path: Path) -> None:
    """Killed amid its writing, it leaves whole artifacts behind, and no lock."""
    with ToolStore(path) as store:
        for _ in range(3):
            before = len(store)
            writer = place.start_program(
                "toolstore/killed_writer_damages_nothing",
                str(path),
            )
            wait_until(lambda before=before: len(store) > before, "the writer to write")
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            assert len(store) % 7 == 0
            assert len(store.search([1.0, 0.0], k=10**6)) == len(store)
        assert store.damaged == 0
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA application_id").fetchone() == (_APPLICATION,)
    connection.close()


def test_a_forked_child_has_a_connection_of_its_own(place: Place, path: Path) -> None:
    """Parent and child go on with the same object."""
    place.run_program(
        "toolstore/forked_child_has_connection_its",
        str(path),
    )


def test_without_numpy_a_search_by_vector_says_what_to_install(place: Place, path: Path) -> None:
    """Everything else works without it."""
    out = place.run_program(
        "toolstore/without_numpy_search_by_vector",
        str(path),
    )
    assert out.splitlines()[0] == "1"
    assert "pip install 'shmperf[rag]'" in out.splitlines()[1]


def test_importing_the_package_imports_neither_store_nor_numpy() -> None:
    """A worker knows nothing of it, and the package itself takes numpy only for a search."""
    code = "import sys, shmperf; print([m for m in ('numpy', 'sqlite3', 'shmperf.rag') if m in {}])"
    for modules, statement in (
        ("sys.modules", ""),
        ("{m for m in sys.modules if m == 'numpy'}", "import shmperf.rag;"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", statement + code.format(modules)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "[]\n"


def test_the_default_path_is_in_the_storage_directory(place: Place) -> None:
    """As the configuration where the program is started says."""
    place.write("config/tool_perf_limits.yaml", "storage: {path: elsewhere}\n")
    place.run(PYTHON, "-c", "import shmperf.rag; shmperf.rag.ToolStore().put('a', 'a', 'a')")
    assert (place.cwd / "elsewhere" / "tools.db").exists()


# --- catalogues ----------------------------------------------------------------------------------


def test_functions_are_taken_over_by_their_tracked_names() -> None:
    """Name and docstring, so that a search finds them and their facts fit."""

    @shmperf.track("lookup")
    def look_up(word: str, limit: int = 3) -> str:
        """Look a word up in the dictionary."""
        return word * limit

    def plain() -> None: ...

    found = list(from_functions([look_up, plain, len]))
    assert [one.name for one in found] == ["lookup", "plain", "len"]
    assert found[0].artifact_id == "tool_lookup"
    assert found[0].content.endswith("\nLook a word up in the dictionary.")
    assert "word: 'str'" in found[0].content


def test_json_lines_are_taken_over(tmp_path: Path, store: ToolStore) -> None:
    """A store's own artifacts, and descriptions with a schema."""
    store.put("x", "x", "does x", metadata={"k": 1})
    store.update_perf({"x": SUMMARY})
    lines = [store.get("x"), {"name": "y", "description": "does y", "parameters": SCHEMA}]
    file = tmp_path / "catalogue.jsonl"
    file.write_text("\n\n".join(map(json.dumps, lines)))
    with ToolStore(tmp_path / "copy.db") as copy:
        assert copy.put_many(from_json_lines(file)) == 2
        assert copy.get("x") == store.get("x")
        found = copy.get("tool_y")
        assert found is not None
        assert found["content"] == "y: does y\ncity: where to look\nunit"


SCHEMA = {"type": "object", "properties": {"city": {"description": "where to look"}, "unit": {}}}


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"name": 7}', '{"name": "a", "metadata": 1}'])
def test_a_line_that_is_no_tool_is_named(tmp_path: Path, line: str) -> None:
    """File and line stand in the error."""
    file = tmp_path / "catalogue.jsonl"
    file.write_text(f'{{"name": "a"}}\n{line}\n')
    with pytest.raises(StoreError, match=r"catalogue\.jsonl:2: "):
        list(from_json_lines(file))
    with pytest.raises(StoreError):
        list(from_json_lines(tmp_path / "none.jsonl"))


def test_mcp_tools_are_taken_over() -> None:
    """From a result object, its dict form, or the list in it."""
    one = {"name": "weather", "title": "W", "description": "Tells", "inputSchema": SCHEMA}
    for given in ({"tools": [one]}, SimpleNamespace(tools=[SimpleNamespace(**one)]), [one]):
        (found,) = from_mcp(given)
        assert (found.artifact_id, found.name) == ("tool_weather", "weather")
        assert found.content == "weather (W): Tells\ncity: where to look\nunit"
    for wrong in ({}, 7, [{}]):
        with pytest.raises(StoreError):
            list(from_mcp(wrong))


def test_langchain_tools_are_taken_over() -> None:
    """By their attributes: nothing of LangChain is needed."""
    tool = SimpleNamespace(name="w", description="Tells", args=SCHEMA["properties"])
    (found,) = from_langchain([tool])
    assert found.content == "w: Tells\ncity: where to look\nunit"
    with pytest.raises(StoreError):
        list(from_langchain([object()]))
