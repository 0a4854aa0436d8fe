"""Our paths read, lead and compare as those of `pathlib` do, of which a program gets none."""

from __future__ import annotations

import copy
import pickle
from pathlib import PosixPath

import pytest

from shmperf.stdlib import Path

TEXTS = ["", "/", ".", "..", "a", "b.c", "//x", "///y", "a//b", "./a", "a/.", "a/./b", "/a/"]
TEXTS += [".h", "a/..", "/..", "//", "a b", "/.", "/a/.h", "..//", "a.b/", "\udcff"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_path_reads_as_pathlib_writes_it(text: str) -> None:
    """Text, name and parent are the same, and so the two are equal."""
    ours, theirs = Path(text), PosixPath(text)
    assert (str(ours), ours.name, str(ours.parent)) == (
        str(theirs),
        theirs.name,
        str(theirs.parent),
    )
    assert ours.is_absolute() == theirs.is_absolute()
    assert ours == theirs
    assert theirs == ours
    if theirs.name:
        assert ours.with_name("b") == theirs.with_name("b")
    assert [str(ours / other) for other in TEXTS] == [str(theirs / other) for other in TEXTS]


def test_paths_stand_in_their_order_whatever_they_are() -> None:
    """Sorted by their parts, ours and others among each other."""
    texts = ["a/b", "a.b/c", "a/b-c", "/x/y", "/x", "/x-y", "a"]
    mixed = [(Path, PosixPath)[n % 2](text) for n, text in enumerate(texts)]
    assert sorted(mixed) == sorted(PosixPath(text) for text in texts)


def test_a_path_is_one_where_it_is_copied_and_sent() -> None:
    """Copies and pickles are equal, and what it lacks it has from `pathlib`."""
    path = Path("/a/b.c")
    sent = pickle.loads(pickle.dumps(path))  # noqa: S301  our own
    assert {copy.copy(path), copy.deepcopy(path), sent} == {path}
    assert (path.suffix, PosixPath("/") / path) == (".c", path)
