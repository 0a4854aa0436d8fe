"""
A process that forks the campaign's children: everything is imported, so each costs milliseconds.

`main` runs in it and does what it reads, a line of JSON at a time; `Nursery` is the other end. A
child reports nothing: it is killed, or ends, and what it did stands in its log.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .children import RUNS
from .points import count_points, stop_at

__all__ = ["Ended", "Nursery"]

_FAILED = 70


class Ended(NamedTuple):
    """A child that has ended, or been stopped."""

    pid: int
    status: int

    @property
    def is_stopped(self) -> bool:
        """True when it waits for SIGCONT."""
        return os.WIFSTOPPED(self.status)

    @property
    def was_killed(self) -> bool:
        """True when kill -9 ended it."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    @property
    def has_failed(self) -> bool:
        """True when it raised what it should not have raised, or crashed."""
        if os.WIFSIGNALED(self.status):
            return os.WTERMSIG(self.status) not in (signal.SIGKILL, signal.SIGTERM)
        return not self.is_stopped and os.waitstatus_to_exitcode(self.status) != 0


class Nursery:
    """The process that forks; the campaign's side of it."""

    def __init__(self, root: Path) -> None:
        """*root* is where its children find shmperf."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            text=True,
            bufsize=1,
        )
        self.alive: set[int] = set()
        # Who ended while another one was waited for.
        self._aside: deque[Ended] = deque()
        # Answers once everything is imported.
        self.wait(0.0)

    def start(self, **spec: Any) -> int:
        """Fork a child for *spec*; its pid, which stays its own until `wait` has reported it."""
        pid = int(self._ask({"start": spec}))
        self.alive.add(pid)
        return pid

    def wait(self, timeout_s: float) -> Ended | None:
        """The next child that ends or is stopped; None after the timeout, and when none is left."""
        return self._aside.popleft() if self._aside else self._wait(timeout_s)

    def _wait(self, timeout_s: float) -> Ended | None:
        found = self._ask({"wait": max(0.0, timeout_s)})
        if found is None:
            return None
        ended = Ended(*found)
        if not ended.is_stopped:
            self.alive.discard(ended.pid)
        return ended

    def wait_for(self, pid: int, timeout_s: float) -> Ended | None:
        """The end of that child; None after the timeout. `wait` tells others' ends afterwards."""
        for ended in self._aside:
            if ended.pid == pid:
                self._aside.remove(ended)
                return ended
        while (found := self._wait(timeout_s)) is not None:
            if found.pid == pid and not found.is_stopped:
                return found
            if not found.is_stopped:
                self._aside.append(found)
        return None

    def run(self, timeout_s: float = 60.0, **spec: Any) -> Ended:
        """Start a child and wait for its end; it is killed when that takes too long."""
        pid = self.start(**spec)
        ended = self.wait_for(pid, timeout_s)
        if ended is not None:
            return ended
        os.kill(pid, signal.SIGKILL)
        self.wait_for(pid, timeout_s)
        # Not by itself, so that it counts as failed.
        return Ended(pid, int(signal.SIGXCPU))

    def kill_all(self) -> None:
        """Kill what is still alive."""
        for pid in list(self.alive):
            os.kill(pid, signal.SIGKILL)
        while self.alive and self._wait(10.0) is not None:
            pass
        self._aside.clear()

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))  # noqa: PTH208

    def close(self) -> None:
        """End it and whatever it has started."""
        self.kill_all()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10.0)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, message: dict[str, Any]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError("the nursery has died")
        return json.loads(answer)


def main() -> None:
    """Do what standard input says, a line at a time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    gc.freeze()
    for line in sys.stdin:
        message = json.loads(line)
        answer = _start(message["start"]) if "start" in message else _wait(message["wait"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _wait(timeout_s: float) -> list[int] | None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return None
        if pid:
            return [pid, status]
        if signal.sigtimedwait([signal.SIGCHLD], timeout_s) is None:
            return None


def _start(spec: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _be(spec)
    return pid


def _be(spec: dict[str, Any]) -> NoReturn:
    """In the child: become what *spec* says, and end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    code = 0
    try:
        os.chdir(spec["cwd"])
        os.environ.update(spec["environ"])
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, at in ((null, 0), (null, 1), (out, 2)):
            os.dup2(fd, at)
        os.close(null)
        os.close(out)
        faulthandler.enable()
        counts = count_points() if spec.get("census") else None
        if spec.get("trap"):
            stop_at(*spec["trap"])
        try:
            RUNS[spec["run"]](spec)
        finally:
            if counts is not None:
                Path(spec["census"]).write_text(json.dumps(counts()))
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:  # noqa: BLE001  whatever it is, it is told
        traceback.print_exc()
        code = _FAILED
    os._exit(code)


if __name__ == "__main__":
    main()
