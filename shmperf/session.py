"""
Where the processes of one session meet: its directory, its locks, its settings, its mode.

    <runtime root>/
        s-<token>/  n-<name>/        a session's directory, 0700
            token                    random; says that this is the session that a storage names
            settings                 options and storage, msgpack, replaced as a whole
            word, word.lock          generation << 8 | mode, mapped by every worker
            w-<segment>              a worker (see `presence`)
            collector.lock           held by the collector for its life
            control.sock             where it answers
        p-<digest>                   pointer: working directory and configuration → storage
    <storage>/.shmperf/
        session, session.lock        which directory and token meet on this storage
        collector.lock               held by the collector that writes here
        blocks                       the next unused number of an id block

Unnamed sessions meet by their storage; whoever finds none founds one under ``session.lock``. A
directory is made aside and renamed into place, so it is complete or absent. Joining and leaving
exclude each other by a lock on the directory itself: a joiner holds it shared while it creates its
presence and then checks that the path still leads to the same directory; who leaves takes it
exclusively, without waiting, looks again, and renames the directory away.

    killed after …                  who comes next
    directory made, not renamed     founds another; the left-over is swept
    session named, no worker        joins it
    presence coming                 the collector removes it and its memory
    directory renamed away          founds another; the left-over is swept

A named session belongs to whoever runs its collector; an unnamed one starts its collector by
itself: whoever finds ``collector.lock`` free takes it and hands the locked descriptor to the
process it starts, without waiting, since records have somewhere to go already.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Container, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .errors import ConfigError, SessionError, SessionGone, tell
from .memory import remove_memory
from .options import Options, find
from .presence import COMING, HERE, Identity, Presence, create_locked, is_locked, read_bounded

__all__ = [
    "Request",
    "Session",
    "attach",
    "enter",
    "found_named",
    "known_storage",
    "named_directory",
    "runtime_root",
    "session_of_storage",
    "sessions",
]

T = TypeVar("T")

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")
_LONGEST_ROOT = 60
_JOIN_DEADLINE_S = 0.005
_FOUND_DEADLINE_S = 5.0
_LEAVING_S = 1.0
_TRIES = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_RANDOM_BLOCKS = 1 << 31


class Settings(msgspec.Struct):
    """What the founder of a session tells all who join it."""

    options: Options
    storage: str
    config: str = ""
    name: str | None = None
    is_transient: bool = False


class Request(msgspec.Struct, frozen=True):
    """What a process knows of the session that it wants to be in."""

    cwd: str
    environ: Mapping[str, str]
    name: str | None = None
    config: str | None = None
    storage: str | None = None
    is_transient: bool = False

    @classmethod
    def from_environment(cls) -> Request:
        """The request of a program that was told nothing else."""
        return cls(str(Path.cwd()), dict(os.environ), os.environ.get("SHMPERF_SESSION") or None)


# --- places --------------------------------------------------------------------------------------


def runtime_root(environ: Mapping[str, str]) -> Path:
    """
    The directory of this user's sessions, 0700 and verified.

    ``$XDG_RUNTIME_DIR/shmperf`` where that is usable and short enough for a socket's path, else one
    under the temporary directory. Raises SessionError when it belongs to somebody else.
    """
    given = environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and len(given) <= _LONGEST_ROOT and _is_ours(Path(given)):
        return _private(Path(given) / "shmperf")
    temporary = environ.get("TMPDIR", "")
    if not temporary.startswith("/") or len(temporary) > _LONGEST_ROOT:
        temporary = "/tmp"  # noqa: S108  the directory below is created privately and verified
    return _private(Path(temporary) / f"shmperf-{os.geteuid()}")


def named_directory(root: Path, name: str) -> Path:
    """The directory of the named session; any text is a name."""
    if not name:
        raise SessionError("found an empty session name, expected one")
    if _SAFE_NAME.match(name):
        return root / f"n-{name}"
    return root / f"n-+{_digest(name)}"


def _private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SessionError(f"{path}: belongs to another user or is no directory; remove it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SessionError(f"{path}: others may enter it; run: chmod 700 {path}")
    return path


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and os.access(path, os.W_OK)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


# --- a session -----------------------------------------------------------------------------------


class Session:
    """One session as a process that is in it sees it."""

    def __init__(self, directory: Path) -> None:
        """Open what is there; raises SessionGone when it is not there (any more)."""
        self.directory = directory
        try:
            _private_existing(directory)
            self.token = read_bounded(directory / "token")
            self._word_map = _map_word(directory / "word")
            self._settings = self._read_settings()
        except FileNotFoundError:
            raise SessionGone from None
        self.word = memoryview(self._word_map).cast("Q")
        self._presence_fd = -1
        self._pause_s = _FIRST_PAUSE_S
        self._retry_at_s = 0.0
        self._seen_config: tuple[int, ...] | None = None
        self.start_failure = ""

    @property
    def name(self) -> str | None:
        """The name it was given, or None."""
        return self._settings.name

    @property
    def keeps_itself(self) -> bool:
        """
        True when its members start its collector: unnamed ones, and those of a ``run``.

        Any other named session belongs to whoever runs its collector.
        """
        return self._settings.name is None or self._settings.is_transient

    @property
    def options(self) -> Options:
        """The options in force when they were last read."""
        return self._settings.options

    @property
    def storage(self) -> Path:
        """The storage directory."""
        return Path(self._settings.storage)

    @property
    def config(self) -> str:
        """The configuration file it was founded with; empty without one."""
        return self._settings.config

    @property
    def boot_id(self) -> str:
        """Which boot's clock the records are timed by."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def set_mode(self, optimization: bool) -> None:
        """Switch the mode, for calls that start afterwards in every process."""
        with self._word_locked():
            self.word[0] = self.word[0] & ~1 | optimization

    def publish(self, options: Options) -> None:
        """Make *options* the settings of every process, from its next call on."""
        self._settings = msgspec.structs.replace(self._settings, options=options)
        self._write_settings()

    def move_to(self, storage: Path, options: Options, config: str) -> None:
        """Settings of a collector that was told another storage than who founded the session."""
        self._settings = msgspec.structs.replace(
            self._settings, options=options, storage=str(storage), config=config
        )
        self._write_settings()

    def reload(self) -> Options:
        """Read the settings anew."""
        try:
            self._settings = self._read_settings()
        except FileNotFoundError:
            raise SessionError(f"{self.directory} has gone") from None
        return self._settings.options

    def changed_options(self) -> Options | None:
        """
        The options in the configuration file when it has changed since the last look, else None.

        Raises ConfigError for a broken edit, once; the old settings stay. Not for workers.
        """
        seen = _file_identity(self.config)
        if not self.config or seen in (self._seen_config, ()):
            return None
        first, self._seen_config = self._seen_config is None, seen
        # PyYAML costs 26 ms to import, and workers never get here.
        from .config import load  # noqa: PLC0415

        options = load(Path(self.config))
        return None if first and options == self.options else options

    # --- workers -----------------------------------------------------------------------------

    def announce(self, make_segment: Callable[[str], T]) -> T:
        """
        Enter the session as a worker with the segment that *make_segment* makes of a name.

        Raises SessionGone when the session ended meanwhile, OSError when there is no memory.
        """
        directory = self._enter_lock()
        try:
            segment = f"shmperf-{secrets.token_hex(6)}"
            coming = self.directory / f"{COMING}{segment}"
            content = msgspec.msgpack.encode(Identity.of_this_process())
            fd = create_locked(coming, content)
            try:
                made = make_segment(segment)
                coming.rename(self.directory / f"{HERE}{segment}")
            except BaseException:
                remove_memory(segment, self.directory)
                coming.unlink(missing_ok=True)
                os.close(fd)
                raise
            self._presence_fd = fd
            return made
        finally:
            os.close(directory)

    def _enter_lock(self) -> int:
        deadline = time.monotonic() + _JOIN_DEADLINE_S
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SessionGone from None
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise SessionGone from None
        if not self._is_still(fd):
            os.close(fd)
            raise SessionGone
        return fd

    def _is_still(self, fd: int) -> bool:
        try:
            return os.fstat(fd).st_ino == self.directory.stat().st_ino
        except FileNotFoundError:
            return False

    def after_fork(self) -> None:
        """In a child: let go of the parent's lock, or the parent would never seem dead."""
        fd, self._presence_fd = self._presence_fd, -1
        try:
            if fd >= 0 and stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
        except OSError:
            return

    def presences(self, known: Container[str] = ()) -> list[Presence]:
        """The workers that are here, or were; those whose segments are *known* are left out."""
        found = []
        try:
            names = os.listdir(self.directory)  # noqa: PTH208  half the time of Paths
        except FileNotFoundError:
            return []
        for name in names:
            if not name.startswith((COMING, HERE)) or name.removeprefix(HERE) in known:
                continue
            try:
                presence = Presence.read(self.directory / name)
            except SessionError:
                continue
            if presence is not None:
                found.append(presence)
        return found

    def next_blocks(self, count: int) -> int:
        """
        The first of *count* consecutive numbers for blocks of ids, never given before.

        Where the storage directory can't be written they are random, and unique in all probability.
        """
        try:
            return _draw(_internals(self.storage) / "blocks", count)
        except (OSError, ValueError, SessionError):
            return _RANDOM_BLOCKS + secrets.randbelow(_RANDOM_BLOCKS - count)

    # --- collectors --------------------------------------------------------------------------

    def has_collector(self) -> bool:
        """True while a process holds the collector's lock."""
        return is_locked(self.directory / "collector.lock")

    def try_collector_lock(self) -> int | None:
        """The descriptor that holds the collector's lock, or None when somebody else does."""
        try:
            return _try_lock(self.directory / "collector.lock")
        except FileNotFoundError:
            raise SessionError(f"{self.directory} has gone") from None

    def claim_storage(self) -> int | None:
        """
        Hold the storage for this session's collector, and name the session there.

        None when the storage can't be written. Raises SessionError when another one writes it.
        """
        try:
            place = _internals(self.storage)
            # The collector of a session that has just ended may still be on its way out.
            fd = _lock_within(place / "collector.lock", _LEAVING_S)
            if fd is None:
                raise SessionError(
                    f"{self.storage} is in use by another session's collector; "
                    "stop that one, or choose another --storage"
                )
            _name_session(place, self.directory, self.token)
        except OSError:
            return None
        return fd

    def start_collector(self) -> bool:
        """
        Start a collector if this session starts its own and has none; True when one was started.

        Costs the program a few milliseconds at most, and is tried again after a pause that doubles.
        """
        if not self.keeps_itself or time.monotonic() < self._retry_at_s:
            return False
        try:
            fd = self.try_collector_lock()
        except (SessionError, OSError):
            return False
        if fd is None:
            self._pause_s = _FIRST_PAUSE_S
            return False
        try:
            _spawn(self.directory, fd)
        except OSError as error:
            self.start_failure = f"the collector did not start: {error}"
        finally:
            os.close(fd)
        # Started or not: a collector that dies at once is not started again and again.
        self._retry_at_s = time.monotonic() + self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
        return not self.start_failure

    def leave(self) -> bool:
        """End the session when no worker is in it; False when somebody is, or comes in."""
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_still(fd) or self.presences():
                return False
            gone = self.directory.with_name(f".gone-{secrets.token_hex(8)}")
            self.directory.rename(gone)
            _remove_directory(gone)
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(fd)
        return True

    # --- files -------------------------------------------------------------------------------

    def _read_settings(self) -> Settings:
        try:
            content = read_bounded(self.directory / "settings")
            return msgspec.msgpack.decode(content, type=Settings)
        except (msgspec.MsgspecError, ValueError) as error:
            raise SessionError(f"{self.directory}/settings is damaged: {error}") from None

    def _write_settings(self) -> None:
        with self._word_locked():
            _write_aside(self.directory / "settings", msgspec.msgpack.encode(self._settings))
            self.word[0] += 1 << 8

    @contextmanager
    def _word_locked(self) -> Any:
        """The session word is read, changed and written by one process at a time."""
        fd = os.open(
            self.directory / "word.lock",
            os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


# --- meeting -------------------------------------------------------------------------------------


def enter(request: Request, make_segment: Callable[[Session, str], T]) -> tuple[Session, T]:
    """
    Join or found the session of *request* as a worker; raises SessionError when that can't be.

    *make_segment* makes the worker's memory from the session's settings and a name.
    """
    for _ in range(_TRIES):
        try:
            session = join(request)
            return session, session.announce(partial(make_segment, session))
        except SessionGone:
            continue
    raise SessionError("the session keeps changing; gave up")


def join(request: Request) -> Session:
    """Join or found the session of *request*, without being a worker in it yet."""
    root = runtime_root(request.environ)
    for _ in range(_TRIES):
        try:
            if request.name:
                return found_named(root, request)
            return _join_unnamed(root, request)
        except SessionGone:
            continue
    raise SessionError("the session keeps changing; gave up")


def attach(directory: Path) -> Session:
    """The session in *directory*; raises SessionError when there is none."""
    try:
        return Session(directory)
    except SessionGone:
        raise SessionError(f"{directory}: no such session") from None


def found_named(root: Path, request: Request) -> Session:
    """The named session of *request*, founded with its settings if it is not there."""
    directory = named_directory(root, request.name or "")
    try:
        return Session(directory)
    except SessionGone:
        pass
    options, config = _resolve(request)
    storage = _storage_path(request, options)
    _found(directory, Settings(options, str(storage), config, request.name, request.is_transient))
    return Session(directory)


def session_of_storage(storage: Path) -> Session | None:
    """The session that meets on *storage*, if there is one that can be reached."""
    try:
        directory, token = _named_there(storage / ".shmperf")
        session = Session(directory)
    except (OSError, SessionError):
        return None
    return session if session.token == token else None


def _join_unnamed(root: Path, request: Request) -> Session:
    storage = _storage_by_pointer(root, request)
    session = None if storage is None else session_of_storage(storage)
    if session is not None and _is_live(session):
        return session
    options, config = _resolve(request)
    storage = _storage_path(request, options)
    settings = Settings(options, str(storage), config)
    try:
        place = _internals(storage)
    except OSError as error:
        # Nothing can be written there: the session meets under the storage's name, in memory.
        tell(f"{storage} can't be written ({error.strerror}); history stays in memory")
        directory = root / f"s-{_digest(str(storage))}"
        _found(directory, settings)
        return Session(directory)
    with _founding(place):
        session = session_of_storage(storage)
        if session is None or not _is_live(session):
            session = _found_on(root, place, settings)
    _write_pointer(root, request, config, storage)
    return session


def _is_live(session: Session) -> bool:
    """True unless it is a named session that its owner and all workers have left."""
    return session.keeps_itself or session.has_collector() or bool(session.presences())


def _found_on(root: Path, place: Path, settings: Settings) -> Session:
    fd = _lock_within(place / "collector.lock", _LEAVING_S)
    if fd is None:
        raise SessionError(
            f"{settings.storage} belongs to a session that can't be reached from here "
            "(another container?)"
        )
    os.close(fd)
    token = secrets.token_hex(8)
    directory = root / f"s-{token}"
    _found(directory, settings, token)
    session = Session(directory)
    _name_session(place, directory, session.token)
    return session


def _found(directory: Path, settings: Settings, token: str = "") -> None:
    """Make a session's directory aside and rename it into place; nothing when it is there."""
    aside = directory.with_name(f".new-{secrets.token_hex(8)}")
    try:
        aside.mkdir(mode=0o700)
        _write_new(aside / "token", (token or secrets.token_hex(8)).encode())
        _write_new(aside / "settings", msgspec.msgpack.encode(settings))
        word = (1 << 8) | settings.options.optimization.enabled
        _write_new(aside / "word", word.to_bytes(8, sys.byteorder))
        try:
            aside.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise
            _remove_directory(aside)
    except OSError as error:
        raise SessionError(f"{directory}: {error.strerror}") from error


@contextmanager
def _founding(place: Path) -> Any:
    deadline = time.monotonic() + _FOUND_DEADLINE_S
    while (fd := _try_lock(place / "session.lock")) is None:
        if time.monotonic() > deadline:
            raise SessionError(f"{place}: somebody has been founding a session for too long")
        time.sleep(0.001)
    try:
        yield
    finally:
        os.close(fd)


def _resolve(request: Request) -> tuple[Options, str]:
    # PyYAML costs 26 ms to import; who joins a session has its settings already.
    from .config import load  # noqa: PLC0415

    try:
        path = find(request.config, request.environ, Path(request.cwd))
        return (Options() if path is None else load(path)), str(path or "")
    except ConfigError as error:
        if request.config:
            raise
        tell(f"{error}; the defaults are used")
        return Options(), ""


def _storage_path(request: Request, options: Options) -> Path:
    return Path(os.path.normpath(Path(request.cwd) / (request.storage or options.storage.path)))


# --- pointers ------------------------------------------------------------------------------------


def _pointer(root: Path, request: Request) -> Path:
    named = request.config or request.environ.get("SHMPERF_CONFIG", "")
    return root / f"p-{_digest(f'{request.cwd}//{named}')}"


def known_storage(request: Request) -> Path | None:
    """The storage that this directory and configuration led to last time, changed since or not."""
    try:
        _, _, storage = _read_pointer(runtime_root(request.environ), request)
    except (OSError, SessionError, msgspec.MsgspecError):
        return None
    return Path(storage)


def _storage_by_pointer(root: Path, request: Request) -> Path | None:
    """The same, if the configuration has not changed since."""
    if request.storage:
        return _storage_path(request, Options())
    try:
        path = find(request.config, request.environ, Path(request.cwd))
        config, seen, storage = _read_pointer(root, request)
    except (OSError, ConfigError, SessionError, msgspec.MsgspecError):
        return None
    if config != str(path or "") or seen != _file_identity(config):
        return None
    return Path(storage)


def _read_pointer(root: Path, request: Request) -> tuple[str, tuple[int, ...], str]:
    content = read_bounded(_pointer(root, request))
    return msgspec.msgpack.decode(content, type=tuple[str, tuple[int, ...], str])


def _write_pointer(root: Path, request: Request, config: str, storage: Path) -> None:
    content = msgspec.msgpack.encode((config, _file_identity(config), str(storage)))
    try:
        _write_aside(_pointer(root, request), content)
    except OSError:
        return


def _file_identity(path: str) -> tuple[int, ...]:
    if not path:
        return ()
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


# --- looking around ------------------------------------------------------------------------------


def sessions(root: Path) -> list[Session]:
    """Every session of this user that can be read."""
    found = []
    for path in sorted(root.glob("[sn]-*")):
        try:
            found.append(Session(path))
        except (SessionError, OSError):
            continue
    return found


def sweep(root: Path) -> int:
    """
    See to what dead programs left: end empty sessions, start collectors on those with memory.

    Left-over directories of founders that were killed go too. Returns how many things were done.
    """
    done = 0
    for aside in [*root.glob(".new-*"), *root.glob(".gone-*")]:
        if time.time() - aside.stat().st_mtime > 60:
            _remove_directory(aside)
            done += 1
    for session in sessions(root):
        if not session.keeps_itself or session.has_collector():
            continue
        presences = session.presences()
        if any(presence.is_alive() for presence in presences):
            continue
        done += session.start_collector() if presences else session.leave()
    return done


# --- small files ---------------------------------------------------------------------------------


def _internals(storage: Path) -> Path:
    """``<storage>/.shmperf``, created privately; OSError when that can't be."""
    place = storage / ".shmperf"
    storage.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{place} is not a directory of ours")
    return place


def _named_there(place: Path) -> tuple[Path, bytes]:
    content = read_bounded(place / "session")
    try:
        directory, token = msgspec.msgpack.decode(content, type=tuple[str, bytes])
    except (msgspec.MsgspecError, ValueError) as error:
        raise SessionError(f"{place}/session is damaged: {error}") from None
    return Path(directory), token


def _name_session(place: Path, directory: Path, token: bytes) -> None:
    _write_aside(place / "session", msgspec.msgpack.encode((str(directory), token)))


def _private_existing(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SessionError(f"{directory}: belongs to another user or is no directory")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SessionError(f"{directory}: others may enter it; run: chmod 700 {directory}")


def _map_word(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_size != 8:
            raise SessionError(f"{path}: found a damaged session word")
        return mmap.mmap(fd, 8)
    finally:
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _lock_within(path: Path, timeout_s: float) -> int | None:
    deadline = time.monotonic() + timeout_s
    while (fd := _try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return fd


def _draw(path: Path, count: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        first = int(os.pread(fd, 20, 0) or b"1")
        if not 0 < first < _RANDOM_BLOCKS - count:
            raise ValueError("the numbers are used up")
        os.pwrite(fd, str(first + count).encode(), 0)
        return first
    finally:
        os.close(fd)


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _write_aside(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        _write_new(aside, content)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _remove_directory(path: Path) -> None:
    for child in path.iterdir():
        child.unlink(missing_ok=True)
    path.rmdir()


# --- starting ------------------------------------------------------------------------------------

# Not by way of the command, whose tables would delay the first drain.
_RUN = (
    "import sys; sys.path.append(sys.argv[1]); from shmperf.daemon import serve_embedded; "
    "serve_embedded(sys.argv[2], 3)"
)


def _spawn(directory: Path, lock_fd: int) -> None:
    """
    Start a detached collector that holds *lock_fd* as its descriptor 3.

    ``setsid --fork`` is through in a millisecond, and its child is nobody's to wait for.
    """
    python = sys.executable
    if not python:
        raise OSError("this interpreter does not know its own executable")
    package = str(Path(__file__).resolve().parent.parent)
    command = [python, "-P", "-c", _RUN, package, str(directory)]
    log = os.open(
        directory / "collector.log",
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
    )
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, null, 0),
        (os.POSIX_SPAWN_DUP2, null, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_DUP2, lock_fd, 3),
    ]
    try:
        setsid = next(
            (p for p in ("/usr/bin/setsid", "/bin/setsid") if os.access(p, os.X_OK)), None
        )
        if setsid is None:
            os.posix_spawn(python, command, os.environ, file_actions=actions, setsid=True)
            return
        pid = os.posix_spawn(setsid, [setsid, "--fork", *command], os.environ, file_actions=actions)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return  # the program waits for all of its children itself
    finally:
        os.close(log)
        os.close(null)
