"""Prints what is told to a program that has no logging, and to the same once it has."""

import sys

from shmperf.errors import tell

sys.stderr = sys.stdout
tell("a line")
assert "logging" not in sys.modules
sys.stderr = None  # type: ignore[assignment]
tell("nobody hears this")
sys.stderr = sys.stdout

import logging

logging.basicConfig(format="logged: %(name)s: %(message)s")
tell("another")
