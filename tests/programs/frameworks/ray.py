import sys

import ray
import tasks

import shmperf


def fails(sent):
    try:
        ray.get(sent)
    except Exception:  # noqa: BLE001  that it fails is the question
        return True
    return False


def use():
    station, observatory = tasks.Station.remote(), tasks.Observatory.remote()
    assert ray.get(tasks.forecast.remote("A", days=2)) == "rain in a"
    assert ray.get(tasks.decorated.remote("E")) == "e"
    assert ray.get(station.measure.remote("B")) == "b"
    counted = station.count.options(num_returns="streaming").remote()
    assert [ray.get(one) for one in counted] == ["f", "g"]
    assert ray.get(observatory.look.remote("C")) == "c"
    assert fails(tasks.broken.remote("D"))
    assert fails(station.fail.remote())


def tasks_and_actors(directory):
    before = ray.init
    shmperf.instrument("ray")
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=directory,
    )
    use()
    ray.shutdown()
    shmperf.uninstrument("ray")
    assert ray.init is before


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
