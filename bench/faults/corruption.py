"""
Section 4: damage at random and with a plan; the collector never crashes, hangs or grows.

The parsers are fuzzed alone; then files and memory are damaged under real collectors, which must
go on with all that is sound, answer, and end with exit code 0.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
from pathlib import Path

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Flush, Ping, Stats
from shmperf.shm.memory import SHARED_MEMORY

from .books import Tally
from .campaign import Campaign
from .fuzz import TARGETS
from .log import ask_to_stop, read_logs
from .nursery import Nursery
from .place import Line, Place, wait_until

__all__ = ["corrupt"]

_NAME = "campaign"
_ENDING_S = 30.0
_DAMAGES = 40


def corrupt(campaign: Campaign, seconds: float) -> Tally:
    """Fuzz every parser, damage everything that lies about, and again until the time is up."""
    tally = campaign.begin(seconds, "corruption")
    first = True
    each_s = max(0.5, seconds / 2 / len(TARGETS))
    while first or not campaign.is_over:
        for name in TARGETS:
            if first or not campaign.is_over:
                _fuzz(campaign, tally, name, min(each_s, 60.0))
        with campaign.place(tally) as place:
            _Damage(campaign, tally, place).living()
        with campaign.place(tally) as place:
            _Damage(campaign, tally, place).resting()
        first = False
    return tally


def _fuzz(campaign: Campaign, tally: Tally, name: str, seconds: float) -> None:
    with campaign.place(tally) as place:
        result = place.path / "result"
        more = {"target": name, "seconds": seconds, "result": str(result)}
        spec = place.child("fuzz", seed=campaign.rng.getrandbits(30), **more)
        ended = campaign.nursery.run(seconds + _ENDING_S, **spec)
        if ended.status or not result.exists():
            tally.blame(f"fuzzing {name}: ended with {ended.status}")
            return
        tried, _ = json.loads(result.read_text())
        tally.tried += tried


class _Damage:
    """A named session, one worker whose things are damaged, and one that must not suffer."""

    def __init__(self, campaign: Campaign, tally: Tally, place: Place) -> None:
        place.environ["SHMPERF_SESSION"] = _NAME
        self.nursery: Nursery = campaign.nursery
        self.rng: random.Random = campaign.rng
        self.tally = tally
        self.place = place
        self.session = place.runtime / "shmperf" / f"n-{_NAME}"

    def living(self) -> None:
        """Memory, presence and messages are damaged while the collector looks at them."""
        collector = self._collector()
        victim = self._worker()
        before = set(self.session.glob("w-*"))
        sound = self._worker()
        (presence,) = before
        memory = SHARED_MEMORY / presence.name[2:]
        # Stopped: what it does with its own damaged memory is nobody's promise.
        os.kill(victim[0], signal.SIGSTOP)
        for number in range(_DAMAGES):
            self._damage(memory)
            self._send_nonsense()
            if number % 10 == 9:
                self._ask()
            self.tally.tried += 2
        presence.write_bytes(self.rng.randbytes(self.rng.randrange(200)))
        self.tally.tried += 1
        os.kill(victim[0], signal.SIGKILL)
        ask_to_stop(sound[1])
        self._wait_for(sound[0])
        wait_until(lambda: not list(self.session.glob("w-*")), _ENDING_S)
        self._ask()
        self._end(collector)
        known = read_logs([sound[1]])
        there = [call_id for call_id, *_ in self._lines()]
        missing = known.finished - set(there)
        if missing:
            self.tally.lost += len(missing)
            self.tally.blame(f"{len(missing)} calls of a sound worker are missing")
        doubled = sum(there.count(call_id) > 1 for call_id in list(known.finished)[:200])
        if doubled:
            self.tally.doubled += doubled
            self.tally.blame(f"{doubled} calls of a sound worker are there twice")

    def resting(self) -> None:
        """Journal, snapshot and history are damaged between one collector and the next."""
        for _ in range(4):
            collector = self._collector()
            worker = self._worker()
            self._ask()
            if self.rng.random() < 0.5:
                os.kill(collector, signal.SIGKILL)
                self._wait_for(collector, killed=True)
            ask_to_stop(worker[1])
            self._wait_for(worker[0])
            if collector in self.nursery.alive:
                self._end(collector)
            for _ in range(3):
                files = [
                    *self.place.storage.glob(".shmperf/[sj]*"),
                    *self.place.storage.glob("*_*"),
                ]
                self._damage(self.rng.choice([path for path in files if path.is_file()]), cut=True)
                self.tally.tried += 1
        self._end(self._collector())
        # What was damaged is set aside, with the time in its name, for people to look at.
        for path in self.place.storage.glob(".shmperf/*damaged*"):
            path.unlink()

    def _collector(self) -> int:
        pid = self.nursery.start(**self.place.child("collect"))
        try:
            Client(self.session).ask(Ping(), _ENDING_S)
        except ShmperfError as error:
            self.tally.blame(f"a collector did not come up: {error}")
        return pid

    def _worker(self) -> tuple[int, Path]:
        there = len(list(self.session.glob("w-*")))
        log = Path(self.place.new_log())
        more = {"kinds": ["plain", "many"], "log": str(log), "slots": 4000, "pause_s": 0.002}
        pid = self.nursery.start(**self.place.child("work", waits=True, **more))
        wait_until(lambda: len(list(self.session.glob("w-*"))) > there, _ENDING_S)
        return pid, log

    def _ask(self) -> None:
        for question in (Stats(None), Flush()):
            try:
                Client(self.session).ask(question, 10.0)
            except ShmperfError as error:
                self.tally.blame(f"no answer: {error}")

    def _send_nonsense(self) -> None:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(self.session / "control.sock"))
            client.send(self.rng.randbytes(self.rng.randrange(1, 5000)))
        except OSError:
            return
        finally:
            client.close()

    def _damage(self, path: Path, *, cut: bool = False) -> None:
        """A few bytes of a file become others; of one at rest, its end may go, too."""
        rng = self.rng
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if cut and rng.random() < 0.3:
                file.truncate(rng.randrange(size + 1))
                return
            where = [0, 4096, (2 << 20) + 4096, (6 << 20) + 4096, rng.randrange(size + 1)]
            file.seek(min(size, rng.choice(where) + rng.randrange(4096)))
            file.write(rng.randbytes(rng.choice([1, 8, 64, 4000])))

    def _end(self, collector: int) -> None:
        os.kill(collector, signal.SIGTERM)
        self._wait_for(collector)

    def _wait_for(self, pid: int, *, killed: bool = False) -> None:
        ended = self.nursery.wait_for(pid, _ENDING_S)
        if ended is None or (ended.status and not killed):
            self.tally.blame(f"a child ended with {ended}")

    def _lines(self) -> list[Line]:
        return list(self.place.lines())
