"""
Alerts: what is wrong now, since when, and which of it others have not been told of.

    begin ──► open ──► end          one alert a kind and tool at a time
       └─ a change ─┴─ a change ──► told: a line each in `alerts.jsonl` and the outbox

A change is untold from the frame that makes it to the frame that says it was told, so a collector
that is killed in between tells it again, and whoever writes looks whether it has been written.
A cleanup ends what is open: whoever was told of a begin is told of an end.

Severity is critical where waiting makes it worse: four times slower than usual, every fourth call
failed, a call stuck for ten times as long as makes it so, a lost call in a hundred, a worker that
has doubled. All else is a warning.

Bounded: so many open alerts and so many untold changes, the oldest untold go, counted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from .changes import Change
from .shownalert import ShownAlert

__all__ = [
    "Alert",
    "Alerts",
    "AlertsDelta",
    "AlertsState",
    "Held",
    "Key",
    "Kind",
    "known_alerts",
    "shown",
]

Kind: TypeAlias = Literal["latency", "errors", "stuck", "silence", "lost", "memory"]
Severity: TypeAlias = Literal["warning", "critical"]
Key: TypeAlias = tuple[Kind, str | None]

_ID = re.compile("[0-9a-f]{16}")
_MOST_OPEN = 1_000
_MOST_UNTOLD = 2_000
_MOST_HELD = 1_000
_MOST_EXPLAINED = 20


class Alert(msgspec.Struct, kw_only=True):
    """Something is wrong since ``began_s``, or was until ``ended_s``: Unix seconds."""

    id: str
    kind: Kind
    tool: str | None
    severity: Severity
    began_s: float
    text: str
    evidence: dict[str, Any] = {}
    ended_s: float | None = None

    @property
    def key(self) -> Key:
        """There is one open alert of it."""
        return self.kind, self.tool


def shown(alert: Alert) -> ShownAlert:
    """*alert* as everybody outside has it."""
    return ShownAlert(
        id=alert.id,
        kind=alert.kind,
        tool=alert.tool,
        severity=alert.severity,
        began=_iso(alert.began_s),
        ended=None if alert.ended_s is None else _iso(alert.ended_s),
        text=alert.text,
        evidence=alert.evidence,
    )


def known_alerts(alerts: Alerts) -> list[ShownAlert]:
    """What a file of alerts may lack: what is open now, and what nobody was told of yet."""
    known = {alert.id: alert for alert in alerts.untold.values()}
    known |= {alert.id: alert for alert in alerts.open.values()}
    return [shown(alert) for alert in known.values()]


class Held(msgspec.Struct, array_like=True):
    """
    A tool got worse, and nobody was told: what it calls may be why, which shows by ``until_s``.

    ``cause`` is the tool whose alert explains it; as long as that is open this one waits.
    """

    change: Change
    until_s: float
    cause: str = ""


class Amendment(msgspec.Struct, array_like=True):
    """What has become known of an open alert: joins its evidence, and the end of its text."""

    kind: Kind
    tool: str | None
    evidence: dict[str, Any]
    text: str

    @property
    def key(self) -> Key:
        """That of its alert."""
        return self.kind, self.tool


class AlertsDelta(msgspec.Struct, array_like=True):
    """
    Alerts that began or ended, and up to which change others were told.

    ``explained`` has tools with what explains them, ``held`` all that are held, where that has
    changed; ``losses`` the lost calls by cause that are no news; ``amended`` what became known of
    alerts that were open before.
    """

    at_s: float = 0.0
    changes: list[Alert] = []
    explained: list[tuple[Kind, str, str]] = []
    told: int = 0
    held: list[Held] | None = None
    losses: dict[str, int] | None = None
    amended: list[Amendment] = []


class AlertsState(msgspec.Struct, array_like=True):
    """All of it; ``number`` is the newest change's."""

    at_s: float = 0.0
    open: list[Alert] = []
    untold: dict[int, Alert] = {}
    number: int = 0
    let_go: int = 0
    held: list[Held] = []
    losses: dict[str, int] | None = None


