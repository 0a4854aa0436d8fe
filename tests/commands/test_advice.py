"""What is said after a run of which nothing was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from shmperf.commands.advice import advice
from tests.support import PYTHON, Place

PROGRAM = [PYTHON, "program.py"]


@pytest.mark.parametrize(
    ("command", "environ", "instrument", "code", "said"),
    [
        (PROGRAM, {}, [], 0, "@shmperf.track"),
        (PROGRAM, {}, [], 3, "ended with 3"),
        (PROGRAM, {}, ["auto"], 0, "nothing that --instrument auto tracks"),
        (PROGRAM, {"OPTIMIZED_PERF_TRACKER_ENABLED": "Off"}, [], 0, "'Off', which switches"),
        ([PYTHON, "-I", "program.py"], {}, ["auto"], 0, "isolated"),
        ([PYTHON, "-m", "program", "-I"], {}, ["auto"], 0, "nothing that"),
        (["true"], {}, [], 0, "true is no Python program"),
        (["./program.py"], {}, [], 0, "@shmperf.track"),
    ],
)
def test_the_advice_fits_what_was_run(
    command: Sequence[str],
    environ: Mapping[str, str],
    instrument: Sequence[str],
    code: int,
    said: str,
) -> None:
    """A switch, a failure, another language and an isolated interpreter are named; else how to."""
    assert said in advice(command, environ, instrument, code)


def test_a_command_that_was_not_there_gets_no_advice(place: Place) -> None:
    """What can't be run has been told; a storage that we made keeps itself out of repositories."""
    program = place.start_module("run", "--", "no-such-command-anywhere")
    _, error = program.communicate()
    assert program.returncode == 127
    assert "nothing was recorded" not in error
    assert (place.storage / ".gitignore").read_text().splitlines()[-1] == "*"
    (place.cwd / "own").mkdir()
    place.shmperf("run", "--storage", "own", "--", "true")
    assert not (place.cwd / "own/.gitignore").exists()
