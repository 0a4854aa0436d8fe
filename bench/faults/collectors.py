"""
Section 2: collectors killed, stopped and doubled at every point of what they do.

Rounds: workers go on calling in a named session while one collector after the other is started and
killed, some in the middle of taking up what the last one left. The last one ends in peace; then
every call must be on disk once. Other rounds do the same to limits and to cleanups.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Cleanup, Flush, Mode, Stats, Tree
from shmperf.storage.history import read

from .books import Rules, Tally, check, check_books
from .campaign import KEEP_ALL, Campaign, Sample
from .handing import Handing
from .log import ask_to_stop, read_logs
from .nursery import Ended
from .place import Place, wait_until
from .points import points_in
from .runs import RUNS, RUNS_OF_FEW, check_runs, draw_of_run, request

__all__ = ["kill_collectors"]

_NAME = "campaign"
_LIMIT = 5
_LIMITED = (
    f"default_perf_points: {_LIMIT}\n"
    "optimization: {trigger_threshold: 0}\n"
    "storage: {flush_interval_seconds: 0.05}\n"
)
# So little that the outbox begins many files and deletes them, read or not.
_HANDED = f"{KEEP_ALL.rstrip()[:-1]}, outbox_bytes: 1048576}}\n"
_SAMPLED = f"{_HANDED}sampling: {{every: 3}}\n"
# Which calls are slow, and so recorded, is told once a collector has lived for a second.
_CHOOSING = "choosing-told"
_CHOOSING_S = 1.1
_SAMPLING_POINTS = sorted(points_in("collector/counting.py", "collector/leftout.py"))
# Segments are few in a collector's life: its points are drawn here, too.
_SEGMENT_POINTS = sorted(
    points_in("storage/archive.py", "storage/cutting.py", "storage/shortening.py")
)
_CONFIGS = {
    "_limit": _LIMITED,
    "_keep_all": _HANDED,
    "_sampled": _SAMPLED,
    "_runs": RUNS,
    "_runs_of_few": RUNS_OF_FEW,
}
_WORKERS = 2
_KILLS = 12
_SLOTS = 20_000
_LONGEST_LIFE_S = 0.25
_ENDING_S = 20.0


def kill_collectors(campaign: Campaign, seconds: float) -> Tally:
    """Rounds of kills until the time is up."""
    tally = campaign.begin(seconds, "collector kills")
    rounds = [_keep_all, _runs, _sampled, _limit, _clean_up, _runs_of_few, _stop]
    number = 0
    while not campaign.is_over:
        _take_sample(campaign, tally)
        _Round(campaign, tally, number, _KILLS).run(rounds[number % len(rounds)])
        number += 1
    return tally


_samples: list[Sample] = []


def _take_sample(campaign: Campaign, tally: Tally) -> None:
    """Find out which points a collector reaches in a life with everything in it."""
    if _samples:
        return
    with campaign.place(tally, _LIMITED) as place:
        round_ = _Round(campaign, tally, 0, 0)
        round_.place = place
        Handing(place, campaign.nursery, tally, campaign.rng)
        counts: Counter[str] = Counter()
        for _ in range(2):
            # The second one takes up what the first one left when it was killed.
            census = place.path / "census"
            with round_.working():
                pid = round_.start(census=str(census))
                # On a slow machine it takes its time until it can be told to stop.
                round_.answers(pid)
                round_.stir(pid, 0.8)
                os.kill(pid, signal.SIGTERM)
                campaign.nursery.wait_for(pid, _ENDING_S)
                counts |= Counter(json.loads(census.read_text()))
                pid = round_.start()
                round_.stir(pid, 0.1)
                os.kill(pid, signal.SIGKILL)
                campaign.nursery.wait_for(pid, _ENDING_S)
        round_.end_in_peace()
    _samples.append(Sample(counts))


class _Round:
    """One storage, a few workers and many collectors."""

    place: Place

    def __init__(self, campaign: Campaign, tally: Tally, number: int, kills: int) -> None:
        self.campaign = campaign
        self.nursery = campaign.nursery
        self.rng = campaign.rng
        self.tally = tally
        self.what = f"round {number}"
        self.kills = kills
        # Somebody asks for runs of the optimization cycle.
        self.wants_runs = False
        self._workers: dict[int, str] = {}

    def run(self, kind: Any) -> None:
        """The round, in a place of its own."""
        self.what += f" ({kind.__name__.strip('_').replace('_', ' ')})"
        config = _CONFIGS.get(kind.__name__, KEEP_ALL)
        with self.campaign.place(self.tally, config) as place:
            self.place = place
            kind(self)

    @property
    def directory(self) -> Path:
        """The session's."""
        return self.place.runtime / "shmperf" / f"n-{_NAME}"

    def child(self, run: str, **more: Any) -> dict[str, Any]:
        """The spec of a child in the named session."""
        return self.place.child(run, environ={"SHMPERF_SESSION": _NAME}, **more)

    # --- workers -----------------------------------------------------------------------------

    @contextmanager
    def working(self) -> Iterator[None]:
        """Workers call meanwhile; some of them are killed instead of asked to stop."""
        for _ in range(_WORKERS):
            kinds = ["plain", "plain", "steps", "many", "wide"]
            log = self.place.new_log()
            spec = self.child("work", kinds=kinds, log=log, seed=self.rng.getrandbits(30))
            self._workers[self.nursery.start(**spec, slots=_SLOTS, pause_s=0.002)] = log
        try:
            yield
        finally:
            self.stop_workers()

    def stop_workers(self) -> None:
        """End them, one way or the other."""
        for pid, log in self._workers.items():
            if self.rng.random() < 0.5:
                # One that has ended by itself is reaped below.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.tally.worker_kills += 1
            elif wait_until(Path(log).exists):
                ask_to_stop(Path(log))
        while self._workers:
            ended = self.nursery.wait(_ENDING_S)
            if ended is None:
                self.tally.blame(f"{self.what}: a worker hung")
                break
            self.note(ended)

    def note(self, ended: Ended) -> None:
        """Somebody has ended; a worker that was not killed ends well."""
        if self._workers.pop(ended.pid, None) is not None and ended.has_failed:
            self.tally.blame(f"{self.what}: a worker ended with {ended.status}")

    def kill_worker(self) -> None:
        """Kill one of those that call now, once it has called a while longer."""
        if not self._workers:
            return
        pid = self.rng.choice(sorted(self._workers))
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        self.tally.worker_kills += 1
        # The nursery tells of its end to whoever waits next.
        self._workers.pop(pid)

    # --- collectors --------------------------------------------------------------------------

    def start(self, **more: Any) -> int:
        """A collector of the session; its pid."""
        return self.nursery.start(**self.child("collect", **more))

    def stir(self, pid: int, seconds: float) -> Ended | None:
        """Let it live for *seconds* and ask it things; how it ended, if it did."""
        end = time.monotonic() + seconds
        stirrer = threading.Thread(target=self._ask, args=(end,))
        stirrer.start()
        ended = None
        while ended is None and (left_s := end - time.monotonic()) > 0:
            found = self.nursery.wait(left_s)
            if found is None:
                break
            if found.pid == pid:
                ended = found
            else:
                self.note(found)
        stirrer.join()
        return ended

    def _ask(self, end: float) -> None:
        client = Client(self.directory)
        questions: list[Any] = [Flush(), Stats(None), Tree(), Flush(), Mode(optimization=None)]
        if self.wants_runs:
            questions = [request(), Stats(None)]
        while (left_s := end - time.monotonic()) > 0.01:
            try:
                client.ask(questions[int(left_s * 1000) % len(questions)], left_s)
            except ShmperfError:
                pass
            time.sleep(0.01)

    def kill_one(self, trap: list[Any] | None = None) -> None:
        """Start a collector and kill it: at its trap, or at any moment."""
        rng = self.rng
        if trap is None and rng.random() < 0.8:
            trap = _samples[0].draw(rng, "kill")
        pid = self.start(trap=trap)
        longest_s = _CHOOSING_S if trap is not None and trap[0] == _CHOOSING else 0.0
        ended = self.stir(pid, longest_s + rng.random() * _LONGEST_LIFE_S)
        if ended is None and trap is not None:
            # What it does at the end belongs to it, too.
            os.kill(pid, signal.SIGTERM)
            ended = self.nursery.wait_for(pid, _ENDING_S)
            if ended is None:
                self.tally.blame(f"{self.what}: a collector hung: {trap}")
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            ended = self.nursery.wait_for(pid, _ENDING_S)
        if ended is None or ended.has_failed:
            self.tally.blame(f"{self.what}: a collector ended with {ended}: {trap}")
        elif ended.was_killed:
            self.tally.tried += 1
            self.tally.collector_kills += 1
            if trap is not None:
                self.tally.points[trap[0]] += 1

    def end_in_peace(self) -> None:
        """A last collector, which finishes everything."""
        pid = self.start()
        if not self.answers(pid):
            self.tally.blame(f"{self.what}: the last collector does not answer")
        gone = wait_until(lambda: not self.place.presences(), _ENDING_S)
        if not gone:
            self.tally.blame(f"{self.what}: the dead were not buried")
        os.kill(pid, signal.SIGTERM)
        ended = self.nursery.wait_for(pid, _ENDING_S)
        if ended is None or ended.status:
            self.tally.blame(f"{self.what}: the last collector ended with {ended}")

    def answers(self, pid: int) -> bool:
        """Whether the collector answers, once it has come up."""
        return wait_until(lambda: self._has_answered(pid), _ENDING_S)

    def _has_answered(self, pid: int) -> bool:
        try:
            stats = Client(self.directory).ask(Stats(None), 1.0)
        except ShmperfError:
            return pid not in self.nursery.alive
        return bool(stats["complete"])


