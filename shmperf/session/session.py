"""
One session: its directory, its locks, its settings, its mode, its workers and its collector.

    <runtime root>/
        s-<token>/  n-<name>/        a session's directory, 0700
            token                    random; says that this is the session that a storage names
            settings                 options and storage, msgpack, replaced as a whole
            word, word.lock          see `settings`
            w-<segment>              a worker (see `presence`, `membership`)
            collector.lock           held by the collector for its life
            collector.up, .log       see `restarts`
            control.sock             where it answers
        p-<digest>                   pointer: working directory and configuration → storage
        u-<digest>                   what a storage could not be told (see `unwritten`)
    <storage>/.shmperf/
        session, session.lock        which directory and token meet on this storage
        collector.lock               held by the collector that writes here
        blocks                       the next unused number of an id block

A named session belongs to whoever runs its collector; any other starts its collector by itself:
whoever finds ``collector.lock`` free takes it and hands the locked descriptor to the process it
starts, without waiting, since records have somewhere to go already. How processes come together in
one session is in `rendezvous`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TypeVar

from shmperf.config.options import Options
from shmperf.errors import NoAnswer, SessionError, SessionGone
from shmperf.files import KeptFile, path_of
from shmperf.shm.inflight import MOST_BLOCKS
from shmperf.stdlib import Path, fcntl, os, secrets

from .files import (
    LEAVING_S,
    check_private,
    draw_numbers,
    is_locked,
    let_go,
    lock_within,
    read_bounded,
    remove_asides,
    remove_left_over,
    try_lock,
)
from .launch import start_detached_collector
from .membership import Membership, is_still
from .paths import internals_of, write_name
from .presence import COMING, HERE, Presence
from .restarts import Restarts
from .settings import SharedSettings

__all__ = ["FIRST_RANDOM", "Session", "attach", "revive"]

T = TypeVar("T")

# Numbers of id blocks that are drawn lie below, random ones above.
FIRST_RANDOM = MOST_BLOCKS // 2


class Session:
    """One session as a process that is in it sees it."""

    def __init__(self, directory: Path) -> None:
        """Open what is there; raises SessionGone when it is not there (any more)."""
        self.directory = directory
        try:
            check_private(directory)
            self.token = read_bounded(directory / "token")
            self._inode = directory.stat().st_ino
            self.settings = SharedSettings(directory)
        except FileNotFoundError:
            raise SessionGone from None
        except (OSError, ValueError) as error:
            raise SessionError(f"{directory}: no session that can be read: {error}") from None
        self.word = self.settings.word
        self.membership = Membership(directory)
        self._starting: KeptFile | None = None
        self.restarts = Restarts(directory)

    @property
    def name(self) -> str | None:
        """The name it was given, or None."""
        return self.settings.current.name

    @property
    def keeps_itself(self) -> bool:
        """
        True when its members start its collector: unnamed ones, and those of a ``run``.

        Any other named session belongs to whoever runs its collector.
        """
        return self.settings.current.name is None or self.settings.current.is_transient

    @property
    def is_foreign(self) -> bool:
        """
        True when a program of another version founded it, whose memory this one can't read.

        It can be asked for its status and stopped, not joined or drained.
        """
        return self.settings.is_foreign

    @property
    def is_newer(self) -> bool:
        """True when that version is a newer one: what it has left is not ours to clear away."""
        return self.settings.is_newer

    def has_members(self) -> bool:
        """True while a worker that is in it, or its collector, lives."""
        return self.has_collector() or any(found.is_alive() for found in self.presences())

    @property
    def is_in_place(self) -> bool:
        """False once its directory was removed, though another may have its name by now."""
        try:
            return self.directory.stat().st_ino == self._inode
        except OSError:
            return False

    @property
    def options(self) -> Options:
        """The options in force when they were last read."""
        return self.settings.current.options

    @property
    def storage(self) -> Path:
        """The storage directory."""
        return path_of(self.settings.current.storage)

    # --- workers -----------------------------------------------------------------------------

    def announce(self, make_segment: Callable[[str], T]) -> T:
        """
        Enter the session as a worker with the segment that *make_segment* makes of a name.

        Raises SessionGone when the session ended meanwhile, OSError when there is no memory.
        """
        return self.membership.announce(make_segment)

    def after_fork(self) -> None:
        """
        In a child: close what holds the parent's locks, or the parent would never seem dead.

        A program that closes all descriptors may have given their numbers to files of its own
        since, so only the very files are closed.
        """
        starting, self._starting = self._starting, None
        self.membership.after_fork()
        try:
            if starting is not None:
                starting.close()
        except OSError:
            return

    def stay_present(self) -> None:
        """
        Hold the lock that says that this worker lives, also when the program has closed its file.

        Without it a collector in another pid namespace would take the worker for dead.
        """
        self.membership.stay_present()

    def presences(self, known: Container[str] = ()) -> list[Presence]:
        """The workers that are here, or were; those whose segments are *known* are left out."""
        found = []
        try:
            names = os.listdir(self.directory)
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

    def changed_ns(self) -> int:
        """When a file last came into the directory or left it, by its file system's clock."""
        try:
            return self.directory.stat().st_mtime_ns
        except OSError:
            return 0

    def next_blocks(self, count: int) -> int:
        """
        The first of *count* consecutive numbers for blocks of ids, never given before.

        Where the storage directory can't be written they are random, and unique in all probability.
        """
        try:
            return draw_numbers(internals_of(self.storage) / "blocks", count, FIRST_RANDOM)
        except (OSError, ValueError, SessionError):
            return FIRST_RANDOM + secrets.randbelow(MOST_BLOCKS - FIRST_RANDOM - count)

    # --- collectors --------------------------------------------------------------------------

    def has_collector(self) -> bool:
        """True while a process holds the collector's lock."""
        return is_locked(self.directory / "collector.lock")

    def try_collector_lock(self) -> int | None:
        """The descriptor that holds the collector's lock, or None when somebody else does."""
        try:
            return try_lock(self.directory / "collector.lock")
        except FileNotFoundError:
            raise SessionError(f"{self.directory} has gone") from None

    def claim_storage(self) -> int | None:
        """
        Hold the storage for this session's collector, and name the session there.

        None when the storage can't be written. Raises SessionError when another one writes it.
        """
        try:
            place = internals_of(self.storage)
            # The collector of a session that has just ended may still be on its way out.
            fd = lock_within(place / "collector.lock", LEAVING_S)
            if fd is None:
                raise SessionError(
                    f"{self.storage} is in use by another session's collector; "
                    "stop that one, or choose another --storage"
                )
        except OSError:
            return None
        try:
            write_name(place, self.directory, self.token)  # point: claim-name
            remove_asides(place)
        except OSError:
            let_go(fd)  # or whoever tries again would wait for itself
            return None
        return fd  # point: claim-named

    def start_collector(self) -> bool:
        """
        Start a collector if this session starts its own and has none; True when one was started.

        Costs the program a few milliseconds at most. One that was killed is replaced at once; after
        one that could not start comes a pause.
        """
        if not self.keeps_itself:
            return False
        if self.is_foreign:
            return False  # its own programs start one that can read their memory
        try:
            fd = self.try_collector_lock()
        except (SessionError, OSError):
            return False
        if fd is None:
            return False
        if not self.restarts.are_due():
            let_go(fd)
            self.restarts.tell()
            return False
        self.restarts.begin()
        self._starting = KeptFile(self.directory / "collector.lock", fd)  # point: start-locked
        try:
            start_detached_collector(self.directory, fd)  # point: start-spawn
        except OSError as error:
            self.restarts.fail(f"the collector did not start: {error}")
            self.restarts.tell()
            return False
        finally:
            # Closed without unlocking: the lock is the collector's now.
            self._starting = None
            os.close(fd)
        return True  # point: start-spawned

    def leave(self) -> bool:
        """End the session when no worker is in it; False when somebody is, or comes in."""
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        gone = self.directory.with_name(f".gone-{secrets.token_hex(8)}")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # point: leave-lock
            if not is_still(self.directory, fd) or self.presences():  # point: leave-locked
                return False
            self.directory.rename(gone)  # point: leave-rename
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            let_go(fd)
        remove_left_over(gone, 0.0)  # point: leave-remove
        return True


def revive(session: Session) -> None:
    """
    Start a collector for *session* where it starts its own and has none; for who waits for one.

    Raises NoAnswer when waiting for one is of no use: the last one could not start, or the session
    has gone, or can't be reached by a program that has changed its root or its user.
    """
    if session.start_collector() or session.has_collector():
        return
    if not session.is_in_place:
        raise NoAnswer(f"{session.directory} can't be reached any more")
    if not session.restarts.failure:
        return
    raise NoAnswer(session.restarts.failure)


def attach(directory: Path) -> Session:
    """The session in *directory*; raises SessionError when there is none."""
    try:
        return Session(directory)
    except SessionGone:
        raise SessionError(f"{directory}: no such session") from None
