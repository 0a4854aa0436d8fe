from shmperf.rag import LiveStatistics, rank

live = LiveStatistics()
assert rank([("tool", 0.5)], live=live)[0].source == "none"
assert live.problem == "no collector is running"
