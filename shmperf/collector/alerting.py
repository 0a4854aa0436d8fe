"""
Alerts on their way out: to the log, `alerts.jsonl`, the outbox and the session's directory.

    untold in the journal ──► file and outbox appended ──► told: journalled ──► log, committed

Lines of the outbox and how far the telling has come are in one frame: killed before it, the outbox
is cut back and the file finds its lines there. A folder in which nothing can be written keeps the
changes untold; they are bounded there, and what is let go is counted. Where `alerts.jsonl` alone
can't be written, that is a fault, and all others are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from shmperf.analysis.alerts import Alerts, shown
from shmperf.analysis.alerttext import short_name
from shmperf.analysis.shownalert import ShownAlert
from shmperf.config.options import Options
from shmperf.errors import tell
from shmperf.storage import alertfile
from shmperf.storage.outbox import OutboxChange
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

__all__ = ["Alerting"]

_PIECE = 200
_encode_line = msgspec.json.Encoder().encode


class Alerting:
    """Tells what began and ended, a piece at a time; the collector's thread."""

    def __init__(self, ledger: Ledger, disk: Disk, fault: Callable[[str, str, int], None]) -> None:
        """*fault* counts and tells what can't be written."""
        self._ledger = ledger
        self._disk = disk
        self._fault = fault
        self._files = alertfile.AlertFile(disk.path, disk.thread)
        self._outbox: OutboxChange | None = None
        self._let_go = 0
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self._outbox_bytes = options.storage.outbox_bytes

    def take_change(self) -> OutboxChange | None:
        """What is to be journalled of the outbox since it was last asked for."""
        change, self._outbox = self._outbox, None
        return change

    @property
    def is_behind(self) -> bool:
        """True while somebody is still to be told, and can be."""
        return bool(self._alerts.untold) and not self._disk.is_unavailable()

    @property
    def _alerts(self) -> Alerts:
        return self._ledger.analyses.of(Alerts)

    def turn(self, can_write: bool) -> Iterator[None]:
        """Journal what began and ended, then tell a piece of it; the cycle journals in between."""
        if self._alerts.has_news:
            yield
        if can_write and self.is_behind and not self._disk.has_failed:
            yield from self._tell()

    def _tell(self) -> Iterator[None]:
        alerts = self._alerts
        piece = dict(list(alerts.untold.items())[:_PIECE])
        told = [shown(alert) for alert in piece.values()]
        # point below: alerts-prepare
        prepared = self._disk.prepare({}, {}, self._outbox_bytes)
        if prepared is None:
            return
        if prepared.outbox is not None:
            self._outbox = prepared.outbox  # point: alerts-prepared
            yield
        if not self._write_file(told):
            return  # point: alerts-filed
        if self._disk.outbox.is_wanted:
            lines = b"".join(_line(alert) for alert in told)
            self._outbox = self._disk.thread.do(partial(self._disk.outbox.append, lines))
            if self._outbox is None:
                return
        alerts.tell(max(piece))  # point: alerts-appended
        yield
        self._disk.commit_outbox()  # point: alerts-committed
        for alert in told:
            tell(_sentence(alert))
        if alerts.let_go > self._let_go:
            text = "alerts could not be written, and others were never told of them"
            self._fault("alerts_untold", text, alerts.let_go - self._let_go)
            self._let_go = alerts.let_go

    def erase(self) -> None:
        """Delete the file: a cleanup has forgotten everything."""
        self._files.remove()

    def _write_file(self, told: list[ShownAlert]) -> bool:
        """A file that can't be written is told of, and keeps nobody else from being told."""
        reason = self._files.append(told)
        if reason:
            text = f"{alertfile.ALERTS} can't be written: {reason}"
            self._fault("alerts_failed", text, len(told))
        return reason is not None


def _line(alert: ShownAlert) -> bytes:
    """A line of the outbox; the alert's own kind stands beside that of the line."""
    plain = msgspec.to_builtins(alert)
    return _encode_line({"kind": "alert", "alert": plain}) + b"\n"


def _sentence(alert: ShownAlert) -> str:
    if alert.ended is None:
        return f"{alert.severity}: {alert.kind}: {alert.text}"
    whose = "the session" if alert.tool is None else short_name(alert.tool)
    return f"over: {alert.kind} of {whose}, since {alert.began}"
