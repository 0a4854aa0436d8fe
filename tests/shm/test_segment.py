"""A worker's memory: found by name, bounded, the user's alone, and never believed by its reader."""

from __future__ import annotations

import errno
import secrets
import subprocess
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from shmperf.errors import FormatError, SegmentGone
from shmperf.shm.inflight import BLOCK_BYTES, GENERATION_STEP
from shmperf.shm.memory import SHARED_MEMORY, read_blob, remove_memory
from shmperf.shm.record import SLOT, Callee, Slot, meta_of, seal
from shmperf.shm.ring import RingWriter
from shmperf.shm.segment import (
    FAULTS,
    LOSSES,
    SHARED,
    Extent,
    Fault,
    Kind,
    Loss,
    Segment,
    SegmentReader,
    begun_unmapped,
)
from shmperf.stdlib import os
from tests.support import PROGRAMS, PYTHON, wait_until

BUDGET = 1 << 20
MAGIC, VERSION, SIZE, PID, EPOCH, SEALED, ENTRIES = range(7)
DIRECTORY = 4096 // 8
NAMES = 4096 + (2 << 20)
EXTENTS = NAMES + (4 << 20)
AMONG_NAMES = (Kind.CALLEE, Kind.COUNT)
# The least there is beside the budget: a page of the directory, one of names.
NAMED = 2 * 4096
MOST_ENTRIES = (2 << 20) // 32


def run_apart(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of tests/programs/segment to its end, which may be a kill."""
    command = [PYTHON, str(PROGRAMS / f"segment/{program}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def descriptors(name: str) -> list[str]:
    """This process's open descriptors of a memory, also of one unlinked since."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            target = str(path.readlink())
        except OSError:
            continue
        if name in target:
            found.append(target)
    return found


def store(segment: Segment, ring: RingWriter, call_id: int) -> None:
    position = next(ring.current.positions, None)
    if position is None:
        position = next((ring.grant() or ring.current).positions)
    write(segment, position + ring.current.shift, (call_id, 0, 1, 2), meta_of(1), position)


def write(
    segment: Segment, at: int, words: tuple[int, int, int, int], meta: int, position: int
) -> None:
    """A slot without a body, as this machine's workers store it."""
    if segment.sealed:
        meta = seal(words, meta, b"")
    SLOT.pack_into(segment.buffer, at, *words, meta, b"", position)


def exercise(reader: SegmentReader) -> None:
    """Read everything that the directory says, as the collector does."""
    for extent in reader.new_extents():
        assert extent.offset >= (NAMES if extent.kind in AMONG_NAMES else EXTENTS)
        if extent.kind == Kind.CALLEE:
            reader.callee(extent)
        elif extent.kind == Kind.COUNT:
            assert 0 <= reader.count(extent) <= 1 << 40
        elif extent.kind == Kind.ROWS:
            rows = reader.rows(extent)
            rows.has_changed()
            rows.changes()
            rows.has_left(1)
        else:
            ring = reader.ring(extent)
            ring.has_record()
            ring.read()
            assert ring.retired in {True, False}
    reader.losses()
    reader.faults()


def refuse_shared_memory(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The system refuses shared memory, as it does in some containers and sandboxes."""

    def refuse(*_arguments: Any, **_options: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(vars(shared_memory)["_posixshmem"], "shm_open", refuse)


def refuse_to_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is full."""

    def refuse(*_arguments: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)


@pytest.fixture
def name() -> Iterator[str]:
    found = f"shmperf-{secrets.token_hex(6)}"
    yield found
    remove_memory(found, None)


@pytest.mark.parametrize("sealed", [False, True])
def test_what_a_worker_publishes_its_reader_finds(name: str, *, sealed: bool) -> None:
    """Names, rows and rings are read as they were written, by either order of stores."""
    segment = Segment(name, budget_bytes=BUDGET, pid=42, sealed=sealed)
    callee = Callee("tööl", ("a",), "rest")
    assert segment.add_callee(7, callee)
    assert segment.add_rows(9)
    ring = segment.add_ring(7, 16)
    shared = segment.add_shared_ring()
    assert ring is not None
    assert shared is not None
    reader = SegmentReader(name)
    extents = reader.new_extents()
    assert [extent.kind for extent in extents] == [Kind.CALLEE, Kind.ROWS, Kind.RING, Kind.RING]
    assert reader.callee(extents[0]) == callee
    assert reader.rows(extents[1]).block == 9
    assert extents[3].key == SHARED
    grant = ring.grant()
    assert grant is not None
    position = next(grant.positions)
    write(segment, position + grant.shift, (1, 2, 3, 4), meta_of(7), position)
    (slot,) = reader.ring(extents[2]).read()
    assert slot[:4] == (1, 2, 3, 4)
    assert reader.pid == 42
    assert reader.new_extents() == []
    segment.count_loss(Loss.RING_FULL)
    segment.count_fault(Fault.REPR_FAILED)
    assert reader.losses() == {"ring_full": 1}
    assert reader.faults() == {"repr_failed": 1}
    reader.close()


def test_budget_is_kept_whatever_is_asked(name: str) -> None:
    """Memory really used never exceeds the budget; what does not fit is refused."""
    segment = Segment(name, budget_bytes=BUDGET)
    rings = [segment.add_ring(1, 64) for _ in range(200)]
    assert rings[0] is not None
    assert rings[-1] is None
    assert not segment.add_callee(2, Callee("x" * BUDGET))
    assert (SHARED_MEMORY / name).stat().st_blocks * 512 <= BUDGET
    assert segment.used_bytes <= BUDGET


def test_memory_is_the_users_alone(name: str) -> None:
    """Segments are created exclusively with mode 0600, and others are refused."""
    Segment(name, budget_bytes=BUDGET)
    path = SHARED_MEMORY / name
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Segment(name, budget_bytes=BUDGET)
    path.chmod(0o644)
    with pytest.raises(FormatError, match="0600"):
        SegmentReader(name)
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, os.urandom(3 << 20), bytes(3 << 20)])
def test_foreign_memory_is_refused_and_left_alone(name: str, content: bytes) -> None:
    """What is no segment is a FormatError, and the attach does not unlink it."""
    path = SHARED_MEMORY / name
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(FormatError):
        SegmentReader(name)
    assert path.exists()


