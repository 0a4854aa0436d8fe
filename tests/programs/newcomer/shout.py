"""A toy command."""

from shmperf.commands.arguments import add_reader as add_arguments
from shmperf.commands.arguments import answers_for, show

__all__ = ["add_arguments", "run"]


def run(given):
    calls = [call.tool for call in answers_for(given).calls()]
    return show(given, calls, lambda names: f"loud: {' '.join(names).upper()}!")
