"""
The process that publishes what a node records; the collector starts it where `fleet.url` says one.

    outbox ──► the next lines ──► numbers ──► batches, several under way ──► kept: the cursor moves
                                                 │ nobody answers: the same ones, after a pause
                                                 └ refused: told, and tried again seldom
    turns  ──► presence, and what else a node tells of itself: each when it is due

At least once, under numbers that never change their meaning (`numbers`): who stores takes each line
once, however often it comes. A broker that is away costs disk up to ``storage.outbox_bytes``; what
goes beyond that is counted as dropped, here and in the next batch. The collector is asked nothing,
and does not wait. When the session ends, what waits is sent as long as that goes well and is quick;
the rest stays in the outbox for the next session that publishes.

    killed after …                 the next one
    numbers written, not sent      publishes them
    numbers told, not sent         publishes them
    sent, not kept                 publishes them again: the same ids, where they are cut the same
    kept, the cursor not moved     publishes them again, and hears that they are there
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from shmperf.config.options import Fleet, Options
from shmperf.errors import ShmperfError, StoreError, tell
from shmperf.exporters.posting import Pause
from shmperf.exporters.sidecar import live, say_why_not
from shmperf.files import path_of
from shmperf.session.client import Client
from shmperf.session.messages import SidecarReport
from shmperf.session.sidecar import client_of, handed_settings, until_input_ends
from shmperf.storage.consumer import Consumer, Lines, consumers
from shmperf.storage.origin import origin_of

from .cutting import MOST_COVERED, Cut, cuts, shown_line
from .engine import Away, Engine, EngineError, Kept, Message, Publisher, Refused
from .facts import Facts
from .numbers import Numbers, Run
from .presence import Presence
from .reach import engine_of, node_of
from .stating import Stating
from .teller import teller_of
from .wire import MOST_LINES, encode, message_id, subject_of
from .witness import Witness

__all__ = ["CONSUMER", "Node", "Records", "Sender", "Turn", "main", "turns_of"]

CONSUMER = "fleet"
_FINISH_S = 10.0
_IN_FLIGHT = 4
_KEEP_S = 10.0
# Wrong credentials get no better by asking every second.
_REFUSED_S = 30.0
_HEADER_BYTES = 1_024
# Whoever takes longer than `_FINISH_S` in all is ended.
_LAST_TRIES, _LAST_PAUSE_S = 8, 0.5


class Node(NamedTuple):
    """What a turn has to do with: this node, its storage, and where it tells of itself."""

    name: str
    storage: Path
    options: Options
    engine: Engine
    client: Client


class Turn(Protocol):
    """Something else that a node tells of itself, now and then, over the same connection."""

    def step(self, report: SidecarReport) -> None:
        """Tell it, if it is due, with how publishing goes; raises ShmperfError, and comes again."""

    def finish(self, report: SidecarReport) -> None:
        """Tell the last of it: the collector has gone. Raises ShmperfError."""

    @property
    def problem(self) -> str | None:
        """What keeps it from that, for ``status``."""


class Records:
    """Publishes the lines of one storage, in their order; how that goes is in ``report``."""

    def __init__(
        self,
        storage: Path,
        fleet: Fleet,
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked of *engine* yet."""
        self.report = SidecarReport()
        # Spread: all nodes of a fleet miss their broker in the same moment.
        self.pause = Pause(clock, random.random)
        self._storage = storage
        self._fleet = fleet
        self._node = node_of(fleet)
        self._publisher: Publisher = engine
        self._consumer = Consumer(storage, CONSUMER)
        self._witness = Witness(engine)
        self._numbers = Numbers(storage, self._witness)
        # Where they go, and how much fits; empty before the stream is known.
        self._subject = ""
        self._most_bytes = 0
        # The storage's own, whichever run its numbers are of.
        self._origin = b""
        # Lines that no message can hold, and the number up to which they are counted.
        self._too_large = 0
        self._told_to = 0

    def step(self, *, is_last: bool = False) -> bool:
        """
        Publish the next lines, if there are some and it is time; True when others may follow.

        The last time it is time, whatever was said before.
        """
        if is_last:
            self.pause.end()
        if not self.pause.is_over:
            return False
        try:
            if not self._consumer.is_registered:
                self._consumer.register()
            self._look_up()
            return self._publish_next()
        except (Away, Refused) as error:
            self._subject = ""
            self._note(error)
            return False
        except StoreError as error:
            self._note(error)
            return False

    def look(self) -> SidecarReport:
        """How it is: what waits, too."""
        with suppress(StoreError):
            progress = consumers(self._storage).get(CONSUMER)
            if progress is not None:
                self.report.waiting = progress.lag
                self.report.dropped = self._too_large + progress.dropped
        return self.report

    def close(self) -> None:
        """Let another process read."""
        self._consumer.close()

    def look_up_anew(self) -> None:
        """The next step asks for the stream and its buckets, and makes what is not there."""
        self._subject = ""

    def _look_up(self) -> None:
        if self._subject:
            return
        stream = self._publisher.open()
        self._witness.doubt()
        self._most_bytes = self._publisher.most_bytes - _HEADER_BYTES
        self._subject = subject_of(self._fleet.stream, self._node, stream.partitions)
        # Before there is anything to say, too: a broker that is there again is no problem.
        self.report.problem = None

    def _publish_next(self) -> bool:
        fleet = self._fleet
        most = _IN_FLIGHT * MOST_LINES if fleet.records else MOST_COVERED
        lines = self._consumer.read(most)
        if lines is None or not lines.lines:
            # Numbers that only were passed over are told with the next line: no batch is empty,
            # and one that was acknowledged now would be missing to whoever stores.
            return False
        shown = [
            shown_line(line, records=fleet.records, arguments=fleet.arguments)
            for line in lines.lines
        ]
        ready = list(cuts(lines.number, shown, lines.dropped))[:_IN_FLIGHT]
        after = ready[-1].first + len(ready[-1].lines)
        run = self._numbers.reach(lines.number, after, lines.dropped)
        self._origin = origin_of(self._storage)
        done, error = self._send(run, ready)
        # point below: fleet-kept
        self._acknowledge(lines, done)
        if error is not None:
            raise error
        self.pause.end()
        self.report.problem = None
        return True

    def _send(self, run: Run, ready: Sequence[Cut]) -> tuple[int, ShmperfError | None]:
        """How many numbers from the first one on are kept; what came then."""
        under_way = [(cut, self._begin(run, cut)) for cut in ready]
        done = 0  # point: fleet-sent
        for cut, futures in under_way:
            try:
                for future in futures:
                    future.result(2 * _KEEP_S)
            except (TimeoutError, CancelledError):
                return done, Away("the broker: no answer in time")
            except (Away, Refused) as error:
                return done, error
            done += len(cut.lines)
            self.report.sent += cut.kept
            if cut.kept:
                self.report.last_sent_s = time.time()
        return done, None

    def _begin(self, run: Run, cut: Cut) -> list[Future[Kept]]:
        """Send one on its way, in parts where all of it is more than the broker takes."""
        first = cut.first - run.base
        body = encode(self._node, run.origin, first, cut.lines, cut.dropped, self._origin)
        if len(body) > self._most_bytes:
            if len(cut.lines) > 1:
                return [one for half in cut.halves() for one in self._begin(run, half)]
            if cut.first >= self._told_to:
                self._too_large += 1
                self._told_to = cut.first + 1
            size = f"{len(body):,} bytes, and the broker takes {self._most_bytes:,}"
            self.report.last_error = f"a line was left out: it has {size}"
            return self._begin(run, cut._replace(lines=[b""]))
        identity = message_id(run.origin, first, len(cut.lines))
        message = Message(self._subject, identity, body, {"Shmperf-Node": _ascii(self._node)})
        return [self._publisher.publish(message, _KEEP_S)]

    def _acknowledge(self, lines: Lines, done: int) -> None:
        if done < len(lines.lines):
            # Only what was read last is acknowledged.
            part = self._consumer.read(done) if done else None
            # The outbox may have let some of them go meanwhile: then they come again.
            if part is not None and (part.number, len(part.lines)) == (lines.number, done):
                self._consumer.acknowledge(part)
            return
        self._consumer.acknowledge(lines)

    def _note(self, error: ShmperfError) -> None:
        self.report.problem = str(error)
        self.pause.begin(_REFUSED_S if isinstance(error, Refused) else None)


