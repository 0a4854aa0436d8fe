"""The end of a program: it waits for the disk while there is progress, and no longer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import SessionError
from shmperf.session.client import Client
from shmperf.session.messages import Flush, Question
from shmperf.worker.leaving import wait_until_written


class Scripted(Client):
    """A collector that answers what it is told to, then that nobody is there."""

    def __init__(self, answers: Sequence[int]) -> None:
        super().__init__(Path("/nonexistent"))
        self.answers = list(answers)

    def ask(self, request: Question, timeout_s: float) -> Any:
        assert isinstance(request, Flush)
        assert request.patience_s
        assert request.patience_s < timeout_s
        if not self.answers:
            raise SessionError("nobody is there")
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([0], ""),
        ([500, 300, 10, 0], ""),
        ([500, 300, 300, 7], "300 calls were not in their files"),
        ([5, 9, 7], "9 calls were not in their files"),
        ([], "not every call was on disk when the program ended: nobody is there"),
    ],
)
def test_an_end_waits_while_there_is_less_to_write(
    answers: list[int], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each answer says how much is left; who sees no progress ends, and says so."""
    with caplog.at_level(logging.WARNING, "shmperf"):
        wait_until_written(Scripted(answers))
    assert [record.getMessage() for record in caplog.records if not told] == []
    assert told in caplog.text
