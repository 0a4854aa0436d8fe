"""
What a report holds: every view's parts as a page asks for them, the most important first.

    parts     "stats", "slow?tool=search", "trace/0000000100000083", …: a name, a key, what is asked
    look      what a live page is sent each second, of the moment at which the report was made
    changes   what ``diff`` prints, against another run
    report    when it was made, and what had no room

A report is bounded, whatever was recorded: tools come in the order of what they cost, each list is
cut at its share of the room, and what is left then goes to single tools and single calls, as far as
it reaches. What had no room is counted, never passed over in silence.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shmperf.analysis.diff import Against
from shmperf.query.answers import Answers
from shmperf.query.look import Look, ToolLook, Watch
from shmperf.query.parts import PARTS, Part, Wanted
from shmperf.query.story import Sought, sought_by_id, stories
from shmperf.query.trend import trend

from .compact import encoded, lean, shortened, without_parameters
from .comparison import in_order
from .formatting import printable

__all__ = ["held"]

# What each list may fill of the room, in hundredths; one may fill what those before it have left.
_SHARES = {
    "look": 11,
    "stats": 25,
    "changes": 10,
    "tree": 10,
    "errors": 8,
    "alerts": 4,
    "open": 5,
    "workers": 4,
    "slow": 3,
    "intervals": 8,
    "report": 7,
}
_STORIES_SHARE = 25
_SLOWEST, _SLOWEST_OF_TOOL, _GROUPS_OF_TOOL = 30, 5, 5
_POINTS, _POINTS_OF_TOOL = 120, 30
_LONGEST_STORY = 200
# Tools that the line above everything names, and the longest name there.
_NAMED, _LONGEST_NAME = 3, 40
# Open calls and groups of errors that lead to a story.
_LINKED = 20
# Each is a question, or a pass over what is kept of one tool.
_MOST_SINGLE = 200
# What a part of one tool, call or report is called where it had no room.
_KINDS = {
    "slow": "lists of slow calls",
    "errors": "lists of errors",
    "intervals": "trends",
    "trace": "stories of calls",
    "reports": "optimization reports",
}
_BY_NAME = {(part.name, part.key): part for part in PARTS}
# What others have said of their troubles: a store, a sidecar.
_WORDS: dict[str, Any] = {"told": {}, "rag": None, "sidecars": {}, "consumers": {}}


class _Room:
    """So many bytes, and what had no place in them, by kind."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = self.left = size_bytes
        self.left_out: Counter[str] = Counter()

    def share(self, hundredths: int) -> int:
        return min(self.left, self.size_bytes * hundredths // 100)

    def take(self, value: Any, most: int | None = None) -> bool:
        """True where *value* has a place, which is taken."""
        size = len(encoded(value)) + 1
        if size > min(self.left, self.left if most is None else most):
            return False
        self.left -= size
        return True

    def fit(self, kind: str, rows: Iterable[Any], hundredths: int) -> list[Any]:
        """The first of *rows* that fit into that share; the others are counted."""
        found, rows = [], list(rows)
        end = self.left - self.share(hundredths)
        for row in rows:
            if not self.take(row, self.left - end):
                break
            found.append(row)
        if kind:
            self.left_out[kind] += len(rows) - len(found)
        return found


def held(
    answers: Answers,
    size_bytes: int,
    against: Against | None = None,
    *,
    with_parameters: bool = True,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """
    All that a report shows of what *answers* know, in about *size_bytes* of JSON.

    Without parameters nothing is in it that may hold one: neither messages of exceptions nor what
    alerts and advice quote. Raises ShmperfError where nothing can be told.
    """
    return _Gathering(answers, _Room(size_bytes), with_parameters=with_parameters).made(
        against, clock
    )


class _Gathering:
    """One report in the making."""

    def __init__(self, answers: Answers, room: _Room, *, with_parameters: bool) -> None:
        self._answers = answers
        self._room = room
        self._with_parameters = with_parameters
        self._parts: dict[str, Any] = {}
        self._tools: list[str] = []
        # With what it is compared, in words.
        self._compared = ""

    def made(self, against: Against | None, clock: Callable[[], float]) -> dict[str, Any]:
        self._answers.is_of_one_moment = True
        look = Watch(lambda: self._answers, clock).look()
        look.tools.sort(key=_weight(look), reverse=True)
        made: dict[str, Any] = {"look": self._look(look)}
        self._stats()
        self._room.left_out["tools"] = len(look.tools) - len(self._tools)
        if against is not None:
            made["changes"] = self._changes(against)
        self._whole_session()
        slowest = self._slowest()
        of_tools = self._single_tools(look, self._room.share(_STORIES_SHARE))
        self._stories(slowest, of_tools)
        made["parts"] = self._parts
        made["report"] = self._made(look, None if against is None else against.name)
        return made

    def _made(self, look: Look, against: str | None) -> dict[str, Any]:
        left_out = {kind: count for kind, count in self._room.left_out.items() if count}
        return {
            "made_s": look.at_s,
            "parameters": self._with_parameters,
            "against": against,
            "left_out": left_out,
            "note": _note(self._compared, left_out, with_parameters=self._with_parameters),
        }

    # --- the whole session -----------------------------------------------------------------------

    def _look(self, look: Look) -> Any:
        shown = self._plain(look)
        shown["is_live"] = False
        for name, kind in (("open", "open calls"), ("workers", "workers"), ("alerts", "")):
            shown[name] = self._room.fit(kind, shown[name], _SHARES[name])
        shown["tools"] = self._room.fit("", shown["tools"], _SHARES["look"])
        self._tools = [one["tool"] for one in shown["tools"]]
        return shown

    def _stats(self) -> None:
        stats = self._asked("stats")
        rows = stats.pop("tool_stats")
        named = ({"tool": tool, "row": rows[tool]} for tool in self._tools if tool in rows)
        fitting = self._room.fit("", named, _SHARES["stats"])
        stats["tool_stats"] = {one["tool"]: one["row"] for one in fitting}
        stats |= {"nameless": {}, "varying": stats["varying"][:_LINKED]}
        self._parts["stats"] = stats
        # Of single tools only those are shown that are in the list.
        self._tools = [one["tool"] for one in fitting]

    def _changes(self, against: Against) -> Any:
        found = against.found
        compared = in_order({tool: self._plain(found.of(tool)) for tool in found.tools})
        rows = ({"tool": tool, "row": row} for tool, row in compared)
        fitting = self._room.fit("changes", rows, _SHARES["changes"])
        self._compared = _comparison(against.name, compared)
        return {
            "against": against.name,
            "tools": {one["tool"]: one["row"] for one in fitting},
            "failed": [],
            "counts": Counter(row["verdict"] for _, row in compared),
        }

    def _whole_session(self) -> None:
        room, parts = self._room, self._parts
        known = set(self._tools)
        edges = sorted(self._asked("tree"), key=_own_time, reverse=True)
        shown = [edge for edge in edges if edge["tool"] in known]
        room.left_out["edges"] += len(edges) - len(shown)
        parts["tree"] = room.fit("edges", shown, _SHARES["tree"])
        parts["errors"] = room.fit("errors", self._asked("errors", limit=1000), _SHARES["errors"])
        alerts = sorted(self._asked("alerts")["alerts"], key=_openness, reverse=True)
        fitting = room.fit("alerts", alerts, _SHARES["alerts"])
        parts["alerts"] = {"alerts": sorted(fitting, key=lambda alert: alert["began"])}
        parts["inflight"] = room.fit("", self._asked("inflight"), _SHARES["open"])
        # Workers and open alerts are in the look.
        status = self._asked("status") | {"workers": [], "alerts": [], "learning": {}}
        status |= {"sampling": {}, "unusual": status["unusual"][:_LINKED]}
        parts["status"] = status | ({} if self._with_parameters else _WORDS)
        self._trend(None, _POINTS, _SHARES["intervals"])
        self._optimization()

    def _optimization(self) -> None:
        """The newest report of the optimization cycle; only its name where it is too long."""
        names = self._asked("reports")
        self._parts["reports"] = names[-1:]
        self._room.left_out["optimization reports"] += len(names[:-1])
        for name in names[-1:]:
            report = self._asked("reports", key=name, is_one="name")
            report["edges"] = report["edges"][:100]
            self._put(f"reports/{name}", report, _SHARES["report"])

    # --- single tools and calls ------------------------------------------------------------------

    def _slowest(self) -> list[Any]:
        kept = self._answers.slowest(_SLOWEST)
        rows = self._room.fit("slowest calls", map(self._plain, kept), _SHARES["slow"])
        self._parts["slow"] = rows
        return kept[: len(rows)]

    def _single_tools(self, look: Look, reserved: int) -> list[Any]:
        """
        Slowest calls, errors and trends of one tool after the other, while there is room.

        The slowest call of each, whose story belongs to it; *reserved* bytes are left for those.
        """
        with_errors = {one.tool for one in look.tools if one.errors or one.aborted}
        slowest = []
        for number, tool in enumerate(self._tools):
            if number >= _MOST_SINGLE or self._room.left < reserved:
                self._room.left_out["tools in detail"] += len(self._tools) - number
                break
            kept = self._answers.slowest(_SLOWEST_OF_TOOL, tool)
            self._put(_key("slow", tool), list(map(self._plain, kept)))
            slowest += kept[:1]
            if tool in with_errors:
                groups = self._asked("errors", tool=tool, limit=_GROUPS_OF_TOOL)
                self._put(_key("errors", tool), groups)
            self._trend(tool, _POINTS_OF_TOOL, 100)
        return slowest

    def _stories(self, slowest: list[Any], of_tools: list[Any]) -> None:
        """Of what hangs, what was slowest, what failed, and then of each tool's slowest call."""
        opened, failed = (
            sought_by_id(self._answers, [row["id"] for row in rows[:_LINKED] if row["id"]])
            for rows in (self._parts["inflight"], self._parts["errors"])
        )
        kept, others = (map(Sought.of_kept, calls) for calls in (slowest, of_tools))
        once = {one.id: one for one in (*opened, *kept, *failed, *others) if one.id}
        for story in stories(self._answers, list(once.values()), _LONGEST_STORY):
            shown = self._plain(story)
            shown["call"] = lean(shown["call"])
            self._put(f"trace/{story.call.id}", shown)

    def _trend(self, tool: str | None, most: int, hundredths: int) -> None:
        found = self._plain(trend(self._answers, tool, most=most))
        self._put(_key("intervals", tool), found, hundredths)

    # --- how it is put down ----------------------------------------------------------------------

    def _asked(self, name: str, key: str = "", is_one: str = "", **wanted: Any) -> Any:
        """The part of that name, as JSON has it."""
        part: Part = _BY_NAME[name, is_one]
        return self._plain(part.answer(self._answers, Wanted(**wanted), key))

    def _put(self, key: str, value: Any, hundredths: int = 100) -> None:
        if self._room.take({key: value}, self._room.share(hundredths)):
            self._parts[key] = value
        else:
            self._room.left_out[_KINDS[key.partition("?")[0].partition("/")[0]]] += 1

    def _plain(self, value: Any) -> Any:
        plain = shortened(msgspec.to_builtins(value))
        return plain if self._with_parameters else without_parameters(plain)


def _comparison(name: str, compared: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """What became slower, first of all; otherwise that nothing surely did."""
    slower = [tool for tool, row in compared if row["verdict"] == "slower"]
    named = ", ".join(printable(tool, _LONGEST_NAME) for tool in slower[:_NAMED])
    more = f" and {len(slower) - _NAMED:,} more" if len(slower) > _NAMED else ""
    return (
        f"compared with {name}: {f'slower {named}{more}' if slower else 'nothing is surely slower'}"
    )


def _note(compared: str, left_out: Mapping[str, int], *, with_parameters: bool) -> str:
    """What a reader has to know of the file, in a line; empty for nothing."""
    said = [compared] if compared else []
    if not with_parameters:
        said.append("without parameters")
    if left_out:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in left_out.items())
        said.append(f"no room for {counts}: the commands and `shmperf serve` have all")
    return "; ".join(said)


def _weight(look: Look) -> Callable[[ToolLook], tuple[float, int, str]]:
    """What a tool costs: its share of own time, of failed calls, and of those that are open."""
    failed, opened = max(1, look.errors + look.aborted), max(1, look.in_flight)

    def weight(one: ToolLook) -> tuple[float, int, str]:
        share = one.own_share + (one.errors + one.aborted) / failed + one.in_flight / opened
        return share, one.count, one.tool

    return weight


def _own_time(edge: Mapping[str, Any]) -> int:
    return int(edge["own_ns"])


def _openness(alert: Mapping[str, Any]) -> tuple[bool, str]:
    """Open ones first, then the latest."""
    return alert["ended"] is None, alert["began"]


def _key(name: str, tool: str | None) -> str:
    return name if tool is None else f"{name}?tool={tool}"
