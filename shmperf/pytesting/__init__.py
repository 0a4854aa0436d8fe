"""Runs of pytest: tests as calls, tool calls beneath them, one session for all workers."""

from .report import Report

__all__ = ["Report"]
