"""Blocks, pairs, generators and chains, each begun in one mode and ended in the other."""

import json
from itertools import pairwise

import shmperf
from shmperf.interceptors import intercept_tool_call

ROUNDS = 40
made = {"block": 0, "pair": 0, "steps": 0, "chain": 0, "inner": 0, "outer": 0}


def inner(n):
    made["inner"] += 1
    return n


def switch(in_detail):
    """Other calls go on in the new mode while those around them are open."""
    shmperf.set_optimization_mode(in_detail)
    tracked(in_detail)


tracked = shmperf.track(name="inner")(inner)


@shmperf.track(name="outer")
def outer(in_detail):
    made["outer"] += 1
    switch(in_detail)


@shmperf.track(name="steps")
def steps(in_detail):
    made["steps"] += 1
    yield 1
    switch(in_detail)
    yield 2


modes = [number % 2 == 1 for number in range(ROUNDS + 1)]
for before, after in pairwise(modes):
    # Each a few times in its mode, so that it goes the quick way, and once across.
    for across in (False, False, False, True):
        then = after if across else before
        switch(before)
        with shmperf.call("block", n=1) as block:
            made["block"] += 1
            block.annotate(of="block")
            switch(then)
        switch(before)
        pair = shmperf.track_tool_call("pair", {"n": 1})
        made["pair"] += 1
        switch(then)
        shmperf.end_tool_call(pair, metadata={"of": "pair"})
        switch(before)
        list(steps(then))
        switch(before)
        intercept_tool_call("chain", switch, (then,))
        made["chain"] += 1
        switch(before)
        outer(then)

assert shmperf.current() is None
print(json.dumps([made, shmperf.get_perf_stats()]))
