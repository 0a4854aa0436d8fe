"""An alert as everybody outside the collector has it: files, answers, the outbox, a webhook."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ShownAlert"]


class ShownAlert(msgspec.Struct, kw_only=True):
    """Something that turned bad; times are ISO 8601, UTC, and ``ended`` is None while it is so."""

    id: str
    kind: str
    tool: str | None
    severity: str
    began: str
    ended: str | None
    text: str
    evidence: dict[str, Any]
