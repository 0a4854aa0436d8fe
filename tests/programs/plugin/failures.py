import pytest


@pytest.fixture
def broken():
    raise OSError


@pytest.fixture
def breaks():
    yield
    raise OSError


def test_fails():
    assert []


def test_setup(broken):
    pass


def test_teardown(breaks):
    pass
