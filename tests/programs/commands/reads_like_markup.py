"""Names, parameters and messages that look like something to a library that writes to terminals."""

import contextlib

import shmperf


@shmperf.track(name="[x] a:b:c")
def odd(text: str) -> None:
    raise ValueError(f"[/x] {text}")


for _ in range(12):
    with contextlib.suppress(ValueError):
        odd("[/b] :smile:")
