"""
A shop whose orders are slow because of one child: python orders.py SECONDS ORDERS [hang]

Each order looks for stock in three places, asks for a price, which takes that many SECONDS, and is
charged; every tenth can't be. With ``hang`` one more order stays at its supplier, as long as there
is input.
"""

import sys
import threading

import shmperf

ODD = "</script><script>document.title = 'taken'</script>"
LONG = "long_" + "n" * 9_995

closed = threading.Event()
pause = threading.Event()
slow_s, orders = float(sys.argv[1]), int(sys.argv[2])


@shmperf.track
def look_up(place, item):
    pause.wait(0.0005)


@shmperf.track
def find_stock(item):
    for place in ("north", "south", "harbour"):
        look_up(place, item)


@shmperf.track
def ask_price(item):
    pause.wait(slow_s)


@shmperf.track
def charge(number, password):
    pause.wait(0.0005)
    if number % 10 == 9:
        raise ValueError(f"card of order {number} refused")


@shmperf.track
def take_order(number, item):
    find_stock(item)
    ask_price(item)
    charge(number, password="hidden")


@shmperf.track
def wait_for_supplier(item):
    print("hangs", flush=True)
    closed.wait()


@shmperf.track
def order_from_abroad(number, item):
    wait_for_supplier(item)


for number in range(orders):
    try:
        take_order(number, f"lamp {number}")
    except ValueError:
        pass
for name in (ODD, LONG):
    with shmperf.call(name):
        pass
if "hang" in sys.argv:
    worker = threading.Thread(target=order_from_abroad, args=(4711, "carpet 17"))
    worker.start()
    sys.stdin.read()
    closed.set()
    worker.join()
