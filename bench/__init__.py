"""Measurements of shmperf, beside what else a program could use: ``python -m bench``."""
