import pytest

import shmperf


@shmperf.track
def tool():
    pass


@pytest.fixture
def block():
    with shmperf.call("block"):
        yield


@pytest.fixture
def pair():
    begun = shmperf.track_tool_call("pair")
    yield
    shmperf.end_tool_call(begun)


def test_in_a_block(block):
    tool()


def test_behind_it():
    tool()


def test_in_a_pair(pair):
    tool()


def test_in_both(block, pair):
    tool()


def test_behind_all():
    tool()
