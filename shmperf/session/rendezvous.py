"""
How processes come together: joining the session that is there, or founding one.

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
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from shmperf.config.locate import find, resolve
from shmperf.config.options import Options
from shmperf.errors import ConfigError, SessionError, SessionGone, tell
from shmperf.files import (
    internals,
    list_beginning,
    path_of,
    path_text,
    reason_of,
    refuse_newer,
    translated,
)
from shmperf.shm.memory import remove_memory
from shmperf.shm.segment import LAYOUT
from shmperf.stdlib import Path, os, secrets, time

from .files import (
    LEAVING_S,
    LEFT_OVER_S,
    file_identity,
    let_go,
    lock_within,
    read_bounded,
    remove_asides,
    remove_directory,
    remove_left_over,
    remove_old,
    try_lock,
    write_aside,
    write_new,
)
from .paths import (
    UNWRITTEN,
    digest,
    internals_of,
    named_directory,
    read_name,
    runtime_root,
    write_name,
)
from .session import Session
from .settings import Settings
from .word import first_word

__all__ = [
    "Request",
    "enter",
    "found_named",
    "join",
    "known_storage",
    "session_of_storage",
    "sessions",
    "sweep",
    "working_directory",
]

T = TypeVar("T")

_TRIES = 20
_CHOOSE = ("SHMPERF_CONFIG", "SHMPERF_SESSION")
_FOUND_DEADLINE_S = 5.0
_POINTER_S = 7 * 86_400.0
_UNWRITTEN_S = 30 * 86_400.0
# What pytest sets for all its run, in each test, and in each worker of xdist.
_TESTS = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")


def working_directory() -> str:
    """Where the program works; SessionError where that has been removed."""
    try:
        return str(Path.cwd())
    except OSError as error:
        raise translated(error, "the working directory", SessionError) from None


class Request(msgspec.Struct, frozen=True):
    """What a process knows of the session that it wants to be in."""

    cwd: str
    environ: Mapping[str, str]
    name: str | None = None
    config: str | None = None
    storage: str | None = None
    is_transient: bool = False
    # Of a collector that is told where spans and metrics go.
    otlp: str = ""

    @classmethod
    def from_environment(cls) -> Request:
        """The request of a program that was told nothing else."""
        name = os.environ.get("SHMPERF_SESSION") or None
        return cls(working_directory(), dict(os.environ), name)

    def beside(self, former: Request | None) -> Request:
        """
        This request, of a fork, made where the *former* one of its parent was settled.

        A daemon goes to another directory behind its fork and is still the same program; one that
        is told another configuration there means another.
        """
        if former is None or any(
            self.environ.get(name) != former.environ.get(name) for name in _CHOOSE
        ):
            return self
        return msgspec.structs.replace(self, cwd=former.cwd, storage=former.storage)


def enter(request: Request, make_segment: Callable[[Session, str], T]) -> tuple[Session, T]:
    """
    Join or found the session of *request* as a worker; raises SessionError when that can't be.

    *make_segment* makes the worker's memory from the session's settings and a name.
    """
    for _ in range(_TRIES):
        try:
            session = join(request)
            # point below: enter-announce
            return session, session.announce(partial(make_segment, session))
        except SessionGone:
            continue
    raise SessionError("the session keeps changing; gave up")


def join(request: Request) -> Session:
    """
    Join or found the session of *request*, without being a worker in it yet.

    Raises SessionError when that can't be, FormatError where a newer version wrote the storage.
    """
    root = runtime_root(request.environ)
    for _ in range(_TRIES):
        try:
            session = found_named(root, request) if request.name else _join_unnamed(root, request)
            _refuse_foreign(session)
            return session
        except SessionGone:
            continue
    raise SessionError("the session keeps changing; gave up")


def _refuse_foreign(session: Session) -> None:
    """Raise SessionError, with what to do, when *session* is another version's."""
    if not session.is_foreign:
        return
    if session.has_members():
        flag = f"--session {session.name}" if session.name else f"--storage {session.storage}"
        raise SessionError(
            f"{session.storage} is in use by programs of another version of shmperf; "
            f"end them and run: shmperf stop {flag}"
        )
    if session.is_newer:
        raise SessionError(
            f"{session.storage} was left by a killed program of a newer shmperf; "
            "run that version once more, it takes up what waits in memory"
        )
    _clear_away(session)
    session.leave()
    raise SessionGone


def _clear_away(session: Session) -> None:
    """
    Remove what killed programs of an older version have left in memory, which nobody here can read.

    The next collector on the storage counts as lost what it knows of them. Not its part to remove:
    whoever comes would have to wait for it, or not be tracked.
    """
    for presence in session.presences():
        if not presence.is_alive():
            remove_memory(presence.segment, session.directory)  # point: foreign-memory
            presence.remove()  # point: foreign-presence


