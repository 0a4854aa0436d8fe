"""
Forgetting what a node has said: a storage that is gone for good leaves the answers of its fleet.

Nobody does it by himself: what a node has counted is history, and it may come back. What was
collected of it stays where it is, and so does which numbers it has given out (see `witness`).

    killed after …     who forgets it again
    some keys          takes the others away
"""

from __future__ import annotations

from .asking import NodeRow, States
from .engine import Engine
from .wire import name_of

__all__ = ["forget"]

_ALIVE = frozenset({"up", "silent"})
# States with their pieces, beats and courses; what is known of tools.
_OF_STORAGES = ("nodes", "facts")
_PRESENCE = "presence"


def forget(engine: Engine, node: str) -> tuple[list[NodeRow], list[NodeRow]]:
    """
    Take away what the storages of *node* that are not alive have said; which these were, and are.

    Raises what the engine raises.
    """
    rows = [row for row in States(engine).look().rows if row.node == node]
    alive = [row for row in rows if row.state in _ALIVE]
    gone = [row for row in rows if row.state not in _ALIVE]
    keys = {f"{name_of(node)}.{row.origin}" for row in gone}
    for bucket in _OF_STORAGES:
        for entry in engine.entries(bucket).entries:
            if ".".join(entry.key.split(".")[:2]) in keys:
                engine.delete(bucket, entry.key)
    if gone and not alive:
        engine.delete(_PRESENCE, name_of(node))
    return gone, alive
