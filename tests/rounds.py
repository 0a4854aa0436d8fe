"""A program that makes calls when it is told to, with a sidecar that sends them somewhere."""

from __future__ import annotations

from typing import Any

from tests.support import Place

__all__ = ["Rounds"]


class Rounds:
    """It is in the place, and ends with it; it is asked for what it has made."""

    def __init__(self, place: Place, sidecar: str, **environ: str) -> None:
        self.place = place
        self._sidecar = sidecar
        self.process = place.start_program("export/rounds", **environ)
        self._answer()

    def make(self, searches: int) -> None:
        """So many searches, each with a fetch."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{searches}\n")
        self.process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def sidecar(self) -> dict[str, Any]:
        """What `status` shows of it."""
        found: dict[str, Any] = self.place.ask("status")["sidecars"].get(self._sidecar, {})
        return found

    def end(self) -> set[str]:
        """Let it end; the ids of all that it has made."""
        self.place.finish(self.process)
        self.place.wait_for_end()
        return {*self.place.ids("search"), *self.place.ids("fetch")}
