"""
Where open calls are in their code: py-spy's picture of each process, and which thread is whose.

    py-spy dump --nonblocking --locals ──► threads ──► frames of ours name the call by its id
                                                        what stands above them is the call's stack

py-spy reads the other process's memory and does not stop it. It may fail, hang or be forbidden: it
is a process of its own with a time limit, and what it says is not believed but for its shape.

A frame of ours has the call's id among its locals, so a thread is told by that and not by a tool's
name, which many threads have at once; locals are always read, and dropped here where nobody asked
for them. A compiled call of a function has no frame of ours. Its row says which thread it runs on,
where its calls stand in the order in which they began, each from the function that is named as its
tool is, or else from the bottom.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from shmperf.errors import ShmperfError
from shmperf.files import reason_of
from shmperf.session.messages import OpenCallAnswer
from shmperf.shm.mask import Mask

__all__ = ["Frame", "StackedCall", "Stacks", "find_py_spy"]

_EACH_S, _ALL_S = 2.0, 10.0
_MOST_FRAMES = 20
_LONGEST_REPR = 200
_MOST_LOCALS = 30
# Two tries at a process that goes on running while it is read.
_TRIES = 3
_OURS = re.compile(r"(?:^|/)shmperf/(?:worker|interceptors|integrations)/\w+\.py$")
_REFUSED = re.compile("permission denied|operation not permitted|eperm", re.IGNORECASE)
_GONE = re.compile("no such process|no such file or directory", re.IGNORECASE)
_PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
_ON_NO_THREAD = "a coroutine that waits has none; a block's or a pair's is not known"
# Larger numbers py-spy does not write out. Ids are so large where they are drawn at random, as the
# storage directory can't be written.
_LARGE = 1 << 60
_TOO_LARGE = "py-spy does not tell numbers as large as this call's id"


class Frame(msgspec.Struct, omit_defaults=True):
    """A function that has been called and has not returned; *locals* masked, where asked for."""

    function: str
    file: str
    line: int
    locals: list[tuple[str, str]] | None = None


class StackedCall(OpenCallAnswer, kw_only=True):
    """An open call with its stack, the innermost frame first; None with what the problem is."""

    stack: list[Frame] | None = None
    stack_problem: str | None = None


class _Local(msgspec.Struct):
    name: str
    repr: str | None = None


class _Frame(msgspec.Struct):
    name: str
    filename: str
    line: int = 0
    locals: list[_Local] | None = None


class _Thread(msgspec.Struct):
    frames: list[_Frame]
    thread_id: int | None = None


_decode = msgspec.json.Decoder(list[_Thread]).decode


def find_py_spy(beside: Path, path: str | None = None) -> Path:
    """Where py-spy is: in the directory *beside*, or on the *path*; ShmperfError without it."""
    own = beside / "py-spy"
    found = own if own.is_file() else shutil.which("py-spy", path=path)
    if found is None:
        raise ShmperfError("stacks need py-spy: pip install 'shmperf[stacks]'")
    return Path(found)


class Stacks:
    """Looks into processes, one after the other, for ten seconds in all."""

    def __init__(self, mask: Mask, *, with_locals: bool) -> None:
        """*mask* hides secrets in locals, which are shown only *with_locals*; ShmperfError."""
        self._mask = mask
        self._with_locals = with_locals
        self._program = find_py_spy(Path(sys.executable).parent)
        # By pid: why there is nothing to be seen.
        self.problems: dict[int, str] = {}

    def of(self, calls: Sequence[OpenCallAnswer]) -> list[StackedCall]:
        """*calls* with their stacks; of processes of whose calls one is oldest first."""
        until_s = time.monotonic() + _ALL_S
        found: dict[int, list[Frame]] = {}
        for pid in dict.fromkeys(call.pid for call in calls):
            try:
                threads = self._threads(pid, until_s)
            except ShmperfError as error:
                self.problems[pid] = str(error)
            else:
                found |= dict(self._stacks_in(threads))
                unseen = [c for c in calls if c.pid == pid and int(c.id, 16) not in found]
                found |= dict(self._stacks_on(threads, unseen))
        return [self._stacked(call, found.get(int(call.id, 16))) for call in calls]

    def _stacked(self, call: OpenCallAnswer, stack: list[Frame] | None) -> StackedCall:
        problem = None
        if stack is None:
            unseen = _ON_NO_THREAD if int(call.id, 16) < _LARGE else _TOO_LARGE
            problem = self.problems.get(call.pid, unseen)
        return StackedCall(**msgspec.structs.asdict(call), stack=stack, stack_problem=problem)

    def _threads(self, pid: int, until_s: float) -> list[_Thread]:
        said = ""
        for _ in range(_TRIES):
            left_s = min(_EACH_S, until_s - time.monotonic())
            if left_s <= 0:
                raise ShmperfError(f"not looked at: {_ALL_S:.0f} s were spent on others")
            dumped, said = self._dumped(pid, left_s)
            try:
                return _decode(dumped)
            except msgspec.DecodeError:
                if _REFUSED.search(said) or _GONE.search(said):
                    break
        raise ShmperfError(_problem(said))

    def _dumped(self, pid: int, timeout_s: float) -> tuple[bytes, str]:
        command = [
            str(self._program),
            "dump",
            "--pid",
            str(pid),
            "--json",
            "--locals",
            "--nonblocking",
        ]
        try:
            done = subprocess.run(  # noqa: S603  no shell; the pid is a number
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ShmperfError(f"py-spy had no answer within {_EACH_S:.0f} s") from None
        except OSError as error:
            raise ShmperfError(f"py-spy does not start: {reason_of(error)}") from None
        return done.stdout, done.stderr.decode(errors="replace")

    def _stacks_in(self, threads: Iterable[_Thread]) -> Iterator[tuple[int, list[Frame]]]:
        """By id of a call that is on a thread's stack, the frames above it."""
        for thread in threads:
            inner: list[_Frame] = []
            for frame in thread.frames:
                if not _OURS.search(frame.filename):
                    inner.append(frame)
                elif call_id := _id_in(frame):
                    yield call_id, self._shown(inner)

    def _stacks_on(
        self, threads: Iterable[_Thread], calls: Iterable[OpenCallAnswer]
    ) -> Iterator[tuple[int, list[Frame]]]:
        """By id of a compiled call, the frames above where it began on its thread."""
        frames = {thread.thread_id: thread.frames for thread in threads if thread.thread_id}
        for call in sorted(calls, key=lambda call: -call.running_s):
            if call.thread and (left := frames.get(call.thread)):
                inner = [frame for frame in left if not _OURS.search(frame.filename)]
                inner = inner[: _outermost(inner, call.tool) + 1]
                frames[call.thread] = inner[:-1] or inner
                yield int(call.id, 16), self._shown(inner)

    def _shown(self, frames: Sequence[_Frame]) -> list[Frame]:
        shown = frames[:_MOST_FRAMES]
        secrets = self._secrets_in(shown) if self._with_locals else []
        return [
            Frame(
                frame.name,
                frame.filename,
                frame.line,
                self._locals(frame, secrets) if self._with_locals else None,
            )
            for frame in shown
        ]

    def _secrets_in(self, frames: Iterable[_Frame]) -> list[str]:
        """What stands under a secret's name: it is no less of a secret under another one."""
        found = {
            (one.repr or "").strip("\"'")
            for frame in frames
            for one in frame.locals or ()
            if self._mask.hides(one.name, one.repr or "")
        }
        return sorted((text for text in found if len(text) > 2), key=len, reverse=True)

    def _locals(self, frame: _Frame, secrets: Sequence[str]) -> list[tuple[str, str]]:
        shown = []
        for one in (frame.locals or [])[:_MOST_LOCALS]:
            text = one.repr or "?"
            if self._mask.hides(one.name, text):
                text = "***"
            for secret in secrets:
                text = text.replace(secret, "***")
            shown.append((one.name, self._mask.text(text, is_cut=True)[:_LONGEST_REPR]))
        return shown


