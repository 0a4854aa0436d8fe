"""A call with very many below it; prints its id, and that of one of those."""

import shmperf


@shmperf.track
def leaf(n: int) -> str | None:
    return shmperf.current()


@shmperf.track
def branch(n: int) -> str | None:
    return [leaf(n) for _ in range(5)][2]


@shmperf.track
def root(times: int) -> tuple[str | None, str | None]:
    ids = [branch(n) for n in range(times)]
    return shmperf.current(), ids[times // 2]


print(*root(4_000))
