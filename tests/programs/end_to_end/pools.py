import multiprocessing as mp
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

from shmperf import track


@track
def leaf(x):
    return x


@track
def task(x):
    for n in range(x % 5):
        leaf(n)
    return x


def work(n):
    for x in range(n):
        task(x)


if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    processes = [context.Process(target=work, args=(50,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with context.Pool(3) as pool:
        pool.map(task, range(100))
    with context.Pool(2, maxtasksperchild=1) as pool:
        pool.map(task, range(10), chunksize=1)
        pool.close()
        pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(task, range(100)))
    threads = [threading.Thread(target=work, args=(50,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
