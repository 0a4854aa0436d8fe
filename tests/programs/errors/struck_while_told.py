"""A handler of the program's strikes while a line is written for it; prints what arrived."""

import logging
import os
import signal

from shmperf.errors import tell


class Limit(Exception):
    """A program's time limit."""


class Striking(logging.Handler):
    """What writes a line, and drops what is raised meanwhile, as logging's own handlers do."""

    def emit(self, record: logging.LogRecord) -> None:
        """Be struck in the middle."""
        try:
            os.kill(os.getpid(), signal.SIGALRM)
        except Limit:
            print("dropped")
        print(record.getMessage())


def strike(*_: object) -> None:
    """The handler."""
    raise Limit


signal.signal(signal.SIGALRM, strike)
logging.getLogger("shmperf").addHandler(Striking())
before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
try:
    tell("a line")
except Limit:
    print("arrived")
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
