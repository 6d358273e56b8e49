"""A reply belongs to its question, whatever happens to a call and whatever the server says."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from flask_coherent_cache.testing import Server, wait_until
from starting import started
from test_servers import Shop, Switch


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = started("RedisCache", tmp_path / "server")
    yield server
    server.stop()


class _Garbler(Switch):
    """A link to a server that can replace what the server says."""

    garbles = False

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                is_reply = source.getpeername()[1] == self.server.port
                target.sendall(b"HTTP/1.1 400\r\n" if self.garbles and is_reply else data)
        except OSError:
            pass


@pytest.mark.parametrize("near", [0, 2**20], ids=["without near", "near"])
def test_what_is_no_reply_is_a_failure_of_the_store(server: Server, near: int) -> None:
    link = _Garbler(server)
    shop = Shop(near, **link.settings)
    try:
        shop.follow()
        assert shop.read() == 1
        link.garbles = True
        shop.price = 2
        shop.change(2)
        assert shop.read() == 2, "computed"
        assert shop.engine.counts, "and not unnoticed"
        link.garbles = False
        wait_until(lambda: not shop.store.breaker.is_open)
        assert shop.read() == 2
    finally:
        shop.engine.close()
        link.close()


class _InterruptedError(BaseException):
    """As what Celery's time limits and gunicorn's signals raise, in the middle of anything."""


@pytest.fixture
def interruptions() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise _InterruptedError

    former = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system does not signal")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.usefixtures("interruptions")
def test_who_is_interrupted_leaves_no_reply_to_the_next_one(server: Server, times: int) -> None:
    shop = Shop(**server.settings)
    pool = shop.store._pool
    pool.ask(("PING",))
    (connection,) = pool._idle
    disconnect = connection.disconnect

    def interrupted(*arguments: Any) -> None:
        del connection.disconnect
        if times == 2:
            os.kill(os.getpid(), signal.SIGALRM)
        disconnect(*arguments)

    connection.disconnect = interrupted
    with redis.Redis(port=server.port) as control:
        control.client_pause(1000)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(_InterruptedError):
        pool.ask(("ECHO", "the first one's"))
    assert pool.ask(("ECHO", "the next one's")) == [b"the next one's"]
    shop.engine.close()
