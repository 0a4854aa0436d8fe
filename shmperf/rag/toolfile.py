"""
The tool store's SQLite file: founding, opening and checking it, and transactions in it.

Every way in which the file can fail is one StoreError, after which the connection is dropped and
the next call opens what is there then. Only `found_file` makes a file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shmperf.errors import StoreError
from shmperf.files import translated

from .delivery import inode

__all__ = ["ToolFile", "fact", "found_file", "reading", "transaction"]

_VERSION = 1
_APPLICATION = 0x73686D74  # "shmt"

_SCHEMA = """
CREATE TABLE artifact (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, name TEXT NOT NULL,
    content TEXT NOT NULL, metadata TEXT NOT NULL,
    embedding BLOB, model TEXT, checksum INTEGER, told TEXT
);
CREATE INDEX artifact_name ON artifact (name);
CREATE TABLE perf (name TEXT PRIMARY KEY, summary TEXT NOT NULL, clustered INTEGER NOT NULL);
CREATE TABLE fact (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE VIRTUAL TABLE artifact_text USING fts5(
    name, content, content='artifact', content_rowid='row', tokenize='porter unicode61');
CREATE TRIGGER text_added AFTER INSERT ON artifact BEGIN
    INSERT INTO artifact_text (rowid, name, content) VALUES (new.row, new.name, new.content);
END;
CREATE TRIGGER text_gone AFTER DELETE ON artifact BEGIN
    INSERT INTO artifact_text (artifact_text, rowid, name, content)
    VALUES ('delete', old.row, old.name, old.content);
END;
CREATE TRIGGER text_changed AFTER UPDATE OF name, content ON artifact BEGIN
    INSERT INTO artifact_text (artifact_text, rowid, name, content)
    VALUES ('delete', old.row, old.name, old.content);
    INSERT INTO artifact_text (rowid, name, content) VALUES (new.row, new.name, new.content);
END;
INSERT INTO fact VALUES ('revision', 0), ('store', hex(randomblob(16)));
"""


# Connections of a parent process, kept from being closed by the child's garbage collection.
_LEFT_ALONE: list[sqlite3.Connection | None] = []


def found_file(path: Path) -> None:
    """An empty file for this user alone, unless there is one; SQLite's others take its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except (OSError, ValueError) as error:
        raise translated(error, path, StoreError) from None


class ToolFile:
    """
    One process's way to the file; any thread, one at a time.

    A forked child opens the file again by itself.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._inode: tuple[int, int] | None = None

    def close(self) -> None:
        """Let go of the file; another call opens it again."""
        with self._lock:
            self._drop()

    @contextlib.contextmanager
    def reaching(self) -> Iterator[sqlite3.Connection]:
        """The connection, opened if need be; what SQLite raises becomes a StoreError."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError, OverflowError) as error:
                self._drop()
                raise StoreError(f"{self.path}: {error}") from error
            except StoreError:
                self._drop_if_lost()
                raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that either happens as a whole or not at all."""
        with self.reaching() as connection, transaction(connection, "BEGIN IMMEDIATE"):
            yield connection

    def _open(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # A connection must not be used, nor even closed, by a forked child.
            _LEFT_ALONE.append(self._connection)
            self._connection, self._pid = None, os.getpid()
        if self._connection is not None:
            if inode(self.path) == self._inode:
                return self._connection
            self._drop()
            raise StoreError(f"{self.path}: the tool store is gone, or another")
        self._inode = inode(self.path)
        if self._inode is None:
            raise StoreError(f"{self.path}: there is no tool store")
        self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._check_schema(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            # Closed, and passed on.
            connection.close()
            raise
        return connection

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file; StoreError when it is not ours, or newer."""
        with reading(connection):
            application, version, size = _marks(connection)
        if (application, version, size) == (0, 0, 0):
            connection.execute("PRAGMA journal_mode = WAL")
            with transaction(connection, "BEGIN EXCLUSIVE"):
                # Another process may have been faster.
                if _marks(connection)[1] == 0:
                    for statement in _statements(_SCHEMA):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
            application, version, _ = _marks(connection)
        if application != _APPLICATION:
            raise StoreError(f"{self.path}: found another program's database, expected tools")
        if version != _VERSION:
            raise StoreError(
                f"{self.path}: found a tool store of version {version}, expected {_VERSION}"
            )

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if self._pid != os.getpid():
            _LEFT_ALONE.append(connection)
        elif connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _drop_if_lost(self) -> None:
        if inode(self.path) != self._inode:
            self._drop()


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application, version, tables


def _statements(script: str) -> Iterator[str]:
    """The statements of *script*; unlike ``executescript`` they run in our own transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """What happens inside happens as a whole, or not at all."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Rolled back, and passed on.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def reading(connection: sqlite3.Connection) -> contextlib.AbstractContextManager[None]:
    """Several queries that see one state of the file."""
    return transaction(connection, "BEGIN")


def fact(connection: sqlite3.Connection, key: str) -> Any:
    """What the store knows under *key*: revision, dimension, model; or None."""
    found = connection.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
    return None if found is None else found[0]