def test_missing_memory_is_gone(name: str, tmp_path: Path) -> None:
    """A name without memory is SegmentGone, with a fallback directory too."""
    for fallback in (None, tmp_path):
        with pytest.raises(SegmentGone):
            SegmentReader(name, fallback=fallback)


def test_calls_without_a_record_are_counted_where_their_reader_looks(name: str) -> None:
    """A counter is one word under its callee's number, and what has begun knows of it."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.add_callee(1, Callee("tool"))
    place = segment.add_counter(1)
    assert place is not None
    assert segment.words[place] == 0
    segment.words[place] = 7
    reader = SegmentReader(name)
    (extent,) = [one for one in reader.new_extents() if one.kind == Kind.COUNT]
    assert (extent.key, reader.count(extent)) == (1, 7)
    with (SHARED_MEMORY / name).open("rb") as file:
        assert begun_unmapped(file.fileno()) == 7
    segment.words[place] = 2**64 - 1
    assert reader.count(extent) == 1 << 40
    reader.close()


def test_blob_is_read_by_its_owner_name_alone(name: str) -> None:
    """A blob comes back whole; a name that is not one of the worker's is refused."""
    segment = Segment(name, budget_bytes=BUDGET)
    content = os.urandom(300_000)
    blob = segment.add_blob(content)
    assert blob is not None
    assert read_blob(blob, name, 1 << 20)[: len(content)] == content
    for wrong in ("../../etc/passwd", f"{name}x.1", name, f"{name}.zz", "shmperf-other.1"):
        with pytest.raises(FormatError):
            read_blob(wrong, name, 1 << 20)
    with pytest.raises(FormatError):
        read_blob(blob, name, 1000)
    remove_memory(name, None)
    assert not (SHARED_MEMORY / blob).exists()


def test_segment_survives_its_process_without_a_word(name: str) -> None:
    """The resource tracker neither unlinks undrained memory nor complains about it."""
    done = run_apart("left_to_be_drained", name, BUDGET)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    reader = SegmentReader(name)
    reader.close()
    assert (SHARED_MEMORY / name).exists()


