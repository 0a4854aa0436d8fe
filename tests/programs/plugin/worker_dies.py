import os
import signal

import shmperf


@shmperf.track
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)


@shmperf.track
def tool():
    pass


def test_first():
    tool()


def test_killed():
    deadly()


def test_last():
    tool()
