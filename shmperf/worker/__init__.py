"""What runs in your program: wrappers, the hot path, one process's part in a session."""
