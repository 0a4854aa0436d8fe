"""What the system says of workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from shmperf.collector.resources import Sampler


def test_a_sample_is_what_psutil_finds() -> None:
    """Memory, threads and the start of a process; None for one that is not there, or a zombie."""
    now_s = [0.0]
    sampler = Sampler(1.0, lambda: now_s[0])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    pids = [os.getpid(), gone.pid]
    now_s[0] = 1.0
    sampler.look(lambda: pids)
    found, zombie = sampler.rows(pids)
    gone.wait()
    known = psutil.Process()
    assert (zombie.memory_bytes, zombie.started) == (None, None)
    assert found.threads == known.num_threads()
    assert found.memory_bytes is not None
    assert abs(found.memory_bytes / known.memory_info().rss - 1) < 0.2
    assert found.started is not None
    # That of psutil counts from a boot in whole seconds.
    assert abs(found.started - known.create_time()) < 2
    assert found.cpu_percent == 0


def test_cpu_is_what_was_spent_since_the_sample_before() -> None:
    """In percent of one core; the first sample knows of no other."""
    now_s = [0.0]
    sampler = Sampler(1.0, lambda: now_s[0])
    for now_s[0] in (1.0, 3.0):
        sampler.look(lambda: [os.getpid()])
        (found,) = sampler.rows([os.getpid()])
        until_s = time.process_time() + 0.2
        while time.process_time() < until_s:
            pass
    # At least the 0.2 s between the two, in ticks of a hundredth, of the 2 s that the clock says.
    assert found.cpu_percent is not None
    assert 9 <= found.cpu_percent < 100
