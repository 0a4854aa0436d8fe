"""Who tells something of itself at the broker: a node, its storage, and whom it asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from shmperf.config.options import Options
from shmperf.session.client import Client
from shmperf.session.messages import Question
from shmperf.storage.origin import origin_of

from .engine import Engine
from .wire import key_of

__all__ = ["Ask", "Teller", "teller_of"]

_ASK_S = 10.0

Ask = Callable[[Question], Any]


class Teller(NamedTuple):
    """
    A node and one storage of it; *ask* asks its collector.

    *origin* is the storage's own, which stays as it is when the outbox begins anew and its lines
    get other numbers: under two of them the same calls would stand twice.
    """

    node: str
    origin: bytes
    storage: Path
    options: Options
    engine: Engine
    ask: Ask

    @property
    def key(self) -> str:
        """Its key in each bucket."""
        return key_of(self.node, self.origin)


def teller_of(node: str, storage: Path, options: Options, engine: Engine, client: Client) -> Teller:
    """The node that publishes *storage*, whose collector *client* asks."""
    origin = origin_of(storage)
    return Teller(
        node, origin, storage, options, engine, lambda question: client.ask(question, _ASK_S)
    )
