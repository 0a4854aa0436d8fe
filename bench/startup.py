"""What starting costs: the import, a worker's first call, and the collector's first answer."""

from __future__ import annotations

from .measure import Row, private_place, row_of, run_program, run_python

__all__ = ["startup"]


def startup(*, quick: bool) -> list[Row]:
    """The rows."""
    rounds = 5 if quick else 20
    founding: list[float] = []
    ready: list[float] = []
    joining: list[float] = []
    forked: list[float] = []
    with private_place() as (cwd, environ):
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        run_python("import shmperf, shmperf.collector.service", cwd, environ)
        imports = [float(run_program("importing", cwd, environ)) for _ in range(2 * rounds)]
    for _ in range(rounds):
        with private_place() as (cwd, environ):
            environ.pop("PYTHONDONTWRITEBYTECODE", None)
            printed = run_program("first_call", cwd, environ, "and another joins")
            first, answered, joined, _ = printed.split()
            founding.append(float(first))
            ready.append(float(answered))
            joining.append(float(joined))
            forked.append(float(run_program("first_call_of_a_fork", cwd, environ)))
    return [
        row_of("import shmperf, after msgspec and shared_memory", imports, "ms", target=10),
        row_of("first call, founding a session", founding, "ms", target=60),
        row_of("first call, joining one", joining, "ms", target=5),
        row_of("first call of a fork's child", forked, "ms", target=5),
        row_of("first call → collector answers", ready, "ms"),
    ]
