"""Call tools by the names of the arguments, which no address has by itself."""

import sys

import shmperf

for name in sys.argv[1:]:
    with shmperf.call(name):
        pass
