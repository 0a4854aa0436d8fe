import shmperf

names = [
    "",
    "x" * 10_000,
    "../../etc/passwd",
    "ünï\u4e16",
    "Tool",
    "tool",
    "TOOL",
    "a.b",
    "a/b",
    "\ud800",
    "new\nline",
    ".",
    "..",
    "con",
    "tool_perf.jsonl",
]
for name in names:
    with shmperf.call(name):
        pass
    assert shmperf.track(name=name)(lambda: 5)() == 5
    shmperf.end_tool_call(shmperf.track_tool_call(name, {}))
stats = shmperf.get_perf_stats()
assert stats["tools_tracked"] == len(names), stats["tools_tracked"]
assert stats["begun"] == stats["total_calls"] == 3 * len(names)
