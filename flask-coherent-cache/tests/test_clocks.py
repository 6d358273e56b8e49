"""Hosts whose clocks are wrong, or stand still, share one cache: its time is the server's."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import SETTINGS
from flask_coherent_cache._stores import tagstate
from flask_coherent_cache.testing import wait_until

HOURS_30 = 30 * 3600

#: Another host's process: it does what it is told, line by line, and answers.
PROGRAM = """
import json, sys, time

settings, kind, shift = json.loads(sys.argv[1]), sys.argv[2], float(sys.argv[3])
if kind == "shifted":
    real_time, real_gettime = time.time, time.clock_gettime
    time.time = lambda: real_time() + shift
    time.clock_gettime = lambda clock: real_gettime(clock) + shift * (clock == time.CLOCK_REALTIME)
elif kind == "frozen":
    import threading  # Such tools leave what waits as it is.
    time.time = lambda: shift
    time.monotonic = lambda: shift

from flask import Flask
from flask_coherent_cache import Cache

app = Flask("shop")
app.config.update(settings)
cache = Cache(app)
price, fills = 1, 0

def compute():
    global fills
    cache.tag("price")
    fills += 1
    return price

lasting = cache.memoize(600, make_name=lambda name: "lasting")(compute)
short = cache.memoize(2, make_name=lambda name: "short")(compute)

def change(new):
    global price
    price = new
    cache.invalidate("price")

print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    with app.app_context():
        exec(f"answer = {line}")
    print(json.dumps(answer), flush=True)
with app.app_context():
    cache.engine.close()
"""


class Host:
    """A process on a host of its own."""

    def __init__(self, settings: dict[str, Any], kind: str = "right", shift: float = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(settings), kind, str(shift)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._answer() == "ready"

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def __call__(self, expression: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[Any, Host]]:
    """The hosts that were started, for all tests here."""
    hosts: dict[Any, Host] = {}
    yield hosts
    for host in hosts.values():
        host.end()


@pytest.fixture
def get_host(backend: dict[str, Any], running: dict[Any, Host]) -> Callable[..., Host]:
    """Start a host, or take one that runs, with nothing in its cache."""
    settings = {**SETTINGS, **backend, "CACHE_KEY_PREFIX": "clocks"}

    def get(kind: str = "right", shift: float = 0) -> Host:
        key = (backend["CACHE_TYPE"], kind, shift)
        if key not in running:
            running[key] = Host(settings, kind, shift)
        running[key]("globals().update(price=1, fills=0), cache.clear()")
        return running[key]

    return get


@pytest.fixture
def only_shared(backend: dict[str, Any]) -> None:
    if backend["CACHE_TYPE"] == "SimpleCache":
        pytest.skip("it is not shared")


@pytest.fixture(
    params=[("shifted", -HOURS_30), ("shifted", HOURS_30), ("frozen", 900_000_000.0)],
    ids=["behind", "ahead", "frozen"],
)
def pair(
    request: pytest.FixtureRequest, only_shared: None, get_host: Callable[..., Host]
) -> tuple[Host, Host]:
    """A host that is right, and one that is not."""
    return get_host(), get_host(*request.param)


def settled(hosts: tuple[Host, ...], price: int) -> None:
    """See that all hosts answer, and then from the cache."""
    for _ in range(3):
        assert [host("lasting()") for host in hosts] == [price] * len(hosts)
    fills = [host("fills") for host in hosts]
    for _ in range(3):
        assert [host("lasting()") for host in hosts] == [price] * len(hosts)
    assert [host("fills") for host in hosts] == fills


def test_after_a_loss_of_the_clock_caching_goes_on(pair: tuple[Host, Host]) -> None:
    settled(pair, 1)
    for first in pair:
        for lost in ("clock", "generation"):
            pair[0](f"cache.engine.store.delete(['clocks:{lost}'])")
            first("lasting()")
            settled(pair, 1)
    now = time.time()
    (clock,) = [
        value.encode()
        for value in pair[0]("[v.decode() for v in cache.engine.store.get_many(['clocks:clock'])]")
    ]
    assert tagstate.is_timestamp(clock, now - tagstate.AHEAD_SECONDS + 3600)
    assert int(clock) > (now - 3600) * 1_000_000


def test_nobody_reads_what_the_other_has_changed(pair: tuple[Host, Host]) -> None:
    for price in range(1, 9):
        writer, reader = pair if price % 2 else pair[::-1]
        reader(f"globals().update(price={price})")
        writer(f"change({price})")
        assert (reader("lasting()"), writer("lasting()")) == (price, price)
    settled(pair, 8)


def test_what_is_in_doubt_at_one_host_is_so_at_the_other(pair: tuple[Host, Host]) -> None:
    for writer, reader in (pair, pair[::-1]):
        settled(pair, 1)
        token = writer("cache.engine.mark(['price'])")
        fills = reader("fills")
        assert [reader("lasting()") for _ in range(3)] == [1] * 3
        assert reader("fills") == fills + 3, "nothing in doubt is served"
        writer(f"cache.engine.invalidate(['price'], {token!r})")
        settled(pair, 1)


def test_what_expires_expires_everywhere(only_shared: None, get_host: Callable[..., Host]) -> None:
    hosts = get_host(), get_host("shifted", -HOURS_30), get_host("shifted", HOURS_30)
    for price, filler in enumerate(hosts, 2):
        for host in hosts:
            host(f"globals().update(price={price})")
        wait_until(lambda filler=filler, price=price: filler("short()") == price)
        wait_until(lambda price=price: [host("short()") for host in hosts] == [price] * 3)
    assert sum(host("fills") for host in hosts) <= 2 * len(hosts), "they share it"


@pytest.mark.parametrize("moment", [0.0, 900_000_000.0])
def test_where_time_is_frozen_it_caches(get_host: Callable[..., Host], moment: float) -> None:
    host = get_host("frozen", moment)
    settled((host,), 1)
    host("change(2)")
    settled((host,), 2)
    host("cache.clear()")
    settled((host,), 2)
