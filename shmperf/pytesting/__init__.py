"""Runs of pytest: tests as calls, tool calls beneath them, one session for all workers."""

# Nothing here: workers need `phases` only, and not what the report takes.
__all__: list[str] = []
