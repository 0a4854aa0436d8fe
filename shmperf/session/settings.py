"""
A session's settings and its word: what its founder decided, and everybody's changes of it.

    settings         options, storage and name as msgpack, replaced as a whole
    word, word.lock  generation and mode, mapped by every worker

Whoever changes something holds the word's lock: settings first, then a new generation, which every
process sees at its next call by one comparison.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shmperf.config.options import Options, Watch
from shmperf.errors import ConfigError, SessionError
from shmperf.files import path_of, path_text
from shmperf.shm.segment import LAYOUT
from shmperf.stdlib import Path

from .files import file_identity, let_go, lock_within, map_word, read_bounded, write_aside
from .word import held, next_word, released, with_mode

__all__ = ["Settings", "SharedSettings", "ToolSampling"]

_WORD_DEADLINE_S = 1.0
_MISSING_LOOKS = 2


class ToolSampling(msgspec.Struct, frozen=True, array_like=True):
    """One of *every* calls is recorded, and those above *slow_ns*, if that is not 0."""

    every: Annotated[int, Meta(ge=1, le=1_000_000)]
    slow_ns: Annotated[int, Meta(ge=0, le=1 << 62)] = 0


class Settings(msgspec.Struct):
    """What the founder of a session tells all who join it."""

    options: Options
    storage: str
    config: str = ""
    name: str | None = None
    is_transient: bool = False
    watch: Watch | None = None
    # Of the segments; a session founded before there was this key has the first.
    layout: int = 1
    # Founded by a run of pytest: nothing starts by itself there.
    is_test: bool = False
    # The endpoint that the collector was told; it goes before that of the configuration.
    otlp: str = ""
    # What the collector chose: it goes before the options, for the tools that are in it.
    sampled: dict[str, ToolSampling] = {}
    # The configuration file just before its founder read it, as `files.file_identity` has it.
    config_seen: tuple[int, ...] = ()

    def sampling_of(self, tool: str) -> ToolSampling:
        """How *tool* is sampled now."""
        found = self.sampled.get(tool)
        return ToolSampling(self.options.every_of(tool)) if found is None else found


class _Outline(msgspec.Struct):
    """What settings of any version say."""

    storage: str
    config: str = ""
    name: str | None = None
    is_transient: bool = False
    layout: int = 1


# Made here and not at the first call: msgspec finds out about a struct while other threads may run,
# and the child of a fork in the middle of that crashes at what is half there.
_decode_settings = msgspec.msgpack.Decoder(Settings).decode
_decode_outline = msgspec.msgpack.Decoder(_Outline).decode


class SharedSettings:
    """The settings as one process last read them, in ``current``; ``word`` is live."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError or another OSError, ValueError or SessionError."""
        self._directory = directory
        self.word = memoryview(map_word(directory / "word")).cast("Q")
        self.current = self._read()
        self._seen_config: tuple[int, ...] | None = self.current.config_seen or None
        self._looks_without_config = 0

    def sampling_of(self, tool: str) -> ToolSampling:
        """How *tool* is sampled, as last read."""
        return self.current.sampling_of(tool)

    @property
    def is_foreign(self) -> bool:
        """True when they are of another version of shmperf."""
        return self.current.layout != LAYOUT

    @property
    def is_newer(self) -> bool:
        """True when they are of a newer one."""
        return self.current.layout > LAYOUT

    def set_mode(self, optimization: bool) -> None:
        """Switch the mode, for calls that start afterwards in every process."""
        self._refuse_foreign()
        with self._locked():
            self.word[0] = with_mode(self.word[0], in_detail=optimization)  # point: mode-word

    def hold(self) -> None:
        """Switch to optimization mode for a run, which whoever switches the mode ends."""
        with self._locked():
            self.word[0] = held(self.word[0])  # point: run-hold

    def release(self) -> None:
        """Switch back to what was before `hold`, unless somebody has switched since."""
        with self._locked():
            self.word[0] = released(self.word[0])  # point: run-release

    def publish(self, options: Options) -> None:
        """Make *options* the settings of every process, from its next call on."""
        self.amend(lambda settings: msgspec.structs.replace(settings, options=options))

    def amend(self, change: Callable[[Settings], Settings]) -> None:
        """
        Change the settings of every process, from its next call on: what *change* makes of them.

        They are read, changed and written as one step, so nobody's change undoes another's. Raises
        what *change* raises, and SessionError or OSError when the session has gone.
        """
        with self._locked():
            known = self._known()
            self._refuse_foreign()
            changed = change(known)
            if changed != known:
                write_aside(self._directory / "settings", msgspec.msgpack.encode(changed))
                self.word[0] = next_word(self.word[0])
            self.current = changed

    def move_to(self, storage: Path, options: Options, config: str, otlp: str = "") -> None:
        """Settings of a collector that was told another storage than who founded the session."""
        self.current = msgspec.structs.replace(
            self.current,
            options=_sent_to(options, otlp),
            storage=path_text(storage),
            config=config,
            layout=LAYOUT,
            otlp=otlp,
            config_seen=(),
        )
        self._seen_config = None
        with self._locked():
            # point below: settings-write
            write_aside(self._directory / "settings", msgspec.msgpack.encode(self.current))
            self.word[0] = next_word(self.word[0])  # point: settings-word

    def reload(self) -> Options:
        """Read the settings anew."""
        self.current = self._known()
        return self.current.options

    def changed_options(self) -> Options | None:
        """
        The options in the configuration file when it has changed since the last look, else None.

        Raises ConfigError for a broken edit and for a file that has gone, once; the old settings
        stay. Not for workers.
        """
        config = self.current.config
        seen = file_identity(config)
        if config and not seen:
            self._note_missing(config)
        if not seen or seen == self._seen_config:
            return None
        self._looks_without_config = 0
        first, self._seen_config = self._seen_config is None, seen
        # PyYAML costs 26 ms to import, and workers never get here.
        from shmperf.config.file import load  # noqa: PLC0415

        options = _sent_to(load(path_of(config)), self.current.otlp)
        return None if first and options == self.current.options else options

    def _note_missing(self, config: str) -> None:
        """Raise at the second look that finds no file: an editor may just be exchanging it."""
        self._looks_without_config += 1
        if self._looks_without_config == _MISSING_LOOKS:
            # Whatever comes back is read anew.
            self._seen_config = ()
            expected = "the file that the settings in force were read from"
            raise ConfigError(config, "", "no such file", expected)

    def _refuse_foreign(self) -> None:
        """What a word and settings of another version mean nobody knows here."""
        if self.is_foreign:
            raise SessionError(f"{self._directory}: belongs to another version of shmperf")

    def _known(self) -> Settings:
        try:
            return self._read()
        except FileNotFoundError:
            raise SessionError(f"{self._directory} has gone") from None

    def _read(self) -> Settings:
        try:
            content = read_bounded(self._directory / "settings")
            outline = _decode_outline(content)
            if outline.layout != LAYOUT:
                return Settings(Options(), **msgspec.structs.asdict(outline))
            return _decode_settings(content)
        except (msgspec.MsgspecError, ValueError) as error:
            raise SessionError(f"{self._directory}/settings is damaged: {error}") from None

    @contextmanager
    def _locked(self) -> Any:
        """The session word is read, changed and written by one process at a time."""
        fd = lock_within(self._directory / "word.lock", _WORD_DEADLINE_S)
        if fd is None:
            raise SessionError(f"{self._directory}/word.lock: held for too long by another process")
        try:
            yield
        finally:
            let_go(fd)  # point: leave-renamed


def _sent_to(options: Options, endpoint: str) -> Options:
    """*options* with that endpoint, if it is one."""
    if not endpoint:
        return options
    replace = msgspec.structs.replace
    otlp = replace(options.export.otlp, endpoint=endpoint)
    return replace(options, export=replace(options.export, otlp=otlp))
