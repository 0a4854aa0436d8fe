"""
Where collected files lie: a directory, or a bucket that speaks S3; each file whole or not at all.

    write    into a file aside, fsync, rename, fsync of the directory; a bucket: one put, and its
             size is asked for: one that kept half of it has failed
    read     all of it
    list     names below a prefix, sorted, files that are still being written left out
    delete   what is not there is deleted already

A name is a path of ours with ``/`` between its parts, never absolute, never with ``..``.

    killed after …                  there is
    the file aside is written       a name that begins with a dot: nobody reads or lists it
    renamed, not synced             the whole file, or after a power failure none: nothing was
                                    acknowledged yet, the same one is written again

Who a place is: a directory says it itself, in a file of random bytes that was made once, for two
machines may have a directory of the same name; a bucket is its URL.

Why PyArrow for buckets: DuckDB's own way is an extension that is loaded from the network.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from shmperf.errors import StoreError
from shmperf.files import open_private, reason_of, shown_path, sync_directory, translated

__all__ = ["Bucket", "Directory", "Missing", "Objects", "opened_objects"]

_MARK = "fleet"
_MARK_BYTES = 16
_SCHEME = "s3://"
_CONNECT_S, _REQUEST_S = 10.0, 30.0
_ASIDE = "."


class Missing(StoreError):
    """There is no object of that name."""


class Objects(Protocol):
    """Files in a place; each call raises StoreError where the place does not do it."""

    @property
    def place(self) -> str:
        """What people read: never with credentials."""

    def identity(self) -> str:
        """What tells this place from all others: hexadecimal digits."""

    def write(self, name: str, body: bytes) -> None:
        """Let there be *body* under *name*, durable, whatever was there; any thread."""

    def read(self, name: str) -> bytes:
        """What is there; Missing where nothing is."""

    def names(self, prefix: str) -> list[str]:
        """The names that lie below *prefix*, a directory, sorted."""

    def delete(self, name: str) -> None:
        """Let there be nothing under *name*."""


def opened_objects(place: str) -> Objects:
    """The objects in *place*: a path, or s3://bucket/path; StoreError for what can't be used."""
    return Bucket(place) if place.startswith(_SCHEME) else Directory(Path(place))


# --- a directory ----------------------------------------------------------------------------------