# --- rounds ---------------------------------------------------------------------------------------


def _keep_all(round_: _Round) -> None:
    """Tools that keep everything: every id once, in the history and with who it is handed to."""
    _kill_and_hand(round_, _segment_trap, Rules())


def _sampled(round_: _Round) -> None:
    """The same, most calls without a record: each is counted once, and those with one are kept."""
    # A first one that lives long enough: what it is about to tell, the next one has to.
    _kill_and_hand(round_, _sampling_trap, Rules(is_sampled=True), [_CHOOSING, 1, "kill"])


def _kill_and_hand(
    round_: _Round,
    draw: Callable[[random.Random], list[Any] | None],
    rules: Rules,
    first: list[Any] | None = None,
) -> None:
    handing = Handing(round_.place, round_.nursery, round_.tally, round_.rng)
    with round_.working():
        if first is not None:
            round_.kill_one(first)
        for _ in range(round_.kills):
            handing.strike()
            round_.kill_one(handing.draw() or draw(round_.rng))
    for _ in range(3):
        # The dead are buried, too, by collectors that are killed.
        round_.kill_one()
    round_.end_in_peace()
    check(round_.tally, round_.place, round_.what, rules)
    handing.check(round_.what)


def _segment_trap(rng: random.Random) -> list[Any] | None:
    """A point of a segment's way; as often as not, none."""
    if rng.random() < 0.5:
        return None
    return [rng.choice(_SEGMENT_POINTS), rng.randint(1, 3), "kill"]


