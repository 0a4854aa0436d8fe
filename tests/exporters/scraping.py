"""A scraper of a test's own: asks once, and reads text by prometheus_client's parsers."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

OPEN = "application/openmetrics-text; version=1.0.0"


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    """Status and text of an answer; 0 where nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def values(port: int, sample: str) -> dict[str, float]:
    """A sample by tool; nothing where there is no answer now."""
    code, text = asked(port, Accept=OPEN)
    if code != 200:
        return {}
    return {
        one.labels["gen_ai_tool_name"]: one.value
        for family in parse(text)
        for one in family.samples
        if one.name == sample
    }
