"""What is on disk: the state and its journal, the history files, the thread that writes."""
