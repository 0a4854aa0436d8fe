import time


def test_parts(subtests):
    start = time.perf_counter()
    for n in range(3):
        with subtests.test(n=n):
            while time.perf_counter() < start + 0.05 * (n + 1):
                pass
            assert n != 1