def test_reader_sees_what_is_published_after_it_attached(name: str) -> None:
    """The directory only grows: each entry is found once, whenever it came."""
    segment = Segment(name, budget_bytes=BUDGET)
    reader = SegmentReader(name)
    assert reader.new_extents() == []
    for number in range(1, 6):
        assert segment.add_callee(number, Callee(f"tool{number}"))
        (extent,) = reader.new_extents()
        assert reader.callee(extent) == Callee(f"tool{number}")
        assert reader.new_extents() == []
    assert reader.refused == 0
    reader.close()


def test_extents_lie_apart(name: str) -> None:
    """No two extents overlap, and each is aligned as its readers need it."""
    segment = Segment(name, budget_bytes=BUDGET)
    for number in range(1, 8):
        assert segment.add_callee(number, Callee("x" * number))
        assert segment.add_rows(number) is not None
        assert segment.add_ring(number, 2**number) is not None
    reader = SegmentReader(name)
    extents = reader.new_extents()
    assert len(extents) == 21
    assert reader.refused == 0
    ends = {True: NAMES, False: EXTENTS}
    for extent in extents:
        alignment = {Kind.CALLEE: 8, Kind.ROWS: 64, Kind.RING: 256}[extent.kind]
        assert extent.offset % alignment == 0
        is_name = extent.kind == Kind.CALLEE
        assert extent.offset >= ends[is_name]
        ring = extent.kind == Kind.RING
        ends[is_name] = extent.offset + (256 + extent.size * 256 if ring else extent.size)
    assert ends[True] <= EXTENTS
    reader.close()


def test_rows_and_rings_are_those_of_their_extents(name: str) -> None:
    """Each reader reads the block or ring of its own extent, the shared ring among them."""
    segment = Segment(name, budget_bytes=BUDGET)
    for block in (5, 6):
        ready = segment.add_rows(block)
        assert ready is not None
        for row in ready[: block - 3]:
            segment.words[row] += GENERATION_STEP
    rings = [segment.add_ring(1, 4), segment.add_ring(2, 4), segment.add_shared_ring()]
    for call_id, ring in enumerate(rings, 100):
        assert ring is not None
        store(segment, ring, call_id)
    reader = SegmentReader(name)
    extents = reader.new_extents()
    rows = [reader.rows(e) for e in extents if e.kind == Kind.ROWS]
    begun = [sum(change.begun for change in block.changes()) for block in rows]
    assert begun == [2, 3]
    found: dict[int, list[Slot]] = {
        e.key: reader.ring(e).read() for e in extents if e.kind == Kind.RING
    }
    assert {key: [slot[0] for slot in slots] for key, slots in found.items()} == {
        1: [100],
        2: [101],
        SHARED: [102],
    }
    reader.close()


def test_ring_is_read_from_where_a_former_reader_stopped(name: str) -> None:
    """A new collector goes on at the position that the former one had noted."""
    segment = Segment(name, budget_bytes=BUDGET)
    writer = segment.add_ring(1, 8)
    assert writer is not None
    for call_id in range(3):
        store(segment, writer, call_id)
    reader = SegmentReader(name)
    (extent,) = reader.new_extents()
    former = reader.ring(extent)
    assert [slot[0] for slot in former.read(2)] == [0, 1]
    assert [slot[0] for slot in reader.ring(extent, former.position).read()] == [2]
    reader.close()


def test_killed_while_publishing_leaves_no_entry(name: str) -> None:
    """An entry whose count was not stored yet is not there for a reader."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.add_callee(1, Callee("tool"))
    reader = SegmentReader(name)
    segment.add_callee(2, Callee("second"))
    segment.words[ENTRIES] = 1
    assert [extent.key for extent in reader.new_extents()] == [1]
    segment.words[ENTRIES] = 2
    assert [extent.key for extent in reader.new_extents()] == [2]
    reader.close()


@pytest.mark.parametrize("word", [MAGIC, VERSION, SIZE])
@pytest.mark.parametrize("change", [lambda _: 0, lambda w: w + 1, lambda w: w ^ 1 << 63])
def test_other_layouts_are_refused(name: str, word: int, change: Callable[[int], int]) -> None:
    """A wrong magic number, version or size is a FormatError, and leaves nothing open."""
    segment = Segment(name, budget_bytes=BUDGET)
    before = descriptors(name)
    true_word = segment.words[word]
    segment.words[word] = change(true_word)
    with pytest.raises(FormatError):
        SegmentReader(name)
    assert descriptors(name) == before
    segment.words[word] = true_word
    SegmentReader(name).close()


def test_format_error_names_both_versions(name: str) -> None:
    """Who meets another version is told which it is and which was expected."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.words[VERSION] = 77
    with pytest.raises(FormatError, match=r"layout 77, expected 5\b"):
        SegmentReader(name)


