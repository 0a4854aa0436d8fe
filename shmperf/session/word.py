"""
The session's word, which every process of a session maps and compares at each call.

    generation << 8 | mode

The generation counts changes of the settings; the mode is 1 where calls are recorded in detail.
"""

from __future__ import annotations

__all__ = ["first_word", "generation_of", "is_in_detail", "next_word", "with_mode"]

_GENERATION_SHIFT = 8
_DETAIL = 1


def first_word(*, in_detail: bool) -> int:
    """The word of a session that is founded."""
    return with_mode(1 << _GENERATION_SHIFT, in_detail=in_detail)


def next_word(word: int) -> int:
    """The word after a change of the settings."""
    return word + (1 << _GENERATION_SHIFT)


def with_mode(word: int, *, in_detail: bool) -> int:
    """The word with another mode."""
    return word & ~_DETAIL | in_detail


def generation_of(word: int) -> int:
    """How often the settings have changed, the founding included."""
    return word >> _GENERATION_SHIFT


def is_in_detail(word: int) -> bool:
    """True in optimization mode."""
    return bool(word & _DETAIL)
