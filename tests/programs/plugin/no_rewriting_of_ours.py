import sys
from importlib.machinery import SourceFileLoader


def pytest_unconfigure():
    ours = {name: one for name, one in sys.modules.items() if name.startswith("shmperf.worker.")}
    assert len(ours) > 10
    assert {type(module.__loader__) for module in ours.values()} == {SourceFileLoader}
    assert type(sys.modules["test_suite"].__loader__).__name__ == "AssertionRewritingHook"
