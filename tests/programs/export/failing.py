import sys

import shmperf


@shmperf.track
def search(query, top=1):
    if query.endswith("7"):
        raise ValueError(query)
    return [fetch(query) for _ in range(top)]


@shmperf.track
def fetch(query):
    return query


for n in range(int(sys.argv[1])):
    try:
        search(f"q{n % 10}")
    except ValueError:
        pass
    if n % 100 == 0:
        # Not faster than a busy machine's collector.
        shmperf.flush()