def test_reader_lets_go_of_everything(name: str) -> None:
    """Attaching and closing leaves no descriptor behind."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.add_callee(1, Callee("tool"))
    before = descriptors(name)
    for _ in range(3):
        reader = SegmentReader(name)
        exercise(reader)
        reader.close()
    assert descriptors(name) == before


def test_each_segment_has_an_epoch_of_its_own(name: str) -> None:
    """A name that is used again is not taken for the same segment."""
    epochs = set()
    for _ in range(4):
        Segment(name, budget_bytes=BUDGET)
        reader = SegmentReader(name)
        epochs.add(reader.epoch)
        reader.close()
        remove_memory(name, None)
    assert len(epochs) == 4


@pytest.mark.parametrize("sealed", [False, True])
def test_segment_says_whether_its_records_are_sealed(name: str, sealed: bool) -> None:
    """Reader and ring follow the discipline of the machine that writes."""
    segment = Segment(name, budget_bytes=BUDGET, sealed=sealed)
    writer = segment.add_ring(1, 4)
    grant = writer.grant() if writer else None
    assert grant is not None
    position = next(grant.positions)
    at = position + grant.shift
    SLOT.pack_into(segment.buffer, at, 1, 0, 1, 2, meta_of(1), b"", position)
    reader = SegmentReader(name)
    assert (segment.sealed, reader.sealed) == (sealed, sealed)
    (extent,) = reader.new_extents()
    assert len(reader.ring(extent).read()) == (0 if sealed else 1)
    reader.close()


def test_causes_are_counted_under_their_names(name: str) -> None:
    """Every cause of a loss or fault has a counter of its own on both sides."""
    segment = Segment(name, budget_bytes=BUDGET)
    for loss in range(len(LOSSES)):
        for _ in range(loss + 1):
            segment.count_loss(loss)
    for fault in range(len(FAULTS)):
        for _ in range(fault + 1):
            segment.count_fault(fault)
    reader = SegmentReader(name)
    assert reader.losses() == segment.losses() == {n: i for i, n in enumerate(LOSSES, 1)}
    assert reader.faults() == segment.faults() == {n: i for i, n in enumerate(FAULTS, 1)}
    reader.close()


LENGTH = 64 << 20
WORDS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2, 3, 7, 8, 64, 255, 256, 4096, SHARED, SHARED + 1, 1 << 16, 1 << 20]),
    st.sampled_from(
        [NAMES - 8, NAMES, EXTENTS - 8, EXTENTS, EXTENTS + 8, LENGTH - 4096, LENGTH - 8, LENGTH]
    ),
    st.integers(0, 4).map(lambda n: 2**64 - 1 - n),
)
ENTRY = st.one_of(
    st.tuples(WORDS, WORDS, WORDS, WORDS),
    st.builds(
        Extent,
        kind=st.integers(0, Kind.BOARD + 1),
        key=WORDS,
        offset=st.one_of(WORDS, st.integers(EXTENTS // 8, LENGTH // 8).map(lambda n: n * 8)),
        size=st.one_of(WORDS, st.integers(0, 16).map(lambda n: 1 << n), st.just(BLOCK_BYTES)),
    ),
)


def test_damaged_directory_is_refused_and_counted(name: str) -> None:
    """Whatever stands in the directory, a reader neither fails nor reads outside the memory."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.add_callee(1, Callee("tool"))
    segment.add_ring(1, 16)

    @settings(max_examples=200)
    @given(st.lists(ENTRY, min_size=1, max_size=12))
    @example([(Kind.RING, 1, LENGTH - 512, 1), (Kind.RING, 1, LENGTH - 512, 2)])
    @example([(Kind.CALLEE, 1, LENGTH - 8, 8), (Kind.CALLEE, 1, LENGTH - 8, 16)])
    @example([(Kind.ROWS, 1, LENGTH - BLOCK_BYTES, BLOCK_BYTES)])
    @example([(Kind.COUNT, 1, EXTENTS - 8, 8), (Kind.COUNT, 1, EXTENTS, 8)])
    @example([(Kind.COUNT, SHARED + 1, NAMES, 8), (Kind.COUNT, 1, NAMES - 8, 8)])
    @example([(Kind.COUNT, 1, NAMES + 4, 8), (Kind.COUNT, 1, NAMES, 16)])
    def check(entries: list[Extent | tuple[int, int, int, int]]) -> None:
        for number, entry in enumerate(entries):
            words = astuple(entry) if isinstance(entry, Extent) else entry
            for word, value in enumerate(words):
                segment.words[DIRECTORY + 4 * number + word] = value
        segment.words[ENTRIES] = len(entries)
        reader = SegmentReader(name)
        sound = reader.new_extents()
        assert len(sound) + reader.refused == len(entries)
        for extent in sound:
            kind, offset, size = extent.kind, extent.offset, extent.size
            used = 256 + size * 256 if kind == Kind.RING else size
            first = NAMES if kind in AMONG_NAMES else EXTENTS
            assert first <= offset <= offset + used <= len(reader.buffer)
        reader.close()
        reader = SegmentReader(name)
        exercise(reader)
        reader.close()

    check()


