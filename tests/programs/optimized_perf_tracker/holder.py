import sys

from shmperf.optimized_perf_tracker import get_tracker

get_tracker()
sys.stdin.readline()
