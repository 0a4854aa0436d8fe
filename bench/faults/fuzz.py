"""
A small coverage-guided fuzzer: inputs that reach lines which none reached before are kept and
mutated further.

It runs in a child whose memory is bounded. What a target refuses it must refuse by the errors that
it promises; any other exception, a hang or a bound that is hit ends the child with that input.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.totals import Totals
from shmperf.collector import drain
from shmperf.config import file as config_file
from shmperf.config.options import Options
from shmperf.errors import FormatError, ShmperfError
from shmperf.session import presence, server
from shmperf.shm import record, segment
from shmperf.shm.mask import Mask
from shmperf.shm.memory import remove_memory
from shmperf.shm.ring import RingReader, ring_bytes
from shmperf.shm.rowtable import RowTable
from shmperf.storage import codecs, journal, lines, reading, segmentfile, state

__all__ = ["TARGETS", "fuzz"]

_MORE_BYTES = 768 << 20
_HANGS_S = 5
_MOST_BYTES = 1 << 14
_TOKENS = (b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf")


class Target(NamedTuple):
    """A parser of what others wrote: inputs to begin with, and what it may raise."""

    run: Callable[[bytes], Any]
    seeds: list[bytes]
    refuses: tuple[type[Exception], ...]


def _decode(text: bytes) -> None:
    slot = record.SLOT.unpack(text[: record.SLOT.size].ljust(record.SLOT.size, b"\0"))
    body = text[record.SLOT.size :] or drain.long_body(slot)
    callee = record.Callee("tool", ("a", "b"), "rest")
    call = record.decode(slot, body, callee, Mask(Options().capture.secret_keys), 1)
    # What was read can be written.
    call.start_ns = min(call.start_ns, 1 << 62)
    lines.jsonl([call])


def _control(text: bytes) -> None:
    connection = server._Connection.__new__(server._Connection)
    connection.incoming = bytearray(text)
    connection._parse()


def _journal(text: bytes) -> None:
    journal._parse_header(text)
    frames, end, _ = journal._parse_frames(text, journal._LONGEST)
    if end > len(text):
        raise AssertionError("an end behind the end")
    whole = state.Ledger(Options())
    whole.restore(frames[0] if frames else None, frames[1:])
    whole.encode()
    whole.stats(None, 0, complete=True)


def _frames(text: bytes) -> None:
    whole = state.Ledger(Options())
    whole.restore(None, [text, text])
    whole.stats(None, 0, complete=True)
    whole.encode()


def _ring(text: bytes) -> None:
    memory = bytearray(ring_bytes(16))
    memory[: len(text)] = text[: len(memory)]
    view = memoryview(memory)
    reader = RingReader((view, view.cast("Q")), 0, 16)
    for _ in range(3):
        for slot in reader.read():
            drain.long_body(slot)
    reader.is_past_hole()
    reader.release(reader.position)


def _segment(text: bytes) -> None:
    """A real segment whose directory and first extents are damaged."""
    name = f"shmperf-{random.getrandbits(48):012x}"
    made = segment.Segment(name, budget_bytes=1 << 20)
    with ExitStack() as stack:
        stack.callback(made._memory.close)
        stack.callback(made.buffer.release)
        stack.callback(made.words.release)
        stack.callback(remove_memory, name, None)
        made.add_callee(1, record.Callee("tool"))
        made.add_rows(1)
        made.add_ring(1, 16)
        half = len(text) // 2
        made.buffer[4096 : 4096 + half] = text[:half]
        for at in (segment._NAMES, segment._EXTENTS):
            made.buffer[at : at + len(text) - half] = text[half:]
        worker = drain.WorkerDrain(name, None)
        worker.run_pass(lambda *_: None)
        worker.is_dead = True
        worker.run_pass(lambda *_: None)
        worker.read_rows()
        worker.lanes.clear()
        worker.rows = RowTable({})
        worker.close()


def _file(parse: Callable[[Path], Any], name: str) -> Callable[[bytes], None]:
    path = Path(tempfile.gettempdir()) / f"fuzz-{name}"

    def run(text: bytes) -> None:
        path.write_bytes(text)
        path.chmod(0o600)
        try:
            parse(path)
        finally:
            path.unlink()

    return run


def _history(path: Path) -> None:
    with path.open("rb") as file:
        for text in reading._lines(file):
            lines.parse(text)
            lines.end_of(text)


def _history_segment(path: Path) -> None:
    for text in segmentfile.segment_lines(path, segmentfile.Window(), lambda _: None):
        lines.parse(text)


def _history_segment_seed(codec: codecs.Codec) -> bytes:
    frame = codec.compressor()(_LINE * 9)
    summary = segmentfile.summary_of("t", _LINE.splitlines() * 9, len(frame))
    index = segmentfile.Index("t", segmentfile.head_of(_LINE), [summary, summary])
    return frame * 2 + segmentfile.encode_index(index, codec)


def _identity(text: bytes) -> None:
    found = msgspec.msgpack.decode(text, type=presence.Identity)
    found.is_running()


def _frame_seed() -> bytes:
    totals = Totals()
    totals.add([5, 700], 1, 9)
    worker = state.WorkerState(pid=1, epoch=2, begun=3, finished=2, positions={4096: 512})
    analyses = {"totals.1": msgspec.Raw(msgspec.msgpack.encode({"tool": totals}))}
    frame = state.Frame(workers={"w": worker}, analyses=analyses, buried=["w"])
    return msgspec.msgpack.encode(frame)


def _journal_seed() -> bytes:
    snapshot = state.Ledger(Options()).encode()
    text = journal._HEADER.pack(journal._MAGIC, journal._VERSION, 1)
    for payload in (snapshot, _frame_seed()):
        text += journal._FRAME.pack(len(payload), journal.zlib.crc32(payload)) + payload
    return text


def _slot_seed() -> bytes:
    body = msgspec.msgpack.encode({"a": 1, "token": "s"})
    return record.SLOT.pack(1, 2, 3, 4, record.meta_of(1, 0, len(body)), body, 5)


_YAML = b"default_perf_points: 5\ntool_limits: {a: 1}\nstorage: {path: x, batch_size: 3}\n"
_LINE = b'{"tool":"t","timestamp":"x","data":{"t":"t","e":1e9,"s":[1,null]}}\n'
_FLUSH = b"\x81\xa4type\xa5Flush"
_REQUEST = len(_FLUSH).to_bytes(4, "little") + _FLUSH
_REFUSED = (ShmperfError, ValueError, msgspec.MsgspecError)

TARGETS: dict[str, Target] = {
    "record": Target(_decode, [_slot_seed(), bytes(300)], (ValueError,)),
    "control": Target(_control, [_REQUEST, _REQUEST * 2], (*_REFUSED, RecursionError)),
    "journal": Target(_journal, [_journal_seed()], (ValueError, FormatError)),
    "frames": Target(_frames, [_frame_seed()], ()),
    "ring": Target(_ring, [bytes(600), _slot_seed() * 9], ()),
    "segment": Target(_segment, [bytes(512), b"\1" * 512], (FormatError,)),
    "configuration": Target(_file(config_file.load, "limits.yaml"), [_YAML], (ShmperfError,)),
    "history": Target(_file(_history, "history"), [_LINE * 3], ()),
    **{
        f"history{codec.suffix}": Target(
            _file(_history_segment, f"history{codec.suffix}"), [_history_segment_seed(codec)], ()
        )
        for codec in codecs.CODECS
    },
    "presence": Target(_identity, [b"\x93\x01\x02\x03"], _REFUSED),
}


def fuzz(name: str, seed: int, seconds: float) -> tuple[int, int]:
    """Inputs tried and lines reached; raises AssertionError with the input that did harm."""
    target = TARGETS[name]
    rng = random.Random(seed)  # noqa: S311  seeded
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, _hang)
    corpus = list(target.seeds)
    reached: set[tuple[CodeType, int]] = set()
    fresh: set[tuple[CodeType, int]] = set()

    def on_event(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
        if "/shmperf/" not in frame.f_code.co_filename:
            return None
        where = (frame.f_code, frame.f_lineno)
        if where not in reached:
            fresh.add(where)
        return on_event

    end_s = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < end_s:
        text = corpus[tried] if tried < len(target.seeds) else _mutated(rng, corpus)
        tried += 1
        fresh.clear()
        signal.alarm(_HANGS_S)
        sys.settrace(on_event)
        try:
            target.run(text)
        except target.refuses:
            pass
        except BaseException as error:
            sys.settrace(None)
            raise AssertionError(
                f"{name}: {type(error).__name__}: {error} from {text!r}"
            ) from error
        finally:
            sys.settrace(None)
            signal.alarm(0)
        if fresh:
            reached |= fresh
            corpus.append(text)
    return tried, len(reached)


def _hang(*_: Any) -> None:
    raise TimeoutError("it hangs")


def _mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    text = bytearray(rng.choice(corpus))
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(text) + 1)
        how = rng.randrange(6)
        if how == 0 and text:
            text[at % len(text)] ^= 1 << rng.randrange(8)
        elif how == 1 and text:
            text[at % len(text)] = rng.randrange(256)
        elif how == 2:
            text[at:at] = rng.choice(_TOKENS)
        elif how == 3:
            del text[at : at + rng.randrange(1, 9)]
        elif how == 4:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            text[at:at] = other[start : start + rng.randrange(1, 65)]
        else:
            text[at : at + 8] = rng.getrandbits(64).to_bytes(8, "little")
    return bytes(text[:_MOST_BYTES])