def test_damaged_content_is_refused_and_counted(name: str) -> None:
    """Whatever stands in the extents, a reader neither fails nor believes it."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.add_callee(1, Callee("tool", ("a", "b"), "rest"))
    segment.add_rows(3)
    segment.add_ring(1, 4)

    @settings(max_examples=200)
    @given(st.binary(min_size=1, max_size=64), st.integers(0, 8192 - 64))
    def check(image: bytes, at: int) -> None:
        former = bytes(segment.buffer[EXTENTS : EXTENTS + 8192])
        segment.buffer[EXTENTS + at : EXTENTS + at + len(image)] = image
        reader = SegmentReader(name)
        exercise(reader)
        assert reader.refused <= 1
        reader.close()
        segment.buffer[EXTENTS : EXTENTS + 8192] = former

    check()


@pytest.mark.parametrize(
    "text",
    [b"", b"\xc1" * 8, b"\x93\xa1t\x05\xc0", b"\x91\x01", b"\x91\xa2\xff\xff", b"\x91" * 60_000],
    ids=["empty", "no msgpack", "wrong type", "no text", "no unicode", "deep"],
)
def test_damaged_line_of_the_name_table_is_none(name: str, text: bytes) -> None:
    """A line that is no callee is counted and left out."""
    segment = Segment(name, budget_bytes=BUDGET)
    assert segment.add_callee(1, Callee("x" * 60_000))
    reader = SegmentReader(name)
    (extent,) = reader.new_extents()
    segment.buffer[extent.offset : extent.offset + extent.size] = text.ljust(extent.size, b"\xc1")
    assert reader.callee(extent) is None
    assert reader.refused == 1
    reader.close()


@pytest.mark.parametrize("count", [MOST_ENTRIES, MOST_ENTRIES + 1, 2**64 - 1])
def test_count_of_entries_is_bounded(name: str, count: int) -> None:
    """A count beyond the directory reads the directory and no further."""
    segment = Segment(name, budget_bytes=BUDGET)
    segment.words[ENTRIES] = count
    reader = SegmentReader(name)
    assert reader.new_extents() == []
    assert reader.refused == MOST_ENTRIES
    reader.close()


def test_count_of_entries_that_falls_gives_nothing_twice(name: str) -> None:
    """A directory only grows: a smaller count is damage, and no entry is taken up again."""
    segment = Segment(name, budget_bytes=BUDGET)
    for number in (1, 2, 3):
        segment.add_callee(number, Callee("tool"))
    reader = SegmentReader(name)
    assert len(reader.new_extents()) == 3
    segment.words[ENTRIES] = 1
    assert reader.new_extents() == []
    segment.words[ENTRIES] = 3
    assert reader.new_extents() == []
    reader.close()


@pytest.mark.parametrize("budget", [4096, 3 * 4096, 4 * 4096, 8 * 4096])
def test_a_small_budget_refuses_and_what_exists_goes_on(name: str, budget: int) -> None:
    """Whatever does not fit is None or False, again and again, and readers see no trace of it."""
    segment = Segment(name, budget_bytes=budget)
    added: list[object] = []
    for number in range(1, 40):
        added.append(segment.add_callee(number, Callee(f"tool{number}")) or None)
        added.append(segment.add_rows(number))
        added.append(segment.add_ring(number, 4))
        assert segment.used_bytes <= budget
    blocks = (SHARED_MEMORY / name).stat().st_blocks * 512
    peak = len(added) // 3 * BLOCK_BYTES
    assert blocks == segment.used_bytes + segment.beside_bytes <= budget + NAMED + peak
    reader = SegmentReader(name)
    assert len(reader.new_extents()) == sum(found is not None for found in added)
    assert reader.refused == 0
    reader.close()
    for ring in added:
        if isinstance(ring, RingWriter):
            store(segment, ring, 7)
    assert (SHARED_MEMORY / name).stat().st_blocks * 512 == blocks


def test_full_memory_refuses_and_what_exists_goes_on(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC is an answer, never an error or a signal; with room again the worker goes on."""
    segment = Segment(name, budget_bytes=BUDGET)
    ring = segment.add_ring(1, 64)
    assert ring is not None
    used = segment.used_bytes
    with monkeypatch.context() as full:
        refuse_to_reserve(full)
        assert segment.add_ring(2, 64) is None
        assert segment.add_rows(1) is None or segment.used_bytes == used
        assert not segment.add_callee(2, Callee("x" * 8192))
        assert segment.add_blob(b"x" * 10_000) is None
        assert segment.used_bytes == used
        store(segment, ring, 5)
    assert list(SHARED_MEMORY.glob(f"{name}*")) == [SHARED_MEMORY / name]
    assert segment.add_ring(2, 64) is not None
    blob = segment.add_blob(b"content")
    assert blob is not None
    assert read_blob(blob, name, 1 << 20).startswith(b"content")


