"""
Where a segment says which tools it has no names for: a corner of the header, there from the start.

    word 96         97        128 …
        ┌───────────┬─────────┬──────────────────────────────┐
        │ named     │ shown   │ cells: length · text, 16 words│
        └───────────┴─────────┴──────────────────────────────┘

When a worker has called more tools than it can name, the later ones are recorded together, under
one name that says so: *named* is how many had names by then, the cells hold the first of those that
have none. A cell is written before it is counted in *shown*. Nothing has to be reserved for that,
so it works where there is no memory left at all.

Why not the callee's number alone: a record that nobody can name would be worse than none.
"""

from __future__ import annotations

import msgspec

__all__ = ["MOST_SHOWN", "Beyond", "beyond_name", "note_beyond", "read_beyond"]

_NAMED, _SHOWN = 96, 97
_CELLS = 128
_CELL_WORDS = 16
_LONGEST = (_CELL_WORDS - 1) * 8
MOST_SHOWN = 10
# More tools than any worker can name.
_MOST_NAMED = 1 << 20


class Beyond(msgspec.Struct, frozen=True):
    """The tool that stands for all those without a name, and the first of them."""

    tool: str
    first: tuple[str, ...]


def beyond_name(named: int) -> str:
    """
    What tools beyond the first *named* are recorded as.

    Rounded down to one digit: workers that differ by a few names share one tool.
    """
    digits = str(named)
    return f"tools beyond {digits[0] + '0' * (len(digits) - 1)}"


def note_beyond(buffer: memoryview, words: memoryview, named: int, tool: str) -> None:
    """Show that *tool* has no name, if it is among the first; the owner of the memory."""
    shown = words[_SHOWN]
    if not shown:
        words[_NAMED] = named
    if shown >= MOST_SHOWN:
        return
    text = tool.encode("utf-8", "backslashreplace")[:_LONGEST]
    at = (_CELLS + shown * _CELL_WORDS) * 8
    buffer[at + 8 : at + 8 + len(text)] = text
    words[at // 8] = len(text)
    words[_SHOWN] = shown + 1


def read_beyond(buffer: memoryview, words: memoryview) -> Beyond | None:
    """What stands there, bounded; None while every tool has its name. Any process."""
    shown = min(words[_SHOWN], MOST_SHOWN)
    if not shown:
        return None
    cells = [(_CELLS + number * _CELL_WORDS) * 8 for number in range(shown)]
    texts = [bytes(buffer[at + 8 : at + 8 + min(words[at // 8], _LONGEST)]) for at in cells]
    named = beyond_name(min(words[_NAMED], _MOST_NAMED))
    return Beyond(named, tuple(text.decode("utf-8", "ignore") for text in texts))