def _outermost(frames: Sequence[_Frame], tool: str) -> int:
    """Where the function that is named as *tool* is has been called first; the last without one."""
    own = tool.rpartition(".")[2]
    named = (at for at in range(len(frames) - 1, -1, -1) if frames[at].name == own)
    return next(named, len(frames) - 1)


def _id_in(frame: _Frame) -> int:
    """The id of the call that a frame of ours makes; 0 in one that makes none."""
    for one in frame.locals or ():
        if one.name == "call_id" and one.repr is not None and one.repr.isdecimal():
            return int(one.repr)
    return 0


def _problem(said: str) -> str:
    """What *said* of a process that could not be read, in one line, and what helps."""
    if _REFUSED.search(said):
        return f"{_forbidden()}: run it as root (sudo), or in a container with SYS_PTRACE"
    if _GONE.search(said):
        return "its process is not seen from here: it has ended, or runs in a container"
    first = next((line for line in said.splitlines() if line.strip()), "no answer")
    return f"py-spy: {first.removeprefix('Error: ').strip()[:200]}"


def _forbidden() -> str:
    try:
        scope = _PTRACE_SCOPE.read_text().strip()
    except OSError:
        scope = "0"
    if scope != "0":
        return f"the system forbids reading another process (kernel.yama.ptrace_scope is {scope})"
    return "the system forbids reading this process (ptrace)"
