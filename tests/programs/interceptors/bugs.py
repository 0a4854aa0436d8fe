"""Fails in three ways so often; the second argument switches the mode."""

import sys

import shmperf
from shmperf.interceptors import intercept_tool_call

if len(sys.argv) > 2:
    shmperf.set_optimization_mode(sys.argv[2] == "True")


def parse(text, api_key="k"):
    return {}[text]


def load(text):
    return intercept_tool_call("parse", parse, (text,), {"api_key": "s3cret"})


for n in range(int(sys.argv[1])):
    try:
        intercept_tool_call("load", load, (f"t{n}",))
    except KeyError:
        pass
try:
    intercept_tool_call("convert", int, ("x" * 900,))
except ValueError:
    pass
