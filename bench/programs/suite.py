"""A suite of tests that do nothing."""

import pytest


@pytest.mark.parametrize("n", range(1000))
def test_nothing(n):
    pass
