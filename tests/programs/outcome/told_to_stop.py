import sys

import shmperf


@shmperf.track
def leaves():
    sys.exit()


@shmperf.track
def fails():
    sys.exit("no such file")


def with_trio():
    import trio

    @shmperf.track
    async def stopped():
        await trio.sleep_forever()

    @shmperf.track
    async def group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    async def main():
        for tool in (stopped, group):
            with trio.move_on_after(0.01):
                await tool()

    trio.run(main)


def with_gevent():
    import gevent

    @shmperf.track
    def stopped():
        gevent.sleep(100)

    @shmperf.track
    def group():
        gevent.sleep(100)

    with gevent.Timeout(0.01, False):
        stopped()
    sleeper = gevent.spawn(group)
    gevent.sleep(0.01)
    sleeper.kill()


def once():
    {"trio": with_trio, "gevent": with_gevent}[sys.argv[1]]()
    for tool in (leaves, fails):
        try:
            tool()
        except SystemExit:
            pass


once()
shmperf.set_optimization_mode(True)
once()
