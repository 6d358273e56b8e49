"""A child that is forked amid all that the cache does goes on by itself."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from conftest import SETTINGS
from flask_coherent_cache.testing import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

#: What each program begins with. A child that hangs is killed, and its code is not 0.
BEGIN = """
import faulthandler, json, os, signal, sys, threading, time
from flask import Flask
from flask_coherent_cache import Cache
from flask_coherent_cache import _forks as forks

settings = json.loads(sys.argv[1])
app = Flask("shop")
app.config.update(settings)
cache = Cache(app)
shared = settings["CACHE_TYPE"] != "SimpleCache"


def forked(work):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(30)
        work()
        code = 0
    except BaseException:
        faulthandler.dump_traceback()
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_for(children):
    return [os.waitpid(child, 0)[1] for child in children]
"""

#: Whatever lock there is, a thread of the parent holds it when the child is made.
ALL_LOCKS = """
@cache.memoize(60)
def square(number):
    cache.tag("squares")
    return number * number

def work():
    with app.app_context():
        assert [square(number) for number in (1, 2, 3, 4)] == [1, 4, 9, 16]
        cache.invalidate("squares")
        assert square(2) == 4
        cache.set("a", 1), cache.get("a"), cache.clear()
        assert square(2) == 4
        entries = cache.engine
        entries.statistics.all_lookups(), entries.statistics.known_entries()
        entries.close()

def hold(held, done):
    with app.app_context():
        entries = cache.engine
        locks = [*forks._locks]
        if entries.near is not None:
            locks.append(entries.near._tracker.lock)
        if hasattr(entries.store, "_free"):
            for client in entries.store._clients.values():
                locks.append(client.client_pool._lock)
        if hasattr(entries.store, "_pool"):
            permits = entries.store._pool._free
            for _ in range(permits.qsize()):
                permits.get()
    for lock in locks:
        lock.acquire()
    held.set()
    done.wait()
    for lock in locks:
        lock.release()

with app.app_context():
    for number in (1, 2, 3):
        square(number), square(number), square(number)
held, done = threading.Event(), threading.Event()
thread = threading.Thread(target=hold, args=(held, done))
thread.start()
held.wait()
children = [forked(work) for _ in range(2)]
codes = wait_for(children)
done.set()
thread.join()
print(codes)
"""

#: A fill is under way in the parent, a refill is, too, and other ones wait.
IN_FLIGHT = """
parent = os.getpid()
begun, go_on = threading.Semaphore(0), threading.Event()
counts = {}

def compute(name):
    counts[name] = counts.get(name, 0) + 1
    if os.getpid() == parent and go_on_waits:
        begun.release()
        go_on.wait()
    return os.getpid()

go_on_waits = False
filled = cache.memoize(0.01, grace=3600, make_name=lambda name: "filled")(compute)
fresh = cache.memoize(60, make_name=lambda name: "fresh")(compute)

def call(function, name):
    with app.app_context():
        return function(name)

call(filled, "stale"), call(filled, "other")
time.sleep(0.05)
go_on_waits = True
threads = [threading.Thread(target=call, args=(fresh, "in flight"))]
threads += [threading.Thread(target=call, args=(filled, "stale"))]
for thread in threads:
    thread.start()
for _ in threads:
    begun.acquire()

def work():
    # What the parent is filling costs a child nothing that has its own store.
    if not shared:
        assert call(fresh, "in flight") == os.getpid()
    call(filled, "other")
    before = counts["other"]
    deadline = time.monotonic() + 20
    while counts["other"] == before:
        call(filled, "other")
        assert time.monotonic() < deadline, "nothing is refilled"
        time.sleep(0.01)
    with app.app_context():
        cache.engine.close()

codes = wait_for([forked(work)])
go_on.set()
for thread in threads:
    thread.join()
print(codes)
"""

#: The fill itself makes the child, and both go on.
IN_A_FILL = """
pid = None

