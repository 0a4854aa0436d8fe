import shmperf


@shmperf.track
def tool(text, *, more=""):
    pass


tool("y" * 100_000)
tool("z" * 100)
tool("short", more="w" * 5_000)
shmperf.set_optimization_mode(True)
tool("all", more="v" * 5_000)
