"""W3C's ``traceparent``: what is valid is read, and what is not is as if it were not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.shm.remote import Remote
from shmperf.worker.traceparent import format_traceparent, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REMOTE = Remote(bytes.fromhex(TRACE), bytes.fromhex(SPAN))


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        # Later versions: the same fields, and perhaps more of them.
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-01-",
    ],
)
def test_what_is_valid_is_read(text: str) -> None:
    """Trace and span are taken, whether the caller records or not."""
    assert parse_traceparent(text) == REMOTE


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        b"00-" + TRACE.encode() + b"-" + SPAN.encode() + b"-01",
        "",
        "00",
        "-" * 55,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0X",
        f"0X-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN[:-1]}-001",
        f"00_{TRACE}_{SPAN}_01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE[:-1]}\u0664-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 100_000}",
    ],
)
def test_what_is_not_valid_is_not_there(text: object) -> None:
    """Wrong versions, lengths, digits and types name no span."""
    assert parse_traceparent(text) is None


@given(st.one_of(st.text(), st.text(alphabet="0123456789abcdef-", min_size=50, max_size=60)))
def test_nothing_raises(text: str) -> None:
    """Whatever a header holds, it is a span or none."""
    found = parse_traceparent(text)
    assert found is None or format_traceparent(found)[2:52] == text[2:52]


def test_what_is_handed_on_is_read_again() -> None:
    """The header that is made names the span it was made of, as one that is recorded."""
    text = format_traceparent(REMOTE)
    assert text == f"00-{TRACE}-{SPAN}-01"
    assert parse_traceparent(text) == REMOTE