def compute():
    global pid
    pid = os.fork() if pid is None else pid
    return "value"

value = cache.memoize(60, make_name=lambda name: "value")(compute)
with app.app_context():
    got = [value(), value()]
    cache.set("key", 1)
    got.append(cache.get("key"))
right = got == ["value", "value", 1]
if not pid:
    os._exit(0 if right else 1)
assert right
print(wait_for([pid]))
"""

#: Many threads do all that there is, while children are made.
UNDER_LOAD = """
import random
stop = threading.Event()

@cache.memoize(0.02, grace=60, make_name=lambda name: "value")
def value(number):
    cache.tag(f"number:{number % 7}")
    time.sleep(0.001)
    return number

def use(times):
    for _ in range(times):
        with app.app_context():
            number = random.randrange(50)
            assert value(number) == number
            if number % 5 == 0:
                cache.invalidate(f"number:{number % 7}")
            cache.set(f"key {number}", number, timeout=5)
            assert cache.get(f"key {number}") in (None, number)

def load():
    while not stop.is_set():
        use(1)

def connections():
    with app.app_context():
        store = cache.engine.store
        if hasattr(store, "_pool"):
            # A copy: the load takes connections, and gives them back.
            open_ones = [one._sock for one in list(store._pool._idle) if one._sock is not None]
            return {sock.getsockname() for sock in open_ones}
        clients = getattr(store, "_clients", {}).values()
        return {
            one.sock.getsockname()
            for client in clients
            for one in [*client.client_pool._free_objs, *client.client_pool._used_objs]
            if one.sock is not None
        }

def work():
    use(100)
    with app.app_context():
        store = cache.engine.store
        if shared:
            assert not connections() & known
        cache.engine.close()

threads = [threading.Thread(target=load) for _ in range(6)]
for thread in threads:
    thread.start()
use(50)
children = []
for _ in range(10):
    known = connections()
    children.append(forked(work))
    use(5)
codes = wait_for(children)
stop.set()
for thread in threads:
    thread.join()
use(50)
print(codes)
"""

#: What is drawn or named once in a process is another in its children, and threads start again.
NAMES = """
from flask_coherent_cache._engine.leases import Lease
from flask_coherent_cache._tools.ticker import Ticker
import random

reader, writer = os.pipe()
ticked = threading.Event()
ticker = Ticker()
ticker.every(0.01, lambda: ticked.set())
ticker.start()
assert ticked.wait(20)
with app.app_context():
    reports = cache.engine.reports
    assert not shared or reports.write(b"parent")
random.random()

def work():
    ticked.clear()
    ticker.start()
    assert ticked.wait(20), "the ticker does not tick"
    if shared:
        assert reports.write(b"child")
    told = [Lease(None, "", 1).token.decode(), random.random(), reports._place]
    os.write(writer, json.dumps(told).encode() + b"\\n")

codes = wait_for([forked(work) for _ in range(3)])
told = [json.loads(line) for line in os.read(reader, 10_000).splitlines()]
if not shared:
    told = [one[:2] for one in told]
else:
    assert len({one[2] for one in told} | {reports._place}) == 4
    assert sorted(reports.read()) == [b"child"] * 3 + [b"parent"]
assert len({one[0] for one in told}) == len({one[1] for one in told}) == 3
print(codes)
"""


@pytest.mark.parametrize(
    ("program", "children"),
    [(ALL_LOCKS, 2), (IN_FLIGHT, 1), (IN_A_FILL, 1), (UNDER_LOAD, 10), (NAMES, 3)],
    ids=["all locks", "in flight", "in a fill", "under load", "names"],
)
def test_a_child_goes_on_by_itself(backend: dict[str, Any], program: str, children: int) -> None:
    settings = {**SETTINGS, **backend, "CACHE_KEY_PREFIX": "fork", "CACHE_WAIT_SECONDS": 60}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, json.dumps(settings)],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, str([0] * children)), done.stderr
