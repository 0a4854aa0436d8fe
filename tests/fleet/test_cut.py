"""What is known of a storage stays small, however its lines come."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shmperf.errors import FormatError
from shmperf.fleet.cut import Cut
from shmperf.fleet.engine import Taken
from shmperf.fleet.manifest import Manifest, StoredOrigin, manifest_name, read_manifest
from shmperf.fleet.manifest import _digest as digest_of
from shmperf.fleet.objects import Directory
from shmperf.fleet.wire import encode, partition_of

ORIGIN = b"o" * 16
PARTITION = partition_of("alpha", 16)


def cut_of(
    *batches: tuple[int, list[bytes]], known: tuple[StoredOrigin, ...] = (), dropped: int = 0
) -> Cut:
    """A cut with those lines of one storage, each batch from its number on."""
    found = Cut(known, PARTITION, 16)
    for sequence, (first, lines) in enumerate(batches, 1):
        body = encode("alpha", ORIGIN, first, lines, dropped)
        taken = Taken("s", sequence, 0, 1, {}, body, "r", sequence)
        assert found.add(taken, is_late=False) == ("", "")
    return found


def test_calls_that_are_left_out_make_it_no_larger() -> None:
    """A day of totals with calls between them is one range, and a count."""
    lines = [b""] * 20 + [b"totals"] * 7
    cut = cut_of(*((27 * turn, lines) for turn in range(2880)))
    (found,) = cut.origins()
    assert (found.taken, found.left_out) == ([(0, 27 * 2880)], 20 * 2880)
    assert cut.lines == 7 * 2880


def test_what_comes_again_is_counted_once() -> None:
    """In other cuts; of lines that are left out, too, and whichever came first counts."""
    (known,) = cut_of((0, [b"", b"a", b""])).origins()
    cut = cut_of((1, [b"a", b"", b"", b"b"]), (0, [b"x", b"a", b"y"]), known=(known,))
    (found,) = cut.origins()
    assert (found.taken, found.left_out) == ([(0, 5)], 3)
    assert [part.lines for part in cut.parts] == [[(4, b"b")]]


def test_a_node_that_drops_all_the_time_makes_it_no_larger() -> None:
    """What it told is known, to the line, and its lines are taken after thousands of times."""
    known: tuple[StoredOrigin, ...] = ()
    for turn in range(25):
        first = 15 * 1000 * turn
        batches = [(first + 15 * at + 5, [b"x"] * 10) for at in range(1000)]
        cut = cut_of(*batches, known=known, dropped=5)
        known = tuple(cut.origins())
        assert len(known[0].taken) + len(known[0].dropped) < 5000
    (found,) = known
    assert found.missing == 0
    assert found.lines == 25 * 10_000
    assert found.told_dropped == 25 * 5000
    # Told again, and lines that are there: nothing new.
    again = cut_of((20, [b"x"] * 10), known=known, dropped=5)
    assert (again.lines, again.origins()) == (0, [found])


@pytest.mark.parametrize("schema", [1, 3])
def test_manifests_of_another_version_are_told(tmp_path: Path, schema: int) -> None:
    """Whatever else stands in them."""
    objects = Directory(tmp_path)
    manifest = Manifest(
        stream="s", partition=0, partitions=16, epoch=1, version=1, next=0, schema=schema
    )
    body = msgspec.json.encode(msgspec.to_builtins(manifest) | {"origins": [{"stored": []}]})
    name = manifest_name(manifest, digest_of(body))
    objects.write(name, body)
    with pytest.raises(FormatError, match=f"manifest of version {schema}, expected 2"):
        read_manifest(objects, name)
