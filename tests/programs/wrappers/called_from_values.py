"""Calls the functions that it is sent, which it can import from nowhere."""

import sys

import cloudpickle

from shmperf.compiled.chosen import hot

every, fail, found = cloudpickle.loads(sys.stdin.buffer.read())
for _ in range(3):
    assert every() == found
try:
    fail(1)
except LookupError:
    pass


# Where this process has the compiled path, plain functions go by it from their first call on.
def wrapped_of(function):
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    found = {name: cell.cell_contents for name, cell in cells}
    return found["fast"].wrapped if "fast" in found else found["wrapped"]


assert (wrapped_of(fail).fast is not None) == (hot is not None)
