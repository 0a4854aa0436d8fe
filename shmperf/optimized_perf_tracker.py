"""
The names of the single-process `optimized_perf_tracker`, for programs that change one import.

Calls go where all calls of shmperf go, so the figures are those of every process of the session. A
program that makes an `OptimizedPerfTracker` expects it to count from zero: it remembers what had
been counted when it was made, and answers with the difference. Mode and configuration are the
session's, whoever changes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Self, SupportsIndex

import msgspec

from .analysis.stats import Books, Figures, all_stats, empty_stats, plain, since, tool_stats
from .config.destinations import shown
from .config.options import Options
from .errors import ConfigError, SessionError, tell
from .session.asking import FiguresOf
from .session.client import Client
from .session.session import Session, revive
from .session.settings import Settings
from .stdlib import secrets
from .worker import api
from .worker.failures import is_programs
from .worker.process import worker

__all__ = [
    "OptimizedPerfTracker",
    "TrackingMode",
    "cleanup_perf_data",
    "end_tool_call",
    "get_perf_stats",
    "get_tracker",
    "set_optimization_mode",
    "track_tool_call",
]

_STATS_WAIT_S = 5.0
_SHUTDOWN_WAIT_S = 5.0

Keys = tuple[str, ...]


class TrackingMode(Enum):
    """What is recorded of a call."""

    NORMAL = "normal"
    OPTIMIZATION = "optimization"


class OptimizedPerfTracker:
    """
    The tracker; one in a process, until it is shut down or `_instance` is set to None.

    Its statistics count from when it was made, and include the calls of all processes of the
    session. Nothing but an assignment to `config` raises.
    """

    _instance: ClassVar[OptimizedPerfTracker | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    _base: Figures | None
    _mark: str
    _config: LiveConfig

    def __new__(cls) -> Self:
        there = OptimizedPerfTracker._instance
        if isinstance(there, cls):
            return there
        made = super().__new__(cls)
        # Asked for outside the lock: a fork meanwhile must not leave it locked for long.
        made._mark = secrets.token_hex(8)
        made._base = _figures(None, made._mark, begins=True)
        made._config = LiveConfig((), _current_options())
        with OptimizedPerfTracker._lock:
            there = OptimizedPerfTracker._instance
            if not isinstance(there, cls):
                there = OptimizedPerfTracker._instance = made
        return there

    # --- calls -----------------------------------------------------------------------------------

    def start_tracking(self, tool_name: str, params: Mapping[str, Any] | None = None) -> str:
        """Begin a call and return its id."""
        return api.track_tool_call(tool_name, params)

    def end_tracking(
        self,
        record_id: str,
        error: BaseException | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """End the call of that id; one that is unknown or has ended is counted as a fault."""
        api.end_tool_call(record_id, error, metadata)

    # --- switches --------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether calls of this process are recorded; set it to switch, at once."""
        return api.get_tracker().enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        api.get_tracker().enabled = on

    @property
    def mode(self) -> TrackingMode:
        """The session's mode; set it to switch every process."""
        in_detail = api.get_tracker().mode == TrackingMode.OPTIMIZATION.value
        return TrackingMode.OPTIMIZATION if in_detail else TrackingMode.NORMAL

    @mode.setter
    def mode(self, mode: TrackingMode | str) -> None:
        self.set_optimization_mode(TrackingMode(mode) is TrackingMode.OPTIMIZATION)

    def set_optimization_mode(self, enabled: bool) -> None:
        """Switch the mode of the whole session, for calls that start afterwards."""
        api.set_optimization_mode(enabled)

    def is_optimization_mode(self) -> bool:
        """Whether calls that start now are recorded in detail."""
        return self.mode is TrackingMode.OPTIMIZATION

    @property
    def config(self) -> LiveConfig:
        """
        The session's configuration as nested dicts; what is assigned at any depth takes effect.

        It holds for calls that start afterwards, in every process of the session, until the session
        ends or the configuration file is edited. Raises ConfigError for what can't be.
        """
        self._config.show(_current_options())
        return self._config

    @config.setter
    def config(self, config: Mapping[str, Any]) -> None:
        _change(lambda _: dict(config))

    # --- statistics ------------------------------------------------------------------------------

    def get_tool_stats(self, tool_name: str) -> dict[str, Any]:
        """One tool's statistics, this process's own calls included."""
        figures = _figures(tool_name, self._mark)
        if figures is None:
            return empty_stats(tool_name)
        left = since(self._base, figures)
        limit = _current_options().limit_of(tool_name)
        size = left.sizes.get(tool_name, 0)
        totals, books = left.totals.get(tool_name), left.books
        in_flight = books.opened.get(tool_name, 0)
        return plain(
            tool_stats(tool_name, totals, size, limit, complete=books.complete, in_flight=in_flight)
        )

    def get_all_stats(self) -> dict[str, Any]:
        """Statistics of all tools that were called, and the books."""
        figures = _figures(None, self._mark)
        if figures is None:
            return empty_stats()
        left = since(self._base, figures)
        return plain(all_stats(left.totals, left.sizes, _current_options().limit_of, left.books))

    def cleanup_old_data(self) -> None:
        """Forget history and statistics of the whole session, if the configuration allows it."""
        api.cleanup_perf_data()

    def shutdown(self) -> None:
        """Wait, bounded, until all calls are on disk; the next one that is made is a new one."""
        api.flush(_SHUTDOWN_WAIT_S)
        with OptimizedPerfTracker._lock:
            if OptimizedPerfTracker._instance is self:
                OptimizedPerfTracker._instance = None


