"""
Slots and rows, written and read by threads at once: what C does there, without Python's lock.

ThreadSanitizer watches (gcc and clang have it): it finds what no order keeps apart, also where this
processor's strong order lets nothing go wrong. The program itself finds words of two calls mixed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from shmperf.compiled import chosen
from tests.support import DEADLINE_S, PROGRAMS, missing

SOURCES = Path(chosen.__file__).parent
PROGRAM = PROGRAMS / "races" / "slots.c"
COMPILER = shlex.split(os.environ.get("CC", "cc"))
WATCHED = ("-O1", "-g", "-fsanitize=thread")
RACE = "ThreadSanitizer: data race"

COMMIT = "    __atomic_store_n(slot + COMMIT_WORD, position, __ATOMIC_RELEASE);\n"
NAMED = "    __atomic_store_n(row + ID, call->id, __ATOMIC_RELEASE);\n"
# No race to a sanitizer, which knows of no order among a row's words: somebody has to see it.
PAUSE = "    sched_yield();\n"
# What is done wrong, as changes of the header, and the words that tell of it.
FAULTS = {
    "the commit word is stored plainly": (
        [(COMMIT, "    slot[COMMIT_WORD] = position;\n")],
        [RACE],
    ),
    "it releases nothing": (
        [(COMMIT, COMMIT.replace("RELEASE", "RELAXED"))],
        [RACE, "a record is of one call", "a committed slot stays as it is"],
    ),
    "it comes before the payload": (
        [(COMMIT, ""), ("    slot[IDS] =", COMMIT + "    slot[IDS] =")],
        [RACE, "a record is of one call", "a committed slot stays as it is"],
    ),
    "it is not acquired": (
        [("(word, __ATOMIC_ACQUIRE) == position", "(word, __ATOMIC_RELAXED) == position")],
        [RACE, "a record is of one call", "a committed slot stays as it is"],
    ),
    "a row is stored plainly": (
        [("put_word(row + START, ", "*(row + START) = (")],
        [RACE],
    ),
    "a loss is marked plainly": (
        [("put_word(row + LOSS, ", "*(row + LOSS) = (")],
        [RACE],
    ),
    "a row's id comes before its words": (
        [(NAMED, ""), ("    put_word(row + START,", f"{NAMED}{PAUSE}    put_word(row + START,")],
        ["a row is no former call's"],
    ),
    "a loss counts anew": (
        [("((row[LOSS] >> LOSS_SHIFT) + 1) <<", "1ULL <<")],
        ["begun is drained or lost"],
    ),
}


def built(place: Path, *flags: str) -> Path:
    """The program, of the headers in *place*."""
    made = place / "slots"
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
    subprocess.run(
        [*COMPILER, *options, f"-I{place}", str(PROGRAM), "-o", str(made)],
        check=True,
        capture_output=True,
        text=True,
    )
    return made


def ran(program: Path, calls: int) -> subprocess.CompletedProcess[str]:
    """It ends at the first race."""
    return subprocess.run(
        [str(program), str(calls)],
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the headers that the program needs, to be changed at will."""
    for name in ("slot.h", "layout.h"):
        shutil.copy(SOURCES / name, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What has a program watched, where it can be."""
    trial = tmp_path_factory.mktemp("trial")
    (trial / "trial.c").write_text("int main(void) { return 0; }\n")
    try:
        command = [*COMPILER, *WATCHED, str(trial / "trial.c"), "-o", str(trial / "trial")]
        subprocess.run(command, check=True, capture_output=True)
        subprocess.run([str(trial / "trial")], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"no ThreadSanitizer: {error}")
    return WATCHED


def test_what_threads_write_and_read_at_once_is_in_order(
    place: Path, flags: tuple[str, ...]
) -> None:
    """Two writers, a reader of the ring and one of the rows: no race, and the books balance."""
    done = ran(built(place, *flags), 20_000)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "19672 drained, 328 lost\n"


def test_records_are_whole_as_they_are_compiled_for_use(place: Path) -> None:
    """The same with the code that runs in programs."""
    try:
        made = built(place, "-O2")
    except OSError as error:
        missing(f"no compiler: {error}")
    done = ran(made, 100_000)
    assert (done.returncode, done.stdout) == (0, "98360 drained, 1640 lost\n")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_done_wrong_is_found(place: Path, flags: tuple[str, ...], fault: str) -> None:
    """Each fault, planted in the header; else the tests above would prove nothing."""
    changes, found_by = FAULTS[fault]
    text = (place / "slot.h").read_text()
    for there, instead in changes:
        assert text.count(there) == 1, there
        text = text.replace(there, instead)
    (place / "slot.h").write_text(text)
    done = ran(built(place, *flags), 20_000)
    assert done.returncode != 0
    assert any(words in done.stdout + done.stderr for words in found_by), done
