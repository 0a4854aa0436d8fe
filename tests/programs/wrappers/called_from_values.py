"""Calls the functions that it is sent, which it can import from nowhere."""

import sys

import cloudpickle

every, fail, found = cloudpickle.loads(sys.stdin.buffer.read())
for _ in range(3):
    assert every() == found
try:
    fail(1)
except LookupError:
    pass
