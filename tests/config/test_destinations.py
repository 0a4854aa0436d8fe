"""What may be shown of where things are sent."""

from __future__ import annotations

import msgspec
import pytest

from shmperf.config.destinations import destinations, masked
from shmperf.config.options import Options


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host.example:8443/T0/B0?key=1", "https://host.example:8443/***"),
        ("env:NAME", "env:NAME"),
        ("http://[word", "***"),
        ("http://host:word/", "***"),
        ("", ""),
    ],
)
def test_urls_are_masked(url: str, shown: str) -> None:
    """Host and port may be seen, nothing else."""
    assert masked(url) == shown


def test_only_what_is_sent_has_a_destination() -> None:
    """Without alerts, or without a URL, nothing goes anywhere."""

    def said(**anomaly: object) -> list[str]:
        return destinations(msgspec.convert({"anomaly": anomaly}, Options))

    assert said() == said(webhook="http://host/a", enabled=False) == []
    assert said(webhook="http://host/a") == ["alerts are posted to http://host/***"]
