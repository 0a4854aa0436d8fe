"""
How to reach a fleet's servers: where, as whom, and by whose certificates; none of it is shown.

What stands in a configuration as ``env:NAME`` is read here, from the environment of whoever
connects. What is told of servers anywhere are their hosts and ports, see `config.destinations`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from shmperf.config.destinations import masked_each
from shmperf.config.options import Fleet, servers_of
from shmperf.files import reason_of

from .engine import Refused

__all__ = ["Access", "Server", "access_of", "access_to", "tls_context"]


class Server(NamedTuple):
    """One server: its URL without a user, and who we are there."""

    url: str
    user: str | None
    password: str | None
    must_be_tls: bool


class Access(NamedTuple):
    """All that connecting needs; *shown* is what may be told of it."""

    servers: tuple[Server, ...]
    credentials: Path | None
    ca: str
    shown: str

    def __repr__(self) -> str:
        # Whatever prints one, a traceback too, shows no password.
        return f"Access({self.shown})"


def access_of(fleet: Fleet, environ: Mapping[str, str]) -> Access:
    """How *fleet* says; Refused for what can't be followed, in one line."""
    return access_to(
        _told(fleet.url, environ, "url"), _told(fleet.credentials, environ, "credentials"), fleet.ca
    )


def access_to(urls: str, credentials: str = "", ca: str = "") -> Access:
    """How *urls* say, with the files *credentials* and *ca* where there are some; Refused."""
    try:
        servers = tuple(_server(url) for url in servers_of(urls))
    except ValueError as error:
        raise Refused(f"{masked_each(urls)}: expected {error}") from None
    path = Path(credentials).expanduser() if credentials else None
    if path is not None and not path.is_file():
        # It may be what should stand in the file.
        raise Refused("credentials: found no such file")
    return Access(servers, path, ca, masked_each(urls))


def _told(value: str, environ: Mapping[str, str], key: str) -> str:
    if not value.startswith("env:"):
        return value
    found = environ.get(value[4:], "").strip()
    if not found:
        raise Refused(f"fleet.{key}: {value} is not set")
    return found


def _server(url: str) -> Server:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Server(f"{parts.scheme}://{host}", user, password, parts.scheme == "tls")


def tls_context(access: Access) -> ssl.SSLContext:
    """By the system's certificates, or by those in `fleet.ca` alone; Refused."""
    try:
        return ssl.create_default_context(cafile=access.ca or None)
    except (OSError, ValueError) as error:
        raise Refused(f"fleet.ca: {reason_of(error)}") from None
