"""A tool whose name is sixteen hexadecimal digits."""

import shmperf


@shmperf.track(name="deadbeefdeadbeef")
def tool() -> None:
    pass


tool()
