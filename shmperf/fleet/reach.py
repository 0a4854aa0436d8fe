"""The engine that a configuration names, and the name of a node; nats-py is first needed here."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import msgspec

from shmperf.config.options import Fleet

from .access import Access, access_of
from .engine import Engine, Refused

__all__ = ["engine_at", "engine_of", "node_of"]


def engine_of(fleet: Fleet, environ: Mapping[str, str], name: str) -> Engine:
    """That of *fleet*, not connected yet; *name* is for the servers' own lists. Refused."""
    return _engine(access_of(fleet, environ), fleet.stream, name)


def engine_at(urls: str, fleet: Fleet, environ: Mapping[str, str], name: str) -> Engine:
    """The same at other *urls* than `fleet.url`, where there are some."""
    if urls:
        fleet = msgspec.structs.replace(fleet, url=urls)
    return engine_of(fleet, environ, name)


def node_of(fleet: Fleet) -> str:
    """What this node is called."""
    return fleet.node or socket.gethostname()


def _engine(access: Access, stream: str, name: str) -> Engine:
    try:
        # nats-py is an extra: who has no fleet needs none.
        from .jetstream import JetStream  # noqa: PLC0415
    except ImportError as error:
        raise Refused(f"{error.name} is missing: pip install 'shmperf[fleet]'") from None
    return JetStream(access, stream, name)
