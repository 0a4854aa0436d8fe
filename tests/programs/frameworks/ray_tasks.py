import asyncio

import ray

import shmperf


@shmperf.track
def locate(city):
    return city.lower()


@ray.remote
def forecast(city, days=1):
    return "rain in " + locate(city)


@ray.remote
def broken(city):
    raise ValueError("no such city")


@ray.remote
class Station:
    def measure(self, city):
        return locate(city)

    def count(self):
        for city in "FG":
            yield locate(city)

    def fail(self):
        raise TimeoutError


@ray.remote
class Observatory:
    async def look(self, city):
        await asyncio.sleep(0)
        return locate(city)


@ray.remote
@shmperf.track
def decorated(city):
    return locate(city)
