"""
The page's files: which there are, in which order they are loaded, and the page made of them.

    index.html   two marks, one for styles and one for scripts
    STYLES       linked by a server, each at its address; within the page itself in a report
    SCRIPTS      the same, in this order

A file is had by its name in these tables: no path is made of what somebody asks for. Scripts are
classic ones, each a function that runs at once and adds to one global; the first needs no other,
and nothing begins before all are there. They hold neither ``</script`` nor ``<!--``, so that they
can stand within a page as they are.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["SCRIPTS", "STYLES", "filled", "kind_of", "linked", "notices", "text_of"]

STYLES = ("uplot.css", "style.css", "graphs.css")
SCRIPTS = (
    "uplot.js",
    "core.js",
    "live.js",
    "embedded.js",
    "table.js",
    "charts.js",
    "overview.js",
    "tools.js",
    "tool.js",
    "inflight.js",
    "workers.js",
    "errors.js",
    "alerts.js",
    "changes.js",
    "flame.js",
    "tree.js",
    "timeline.js",
    "trace.js",
    "reports.js",
    "rank.js",
    "begin.js",
)

_NOTICES = ("uplot.LICENSE",)
_INDEX = "index.html"
_STYLES_HERE, _SCRIPTS_HERE = "<!-- styles -->", "<!-- scripts -->"
_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@cache
def text_of(name: str) -> str:
    """The text of a style or script; KeyError for a name that is not in the tables."""
    if name not in (_INDEX, *STYLES, *SCRIPTS):
        raise KeyError(name)
    return (files("shmperf.views") / "page" / name).read_text(encoding="utf-8")


def notices() -> str:
    """What has to stand beside the scripts of others, wherever they go."""
    folder = files("shmperf.views") / "page"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in _NOTICES)


def kind_of(name: str) -> str:
    """The media type of a style or script."""
    return _KINDS[name.rpartition(".")[2]]


def filled(styles: str, scripts: str) -> str:
    """The page with these elements in the places that it has for them."""
    head, mark, rest = text_of(_INDEX).partition(_STYLES_HERE)
    middle, other, end = rest.partition(_SCRIPTS_HERE)
    if not mark or not other:
        raise ValueError(f"{_INDEX}: expected {_STYLES_HERE} and then {_SCRIPTS_HERE}")
    return f"{head}{styles}{middle}{scripts}{end}"


def linked() -> str:
    """The page as a server gives it: styles and scripts have addresses of their own."""
    return filled(
        "\n".join(f'<link rel="stylesheet" href="/static/{name}">' for name in STYLES),
        "\n".join(f'<script defer src="/static/{name}"></script>' for name in SCRIPTS),
    )
