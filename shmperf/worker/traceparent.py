"""
W3C trace context: the header ``traceparent`` as text, and what it says.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    │  trace, 16 bytes                  span, 8 bytes    flags
    version

As https://www.w3.org/TR/trace-context/ has it: lower case only, neither trace nor span all zero. Of
a later version the same four fields are read, and what follows behind another dash is left alone;
version ff is none. What is not valid is as if it were not there.
"""

from __future__ import annotations

from shmperf.shm.remote import Remote

__all__ = ["format_traceparent", "parse_traceparent"]

_DIGITS = frozenset("0123456789abcdef")
_LENGTHS = (2, 32, 16, 2)
_LENGTH = sum(_LENGTHS) + 3
# That of a header of any version that is worth reading.
_MOST = 512
_VERSION = "00"
_NO_VERSION = "ff"
# Recorded: whoever asks has a call.
_SAMPLED = "01"


def parse_traceparent(text: object) -> Remote | None:
    """The span that *text* names; None when it is no valid ``traceparent``."""
    if not isinstance(text, str) or not _LENGTH <= len(text) <= _MOST:
        return None
    version, *fields = text.split("-", 4)
    known = [version, *fields[:3]]
    if len(known) < 4 or [len(field) for field in known] != list(_LENGTHS):
        return None
    if not all(_DIGITS.issuperset(field) for field in known) or version == _NO_VERSION:
        return None
    if version == _VERSION and len(text) != _LENGTH:
        return None
    trace, span = bytes.fromhex(fields[0]), bytes.fromhex(fields[1])
    return Remote(trace, span) if any(trace) and any(span) else None


def format_traceparent(remote: Remote) -> str:
    """The header that hands *remote* on."""
    return f"{_VERSION}-{remote.trace.hex()}-{remote.span.hex()}-{_SAMPLED}"
