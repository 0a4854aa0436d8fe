import multiprocessing
import pathlib

import shmperf


@shmperf.track
def tool(n):
    pass


def work():
    tool(1)


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
    tool(2)
    assert shmperf.flush() is True
    lines = pathlib.Path("perf_data/tool_perf.jsonl").read_text().splitlines()
    assert len(lines) == 2