class Sender:
    """Records and turns, as one sidecar."""

    def __init__(
        self,
        node: Node,
        turns: Sequence[Turn],
        is_over: Callable[[], bool] = lambda: False,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """Once *is_over* only last turns are begun: the rest of the time is for records."""
        self._node = node
        self._is_over = is_over
        self._wait = wait
        self._turns = turns
        self._records = Records(node.storage, node.options.fleet, node.engine)
        self._turn_error: str | None = None

    def step(self) -> bool:
        """Do what is due; True when more may be."""
        more = self._records.step()
        report = self._records.report
        if report.problem is None:
            self._take_turns(lambda turn: None if self._is_over() else turn.step(report))
        return more

    def finish(self) -> None:
        """The collector has gone: what is on disk is all there is."""
        more = self._records.step(is_last=True)
        while more:
            more = self._records.step()
        if self._records.report.problem is None:
            self._say_last(self._records.look())
        self._records.close()
        self._node.engine.close()

    def report(self) -> SidecarReport:
        """How all of it is."""
        found = self._records.look()
        problems = [found.problem, self._turn_error, *(turn.problem for turn in self._turns)]
        return msgspec.structs.replace(found, problem=next(filter(None, problems), None))

    def _say_last(self, report: SidecarReport) -> None:
        """Each turn's last word; nobody comes back to what was in the way of it, so tried again."""
        left = list(self._turns)
        for tries in range(_LAST_TRIES):
            if tries:
                self._wait(_LAST_PAUSE_S)
            failed = []
            for turn in left:
                try:
                    turn.finish(report)
                except ShmperfError as error:
                    tell(f"fleet: {error}")
                    failed.append(turn)
            left = failed
            if not left:
                return

    def _take_turns(self, take: Callable[[Turn], None]) -> None:
        self._turn_error = None
        for turn in self._turns:
            try:
                take(turn)
            except ShmperfError as error:
                # What one can't do keeps no other from its turn.
                self._turn_error = str(error)
                if isinstance(error, EngineError):
                    # A bucket that somebody has deleted is made again where all are looked up.
                    self._records.look_up_anew()


def turns_of(node: Node) -> list[Turn]:
    """What a node tells of itself beside its records."""
    teller = teller_of(node.name, node.storage, node.options, node.engine, node.client)
    found: list[Turn] = [
        Presence(node.engine, node.name, origin_of(node.storage)),
        Stating(teller),
    ]
    if node.options.fleet.facts:
        found.append(Facts(teller))
    return found


def _ascii(text: str) -> str:
    """*text* as a header may hold it; a batch has it as it is."""
    return text.encode("ascii", "backslashreplace").decode()


def main(directory: str) -> int:
    """Serve the session in *directory* until standard input ends."""
    ended = until_input_ends(_FINISH_S)
    settings, client = handed_settings(), client_of(Path(directory), ended.is_set)
    fleet = settings.options.fleet
    name = node_of(fleet)
    try:
        engine = engine_of(fleet, os.environ, f"shmperf publisher {name}")
    except Refused as error:
        say_why_not(client, CONSUMER, ended, str(error))
        return 0
    node = Node(name, path_of(settings.storage), settings.options, engine, client)
    sender = Sender(node, turns_of(node), ended.is_set)
    live(client, CONSUMER, ended, sender.step, sender.report)
    sender.finish()
    return 0
