"""The page as a report has it, made of whatever a test wants to be seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shmperf.views.page import SCRIPTS, STYLES, filled, text_of

__all__ = ["look_of", "page_in", "tool_look"]


def look_of(**known: Any) -> dict[str, Any]:
    """A look that shows nothing but what is given."""
    return {
        "at_s": 1_700_000_000.0,
        "session": "main",
        "storage": "perf_data",
        "mode": "normal",
        "is_live": False,
        "complete": True,
        "problem": None,
        "begun": 0,
        "total_calls": 0,
        "errors": 0,
        "aborted": 0,
        "in_flight": 0,
        "lost": {},
        "rate": None,
        "tools": [],
        "workers": [],
        "open": [],
        "alerts": [],
        "optimization": {"trigger": None, "last_report": None},
    } | known


def tool_look(tool: str, **known: Any) -> dict[str, Any]:
    """A tool of a look, called once and never since."""
    return {
        "tool": tool,
        "count": 1,
        "rate": 0.0,
        "p50_s": 0.01,
        "p95_s": 0.01,
        "p99_s": 0.01,
        "errors": 0,
        "aborted": 0,
        "own_share": 0.0,
        "in_flight": 0,
    } | known


def page_in(directory: Path, parts: dict[str, Any], look: dict[str, Any], **more: Any) -> None:
    """Write the page that shows these parts and that look, as ``index.html`` of *directory*."""
    made = json.dumps({"parts": parts, "look": look, **more}).replace("<", "\\u003c")
    held = f'<script type="application/json" id="shmperf-data">{made}</script>'
    scripts = "".join(f"<script>{text_of(name)}</script>" for name in SCRIPTS)
    styles = "".join(f"<style>{text_of(name)}</style>" for name in STYLES)
    (directory / "index.html").write_text(filled(styles, held + scripts), encoding="utf-8")
