"""
A program with a connection that whatever it executes would inherit, as servers in C have them.

Its first call starts a collector. Prints what the other end of the connection reads once the
program has closed its own, and whether the call is on disk.
"""

import os
import socket

import shmperf


@shmperf.track
def tool(n):
    return n


ours, clients = socket.socketpair()
# Near the descriptors that a child of ours is handed, and far from them.
ours.set_inheritable(True)
copies = [os.dup2(ours.fileno(), fd) for fd in (20, 200)]
tool(1)
for fd in copies:
    os.close(fd)
ours.close()
clients.settimeout(float(os.environ["TESTS_DEADLINE_S"]))
print(clients.recv(1), shmperf.flush())
