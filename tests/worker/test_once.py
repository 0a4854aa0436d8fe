"""What is told once: by whoever comes first, on any number of threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from shmperf.errors import Once


def test_only_the_first_of_all_threads_has_the_claim() -> None:
    """Looking and noting are one step: two threads that both find nothing are not both first."""
    once, together = Once(), threading.Barrier(8)

    def claim(key: int) -> bool:
        together.wait()
        return once.claim(key)

    with ThreadPoolExecutor(8) as pool:
        for key in range(50):
            assert sum(pool.map(claim, [key] * 8)) == 1
            assert key in once
