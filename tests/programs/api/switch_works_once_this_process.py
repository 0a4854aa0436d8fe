import shmperf

tracker = shmperf.get_tracker()


@shmperf.track
def tool(inside=None):
    if inside:
        inside()


tool()
assert tracker.enabled and tracker.mode == "normal" and tracker.session


def off():
    tracker.enabled = False


tool(off)
tool()
tool()
with shmperf.call("block"):
    pass
assert shmperf.track_tool_call("pair", {}) == "" and tracker.mode == "off"
assert shmperf.get_perf_stats()["mode"] == "off"
tracker.enabled = True
tool()
stats = shmperf.get_perf_stats()
assert stats["begun"] == stats["total_calls"] == 3, stats
assert tracker.lost == tracker.faults == {}
