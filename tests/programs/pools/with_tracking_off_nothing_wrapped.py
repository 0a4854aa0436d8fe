from tools import double

from shmperf.integrations.task import hand_over

print(hand_over("multiprocessing", double) is double)
