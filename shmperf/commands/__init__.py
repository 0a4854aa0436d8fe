"""The command ``shmperf``, a file a verb."""
