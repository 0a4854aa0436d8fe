import multiprocessing

import pytest

import shmperf


@shmperf.track
def tool(x):
    if x == "bad":
        raise LookupError(x)
    return x


@pytest.fixture(scope="module")
def place():
    tool("up")
    yield
    tool("down")


@pytest.mark.parametrize("n", range(6))
def test_number(n, place):
    assert tool(n) == n


def test_error():
    with pytest.raises(LookupError):
        tool("bad")


def test_skipped():
    pytest.skip("not today")


@pytest.mark.xfail
def test_expected():
    assert tool(1) == 2


def test_pool():
    with multiprocessing.Pool(2) as pool:
        assert pool.map(tool, [1, 2]) == [1, 2]
