"""Fleet collectors, each on its host: they share the work, are killed, cut off and brought back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from .network import Host

__all__ = ["Collectors"]

_END_S = 60.0
_WORDS = 8


class Collectors:
    """Those that write into one directory."""

    def __init__(
        self, hosts: list[Host], directories: tuple[Path, Path], url: str, stream: str
    ) -> None:
        """*directories* are where they write to, and where their logs are."""
        into, self._directory = directories
        self.into = into / "collected"
        self._flags = ["--url", url, "--stream", stream]
        self._hosts = {host.name: host for host in hosts}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def names(self) -> list[str]:
        """All, running or not."""
        return list(self._hosts)

    def start(self, name: str) -> None:
        """Start one, unless it runs."""
        if name in self._running:
            return
        command = [sys.executable, "-m", "shmperf", "fleet", "collect", *self._flags]
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = self._hosts[name].start(
                [*command, "--into", str(self.into)], stdout=log, stderr=log, env=self._environ()
            )

    def kill(self, name: str) -> None:
        """Without a word."""
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(_END_S)

    def stop(self, name: str, *, goes_on: bool = False) -> None:
        """Let it stand still, or go on: it does not know that time has passed."""
        process = self._running.get(name)
        if process is not None:
            process.send_signal(signal.SIGCONT if goes_on else signal.SIGSTOP)

    def died(self) -> list[str]:
        """Those that have ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def last_words(self, name: str) -> str:
        """The end of what one has said."""
        text = (self._directory / f"{name}.log").read_text(errors="replace")
        return " | ".join(text.splitlines()[-_WORDS:])

    def check(self) -> Any:
        """What ``fleet check`` says, as JSON."""
        return self._ask("check", *self._flags)

    def rows(self, query: str) -> Any:
        """What ``fleet sql`` answers from the files, as JSON."""
        return self._ask("sql", query)

    def _ask(self, verb: str, *arguments: str) -> Any:
        whole = ["fleet", verb, "--from", str(self.into), *arguments]
        command = [sys.executable, "-m", "shmperf", *whole]
        host = next(iter(self._hosts.values()))
        done = subprocess.run(
            host.command([*command, "--json"]),
            capture_output=True,
            check=False,
            timeout=120,
            env=self._environ(),
        )
        if not done.stdout:
            raise RuntimeError(f"fleet {verb}: {done.stderr.decode()[-300:]}")
        return json.loads(done.stdout)

    def close(self) -> None:
        """End all, in order."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_END_S)
        self._running.clear()

    def _environ(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("SHMPERF")}
