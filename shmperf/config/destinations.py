"""
Where a configuration sends what was recorded, as it may be shown: host and port, nothing else.

Path, user and query of such a URL may be secrets, and a file that lies in a directory was perhaps
put there by somebody else: whoever founds a session by it is told where alerts go. A wrong value
is shown by the same rule, wherever in the file it stands: it may be a URL at the wrong place.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

import msgspec

from .options import Options

__all__ = [
    "destinations",
    "masked",
    "masked_all",
    "masked_each",
    "shown",
    "without_paths",
    "without_user",
]

_HIDDEN = "***"
# Keys whose text is a destination, also where it looks like none.
_DESTINATIONS = frozenset({"webhook", "endpoint", "headers", "url", "credentials"})
_VARIABLE = re.compile(r"env:\w+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://")
_HOST = re.compile(
    r"(?:[^/?#\s]*@)?(?P<place>(?:\[[0-9A-Fa-f:.%]+\]|[^/?#@:\[\]\s]+)(?::\d+)?):?(?=[/?#]|\Z)"
)
# A comma in a password separates nothing.
_NEXT = re.compile(r",(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_USER = re.compile(r"(://)[^/?#]*@")
_MOST_TEXT, _MOST_SHOWN = 80, 120
# Of a text beyond any URL no more is looked at.
_MOST_URL = 2_000


def masked(url: str) -> str:
    """*url* without what may be secret in it."""
    if not url or _VARIABLE.fullmatch(url):
        return url
    scheme = _SCHEME.match(url)
    host = None if scheme is None else _HOST.match(url[:_MOST_URL], scheme.end())
    return _HIDDEN if scheme is None or host is None else f"{scheme[0]}{host['place']}/{_HIDDEN}"


def masked_each(urls: str) -> str:
    """*urls* with commas between, each without what may be secret in it."""
    return ",".join(map(masked, _NEXT.split(urls)))


def without_user(url: str) -> str:
    """*url*, whose path says what it is, without user and query; what is no URL as it is."""
    if "://" not in url:
        return url
    kept, query, _ = _USER.sub(rf"\1{_HIDDEN}@", url).partition("?")
    return f"{kept}?{_HIDDEN}" if query else kept


def without_paths(text: str) -> str:
    """*text* up to the host of the first URL in it; where that ends, nobody can say."""
    scheme = _SCHEME.search(text)
    return text if scheme is None else text[: scheme.start()] + masked(text[scheme.start() :])


class _Short(reprlib.Repr):
    """A repr of bounded cost: a few aliases can stand for thousands of millions of members."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = _MOST_TEXT

    def repr_str(self, text: str, level: int) -> str:
        return super().repr_str(without_paths(text), level)

    def repr_dict(self, content: dict[Any, Any], level: int) -> str:
        hidden = {key: _hidden(key, value) for key, value in content.items()}
        return super().repr_dict(hidden, level)


def shown(value: object, key: str = "") -> str:
    """What was found at *key*, in short, and without what may be secret in it."""
    return _Short().repr(_hidden(key, value))[:_MOST_SHOWN]


def _hidden(key: object, value: object) -> object:
    if key not in _DESTINATIONS or not isinstance(value, str | list | dict):
        return value
    return masked(value) if isinstance(value, str) else _HIDDEN


def destinations(options: Options) -> list[str]:
    """A sentence for each place outside that *options* name, without secrets."""
    found = []
    if options.anomaly.enabled and options.anomaly.webhook:
        found.append(f"alerts are posted to {masked(options.anomaly.webhook)}")
    if options.export.otlp.endpoint:
        found.append(f"calls are sent to {masked(options.export.otlp.endpoint)}")
    if options.fleet.url:
        found.append(f"calls are published to {masked_each(options.fleet.url)}")
    return found


def masked_all(options: Options) -> Options:
    """*options* as they may be shown: destinations by their host, headers by their names."""
    replace = msgspec.structs.replace
    otlp = options.export.otlp
    headers = {
        name: value if _VARIABLE.fullmatch(value) else _HIDDEN
        for name, value in otlp.headers.items()
    }
    otlp = replace(otlp, endpoint=masked(otlp.endpoint), headers=headers)
    return replace(
        options,
        anomaly=replace(options.anomaly, webhook=masked(options.anomaly.webhook)),
        rag=replace(options.rag, url=without_user(options.rag.url)),
        export=replace(options.export, otlp=otlp),
        fleet=replace(options.fleet, url=masked_each(options.fleet.url)),
    )
