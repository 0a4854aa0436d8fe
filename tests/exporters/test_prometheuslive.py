"""The endpoint of a session: it listens where it may and can, and says how it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shmperf.analysis.stats import Figures
from shmperf.config.options import Export, Prometheus
from shmperf.errors import NoAnswer, StoreError
from shmperf.exporters.families import Reading
from shmperf.exporters.prometheuslive import Live
from shmperf.testing import Clock

from .scraping import asked, free_port


def export(listen: str) -> Export:
    return Export(prometheus=Prometheus(listen=listen))


@contextmanager
def serving(live: Live) -> Iterator[Live]:
    try:
        live.step()
        yield live
    finally:
        live.close()


def test_scrapes_are_counted_and_so_is_who_got_none() -> None:
    """The reason stands in the answer and in the report; the next scrape is asked anew."""
    readings = [Reading(Figures()), Reading(Figures())]

    def read() -> Reading:
        if not readings:
            raise NoAnswer("no collector is running")
        return readings.pop()

    port = free_port()
    with serving(Live(export(f"127.0.0.1:{port}"), read)) as live:
        assert [asked(port)[0] for _ in range(3)] == [200, 200, 503]
        assert live.report.sent == 2
        assert live.report.last_sent_s is not None
        assert (live.report.problem, live.report.last_error) == (None, "no collector is running")
        readings.append(Reading(Figures()))
        assert asked(port)[0] == 200
        assert asked(port, "/")[0] == 404
        assert live.report.sent == 3
    assert asked(port)[0] == 0


def test_a_port_in_use_is_tried_again() -> None:
    """After a pause, and until then it is a problem."""
    clock = Clock()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        live = Live(export(listen), lambda: Reading(Figures()), clock)
        live.step()
        assert live.report.problem == f"{listen}: Address already in use"
    with serving(live):
        assert live.report.problem
        clock.now_s += 1.0
        live.step()
        assert live.report.problem is None
        assert asked(other_port := int(listen.rpartition(":")[2]))[0] == 200
    assert asked(other_port)[0] == 0


@pytest.mark.parametrize("listen", ["[::1]:9464", "127.1.2.3:9464", "localhost:9464"])
def test_this_machine_has_several_names(listen: str) -> None:
    """Of all of them nobody is reached from elsewhere."""
    assert Live(export(listen), lambda: Reading(Figures())).report.problem is None


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "host:9464"])
def test_others_are_not_served(listen: str) -> None:
    """There is no token that they could show."""
    with pytest.raises(StoreError, match="is reached from other machines: only `shmperf metrics"):
        Live(export(listen), lambda: Reading(Figures()))


def test_a_port_has_a_number() -> None:
    """One that the system chooses no scraper could be told of."""
    with pytest.raises(StoreError, match="name a port"):
        Live(export("127.0.0.1:0"), lambda: Reading(Figures()))
