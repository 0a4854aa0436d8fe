import shmperf

HERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@shmperf.track
def tool():
    pass


print(shmperf.traceparent())
tool()
print(shmperf.traceparent())
with shmperf.adopt(HERE):
    print(shmperf.traceparent())
    with shmperf.adopt("00-nonsense"):
        print(shmperf.traceparent())
    tool()
    print(shmperf.traceparent())
print(shmperf.traceparent())
