"""
The page as one file, of one moment: opened from disk, by any browser, without a network.

    head     a policy that allows the scripts within, by their digests, and nothing from elsewhere
    body     the page's own elements; a table of the tools for who runs no scripts
             everything that it shows, as JSON
             the page's scripts, which find it there

The file never has more than `MOST_BYTES`, whatever was recorded: what is shown is cut to fit, and
the page says what was left out.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from shmperf.analysis.diff import Against
from shmperf.exporters.output import write_private
from shmperf.query.answers import Answers

from .compact import encoded
from .formatting import duration, printable
from .page import SCRIPTS, STYLES, filled, notices, text_of
from .reportparts import held

__all__ = ["MOST_BYTES", "made_report", "write_report"]

MOST_BYTES = 1_000_000
# For the table without a script, and what stands around all that.
_ROOM_BESIDE = 40_000
_PLAIN_ROWS = 50
_LONGEST_NAME = 60
_HEADS = ("tool", "calls", "p50", "p95", "errors", "aborted")


def made_report(
    answers: Answers,
    against: Against | None = None,
    *,
    with_parameters: bool = True,
    clock: Callable[[], float] = time.time,
) -> bytes:
    """
    A page that shows what *answers* know now, and what has changed *against* another run.

    Without parameters it holds neither those of calls nor messages that may quote them. Raises
    ShmperfError where nothing can be told.
    """
    styles = "\n".join(text_of(name) for name in STYLES)
    scripts = [text_of(name) for name in SCRIPTS]
    shell = filled(_head(styles, scripts), _body({}, scripts))
    room = MOST_BYTES - len(shell.encode()) - _ROOM_BESIDE
    found = held(answers, room, against, with_parameters=with_parameters, clock=clock)
    page = filled(_head(styles, scripts), _body(found, scripts))
    return page.encode("utf-8", "backslashreplace")


def write_report(
    answers: Answers, path: Path, against: Against | None = None, *, with_parameters: bool = True
) -> int:
    """
    Write that page to *path*, readable by its owner alone; how many bytes it has.

    StoreError where it can't be written; a file that was there before stays then.
    """
    page = made_report(answers, against, with_parameters=with_parameters)
    write_private(path, [page])
    return len(page)


def _head(styles: str, scripts: Sequence[str]) -> str:
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_digest, scripts)),
        "style-src": _digest(styles),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    said = "; ".join(f"{name} {allowed}" for name, allowed in policy.items())
    meta = f'<meta http-equiv="Content-Security-Policy" content="{said}">'
    return f"{meta}\n<style>{styles}</style>"


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _body(found: Mapping[str, Any], scripts: Sequence[str]) -> str:
    embedded = f'<script type="application/json" id="shmperf-data">{encoded(found)}</script>'
    plain = _table(found["look"]["tools"]) if found else ""
    notice = f"<!--\n{notices()}-->"
    return "\n".join([plain, embedded, notice, *(f"<script>{text}</script>" for text in scripts)])


def _table(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools that cost most, for who runs no scripts."""
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in tools[:_PLAIN_ROWS])
    more = len(tools) - _PLAIN_ROWS
    note = f"<p>… and {more:,} tools more</p>" if more > 0 else ""
    return f"<noscript><table><tr>{head}</tr>{rows}</table>{note}</noscript>"


def _cells(row: Mapping[str, Any]) -> str:
    texts = (
        printable(row["tool"], _LONGEST_NAME),
        f"{row['count']:,}",
        duration(row["p50_s"]),
        duration(row["p95_s"]),
        f"{row['errors']:,}",
        f"{row['aborted']:,}",
    )
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
