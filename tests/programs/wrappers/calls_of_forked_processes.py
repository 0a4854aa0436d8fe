import asyncio
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

from shmperf import adopt, call, current, end_tool_call, flush, track, track_tool_call

forking = multiprocessing.get_context("fork")


@track
def leaf(_=0):
    return current()


def parents(number=0):
    """What is current in this process, and once more after a call of its own."""
    return [current(), leaf() and current()]


@track
def makes_a_pool():
    return forking.Pool(2)


@track
def hands_over(pool):
    return pool.map(parents, range(8))


@track
def maps():
    with forking.Pool(2) as pool:
        return current(), pool.map(parents, range(8))


@track
def executes():
    leaf()
    with ProcessPoolExecutor(2, mp_context=forking) as pool:
        return current(), list(pool.map(parents, range(8)))


@track
def waits_for_process():
    answers = forking.SimpleQueue()
    process = forking.Process(target=lambda: answers.put(parents()))
    process.start()
    found = answers.get()
    process.join()
    return current(), found


def asked(pipe, steps):
    """The child of a fork: says what is current whenever it is asked."""
    for _ in range(steps):
        pipe.recv()
        pipe.send(parents())


def child(steps):
    """A process of `asked`, by os.fork, and the pipe to it."""
    here, there = forking.Pipe()
    pid = os.fork()
    if pid == 0:
        asked(there, steps)
        os._exit(0)
    return pid, here


def ask(pipe):
    pipe.send(0)
    return pipe.recv()


def a_pool_whose_call_has_ended():
    pool = makes_a_pool()
    found = pool.map(parents, range(8)) + hands_over(pool)
    with call("around"):
        found += pool.map(parents, range(8))
    pool.terminate()
    pool.join()
    assert found == [[None, None]] * 24, found


def a_pool_that_another_call_uses():
    with call("around"), forking.Pool(2) as pool:
        found = hands_over(pool)
    assert found == [[None, None]] * 8, found


def pools_of_the_call_that_waits():
    for tool in (maps, executes):
        own, found = tool()
        assert found == [[own, own]] * 8, (tool, own, found)


def a_process_that_its_call_waits_for():
    own, found = waits_for_process()
    assert found == [own, own], (own, found)


@track
def forks(steps):
    pid, pipe = child(steps)
    assert ask(pipe) == [current(), current()]
    leaf()
    assert ask(pipe) == [current(), current()]
    return pid, pipe


def ended(pid, pipe):
    assert ask(pipe) == [None, None]
    os.waitpid(pid, 0)


def forks_whose_call_has_ended():
    ended(*forks(3))
    with call("block"):
        pid, pipe = child(2)
        assert ask(pipe) == [current(), current()]
    ended(pid, pipe)
    pair = track_tool_call("pair", {})
    pid, pipe = child(2)
    assert ask(pipe) == [pair, pair]
    end_tool_call(pair)
    ended(pid, pipe)


@track
def may_fork(forks, calls=0):
    found = child(1) if forks else None
    for _ in range(calls):
        may_fork(False)
    return found


@track
async def may_fork_awaited(forks):
    return child(1) if forks else None


async def forks_in_a_loop():
    for _ in range(50):
        await may_fork_awaited(False)
    return await may_fork_awaited(True)


def forks_whose_quick_call_has_ended():
    may_fork(False, 50)
    ended(*may_fork(True))
    # Its tool has another grant by the time it ends.
    ended(*may_fork(True, 500))
    ended(*asyncio.run(forks_in_a_loop()))


def a_child_that_leaves_the_call():
    here, there = forking.Pipe()
    with call("outside") as outside:
        with call("inside") as inside:
            pid = os.fork()
            if pid == 0:
                there.send(parents())
            else:
                assert [here.recv() for _ in range(3)] == [
                    [inside.id, inside.id],
                    [outside.id, outside.id],
                    [None, None],
                ]
        if pid == 0:
            there.send(parents())
    if pid == 0:
        there.send(parents())
        os._exit(0)
    os.waitpid(pid, 0)


def a_child_of_a_child():
    with call("around") as around:
        here, there = forking.Pipe()
        pid = os.fork()
        if pid == 0:
            with call("middle") as middle:
                grandchild, pipe = child(2)
                assert ask(pipe) == [middle.id, middle.id]
            found = ask(pipe)
            os.waitpid(grandchild, 0)
            there.send([found, parents()])
            os._exit(0)
        assert here.recv() == [[None, None], [around.id, around.id]]
        os.waitpid(pid, 0)


def a_parent_that_is_killed():
    here, there = forking.Pipe()
    pid = os.fork()
    if pid == 0:
        with call("killed"):
            if os.fork() == 0:
                asked(there, 2)
                os._exit(0)
            signal.pause()
    own = ask(here)
    assert own[0] is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert ask(here) == [None, None]


def a_pool_beneath_an_adopted_call():
    with adopt("00000000000000aa"), forking.Pool(1) as pool:
        pid, pipe = child(1)
        assert ask(pipe) == [current(), current()]
        os.waitpid(pid, 0)
        assert pool.map(parents, [0]) == [[None, None]]


def a_task_with_a_parent_of_its_own():
    from shmperf import propagate

    with call("around") as around, makes_a_pool() as pool:
        assert pool.map(propagate(parents), [0]) == [[around.id, around.id]]


for case in (
    a_pool_whose_call_has_ended,
    a_pool_that_another_call_uses,
    pools_of_the_call_that_waits,
    a_process_that_its_call_waits_for,
    forks_whose_call_has_ended,
    forks_whose_quick_call_has_ended,
    a_child_that_leaves_the_call,
    a_child_of_a_child,
    a_parent_that_is_killed,
    a_pool_beneath_an_adopted_call,
    a_task_with_a_parent_of_its_own,
):
    if len(sys.argv) < 2 or case.__name__ in sys.argv:
        case()
        assert current() is None, case
assert flush(60)
