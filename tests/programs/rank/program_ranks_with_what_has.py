import shmperf
from shmperf.rag import LiveStatistics, rank


@shmperf.track("good")
def good():
    pass


@shmperf.track("bad")
def bad():
    raise ValueError


def use():
    for _ in range(10):
        good()
        try:
            bad()
        except ValueError:
            pass


use()
shmperf.get_perf_stats()
found = rank([("bad", 0.5), ("good", 0.5), ("unknown", 0.5)])
assert [one.name for one in found] == ["good", "unknown", "bad"], found
assert [one.source for one in found] == ["live", "none", "live"], found
kept = LiveStatistics()
many = [(f"tool{n}", 0.1) for n in range(50)]
for calls in (20, 30):
    use()
    kept = LiveStatistics()
    found = rank([("bad", 0.5), ("good", 0.5), *many], live=kept)
    assert (found[0].name, found[0].calls) == ("good", calls), (found[0], kept.problem)
assert rank([("good", 0.5)], live=False)[0].source == "none"
