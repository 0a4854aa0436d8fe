"""What may be shown of where things are sent."""

from __future__ import annotations

import msgspec
import pytest

from shmperf.config.destinations import (
    destinations,
    masked,
    masked_all,
    masked_each,
    shown,
    without_paths,
    without_user,
)
from shmperf.config.options import Options, expected_of, servers_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host.example:8443/T0/B0?key=1", "https://host.example:8443/***"),
        ("http://user:word@[::1]:80?key=1", "http://[::1]:80/***"),
        ("http://host:#word", "http://host/***"),
        ("http:///word", "***"),
        ("http://user:word@ho st/", "***"),
        ("host/word", "***"),
        ("word http://host/", "***"),
        ("env:NAME", "env:NAME"),
        ("env:https://host/word", "***"),
        ("http://[word", "***"),
        ("http://host:word/", "***"),
        ("", ""),
    ],
)
def test_urls_are_masked(url: str, shown: str) -> None:
    """Host and port may be seen, nothing else."""
    assert masked(url) == shown


def test_each_of_several_servers_is_masked() -> None:
    """A comma in a password separates nothing, so that no part of one is taken for a host."""
    urls = "nats://me:1,2@a:4222,tls://b,nats://c:4222"
    assert masked_each(urls) == "nats://a:4222/***,tls://b/***,nats://c:4222/***"
    assert servers_of(urls) == ["nats://me:1,2@a:4222", "tls://b", "nats://c:4222"]
    assert masked_each("env:NATS_URL") == "env:NATS_URL"
    assert masked_each("nats://me:1,2") == "***"
    options = msgspec.convert({"fleet": {"url": urls}}, Options)
    assert destinations(options) == [f"calls are published to {masked_each(urls)}"]
    assert masked_all(options).fleet.url == masked_each(urls)


def test_only_what_is_sent_has_a_destination() -> None:
    """Without alerts, or without a URL, nothing goes anywhere."""

    def said(**anomaly: object) -> list[str]:
        return destinations(msgspec.convert({"anomaly": anomaly}, Options))

    assert said() == said(webhook="http://host/a", enabled=False) == []
    assert said(webhook="http://host/a") == ["alerts are posted to http://host/***"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:word@host.example:8443/T0/B0?key=1", ""),
        ("HTTP://[::1]", ""),
        ("http://host:/", ""),
        ("ftp://host/", "an http or https URL"),
        ("host/path", "an http or https URL"),
        ("https:///path", "a host"),
        ("https://user@/path", "a host"),
        ("https://[host/", "a host"),
        ("https://host:word/", "port"),
        ("https://host:0/", "port"),
        ("https://host:65536/", "port"),
        ("https://host:80:80/", "port"),
        ("https://host/a b", "without spaces"),
        ("https://host/\n", "without spaces"),
    ],
)
def test_wrong_url_is_told_what_is_expected(url: str, expected: str) -> None:
    """A scheme, a host, a port that is one."""
    said = expected_of(url)
    assert expected in said
    assert bool(expected) == bool(said)


def test_what_is_found_is_shown_without_what_a_url_hides() -> None:
    """In a text, under whatever key, inside of others; and at a cost that is bounded."""
    assert without_paths("at https://host/word and") == "at https://host/***"
    assert without_paths("nothing") == "nothing"
    assert shown({"urls": ["http://host/word"]}) == "{'urls': ['http://host/***']}"
    assert shown({"webhook": "word"}) == "{'webhook': '***'}"
    assert shown(["word"], "webhook") == "'***'"
    assert len(without_paths("a" * 1_000_000)) == 1_000_000
    assert len(shown("http://" + "@" * 1_000_000)) < 200


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("tools.db", "tools.db"),
        ("http://host:6333", "http://host:6333"),
        ("postgresql://me:w@rd@host/tools", "postgresql://***@host/tools"),
        ("postgresql://host/tools?password=word", "postgresql://host/tools?***"),
        ("https://token@host/a@b", "https://***@host/a@b"),
    ],
)
def test_a_store_is_shown_without_who_uses_it(url: str, expected: str) -> None:
    """Where it is, and nothing that opens it; what is no URL as it is."""
    assert without_user(url) == expected
