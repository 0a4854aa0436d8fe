"""Two tools that do the same, until one of them is told to break or to dawdle; called on demand."""

import sys
import time

import shmperf
from shmperf.rag import ToolStore, from_functions

how = {"fetch_weather": "well", "weather_report": "well"}


def behave(name):
    if how[name] == "badly":
        raise OSError("the service is down")
    if how[name] == "slowly":
        time.sleep(0.2)
    return "rain"


@shmperf.track
def fetch_weather(city):
    "The weather of a city today."
    return behave("fetch_weather")


@shmperf.track
def weather_report(city):
    "The weather of a city today."
    return behave("weather_report")


with ToolStore() as tools:
    tools.put_many(from_functions([fetch_weather, weather_report]))
for line in sys.stdin:
    tool, how_now, count = line.split()
    how[tool] = how_now
    for _ in range(int(count)):
        try:
            globals()[tool]("Oslo")
        except OSError:
            pass
    print("called", flush=True)
