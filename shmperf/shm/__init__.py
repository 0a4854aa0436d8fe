"""What lies in shared memory: records, rings, the table of open calls, a worker's segment."""