def found_named(root: Path, request: Request) -> Session:
    """The named session of *request*, founded with its settings if it is not there."""
    directory = named_directory(root, request.name or "")
    try:
        return Session(directory)
    except SessionGone:
        pass
    options, config, seen = _resolve(request)
    storage = _storage_path(request, options)
    refuse_newer(storage)
    settings = Settings(
        options,
        path_text(storage),
        config,
        request.name,
        request.is_transient,
        is_test=_is_test(request),
        config_seen=seen,
    )
    _found(directory, settings)
    _tell_destinations(settings, request)
    return Session(directory)


def session_of_storage(storage: Path) -> Session | None:
    """The session that meets on *storage*, if there is one that can be reached."""
    try:
        directory, token = read_name(internals(storage))
        session = Session(directory)
    except (OSError, SessionError):
        return None
    return session if session.token == token else None


def _join_unnamed(root: Path, request: Request) -> Session:
    storage = _storage_by_pointer(root, request)
    session = None if storage is None else session_of_storage(storage)
    if session is not None and _is_live(session):
        return session
    options, config, seen = _resolve(request)
    storage = _storage_path(request, options)
    settings = Settings(
        options, path_text(storage), config, is_test=_is_test(request), config_seen=seen
    )
    try:
        session = _meet_on(root, storage, settings, request)
    except OSError as error:
        return _meet_without(root, storage, settings, error)
    _write_pointer(root, request, config, storage)
    return session


def _meet_on(root: Path, storage: Path, settings: Settings, request: Request) -> Session:
    refuse_newer(storage)
    place = internals_of(storage)
    with _founding(place):
        session = session_of_storage(storage)  # point: found-locked
        if session is None or not _is_live(session):
            session = _found_on(root, place, settings)
            _tell_destinations(settings, request)
    return session


def _tell_destinations(settings: Settings, request: Request) -> None:
    """Say once a session where a file sends something that was found, and that nobody has named."""
    if request.config or request.environ.get("SHMPERF_CONFIG"):
        return
    options = settings.options
    if not (options.anomaly.webhook or options.export.otlp.endpoint or options.fleet.url):
        return
    from shmperf.config.destinations import destinations  # noqa: PLC0415  most programs have none

    for sentence in destinations(options):
        tell(f"by {settings.config}, {sentence}")


def _meet_without(root: Path, storage: Path, settings: Settings, error: OSError) -> Session:
    """Nothing can be written there: the session meets under the storage's name, in memory."""
    session = session_of_storage(storage)
    if session is not None and _is_live(session):
        return session
    tell(f"{storage} can't be written ({reason_of(error)}); history stays in memory")
    directory = root / f"s-{digest(str(storage))}"
    _found(directory, settings)
    return Session(directory)


def _is_live(session: Session) -> bool:
    """True unless it is a named session that its owner and all workers have left."""
    return session.keeps_itself or session.has_collector() or bool(session.presences())


def _found_on(root: Path, place: Path, settings: Settings) -> Session:
    fd = lock_within(place / "collector.lock", LEAVING_S)
    if fd is None:
        raise SessionError(
            f"{path_of(settings.storage)} belongs to a session that can't be reached from here "
            "(another container?)"
        )
    let_go(fd)
    token = secrets.token_hex(8)
    directory = root / f"s-{token}"
    _found(directory, settings, token)  # point: found-begin
    session = Session(directory)
    write_name(place, directory, session.token)  # point: found-name
    return session


def _found(directory: Path, settings: Settings, token: str = "") -> None:
    """Make a session's directory aside and rename it into place; nothing when it is there."""
    aside = directory.with_name(f".new-{secrets.token_hex(8)}")
    try:
        aside.mkdir(mode=0o700)  # point: found-mkdir
        write_new(aside / "token", (token or secrets.token_hex(8)).encode())  # point: found-token
        ours = msgspec.structs.replace(settings, layout=LAYOUT)
        write_new(aside / "settings", msgspec.msgpack.encode(ours))  # point: found-settings
        word = first_word(in_detail=settings.options.optimization.enabled)
        write_new(aside / "word", word.to_bytes(8, sys.byteorder))  # point: found-word
        try:
            aside.rename(directory)  # point: found-rename
        except OSError:
            if not directory.is_dir():
                raise
            remove_directory(aside)  # point: found-beaten
    except OSError as error:
        raise translated(error, directory, SessionError) from error


