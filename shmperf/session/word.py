"""
The session's word, which every process of a session maps and compares at each call.

    generation << 8 | was in detail << 2 | held << 1 | in detail

The generation counts changes of the settings; the lowest bit is 1 where calls are recorded in
detail. A run of the optimization cycle *holds* the word in detail, and the word itself remembers
what it was before: whoever finds it held without a run can put it back, with no journal at hand.
Who switches the mode meanwhile sets another one that nobody holds; that is how a run learns of it.
"""

from __future__ import annotations

__all__ = [
    "first_word",
    "generation_of",
    "held",
    "is_held",
    "is_in_detail",
    "next_word",
    "released",
    "was_in_detail",
    "with_mode",
]

_GENERATION_SHIFT = 8
_DETAIL, _HELD, _WAS_IN_DETAIL = 1, 2, 4
_MODE = _DETAIL | _HELD | _WAS_IN_DETAIL


def first_word(*, in_detail: bool) -> int:
    """The word of a session that is founded."""
    return with_mode(1 << _GENERATION_SHIFT, in_detail=in_detail)


def next_word(word: int) -> int:
    """The word after a change of the settings."""
    return word + (1 << _GENERATION_SHIFT)


def with_mode(word: int, *, in_detail: bool) -> int:
    """The word with another mode, which nobody holds."""
    return word & ~_MODE | in_detail


def held(word: int) -> int:
    """The word in detail, held there by a run; as it is when one holds it already."""
    if is_held(word):
        return word
    before = _WAS_IN_DETAIL if is_in_detail(word) else 0
    return word & ~_MODE | before | _HELD | _DETAIL


def released(word: int) -> int:
    """The word as it was before it was held; as it is when nobody holds it."""
    return with_mode(word, in_detail=was_in_detail(word)) if is_held(word) else word


def generation_of(word: int) -> int:
    """How often the settings have changed, the founding included."""
    return word >> _GENERATION_SHIFT


def is_in_detail(word: int) -> bool:
    """True in optimization mode."""
    return bool(word & _DETAIL)


def is_held(word: int) -> bool:
    """True while a run holds the session in optimization mode."""
    return bool(word & _HELD)


def was_in_detail(word: int) -> bool:
    """True when a run holds a session that was in optimization mode before."""
    return bool(word & _WAS_IN_DETAIL)
