"""What the cycle is made of: each part is handed what it needs, and none knows the cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shmperf.config.options import Options
from shmperf.session.session import Session
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

from .accounts import Accounts
from .alerting import Alerting
from .archiving import Archiving
from .bodies import Bodies
from .choosing import Choosing
from .cost import measured_costs
from .counting import Counting
from .faults import Faults
from .flusher import Flusher
from .growing import Growing
from .ingest import Ingest
from .pace import Lag
from .past import Past
from .resources import Sampler
from .roster import Roster
from .settling import Settling
from .shortfall import Shortfall
from .supervisor import Supervisor, wanted_consumers
from .wallclock import WallClock, boot_id
from .watching import Watching

__all__ = ["Parts"]


class Parts:
    """The parts of one session's collector, all of its one thread."""

    def __init__(self, session: Session, disk: Disk, clock: Callable[[], float]) -> None:
        self.session = session
        self.lag = Lag(clock)
        self.disk = disk
        self.ledger = Ledger(session.options)
        self.faults = Faults()
        self.past = Past(self.ledger, disk, self.faults)
        self.wall = WallClock(self.ledger, boot_id())
        self.roster = Roster(session, self.ledger, self.faults.count)
        self.accounts = Accounts(self.ledger)
        self.shortfall = Shortfall(session, self.ledger, disk, self.accounts)
        self.settling = Settling()
        self.bodies = Bodies(session.options, self.faults.count)
        self.choosing = Choosing(self.ledger, session, clock, measured_costs)
        self.counting = Counting(self.ledger, self.accounts, self.wall, self.choosing)
        self.ingest = Ingest(
            self.ledger, self.counting, self.bodies, self.settling, self.wall, self.faults.count
        )
        self.flusher = Flusher(self.ledger, disk, self.settling.settled, self.faults.count)
        self.archiving = Archiving(self.ledger, disk, self.faults.count, clock, self.wall.now_ns)
        self.watching = Watching(self.ledger, self.roster, self.ingest, self.wall)
        self.alerting = Alerting(self.ledger, disk, self.faults.count)
        self.growing = Growing(self.ledger, self.wall)
        sample_s = session.options.collector.sample_interval_seconds
        self.sampler = Sampler(sample_s, clock, self.growing.note)
        self.supervisor = Supervisor(session.directory, session.storage, session.options, clock)
        disk.outbox.wanted = wanted_consumers(session.options, session.storage)

    @property
    def are_behind(self) -> bool:
        """True while a piece of what is to be written is left."""
        return self.flusher.is_behind or self.archiving.is_behind or self.alerting.is_behind

    def are_complete(self) -> bool:
        """True when an answer lacks nothing: the past is read, and everybody who is there."""
        return self.past.is_taken_up and not self.roster.is_anybody_waiting

    def watch(self, is_due: bool) -> Iterator[None]:
        """Look what turned bad when that *is_due*, and tell it; the cycle journals in between."""
        if is_due:
            self.watching.look()
            if self.are_complete():
                self.growing.look(self.roster.pids)
            self.supervisor.tell(self.faults.count)
        yield from self.alerting.turn(self.past.is_taken_up)

    def configure(self, options: Options) -> None:
        """Give *options* to every part that holds some: the one list of them."""
        self.ledger.configure(options)
        self.bodies.configure(options)
        self.ingest.configure(options)
        self.ingest.watch(self.session.settings.current.watch)
        self.flusher.configure(options)
        self.archiving.configure(options)
        self.choosing.configure(options)
        self.watching.configure(options)
        self.alerting.configure(options)
        self.sampler.configure(options)
        self.supervisor.configure(options)
        self.disk.outbox.wanted = wanted_consumers(options, self.session.storage)
