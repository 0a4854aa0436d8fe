"""What drains: the cycle of the one process that reads all rings of a session."""