@contextmanager
def _founding(place: Path) -> Any:
    deadline = time.monotonic() + _FOUND_DEADLINE_S
    while (fd := try_lock(place / "session.lock")) is None:
        if time.monotonic() > deadline:
            raise SessionError(f"{place}: somebody has been founding a session for too long")
        time.sleep(0.001)
    try:
        yield
    finally:
        let_go(fd)


def _resolve(request: Request) -> tuple[Options, str, tuple[int, ...]]:
    """The options in force, the file that they come from, and what that was before it was read."""
    cwd = Path(request.cwd)
    try:
        path = find(request.config, request.environ, cwd)
        seen = file_identity(path_text(path)) if path else ()
        options, path = resolve(request.config, request.environ, cwd)
    except (ImportError, AttributeError) as error:
        # An interruption in the middle of an import leaves halves of modules behind.
        raise SessionError(f"PyYAML can't be imported: {error}") from None
    except ConfigError as error:
        if request.config:
            raise
        tell(f"{error}; the defaults are used")
        return Options(), "", ()
    return options, path_text(path) if path else "", seen


def _storage_path(request: Request, options: Options) -> Path:
    return Path(os.path.normpath(Path(request.cwd) / (request.storage or options.storage.path)))


def _is_test(request: Request) -> bool:
    """True for a program that pytest runs, or that a test has started."""
    return any(request.environ.get(name) for name in _TESTS)


# --- pointers ------------------------------------------------------------------------------------


def _pointer(root: Path, request: Request) -> Path:
    named = request.config or request.environ.get("SHMPERF_CONFIG", "")
    return root / f"p-{digest(f'{request.cwd}//{named}')}"


def known_storage(request: Request) -> Path | None:
    """The storage that this directory and configuration led to last time, changed since or not."""
    try:
        _, _, storage = _read_pointer(runtime_root(request.environ), request)
    except (OSError, SessionError, msgspec.MsgspecError):
        return None
    return path_of(storage)


def _storage_by_pointer(root: Path, request: Request) -> Path | None:
    """The same, if the configuration has not changed since."""
    if request.storage:
        return _storage_path(request, Options())
    try:
        path = find(request.config, request.environ, Path(request.cwd))
        config, seen, storage = _read_pointer(root, request)
    except (OSError, ConfigError, SessionError, msgspec.MsgspecError):
        return None
    if config != (path_text(path) if path else "") or seen != file_identity(config):
        return None
    return path_of(storage)


def _forget_pointer(pointer: Path) -> bool:
    """Remove a pointer that leads nowhere any more, or is old; True when it did."""
    try:
        _, _, storage = _storage_in(pointer)
    except (OSError, SessionError, msgspec.MsgspecError):
        return remove_old(pointer, _POINTER_S)
    return remove_old(pointer, _POINTER_S if os.path.lexists(storage) else 0)


def _read_pointer(root: Path, request: Request) -> tuple[str, tuple[int, ...], str]:
    return _storage_in(_pointer(root, request))


def _storage_in(pointer: Path) -> tuple[str, tuple[int, ...], str]:
    content = read_bounded(pointer)
    return msgspec.msgpack.decode(content, type=tuple[str, tuple[int, ...], str])


def _write_pointer(root: Path, request: Request, config: str, storage: Path) -> None:
    content = msgspec.msgpack.encode((config, file_identity(config), path_text(storage)))
    try:
        write_aside(_pointer(root, request), content)  # point: pointer-write
    except OSError:
        return


# --- looking around ------------------------------------------------------------------------------


def sessions(root: Path) -> list[Session]:
    """Every session of this user that can be read."""
    readable = []
    for path in sorted(list_beginning(root, "s-", "n-")):
        try:
            readable.append(Session(path))
        except (SessionError, OSError):
            continue
    return readable


def sweep(root: Path) -> int:
    """
    See to what dead programs left: end empty sessions, start collectors on those with memory.

    Left-over directories of founders that were killed go too, and pointers that are a week old or
    lead to a storage that is gone: they only spare the next program the reading of its
    configuration. So do old notes of what a storage could not be told. Returns how many things were
    done.
    """
    done = sum(_forget_pointer(pointer) for pointer in list_beginning(root, "p-"))
    done += sum(remove_old(note, _UNWRITTEN_S) for note in list_beginning(root, UNWRITTEN))
    done += remove_asides(root)
    for aside in list_beginning(root, ".new-", ".gone-"):
        done += remove_left_over(aside, LEFT_OVER_S)  # point: sweep-aside
    for session in sessions(root):
        if session.is_foreign or not session.keeps_itself or session.has_collector():
            continue  # those of another version are for its own programs to see to
        presences = session.presences()
        if any(presence.is_alive() for presence in presences):
            continue
        try:
            done += session.start_collector() if presences else session.leave()  # point: sweep-act
        except OSError:
            continue
    return done
