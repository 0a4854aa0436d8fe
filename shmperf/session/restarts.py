"""
When a session's collector is started again: at once after one that was killed.

    the last one has left …              taken for                      started again
    its mark: it had come up             killed                         at once
    no mark, and no word in its log      killed while it came up        after a second at most
    no mark, and a reason in its log     one that can't start           after a pause that doubles

Each process that starts collectors remembers its own last start. The mark is a file that every
collector renews once it has taken up the past, so one that somebody else started counts as well.
"""

from __future__ import annotations

from collections.abc import Callable

from shmperf.errors import Once, tell
from shmperf.files import open_private, read_private
from shmperf.stdlib import Path, os, time

__all__ = ["LOG", "Restarts", "note_start"]

LOG = "collector.log"
_MARK = "collector.up"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# Of one that says nothing: it costs calls, and starting it costs a tenth of a second of a core.
_FIRST_SILENT_PAUSE_S, _LONGEST_SILENT_PAUSE_S = 0.05, 1.0
_MOST_LOG_BYTES = 1 << 16
_LONGEST_REASON = 300
# In this process, whatever sessions it is in.
_told = Once()


def note_start(directory: Path) -> None:
    """The collector of the session in *directory*, which calls this, has come up."""
    try:
        fd = open_private(directory / _MARK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError:
        return  # no room: it is taken for one that was killed while it came up
    try:
        os.write(fd, str(os.getpid()).encode())  # point: start-mark
    except OSError:
        return
    finally:
        os.close(fd)


class Restarts:
    """What one process knows of the collectors it has started; whoever holds the lock asks it."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.failure = ""
        self._directory = directory
        self._clock = clock
        self._mark = (0, 0)
        self._failures = self._silent = 0
        self._began_at_s = self._due_at_s = 0.0
        self._is_judged = True

    def begin(self) -> None:
        """A collector is being started now."""
        self._began_at_s, self._is_judged = self._clock(), False

    def fail(self, reason: str) -> None:
        """The start that has begun came to nothing for *reason*."""
        self._is_judged = True
        self._failures += 1
        self.failure = reason
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._failures - 1))
        self._due_at_s = self._began_at_s + pause_s

    def are_due(self) -> bool:
        """True when the next may be started. No collector runs while this is asked."""
        found = self._found_mark()
        if found != self._mark:
            # One has come up since, whoever started it.
            self._mark, self._is_judged = found, True
            self._failures, self._silent, self._due_at_s, self.failure = 0, 0, 0.0, ""
        elif not self._is_judged:
            self._judge()
        return self._clock() >= self._due_at_s

    def tell(self) -> None:
        """Why there is no collector, once: the reason is in a log that nobody would look for."""
        reason = self.failure
        if reason and _told.claim(reason):
            tell(f"{reason}; calls wait in memory until one does")

    def _judge(self) -> None:
        """The last one has not come up, and is gone."""
        reason = self._last_words()
        if reason:
            self.fail(f"the collector did not start: {reason}")
            return
        self._is_judged = True
        self._silent += 1
        pause_s = min(_LONGEST_SILENT_PAUSE_S, _FIRST_SILENT_PAUSE_S * 2.0 ** (self._silent - 1))
        self._due_at_s = self._began_at_s + pause_s

    def _last_words(self) -> str:
        """The last line of its log: what a traceback or an interpreter ends with."""
        try:
            text = read_private(self._directory / LOG, _MOST_LOG_BYTES).decode(errors="replace")
        except OSError:
            return ""
        lines = text.strip().splitlines()
        return lines[-1].strip()[:_LONGEST_REASON] if lines else ""

    def _found_mark(self) -> tuple[int, int]:
        try:
            found = (self._directory / _MARK).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns
