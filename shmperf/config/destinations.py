"""
Where a configuration sends what was recorded, as it may be shown: host and port, nothing else.

Path, user and query of such a URL may be secrets, and a file that lies in a directory was perhaps
put there by somebody else: whoever founds a session by it is told where alerts go.
"""

from __future__ import annotations

from contextlib import suppress

from .options import Options

__all__ = ["destinations", "masked"]


def masked(url: str) -> str:
    """*url* without what may be secret in it."""
    if not url or url.startswith("env:"):
        return url
    from urllib.parse import urlsplit  # noqa: PLC0415  for the few programs that have one

    with suppress(ValueError):
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
        return f"{parts.scheme}://{parts.hostname}{port}/***"
    return "***"


def destinations(options: Options) -> list[str]:
    """A sentence for each place outside that *options* name, without secrets."""
    webhook = options.anomaly.webhook if options.anomaly.enabled else ""
    return [f"alerts are posted to {masked(webhook)}"] if webhook else []
