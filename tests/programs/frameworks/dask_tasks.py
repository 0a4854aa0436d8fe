import shmperf


@shmperf.track
def locate(city):
    return city.lower()


@shmperf.track
def forecast(city):
    return "rain in " + locate(city)


def broken(city):
    raise ValueError("no such city")


async def late(city):
    raise TimeoutError