class Alerts:
    """An analysis (see `table`): what it is told to begin and end is open with the next delta."""

    def __init__(self, new_id: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self.open: dict[Key, Alert] = {}
        self.untold: dict[int, Alert] = {}
        self.held: dict[tuple[str, str], Held] = {}
        self.losses: dict[str, int] | None = None
        # Calls that are stuck, and of which nothing but that is known: their ends will tell.
        self.awaited: dict[int, str] = {}
        # Changes that were let go before anybody was told.
        self.let_go = 0
        self._number = 0
        self._at_s = 0.0
        self._new_id = new_id
        self._new = AlertsDelta()

    # --- what happens ----------------------------------------------------------------------------

    def begin(
        self, key: Key, severity: Severity, at_s: float, text: str, evidence: dict[str, Any]
    ) -> bool:
        """Something is wrong since *at_s*; False when that is known, or too much is."""
        new = self._new.changes
        if key in self.open or any(alert.key == key for alert in new):
            return False
        if len(self.open) + len(new) >= _MOST_OPEN:
            return False
        kind, tool = key
        new.append(
            Alert(
                id=self._new_id(),
                kind=kind,
                tool=tool,
                severity=severity,
                began_s=at_s,
                text=text,
                evidence=evidence,
            )
        )
        return True

    def end(self, key: Key, at_s: float, evidence: dict[str, Any] | None = None) -> None:
        """What was wrong is over, if it was open."""
        alert = self.open.get(key)
        if alert is None or any(one.key == key for one in self._new.changes):
            return
        for amendment in self._new.amended:
            if amendment.key == key:
                alert = _amended(alert, amendment)
        self._new.changes.append(_ended(alert, at_s, evidence))

    def amend(self, key: Key, evidence: dict[str, Any], text: str) -> None:
        """This has become known of what is open, for its *evidence* and the end of its text."""
        if key in self.open:
            self._new.amended.append(Amendment(*key, evidence, text))
            # There is one alert of a tool, so one of its calls is waited for.
            waiting = self.awaited.items() if key[0] == "stuck" else ()
            self.awaited = {call_id: tool for call_id, tool in waiting if tool != key[1]}

    def explain(self, kind: Kind, cause: str, tool: str) -> None:
        """The alert of *cause* is why *tool* is worse, too."""
        self._new.explained.append((kind, cause, tool))

    def hold(self, held: Iterable[Held]) -> None:
        """These are all that are held now."""
        bounded = list(held)[:_MOST_HELD]
        if bounded != list(self.held.values()):
            self._new.held = bounded

    def note_losses(self, losses: dict[str, int]) -> None:
        """So many lost calls, by cause, are no news any more."""
        if losses != self.losses:
            self._new.losses = losses

    def tell(self, number: int) -> None:
        """Others were told of all changes up to that *number*."""
        self._new.told = max(self._new.told, number)

    def look(self, at_s: float) -> None:
        """It is that time now."""
        self._new.at_s = at_s

    @property
    def has_news(self) -> bool:
        """True when something is to be journalled."""
        new = self._new
        has_changed = new.held is not None or new.losses is not None
        return bool(new.changes or new.explained or new.amended or new.told or has_changed)

    # --- the journal -----------------------------------------------------------------------------

    def take_delta(self) -> AlertsDelta | None:
        """What has changed since the last delta."""
        if not self.has_news:
            return None
        delta, self._new = self._new, AlertsDelta(at_s=self._new.at_s)
        self.apply(delta)
        return delta

    def apply(self, delta: AlertsDelta) -> None:
        """Make the change of *delta*, which is taken over."""
        self._at_s = max(self._at_s, delta.at_s)
        for amendment in delta.amended:
            if amendment.key in self.open:
                self.open[amendment.key] = _amended(self.open[amendment.key], amendment)
        for alert in delta.changes:
            if alert.ended_s is None:
                self.open[alert.key] = alert
            else:
                self.open.pop(alert.key, None)
            self._note_untold(alert)
        for kind, cause, tool in delta.explained:
            self._note_explained(kind, cause, tool)
        for number in [number for number in self.untold if number <= delta.told]:
            del self.untold[number]
        if delta.held is not None:
            self.held = {(one.change.kind, one.change.tool): one for one in delta.held}
        if delta.losses is not None:
            self.losses = delta.losses
        if delta.changes or delta.amended:
            self.awaited = _awaited(self.open.values())

    def clear(self) -> None:
        """End what is open, and forget all else but what others are still to be told of."""
        for alert in self.open.values():
            self._note_untold(_ended(alert, max(self._at_s, alert.began_s), None))
        self.open, self.held, self.losses, self.awaited = {}, {}, None, {}
        self._new = AlertsDelta()

    def state(self) -> AlertsState:
        """All of it."""
        return AlertsState(
            self._at_s,
            list(self.open.values()),
            self.untold,
            self._number,
            self.let_go,
            list(self.held.values()),
            self.losses,
        )

    @classmethod
    def restore(cls, state: AlertsState) -> Alerts:
        """Alerts that were open before; nothing of them begins again."""
        found = cls()
        found._at_s, found._number, found.let_go = state.at_s, state.number, state.let_go
        found.open = {alert.key: alert for alert in state.open[:_MOST_OPEN]}
        found.untold = dict(state.untold)
        found.held = {(one.change.kind, one.change.tool): one for one in state.held}
        found.losses = state.losses
        found.awaited = _awaited(found.open.values())
        return found

    def _note_untold(self, alert: Alert) -> None:
        self._number += 1
        # A copy: what is told is as it was then.
        self.untold[self._number] = msgspec.structs.replace(alert, evidence=dict(alert.evidence))
        if len(self.untold) > _MOST_UNTOLD:
            del self.untold[next(iter(self.untold))]
            self.let_go += 1

    def _note_explained(self, kind: Kind, cause: str, tool: str) -> None:
        alert = self.open.get((kind, cause))
        if alert is None:
            return
        known = alert.evidence.get("explains", [])
        if tool not in known and len(known) < _MOST_EXPLAINED:
            alert.evidence = alert.evidence | {"explains": [*known, tool]}


def _amended(alert: Alert, amendment: Amendment) -> Alert:
    more = alert.evidence | amendment.evidence
    return msgspec.structs.replace(alert, text=alert.text + amendment.text, evidence=more)


def _awaited(alerts: Iterable[Alert]) -> dict[int, str]:
    """The calls that *alerts* tell of as stuck, by id, with their tools."""
    found = {}
    for alert in alerts:
        call_id = alert.evidence.get("id")
        if alert.kind != "stuck" or alert.tool is None or "outcome" in alert.evidence:
            continue
        # What comes from a journal may be anything.
        if isinstance(call_id, str) and _ID.fullmatch(call_id):
            found[int(call_id, 16)] = alert.tool
    return found


def _ended(alert: Alert, at_s: float, evidence: dict[str, Any] | None) -> Alert:
    more = alert.evidence | (evidence or {})
    return msgspec.structs.replace(alert, ended_s=max(at_s, alert.began_s), evidence=more)


def _iso(seconds: float) -> str:
    """Of what comes from a journal anything may come: held to the years that have a name."""
    bounded = min(max(seconds, 0.0), 253_402_300_799.0)
    return datetime.fromtimestamp(bounded, UTC).isoformat(timespec="milliseconds")
