"""
Who may ask a page's server: everything that a browser can be made to do by somebody else ends here.

    asked                                   answered only
    /healthz                                always: it says ok and nothing else
    by a browser                            by a name of this machine (Host): a page of another name
                                            that leads here is another page
    with an Origin                          of the page itself, as Host says
    by another site (Sec-Fetch-Site)        where somebody follows a link to the page
    anything                                with the token: a cookie, or Authorization: Bearer
    what changes something                  with the cookie and an Origin, or with Bearer

The token comes in the address of the page once, ``/?token=…``, and leaves it for a cookie, which
scripts can't read and other sites can't send. The cookie is made of the token and is not it: it
goes to each port of its host, whoever listens there, and opens nothing but this port's page.

Every answer forbids what the page does not need: to be kept, framed, guessed at, or to load
anything from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from shmperf.exporters.prometheus import is_loopback

__all__ = ["App", "Guard", "Key", "Message", "Receive", "Scope", "Send", "names_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)
_READING = frozenset({"GET", "HEAD"})
_HTML = "text/html; charset=utf-8"
_TITLE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>shmperf</title>'
_UNKNOWN = (
    f"{_TITLE}<p>This page needs its token: open the address that <code>shmperf serve</code> has "
    "printed."
)
_HOP = f'{_TITLE}<a href="/">The page</a>'
_NO_TOKEN = "the token is missing or not this one; `shmperf serve` has printed it"  # noqa: S105  a text


class Key(NamedTuple):
    """What opens the page, and how a browser keeps it: a cookie's name and value."""

    token: str
    cookie: str
    value: str

    @classmethod
    def of(cls, token: str, port: int) -> Key:
        """The key made of *token*, for the server at *port*: cookies are of a host alone."""
        value = hmac.new(token.encode(), f"cookie of {port}".encode(), hashlib.sha256).hexdigest()
        return cls(token, f"shmperf-{port}", value)

    @property
    def crumb(self) -> bytes:
        """What a browser is told to keep."""
        return f"{self.cookie}={self.value}; Path=/; HttpOnly; SameSite=Strict".encode()


class _Refusal(NamedTuple):
    status: int
    text: str


def names_of(host: str) -> Callable[[str], bool]:
    """
    Which names in ``Host`` mean a server that listens at *host*.

    An address can't be another's name. Beyond this machine its own names are known as well.
    """
    known = {"localhost", host.lower()}
    if is_loopback(host):
        return lambda name: name in known or is_loopback(name)
    known |= {socket.gethostname().lower()}
    return lambda name: name in known or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Lets through to *app* what may pass; everything else has its answer here."""

    def __init__(self, app: App, is_ours: Callable[[str], bool], key: Key) -> None:
        self._app = app
        self._is_ours = is_ours
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        guarded = _guarded(send)
        if scope["path"] == "/healthz":
            await self._app(scope, receive, guarded)
            return
        asked = _Asked(scope)
        refusal = self._of_others(asked)
        if refusal is None and (shown := asked.token) is not None:
            await self._enter(asked, shown, guarded)
            return
        refusal = refusal or self._of_strangers(asked)
        if refusal is None:
            await self._app(scope, receive, guarded)
        else:
            await _refuse(asked, refusal, guarded)

    def _of_others(self, asked: _Asked) -> _Refusal | None:
        """Why this is no request of the page itself, nor of a program; None where it may be one."""
        host = asked.one("host")
        if not self._is_known(host) and not self._has_bearer(asked):
            return _Refusal(403, "Host: expected a name of this machine")
        for origin in asked.all("origin"):
            if origin.lower() not in {f"{scheme}://{host}".lower() for scheme in ("http", "https")}:
                return _Refusal(403, "Origin: expected the page's own")
        site = asked.one("sec-fetch-site")
        if site in {"", "none", "same-origin"} or asked.is_visit:
            return None
        return _Refusal(403, "Sec-Fetch-Site: expected the page itself")

    def _is_known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return found is not None and self._is_ours(found[1].strip("[]").rstrip(".").lower())

    def _has_bearer(self, asked: _Asked) -> bool:
        """True for a program that has the token: no page can make a browser show it."""
        return _same(asked.one("authorization"), f"Bearer {self._key.token}")

    def _of_strangers(self, asked: _Asked) -> _Refusal | None:
        """Why whoever asks is not known, or may not do that."""
        if asked.one("authorization"):
            return None if self._has_bearer(asked) else _Refusal(401, _NO_TOKEN)
        kept = f"{self._key.cookie}={self._key.value}"
        if not any(_same(crumb, kept) for crumb in asked.crumbs()):
            return _Refusal(401, _NO_TOKEN)
        if asked.method not in _READING and not asked.one("origin"):
            return _Refusal(403, "Origin: expected the page's own")
        return None

    async def _enter(self, asked: _Asked, shown: str, send: Send) -> None:
        """From the address with the token to the one without, which a cookie opens."""
        if not _same(shown, self._key.token):
            await _refuse(asked, _Refusal(401, _NO_TOKEN), send)
            return
        headers = [(b"set-cookie", self._key.crumb)]
        if asked.one("sec-fetch-site") == "cross-site":
            # What another site has led to goes on as theirs, without this cookie, for as long as
            # it is led further: here it ends, and the page begins anew by itself.
            await _answer(send, 200, _HTML, _HOP, [*headers, (b"refresh", b"0; url=/")])
        else:
            await _answer(send, 303, _HTML, "", [*headers, (b"location", b"/")])


class _Asked:
    """A request's head."""

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query: bytes = scope["query_string"]
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

    def all(self, name: str) -> list[str]:
        """Each value of a header."""
        sought = name.encode()
        return [value.decode("latin-1") for key, value in self._headers if key == sought]

    def one(self, name: str) -> str:
        """A header's value, empty without one; of several none counts."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ", ".join(found)

    def crumbs(self) -> Iterable[str]:
        """The cookies, each ``name=value``."""
        for value in self.all("cookie"):
            yield from (crumb.strip() for crumb in value.split(";"))

    @property
    def is_visit(self) -> bool:
        """True where somebody goes to the page, by a link perhaps."""
        mode, goal = self.one("sec-fetch-mode"), self.one("sec-fetch-dest")
        return self.is_page and mode == "navigate" and goal == "document"

    @property
    def is_page(self) -> bool:
        """True for the page itself."""
        return self.path == "/" and self.method in _READING

    @property
    def token(self) -> str | None:
        """What is shown as token in the page's address; None where there is none."""
        if not self.is_page:
            return None
        found = parse_qs(self._query.decode("latin-1"), keep_blank_values=True).get("token")
        return None if found is None else found[0]


def _same(shown: str, expected: str) -> bool:
    """In a time that tells nothing of how much of it is right."""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), expected.encode())


def _guarded(send: Send) -> Send:
    """*send*, with what every answer says beside what it says itself."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            own = {name for name, _ in headers}
            headers += [header for header in _ALWAYS if header[0] not in own]
            message = {**message, "headers": headers}
        await send(message)

    return sent


async def _refuse(asked: _Asked, refusal: _Refusal, send: Send) -> None:
    headers = [(b"www-authenticate", b"Bearer")] if refusal.status == 401 else []
    if asked.is_page and refusal.status == 401:
        await _answer(send, 401, _HTML, _UNKNOWN, headers)
        return
    text = msgspec.json.encode({"error": refusal.text}).decode()
    await _answer(send, refusal.status, "application/json", text, headers)


async def _answer(
    send: Send, status: int, kind: str, text: str, headers: list[tuple[bytes, bytes]]
) -> None:
    content = text.encode()
    headers += [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