class Directory:
    """Objects as private files below a directory, which is made where there is none."""

    def __init__(self, root: Path) -> None:
        """In *root*; nothing is made before the first write."""
        self.root = Path(os.path.abspath(root))  # noqa: PTH100  links stay

    @property
    def place(self) -> str:
        """The path."""
        return shown_path(self.root)

    def identity(self) -> str:
        """The directory's own; made now where it has none."""
        with self._told():
            return (self._mark() or self._marked()).hex()

    def write(self, name: str, body: bytes) -> None:
        """The file aside becomes the file; what is left of a failed one is deleted."""
        path = self._path(name)
        aside = path.with_name(f"{_ASIDE}{path.name}.{secrets.token_hex(6)}")
        with self._told():
            self._make(path.parent)
            try:
                _write_durably(aside, body)
                aside.replace(path)  # point: fleet-renamed
                self._sync(path.parent)
            except OSError:
                with suppress(OSError):
                    aside.unlink()
                raise

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        with self._told():
            fd = open_private(self._path(name), os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                return file.read()

    def names(self, prefix: str) -> list[str]:
        """Links are not followed."""
        root = self._path(prefix)
        with self._told():
            return sorted(self._names(root, prefix)) if root.is_dir() else []

    def delete(self, name: str) -> None:
        """And the directories that are empty then stay: another one may be writing there."""
        with self._told(), suppress(FileNotFoundError):
            self._path(name).unlink()

    def _names(self, path: Path, name: str) -> Iterator[str]:
        with os.scandir(path) as found:
            for one in found:
                inside = f"{name}/{one.name}"
                if one.name.startswith(_ASIDE):
                    continue
                if one.is_dir(follow_symlinks=False):
                    yield from self._names(path / one.name, inside)
                elif one.is_file(follow_symlinks=False):
                    yield inside

    def _path(self, name: str) -> Path:
        return self.root / _checked(name)

    def _make(self, path: Path) -> None:
        """A private directory, and those above it."""
        if path != self.root and not path.parent.is_dir():
            self._make(path.parent)
        path.mkdir(mode=0o700, parents=path == self.root, exist_ok=True)

    def _mark(self) -> bytes:
        try:
            with os.fdopen(open_private(self.root / _MARK, os.O_RDONLY), "rb") as file:
                found = file.read(_MARK_BYTES)
        except FileNotFoundError:
            return b""
        if len(found) != _MARK_BYTES:
            raise OSError(errno.EINVAL, "its mark is damaged", _MARK)
        return found

    def _marked(self) -> bytes:
        """The mark; that of somebody who was quicker."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self.root / f"{_ASIDE}{_MARK}.{secrets.token_hex(6)}"
        try:
            _write_durably(aside, secrets.token_bytes(_MARK_BYTES))
            with suppress(FileExistsError):
                os.link(aside, self.root / _MARK)
        finally:
            aside.unlink(missing_ok=True)
        self._sync(self.root)
        return self._mark()

    def _sync(self, path: Path) -> None:
        """Make names durable, up to the root."""
        while True:
            sync_directory(path)
            if path == self.root or self.root not in path.parents:
                return
            path = path.parent

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise translated(error, self._named(error), Missing) from None
        except OSError as error:
            raise translated(error, self._named(error), StoreError) from None

    def _named(self, error: OSError) -> str:
        return shown_path(Path(error.filename)) if error.filename else self.place


def _write_durably(path: Path, body: bytes) -> None:
    fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]  # point: fleet-write
        os.fsync(fd)
    finally:
        os.close(fd)


# --- a bucket -------------------------------------------------------------------------------------


class Bucket:
    """
    Objects in a bucket, by PyArrow: credentials as its SDK finds them, never in the URL.

    ``s3://bucket/path?region=…&endpoint_override=…&scheme=http``; the bucket is there already.
    """

    def __init__(self, url: str) -> None:
        """StoreError for a URL that can't be used, and without PyArrow."""
        self._base, options = _parts_of(url)
        try:
            fs: Any = import_module("pyarrow.fs")  # an extra, without types
        except ImportError:
            raise StoreError("PyArrow is not installed: pip install 'shmperf[s3]'") from None
        self._url = f"{_SCHEME}{self._base}"
        self._endpoint = options.get("endpoint_override", "")
        with self._told():
            self.filesystem: Any = fs.S3FileSystem(
                **options,
                connect_timeout=_CONNECT_S,
                request_timeout=_REQUEST_S,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
                background_writes=False,
            )

    @property
    def place(self) -> str:
        """The URL without its options."""
        return self._url

    def identity(self) -> str:
        """A hash of where it is."""
        text = f"{self._endpoint} {self._base}".encode()
        return blake2b(text, digest_size=_MARK_BYTES, person=b"shmperf objects").hexdigest()

    def path(self, name: str) -> str:
        """As PyArrow's own readers take it."""
        return f"{self._base}/{_checked(name)}"

    def write(self, name: str, body: bytes) -> None:
        """One put; what came to be there is as long as what was sent."""
        path = self.path(name)
        with self._told():
            stream = self.filesystem.open_output_stream(path)
            stream.write(body)
            stream.close()
            found = self.filesystem.get_file_info(path)
        if found.size != len(body):
            raise StoreError(f"{self._url}/{name}: {found.size} of {len(body)} bytes were kept")

    def read(self, name: str) -> bytes:
        """All of it."""
        path = self.path(name)
        with self._told(), self.filesystem.open_input_stream(path) as stream:
            found: bytes = stream.read()
            return found

    def names(self, prefix: str) -> list[str]:
        """As the bucket lists them."""
        fs: Any = import_module("pyarrow.fs")
        where = fs.FileSelector(self.path(prefix), allow_not_found=True, recursive=True)
        with self._told():
            found = self.filesystem.get_file_info(where)
        begin = len(self._base) + 1
        return sorted(one.path[begin:] for one in found if one.type == fs.FileType.File)

    def delete(self, name: str) -> None:
        """No marker of an empty directory is left or made."""
        with self._told(), suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Missing(f"{self._url}: {_in_a_line(error)}") from None
        except OSError as error:
            raise StoreError(f"{self._url}: {_in_a_line(error)}") from None
        except ValueError as error:  # pyarrow.ArrowInvalid: options that can't be used
            raise StoreError(f"{self._url}: {_in_a_line(error)}") from None


def _parts_of(url: str) -> tuple[str, dict[str, Any]]:
    """Bucket and path, and the options; StoreError for what is no such URL."""
    try:
        parts = urlsplit(url)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    except ValueError:
        raise StoreError("a bucket is s3://bucket/path") from None
    if parts.username or parts.password:
        raise StoreError("a bucket's credentials go into the environment, not into its URL")
    unknown = options.keys() - {"region", "endpoint_override", "scheme"}
    if not parts.hostname or unknown:
        found = f": unknown option {min(unknown)}" if unknown else ""
        raise StoreError(f"a bucket is s3://bucket/path{found}")
    return f"{parts.netloc}{parts.path}".rstrip("/"), options


def _in_a_line(error: Exception) -> str:
    return " ".join(reason_of(error).split())[:300] or type(error).__name__


def _checked(name: str) -> str:
    """*name*, which must stay below the root."""
    parts: Sequence[str] = name.split("/")
    if not name or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise StoreError(f"{name!r} is no name of an object")
    return name
