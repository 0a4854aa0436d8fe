"""A worker that keeps what it makes, until a line comes."""

import select
import sys

import shmperf

_MIB = 1 << 20
_MOST = 500
kept: list[bytearray] = []


@shmperf.track
def remember() -> None:
    """A MiB that is really there, for up to half a GiB."""
    if len(kept) < _MOST:
        kept.append(bytearray(b"x" * _MIB))


remember()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    remember()
