import sys


def pytest_unconfigure():
    ours = {name for name in sys.modules if name.startswith("shmperf.pytesting.")}
    assert ours == {"shmperf.pytesting.plugin"}
