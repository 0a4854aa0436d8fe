import shmperf


@shmperf.track
def tool(n):
    pass


for n in range(100):
    tool(n)
opened = shmperf.track_tool_call("open", {})
print("ready", flush=True)
input()
