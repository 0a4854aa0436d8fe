"""The compiled path: its sources, how they are built, and which path runs."""