# --- functions ------------------------------------------------------------------------------------


def get_tracker() -> OptimizedPerfTracker:
    """This process's api."""
    return OptimizedPerfTracker()


def track_tool_call(tool_name: str, params: Mapping[str, Any] | None = None) -> str:
    """Begin a call and return its id."""
    return api.track_tool_call(tool_name, params)


def end_tool_call(
    record_id: str,
    error: BaseException | str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """End the call of that id."""
    api.end_tool_call(record_id, error, metadata)


def set_optimization_mode(enabled: bool) -> None:
    """Switch the mode of the whole session."""
    api.set_optimization_mode(enabled)


def cleanup_perf_data() -> None:
    """Forget history and statistics of the whole session, if the configuration allows it."""
    api.cleanup_perf_data()


def get_perf_stats(tool_name: str | None = None) -> dict[str, Any]:
    """
    Statistics of one tool or of all: since this process's tracker was made, if there is one.

    Else since the last cleanup: a program that only hands out work sees all that its workers did.
    """
    tracker = OptimizedPerfTracker._instance
    if tracker is None:
        return api.get_perf_stats(tool_name)
    return tracker.get_all_stats() if tool_name is None else tracker.get_tool_stats(tool_name)


# --- the configuration ----------------------------------------------------------------------------


class LiveConfig(dict[str, Any]):
    """
    A part of the configuration: reading is a dict's, and every change is the session's.

    Only changes made through it take effect, not those of a dict that was assigned. Copies are
    plain dicts.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Keys, options: Options | Mapping[str, Any]) -> None:
        super().__init__()
        self._path = path
        self.show(options)

    def show(self, options: Options | Mapping[str, Any]) -> None:
        """Hold *options* as they are now; the dicts inside stay the same objects."""
        known = msgspec.to_builtins(options) if isinstance(options, Options) else options
        for key in [key for key in self if key not in known]:
            super().__delitem__(key)
        for key, value in known.items():
            held = self.get(key)
            if not isinstance(value, dict):
                super().__setitem__(key, value)
            elif isinstance(held, LiveConfig):
                held.show(value)
            else:
                super().__setitem__(key, LiveConfig((*self._path, key), value))

    def __setitem__(self, key: str, value: Any) -> None:
        self._change(lambda part: part.__setitem__(key, value))

    def __delitem__(self, key: str) -> None:
        self._change(lambda part: part.__delitem__(key))

    def __ior__(self, others: Any) -> Self:  # type: ignore[override,misc]  # a dict's own two forms
        self.update(others)
        return self

    def update(self, *others: Any, **more: Any) -> None:
        """Assign all of them, as one change."""
        self._change(lambda part: part.update(*others, **more))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of *key*, assigned if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        """Take *key* out: options go back to their defaults."""
        if key not in self:
            return super().pop(key, *default)
        value = _plain(self[key])
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last key out."""
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        """Back to the defaults."""
        self._change(dict.clear)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return dict, (_plain(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _plain(self)

    def _change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        def changed(whole: dict[str, Any]) -> dict[str, Any]:
            part = whole
            for key in self._path:
                part = part.setdefault(key, {})
            change(part)
            return whole

        held: Any = msgspec.to_builtins(_change(changed))
        for key in self._path:
            held = held[key]
        self.show(held)


def _plain(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    return list(part) if isinstance(part, list) else part


def _change(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Options:
    """Change the session's options, or this process's where nothing is tracked; the new ones."""
    session = _session()
    if session is None:
        worker.options = _changed(worker.options, change)
        return worker.options
    before = session.options

    def amended(settings: Settings) -> Settings:
        nonlocal before
        before = settings.options
        return msgspec.structs.replace(settings, options=_changed(before, change))

    try:
        session.settings.amend(amended)
        in_detail = session.options.optimization.enabled
        if in_detail != before.optimization.enabled:
            session.settings.set_mode(in_detail)
    except (SessionError, OSError) as error:
        tell(f"the configuration could not be changed: {error}")
    return session.options


def _changed(options: Options, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Options:
    whole = change(msgspec.to_builtins(options))
    try:
        options_now = msgspec.convert(_plain(whole), Options)
    except msgspec.ValidationError as error:
        expected, _, path = str(error).partition(" - at `$")
        key = path.removesuffix("`").lstrip(".")
        raise ConfigError("config", key, _shown(whole, key), expected) from None
    if options_now.storage.path != options.storage.path:
        expected = f"{options.storage.path!r}, which a running session keeps"
        raise ConfigError("config", "storage.path", repr(options_now.storage.path), expected)
    return options_now


def _shown(whole: Any, key: str) -> str:
    part = ""
    # Of a dictionary's value msgspec says in which it stands, not under which name.
    for part in filter(None, key.removesuffix("[...]").split(".")):
        whole = whole.get(part, whole) if isinstance(whole, dict) else whole
    return shown(whole, part)


# --- the session ----------------------------------------------------------------------------------


def _session() -> Session | None:
    """The session that this process is in, joined or founded if need be; None with tracking off."""
    return None if worker.is_off or not worker.start() else worker.session


def _current_options() -> Options:
    session = _session()
    if session is None:
        return worker.options
    try:
        return session.settings.reload()
    except Exception as error:
        # Of ours, or the program's own.
        if is_programs(error):
            raise
        return session.options


def _figures(tool: str | None, mark: str, *, begins: bool = False) -> Figures | None:
    """
    What has been counted so far; from disk without a collector, None with tracking off.

    With the extremes since *mark*, which *begins* now, if a collector answers.
    """
    session = _session()
    if session is None:
        return None
    try:
        client = Client(session.directory, partial(revive, session))
        answer = client.ask(FiguresOf(tool, mark, begins), _STATS_WAIT_S)
        return msgspec.convert(answer, Figures)
    except Exception as error:
        # Of ours, or the program's own.
        if is_programs(error):
            raise
    return _figures_on_disk(session, tool, mark)


def _figures_on_disk(session: Session, tool: str | None, mark: str) -> Figures:
    """What the disk holds; nothing where its reader can't be imported."""
    try:
        # Off the hot path, and needed by nobody else who records: the reader of the disk.
        from .storage.state import figures_on_disk  # noqa: PLC0415

        return figures_on_disk(session.storage, tool, session.options, mark=mark)
    except Exception as error:
        # No descriptor for it, another root, a sandbox; or the program's own.
        if is_programs(error):
            raise
    return Figures(books=Books(complete=False))
