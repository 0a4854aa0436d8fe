"""
Settings that change while a collector runs: from its file, or from anybody in the session.

    file edited ──► published: settings written, session word moved ──┐
    somebody else publishes: session word moved ──────────────────────┴─► given to all who hold some
"""

from __future__ import annotations

from collections.abc import Callable

from shmperf.config.options import Options
from shmperf.session.session import Session
from shmperf.session.word import generation_of

from .faults import Faults

__all__ = ["Settings"]


class Settings:
    """Which settings hold now; the collector's thread."""

    def __init__(
        self, session: Session, faults: Faults, configure: tuple[Callable[[Options], None], ...]
    ) -> None:
        """Every one of *configure* is called with the options whenever they have changed."""
        self._session = session
        self._faults = faults
        self._configure = configure
        self._generation = -1

    def have_changed(self) -> bool:
        """True when the session word says so."""
        return generation_of(self._session.word[0]) != self._generation

    def take_up(self) -> None:
        """The settings as they are now, whoever has changed them."""
        self._generation = generation_of(self._session.word[0])
        options = self._session.settings.reload()
        for configure in self._configure:
            configure(options)

    def take_up_file(self) -> None:
        """Publish what an edited configuration file says; raises ConfigError for a broken one."""
        options = self._session.settings.changed_options()
        if options is None:
            return
        self._faults.mended("config")
        self._session.settings.publish(options)  # point: config-publish
        self.take_up()