def _sampling_trap(rng: random.Random) -> list[Any] | None:
    """Where calls without a record are counted, or any other place."""
    if rng.random() < 0.5:
        return _segment_trap(rng)
    return [rng.choice(_SAMPLING_POINTS), rng.randint(1, 3), "kill"]


def _limit(round_: _Round) -> None:
    """Tools with a limit: counts exact, files within bounds and, at the end, exactly the newest."""
    with round_.working():
        for _ in range(round_.kills):
            round_.kill_one()
            for tool, count in _line_counts(round_.place).items():
                if count > 2 * _LIMIT:
                    round_.tally.blame(f"{round_.what}: {count} lines of {tool}")
    round_.end_in_peace()
    tally, place = round_.tally, round_.place
    known = read_logs(list(place.logs.iterdir()))
    stats = place.stats()
    check_books(tally, stats, round_.what)
    lost = sum(stats["lost"].values())
    ended = stats["total_calls"] + stats["aborted"] + lost
    if not known.begun <= ended <= known.begun + known.perhaps.total():
        tally.blame(f"{round_.what}: {ended} calls, expected {known.begun}")
    times = Counter(line["data"]["id"] for line in read(place.storage))
    if doubled := times.total() - len(times):
        tally.doubled += doubled
        tally.blame(f"{round_.what}: {doubled} lines are there twice")
    for tool, count in _line_counts(place).items():
        tool_stats = stats["tool_stats"][tool]
        expected = min(_LIMIT, tool_stats["count"] + tool_stats["aborted"])
        if count != expected:
            tally.blame(f"{round_.what}: {count} lines of {tool} at the end, expected {expected}")


def _runs(round_: _Round) -> None:
    """Runs among tools that keep everything: every id once, and one report for each run."""
    _kill_in_runs(round_)
    check(round_.tally, round_.place, round_.what)


def _runs_of_few(round_: _Round) -> None:
    """Runs that clean up: counts exact, files within bounds, no line twice."""
    _kill_in_runs(round_)
    tally, place = round_.tally, round_.place
    check_books(tally, place.stats(), round_.what)
    times = Counter(line["data"]["id"] for line in read(place.storage))
    if doubled := times.total() - len(times):
        tally.doubled += doubled
        tally.blame(f"{round_.what}: {doubled} lines are there twice")
    for tool, count in _line_counts(place).items():
        if count > _LIMIT:
            tally.blame(f"{round_.what}: {count} lines of {tool}, whose limit is {_LIMIT}")


def _kill_in_runs(round_: _Round) -> None:
    round_.wants_runs = True
    with round_.working():
        for _ in range(round_.kills):
            round_.kill_one(draw_of_run(round_.rng))
        # One that nobody kills, for a run that comes to its end.
        pid = round_.start()
        round_.stir(pid, 1.0)
        os.kill(pid, signal.SIGTERM)
        round_.nursery.wait_for(pid, _ENDING_S)
    round_.end_in_peace()
    check_runs(round_.tally, round_.place, round_.what)


