"""A node's state in values of bounded size: a reader never has half of one and half of the next."""

from __future__ import annotations

import os

import pytest

from shmperf.errors import FormatError
from shmperf.fleet.pieces import LARGEST_BYTES, cut, head_of, is_head, piece_key, whole

KEY = "node.0123"


def _put(bucket: dict[str, bytes], content: bytes, generation: int) -> list[tuple[str, bytes]]:
    """The puts in their order."""
    made = cut(content, generation)
    puts = [(piece_key(KEY, generation, place), one) for place, one in enumerate(made.pieces)]
    return [*puts, (KEY, made.head)]


@pytest.mark.parametrize("size", [0, 1, 1000, LARGEST_BYTES, 3 * LARGEST_BYTES + 17])
def test_a_state_is_read_as_it_was_put(size: int) -> None:
    """Of whatever size; no value is larger than the bound."""
    content = os.urandom(size)
    bucket = dict(_put({}, content, 7))
    assert max(map(len, bucket.values())) <= LARGEST_BYTES
    assert whole(KEY, head_of(bucket[KEY]), bucket.get) == content
    assert [key for key in bucket if is_head(key)] == [KEY]


def test_a_writer_killed_at_any_point_leaves_a_whole_state() -> None:
    """After any number of puts a reader has the former state or the new one."""
    former, new = os.urandom(3 * LARGEST_BYTES), os.urandom(2 * LARGEST_BYTES)
    for done in range(5):
        bucket = dict(_put({}, former, 1))
        bucket.update(_put(bucket, new, 2)[:done])
        found = whole(KEY, head_of(bucket[KEY]), bucket.get)
        assert found == (new if done >= 4 else former)


def test_pieces_of_another_generation_are_not_read() -> None:
    """Who has an old head finds that it has moved on."""
    bucket = dict(_put({}, os.urandom(3 * LARGEST_BYTES), 1))
    old = head_of(bucket[KEY])
    bucket.update(_put(bucket, os.urandom(3 * LARGEST_BYTES), 3))
    assert whole(KEY, old, bucket.get) is None
    assert whole(KEY, old, {}.get) is None


def test_a_damaged_piece_is_not_read() -> None:
    """The digest is of all pieces together."""
    bucket = dict(_put({}, os.urandom(3 * LARGEST_BYTES), 1))
    place = piece_key(KEY, 1, 1)
    bucket[place] = bucket[place][:-1] + bytes([bucket[place][-1] ^ 1])
    assert whole(KEY, head_of(bucket[KEY]), bucket.get) is None


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x93\x01\x02", b"\x95\x09\x02\xc4\0\0\xc4\0"])
def test_what_is_no_head_is_refused(value: bytes) -> None:
    """Somebody else's value, or one of another version."""
    with pytest.raises(FormatError):
        head_of(value)


def test_more_than_can_be_put_is_refused() -> None:
    """A bound, where all others have failed."""
    with pytest.raises(FormatError, match="more than can be put"):
        cut(bytes(65 * LARGEST_BYTES), 1)
