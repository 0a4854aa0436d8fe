"""The lines above the panes: whose session, how much goes on, and what is wrong."""

from __future__ import annotations

from rich.text import Text

from shmperf.query.look import Look
from shmperf.views.formatting import printable

from .panes import rate

__all__ = ["head"]

_MOST_ALERTS = 3


def head(look: Look, said: str, *, is_paused: bool) -> Text:
    """What stands there; *said* is what the last deed had to say."""
    text = Text(printable(look.session or look.storage, 60) or "nothing yet", "bold")
    text.append("  live" if look.is_live else "  at rest", "green" if look.is_live else "dim")
    text.append(f"  mode {look.mode}", "yellow" if look.mode != "normal" else "dim")
    text.append(f"  {look.begun:,} begun  {rate(look.rate)} calls/s", "default")
    text.append(f"  {look.errors:,} errors", "red" if look.errors else "dim")
    lost = sum(look.lost.values())
    text.append(f"  {lost:,} lost", "bold red" if lost else "dim")
    text.append(f"  {look.aborted:,} aborted", "yellow" if look.aborted else "dim")
    if is_paused:
        text.append("  paused", "reverse")
    if look.problem:
        text.append(f"\n{printable(look.problem, 300)}", "bold red")
    for alert in look.alerts[:_MOST_ALERTS]:
        text.append(f"\n! {printable(alert.text, 200)}", "bold yellow")
    if len(look.alerts) > _MOST_ALERTS:
        text.append(f"\n! {len(look.alerts) - _MOST_ALERTS} more alerts", "yellow")
    if said:
        text.append(f"\n{said}", "cyan")
    return text