def _clean_up(round_: _Round) -> None:
    """Cleanups that are killed: everything before is forgotten or nothing, nothing after is."""
    tally, place = round_.tally, round_.place
    with round_.working():
        round_.kill_one()
    round_.end_in_peace()
    before = read_logs(list(place.logs.iterdir()))
    answered = False
    for _ in range(round_.kills):
        trap = None
        names = [name for name in _CLEANUP_POINTS if name in _samples[0].counts]
        if names and round_.rng.random() < 0.7:
            trap = [round_.rng.choice(names), 1, "kill"]
        pid = round_.start(trap=trap)
        try:
            answered |= bool(Client(round_.directory).ask(Cleanup(force=True), 2.0))
        except ShmperfError:
            pass
        if pid in round_.nursery.alive:
            os.kill(pid, signal.SIGKILL)
        ended = round_.nursery.wait_for(pid, _ENDING_S)
        if ended is not None and ended.was_killed:
            tally.tried += 1
            tally.collector_kills += 1
            if trap is not None:
                tally.points[trap[0]] += 1
    done = {path.name for path in place.logs.iterdir()}
    with round_.working():
        round_.kill_one()
    round_.end_in_peace()
    after = read_logs([path for path in place.logs.iterdir() if path.name not in done])
    ids = Counter(call_id for call_id, *_ in place.lines())
    left = (before.finished | before.opened) & ids.keys()
    if left and answered:
        tally.blame(f"{round_.what}: {len(left)} calls are still there after a cleanup")
    if left and len(left) != len(before.finished | before.opened):
        tally.blame(f"{round_.what}: a cleanup forgot {len(left)} calls and not the others")
    if missing := sum(not ids[call_id] for call_id in after.finished):
        lost = sum(place.stats()["lost"].values())
        if missing > lost:
            tally.lost += missing - lost
            tally.blame(f"{round_.what}: {missing} calls after the cleanup are missing")
    if doubled := ids.total() - len(ids):
        tally.doubled += doubled
        tally.blame(f"{round_.what}: {doubled} lines are there twice")
    check_books(tally, place.stats(), round_.what)


def _stop(round_: _Round) -> None:
    """Collectors stopped for a while at any point, and others that want their place meanwhile."""
    with round_.working():
        for _ in range(max(2, round_.kills // 4)):
            dies = round_.rng.random() < 0.5
            trap = ["bury-look", 1, "stop"] if dies else _samples[0].draw(round_.rng, "stop")
            pid = round_.start(trap=trap)
            ended = round_.stir(pid, 1.0 if dies else 0.2)
            if ended is not None and ended.is_stopped:
                _double(round_)
                if dies:
                    # It has looked at all rings, and not yet at who is dead.
                    round_.kill_worker()
                time.sleep(round_.rng.choice([0.05, 0.3, 1.5]))
                os.kill(pid, signal.SIGCONT)
                round_.tally.tried += 1
                round_.tally.points[trap[0]] += 1
            os.kill(pid, signal.SIGTERM)
            ended = round_.nursery.wait(_ENDING_S)
            while ended is not None and (ended.pid != pid or ended.is_stopped):
                if ended.pid == pid:
                    os.kill(pid, signal.SIGCONT)
                else:
                    round_.note(ended)
                ended = round_.nursery.wait(_ENDING_S)
            if ended is None or ended.has_failed:
                round_.tally.blame(f"{round_.what}: a stopped collector ended with {ended}: {trap}")
    round_.end_in_peace()
    check(round_.tally, round_.place, round_.what)


def _double(round_: _Round) -> None:
    """A second collector while the first one is stopped: refused while that holds the lock."""
    second = round_.nursery.start(**round_.child("refused"))
    ended = round_.nursery.wait_for(second, _ENDING_S)
    if ended is None or ended.has_failed:
        round_.tally.blame(f"{round_.what}: two collectors at once: {ended}")


class _Name(msgspec.Struct):
    tool: str


def _line_counts(place: Place) -> Counter[str]:
    decode = msgspec.json.Decoder(_Name).decode
    counts: Counter[str] = Counter()
    for path in place.storage.glob("*_perf.jsonl"):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            continue
        # The last line may be half written: nobody has answered for it yet.
        counts.update(decode(line).tool for line in text[: text.rfind(b"\n") + 1].splitlines())
    return counts


_CLEANUP_POINTS = (
    "cleanup-settled",
    "cleanup-frame",
    "cleanup-erase",
    "cleanup-erased",
    "erase-file",
    "erase-erased",
    "restart-erase",
    "commit-append",
    "journal-append",
    "journal-appended",
    "commit-release",
)
