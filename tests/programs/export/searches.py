import sys

import shmperf


@shmperf.track
def search(query, number):
    return [fetch(f"{query}/{page}") for page in range(2)]


@shmperf.track
def fetch(url):
    if url.endswith("7/1"):
        raise KeyError(url)
    return url


# A line is a number of searches; the program ends with its input.
done = 0
for line in sys.stdin:
    for number in range(done, done + int(line)):
        try:
            search(f"q{number % 10}", number)
        except KeyError:
            pass
    done += int(line)
    shmperf.flush()
    print(done, flush=True)
