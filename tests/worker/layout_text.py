"""
The text of `shmperf/compiled/layout.h`: the layout's numbers as the Python modules define them.

``python -m tests.worker.layout_text`` writes it anew; a test holds the one to the others.
"""

from __future__ import annotations

from pathlib import Path

from shmperf.compiled import chosen
from shmperf.shm import inflight, record, remote
from shmperf.worker import boards, callbody, capture

__all__ = ["made", "there"]


def _numbers() -> dict[str, int]:
    kind = record.kind_bits
    return {
        "INTERFACE": chosen.INTERFACE,
        "SLOT_BYTES": record.SLOT_BYTES,
        "SLOT_WORDS": record.SLOT_BYTES // 8,
        "BODY_BYTES": record.BODY_BYTES,
        "BODY_WORD": record.SLOT.size // 8 - 1 - record.BODY_BYTES // 8,
        "LENGTH_MASK": record.LENGTH_MASK,
        "CALLEE_SHIFT": (record.meta_of(1)).bit_length() - 1,
        "NAMED": kind(record.NAMED),
        "PRUNED": kind(record.PRUNED),
        "DETAIL": kind(record.DETAIL),
        "IN_DETAIL": inflight.IN_DETAIL,
        "STATUS_BITS": record.STATUS_BITS,
        "ERROR_BITS": kind(record.Outcome.ERROR),
        "TIMEOUT_BITS": kind(record.Outcome.TIMEOUT),
        "KIND_BITS": kind(0xFF),
        "SUMMARY_CHARACTERS": record.SUMMARY_CHARACTERS,
        "UNTIMED_BIT": record.UNTIMED_BIT,
        "BLOCK_SHIFT": inflight.MOST_BLOCKS.bit_length(),
        "ID": 0,
        "START": inflight.START,
        "PARENT": inflight.PARENT,
        "CALLEE": inflight.CALLEE,
        "LOSS": inflight.LOSS,
        "THREAD": inflight.THREAD,
        "ROW_BITS": inflight.GENERATION_STEP.bit_length() - 1,
        "GENERATION_STEP": inflight.GENERATION_STEP,
        "GENERATION_MASK": inflight.generation_of((1 << 64) - 1),
        "LOSS_SHIFT": inflight.generation_of((1 << 64) - 1).bit_length(),
        "FIRST_REMOTE": remote.FIRST_REMOTE,
        "SLOW_NS": boards.SLOW_NS,
        "MEMORY_AGE_NS": callbody.AGE_NS,
        "MEMORY_MOST_AGE_NS": callbody.MOST_AGE_NS,
        "SHORT": capture.SHORT,
        "SHORT_ALONE": capture.SHORT_ALONE,
        "FEW": capture.FEW,
        "SUMMARY_BUDGET": capture.SUMMARY_BUDGET,
    }


def there() -> Path:
    """Where it stands."""
    return Path(chosen.__file__).with_name("layout.h")


def made() -> str:
    """As it should be."""
    head = "/* Written by tests/worker/layout_text.py, from the Python modules: change those. */"
    lines = [
        f"#define {name} {number}{'ULL' * (number >= 1 << 31)}"
        for name, number in _numbers().items()
    ]
    return "\n".join([head, "", *lines, ""])


if __name__ == "__main__":
    there().write_text(made())