def test_blobs_that_find_no_room_leave_nothing_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that fails to put content away a thousand times still has its descriptors."""
    segment = Segment(name, budget_bytes=BUDGET)
    before = descriptors(name)
    refuse_to_reserve(monkeypatch)
    assert [segment.add_blob(b"x" * 10_000) for _ in range(5)] == [None] * 5
    assert descriptors(name) == before


def test_segment_that_finds_no_room_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without room anywhere creating is an OSError, and no name or descriptor stays."""
    refuse_to_reserve(monkeypatch)
    for fallback in (None, tmp_path):
        with pytest.raises(OSError, match="No space left"):
            Segment(name, budget_bytes=BUDGET, fallback=fallback)
    assert not list(SHARED_MEMORY.glob(f"{name}*"))
    assert not list(tmp_path.iterdir())
    assert descriptors(name) == []


def test_names_longer_than_any_tool_are_refused(name: str) -> None:
    """A callee that no reader would believe is not published."""
    segment = Segment(name, budget_bytes=4 << 20)
    assert not segment.add_callee(1, Callee("x" * (1 << 20)))
    assert segment.add_callee(2, Callee("x" * ((1 << 20) - 100)))
    reader = SegmentReader(name)
    assert [extent.key for extent in reader.new_extents()] == [2]
    assert reader.refused == 0
    reader.close()


REFUSED = pytest.mark.parametrize(
    "code", [errno.ENOSYS, errno.EACCES, errno.ENOENT, errno.EROFS], ids=errno.errorcode.get
)


@REFUSED
def test_file_stands_in_for_shared_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where the system has no shared memory, worker and reader meet in the fallback directory."""
    refuse_shared_memory(monkeypatch, code)
    segment = Segment(name, budget_bytes=BUDGET, fallback=tmp_path)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert segment.add_callee(1, Callee("tool"))
    ring = segment.add_ring(1, 16)
    assert ring is not None
    store(segment, ring, 5)
    blob = segment.add_blob(b"content")
    assert blob is not None
    assert (tmp_path / blob).stat().st_mode & 0o777 == 0o600
    reader = SegmentReader(name, fallback=tmp_path)
    callee, lane = reader.new_extents()
    assert reader.callee(callee) == Callee("tool")
    assert [slot[0] for slot in reader.ring(lane).read()] == [5]
    reader.close()
    assert read_blob(blob, name, 1 << 20, tmp_path).startswith(b"content")
    remove_memory(name, tmp_path)
    assert not list(tmp_path.iterdir())


@REFUSED
def test_memory_that_is_nowhere_is_gone_without_shared_memory_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where there is no shared memory, a name that the fallback lacks is SegmentGone."""
    refuse_shared_memory(monkeypatch, code)
    with pytest.raises(SegmentGone):
        SegmentReader(name, fallback=tmp_path)
    with pytest.raises((SegmentGone, FormatError)):
        SegmentReader(name)


