"""What is told to who asks for what is not there, a tool, a storage or a command: what is near."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from shmperf.errors import StoreError
from shmperf.files import INTERNALS, internals
from shmperf.query.answers import Answers
from shmperf.storage.filenames import holds_lines, is_history
from shmperf.views.formatting import printable

__all__ = ["did_you_mean", "holds_records", "refuse_missing", "refuse_unknown"]

_LONGEST = 100
# Of a name, the least that stands for the whole.
_PART = 3


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """The end of a message: the one of *known* that is nearest to *text*, if any is near."""
    by_lower = {name.lower(): name for name in known}
    sought = text.lower()
    nearest = get_close_matches(sought, by_lower, n=1)
    if not nearest and len(sought) >= _PART:
        nearest = sorted((name for name in by_lower if sought in name), key=len)
    return f"; did you mean {printable(by_lower[nearest[0]], _LONGEST)!r}?" if nearest else ""


def refuse_unknown(answers: Answers, tool: str) -> None:
    """Raise StoreError, which names the nearest tool, when no call of *tool* is known."""
    stats = answers.stats(tool)
    is_known = any(stats[key] for key in ("count", "aborted", "sampled_out", "in_flight"))
    if is_known or not stats["complete"]:
        # Calls that nobody has drained yet may be its first.
        return
    if holds_lines(answers.storage, tool):
        return
    found = f"no calls of {printable(tool, _LONGEST)!r} were recorded"
    if answers.options.limit_of(tool) == 0:
        raise StoreError(f"{found}: its limit is 0, so it is not tracked")
    raise StoreError(found + did_you_mean(tool, answers.stats()["tool_stats"]))


def holds_records(storage: Path) -> bool:
    """True when something was recorded in *storage*, as far as this user may see."""
    try:
        names = [path.name for path in storage.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # Who reads there will say what is wrong.
        return True
    return any(name == INTERNALS or is_history(name) for name in names)


def refuse_missing(answers: Answers) -> None:
    """Raise StoreError, which names the nearest storage, when nobody has recorded there."""
    storage = answers.storage
    if answers.session is not None or holds_records(storage):
        return
    what = "no such directory; "
    if storage.exists():
        what = "" if storage.is_dir() else "not a directory; "
    raise StoreError(f"{storage}: {what}nothing was recorded there{_near(storage)}")


def _near(storage: Path) -> str:
    """A storage within that directory, or one beside it whose name is like it."""
    for place in _storages(storage):
        return f"; did you mean {str(place)!r}?"
    beside = {place.name: place for place in _storages(storage.parent)}
    return did_you_mean(storage.name, beside)


def _storages(place: Path) -> Iterable[Path]:
    try:
        with os.scandir(place) as found:
            inside = [Path(one.path) for one in found if one.is_dir()]
        return sorted(one for one in inside if internals(one).is_dir())
    except OSError:
        return ()