def test_files_that_stand_in_leave_no_descriptor(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs written and read in the fallback directory close what they opened."""
    refuse_shared_memory(monkeypatch, errno.ENOENT)
    segment = Segment(name, budget_bytes=BUDGET, fallback=tmp_path)
    before = descriptors(name)
    for _ in range(5):
        blob = segment.add_blob(b"x" * 1000)
        assert blob is not None
        read_blob(blob, name, 1 << 20, tmp_path)
        SegmentReader(name, fallback=tmp_path).close()
    assert descriptors(name) == before


def test_without_shared_memory_and_fallback_is_an_os_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that can get no memory at all is told so."""
    refuse_shared_memory(monkeypatch, errno.ENOSYS)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        Segment(name, budget_bytes=BUDGET)


def test_existing_name_is_never_taken_over(name: str, tmp_path: Path) -> None:
    """A name that is in use is an error, not a reason to fall back."""
    Segment(name, budget_bytes=BUDGET)
    with pytest.raises(FileExistsError):
        Segment(name, budget_bytes=BUDGET, fallback=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "empty"])
def test_foreign_things_in_the_fallback_are_refused(name: str, tmp_path: Path, kind: str) -> None:
    """What is no file of ours is a FormatError, at once, and stays where it is."""
    path = tmp_path / name
    if kind == "directory":
        path.mkdir(mode=0o700)
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "link":
        (tmp_path / "target").write_bytes(bytes(3 << 20))
        path.symlink_to(tmp_path / "target")
    else:
        path.touch(0o600)
    for _ in range(2):
        with pytest.raises(FormatError):
            SegmentReader(name, fallback=tmp_path)
    assert path.is_symlink() or path.exists()
    assert descriptors(name) == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_foreign_things_in_shared_memory_are_refused(name: str, tmp_path: Path, kind: str) -> None:
    """What is no memory of ours is a FormatError, at once, and stays where it is."""
    path = SHARED_MEMORY / name
    try:
        if kind == "directory":
            path.mkdir(mode=0o700)
        elif kind == "fifo":
            os.mkfifo(path, 0o600)
        else:
            (tmp_path / "target").write_bytes(bytes(3 << 20))
            path.symlink_to(tmp_path / "target")
        with pytest.raises(FormatError):
            SegmentReader(name)
        assert path.is_symlink() or path.exists()
    finally:
        path.rmdir() if kind == "directory" else path.unlink()


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(3 << 20)])
def test_refused_memory_is_let_go_of(name: str, content: bytes) -> None:
    """A collector that meets foreign memory again and again keeps its descriptors."""
    path = SHARED_MEMORY / name
    path.write_bytes(content)
    path.chmod(0o600)
    for _ in range(5):
        with pytest.raises(FormatError):
            SegmentReader(name)
    assert descriptors(name) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", ["shared memory", "fallback"])
def test_memory_of_another_user_is_refused_and_left(name: str, tmp_path: Path, place: str) -> None:
    """Another user's memory is neither read nor removed, whatever its name."""
    path = (tmp_path if place == "fallback" else SHARED_MEMORY) / name
    path.write_bytes(bytes(3 << 20))
    path.chmod(0o600)
    os.chown(path, 1, 1)
    try:
        with pytest.raises(FormatError, match="0600"):
            SegmentReader(name, fallback=tmp_path)
        remove_memory(name, tmp_path)
        assert path.exists()
        assert descriptors(name) == []
    finally:
        path.unlink()


@given(st.text(max_size=30))
@example("..")
@example("/../../etc/passwd")
@example("1/2")
@example("-1")
@example("1\n")
@example("\x00")
@example("\N{ARABIC-INDIC DIGIT ONE}")
def test_blob_names_are_never_paths(suffix: str) -> None:
    """A name from another process is a number behind its own name, or it is refused."""
    owner = "shmperf-feedfacefeed"
    for wrong in (f"{owner}.{suffix}", f"{owner}{suffix}", suffix):
        with pytest.raises((FormatError, SegmentGone)) as caught:
            read_blob(wrong, owner, 1 << 20)
        digits = wrong.removeprefix(f"{owner}.")
        is_number = wrong.startswith(f"{owner}.") and set(digits) <= set("0123456789abcdef")
        assert caught.type is (SegmentGone if digits and is_number else FormatError)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 300_000])
def test_blobs_of_any_size_come_back(name: str, size: int) -> None:
    """The content of a blob is whole, the user's alone, and under a name of its own."""
    segment = Segment(name, budget_bytes=BUDGET)
    contents = [secrets.token_bytes(size) for _ in range(3)]
    names = [segment.add_blob(content) for content in contents]
    assert len(set(names)) == 3
    for blob, content in zip(names, contents, strict=True):
        assert blob is not None
        assert (SHARED_MEMORY / blob).stat().st_mode & 0o777 == 0o600
        assert read_blob(blob, name, 1 << 20)[:size] == content
    assert len(descriptors(f"{name}.")) == 0


def test_missing_blob_is_gone(name: str) -> None:
    """A blob that was removed is SegmentGone."""
    with pytest.raises(SegmentGone):
        read_blob(f"{name}.1", name, 1 << 20)


def test_removing_takes_a_worker_and_nobody_else(name: str, tmp_path: Path) -> None:
    """Segment and blobs go, in both places; a worker with a longer name stays; twice is fine."""
    other = f"{name}0"
    try:
        for found in (name, other):
            segment = Segment(found, budget_bytes=BUDGET)
            assert segment.add_blob(b"content")
            (tmp_path / found).touch()
            (tmp_path / f"{found}.1").touch()
        for _ in range(2):
            remove_memory(name, tmp_path)
        left = {path.name for path in (*SHARED_MEMORY.glob(f"{name}*"), *tmp_path.iterdir())}
        assert left == {other, f"{other}.1"}
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        remove_memory(other, tmp_path)


def test_memory_removed_under_its_users_goes_on(name: str) -> None:
    """Unlinking takes the name; who has the memory open reads and writes as before."""
    segment = Segment(name, budget_bytes=BUDGET)
    reader = SegmentReader(name)
    remove_memory(name, None)
    assert segment.add_callee(1, Callee("tool"))
    (extent,) = reader.new_extents()
    assert reader.callee(extent) == Callee("tool")
    with pytest.raises(SegmentGone):
        SegmentReader(name)
    reader.close()


def test_readers_and_blobs_are_not_registered_either(name: str) -> None:
    """Whoever attaches, reads or fails to, a process says nothing and takes nothing with it."""
    segment = Segment(name, budget_bytes=BUDGET)
    blob = segment.add_blob(b"content")
    assert blob is not None
    try:
        done = run_apart("attaches_and_reads", name, blob, BUDGET)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for left in (name, blob, f"{name}a", f"{name}a.1"):
            assert (SHARED_MEMORY / left).exists(), left
    finally:
        remove_memory(f"{name}a", None)


def test_other_peoples_memory_is_tracked_as_before(name: str) -> None:
    """Beside our segments, memory that a program forgets is still cleaned up for it."""
    other = name.replace("shmperf-", "not-ours-")
    try:
        done = run_apart("forgets_memory_of_others", name, other, BUDGET)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not (SHARED_MEMORY / other).exists(), "the tracker to clean up")
        assert (SHARED_MEMORY / name).exists()
    finally:
        (SHARED_MEMORY / other).unlink(missing_ok=True)


def test_killed_worker_leaves_its_segment_to_be_read(name: str) -> None:
    """After a kill the memory is as the worker left it, for a reader to drain."""
    done = run_apart("killed_with_a_hole", name, BUDGET)
    assert (done.returncode, done.stderr) == (-9, "")
    reader = SegmentReader(name)
    callee, lane = reader.new_extents()
    assert reader.callee(callee) == Callee("tool")
    ring = reader.ring(lane)
    assert [slot[0] for slot in ring.read()] == [0, 1, 2]
    assert not ring.is_past_hole()
    reader.close()
