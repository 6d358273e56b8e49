"""Which server answers, and with which data: failover, failback, and servers that cannot do all."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

import flask_coherent_cache as caching
from conftest import SETTINGS
from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._stores import connections
from flask_coherent_cache.testing import Server, free_port, wait_until
from starting import started

NEAR = pytest.mark.parametrize("near", [0, 2**20], ids=["without near", "near"])
#: Without waiting for more replicas; and a handshake that comes to nothing is soon tried again.
QUICK_REPLICATION = (
    *("--repl-diskless-sync-delay", "0"),
    *("--repl-timeout", "5", "--repl-ping-replica-period", "1"),
)
#: What an application's user needs.
COMMANDS = (
    *("+get", "+set", "+mget", "+del", "+unlink", "+incr", "+time", "+evalsha", "+script|load"),
    *("+ping", "+info", "+select", "+client|setname", "+client|tracking"),
)


class Shop:
    """A process with a cached price; what the database says is an attribute."""

    def __init__(self, near: int = 0, **settings: Any) -> None:
        self.app = Flask("shop")
        self.app.config.update({**SETTINGS, "CACHE_NEAR_BYTES": near, **settings})
        self.cache = caching.Cache(self.app)
        self.price, self.fills = 1, 0
        self._cached = self.cache.memoize(600, make_name=lambda name: "price")(self._compute)
        with self.app.app_context():
            self.engine = self.cache.engine
        self.store = self.engine.store

    def _compute(self) -> int:
        self.cache.tag("price")
        self.fills += 1
        return self.price

    def read(self) -> int:
        with self.app.app_context():
            value: int = self._cached()
        return value

    def change(self, price: int) -> None:
        self.price = price
        with self.app.app_context():
            self.cache.invalidate("price")

    def unwatched(self) -> AbstractContextManager[Any]:
        """Leave it to lookups to read what the server tells."""
        near = self.engine.near
        lock: AbstractContextManager[Any] = (
            near._tracker.lock if near is not None else nullcontext()
        )
        return lock

    def follow(self) -> None:
        """Wait until the near cache follows the server and has the price."""
        if self.engine.near is not None:
            wait_until(lambda: self.read() and self.engine.near.observe(Dependencies()))
            wait_until(lambda: self.read() and len(self.engine.near))


@pytest.fixture
def make_shop() -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def make(server: Server, near: int = 0, **settings: Any) -> Shop:
        shops.append(Shop(near, **{**server.settings, **settings}))
        return shops[-1]

    yield make
    for shop in shops:
        shop.engine.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*options: str) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        servers.append(started("RedisCache", folder, *QUICK_REPLICATION, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def client(server: Server) -> redis.Redis:
    return redis.Redis(port=server.port)


def replicate(replica: Server, primary: Server) -> None:
    """Make a server the replica of another one, and wait until it has its data."""
    at = client(replica)
    at.replicaof("127.0.0.1", primary.port)
    wait_until(lambda: at.info("replication").get("master_link_status") == "up")


def promote(server: Server) -> None:
    client(server).replicaof("NO", "ONE")


class Switch:
    """An address that leads to one server or another: new connections only follow it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._listening = socket.create_server(("127.0.0.1", free_port()))
        self.settings = {
            "CACHE_TYPE": "RedisCache",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0",
        }
        self._sockets: list[socket.socket] = [self._listening]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
                theirs = socket.create_connection(("127.0.0.1", self.server.port))
            except OSError:
                return
            self._sockets += [ours, theirs]
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture
def switches() -> Iterator[list[Switch]]:
    made: list[Switch] = []
    yield made
    for switch in made:
        switch.close()


# -- which data a server has -------------------------------------------------------------


@NEAR
def test_a_primary_that_was_a_replica_in_between_has_forgotten(
    start: Callable[..., Server],
    make_shop: Callable[..., Shop],
    monkeypatch: pytest.MonkeyPatch,
    near: int,
) -> None:
    # With a near cache nobody asks again, but for what the server tells.
    monkeypatch.setattr("flask_coherent_cache._stores.connections._KNOWN_SECONDS", 3600)
    one, other = start(), start()
    shop = make_shop(one, near)
    assert shop.read() == 1
    shop.follow()
    for price in range(2, 6):
        replicate(other, one)
        promote(other)
        shop.change(price)
        with shop.unwatched():
            replicate(one, other)
            promote(one)
            assert [shop.read() for _ in range(3)] == [price] * 3
        wait_until(lambda: shop.read() and not shop.store.breaker.is_open)
        shop.follow()
    fills = shop.fills
    assert [shop.read() for _ in range(3)] == [5] * 3
    assert shop.fills == fills, "caching goes on"


@NEAR
def test_a_replica_that_took_over_is_another_server(
    start: Callable[..., Server],
    make_shop: Callable[..., Shop],
    switches: list[Switch],
    near: int,
) -> None:
    one, other = start(), start()
    replicate(other, one)
    switches.append(Switch(one))
    shop = make_shop(switches[0], near)
    assert shop.read() == 1
    shop.follow()
    wait_until(lambda: client(other).keys("app:dev:entry:*"))
    promote(other)
    shop.change(2)  # At the old one, which nobody follows any more.
    switches[0].server = other
    client(one).client_kill_filter(_type="normal", skipme=True)
    assert [shop.read() for _ in range(3)] == [2] * 3
    wait_until(lambda: shop.read() and not shop.store.breaker.is_open)
    wait_until(lambda: shop.read() == 2 and client(other).keys("app:dev:entry:*"))
    assert shop.read() == 2


def test_an_open_connection_to_the_former_server_is_not_used(
    start: Callable[..., Server], make_shop: Callable[..., Shop], switches: list[Switch]
) -> None:
    one, other = start(), start()
    switches.append(Switch(one))
    shop = make_shop(switches[0])
    idle = shop.store._pool._idle
    idle.extend(shop.store._pool.make() for _ in range(2))
    for connection in idle:
        connection.prepare()
    assert shop.read() == 1
    generation = client(one).get("app:generation")
    # The next one that is made leads to the other server, and learns of a change.
    switches[0].server = other
    old = idle.popleft()
    for connection in idle:
        connection.disconnect()
    shop.change(2)
    idle.append(old)  # The one that is used next.
    assert [shop.read() for _ in range(3)] == [2] * 3
    shop.change(3)
    assert [shop.read() for _ in range(3)] == [3] * 3
    assert shop.fills == 3
    assert client(one).get("app:generation") == generation, "nothing went there"


@NEAR
def test_a_replica_is_not_read(
    start: Callable[..., Server], make_shop: Callable[..., Shop], near: int
) -> None:
    primary, replica = start(), start("--replica-read-only", "no")
    replicate(replica, primary)
    shop = make_shop(replica, near)
    assert [shop.read() for _ in range(3)] == [1] * 3
    wait_until(lambda: shop.store.breaker.failure == "read-only")
    assert not client(replica).keys("*")
    promote(replica)
    wait_until(lambda: not shop.store.breaker.is_open)
    fills = shop.fills
    assert [shop.read() for _ in range(3)] == [1] * 3
    assert shop.fills == fills + 1


@NEAR
@pytest.mark.parametrize("how", ["reload", "restart", "flush"])
def test_a_server_that_is_back_as_it_was_is_begun_anew(
    start: Callable[..., Server], make_shop: Callable[..., Shop], near: int, how: str
) -> None:
    debug = ("--enable-debug-command", "yes") if how == "reload" else ()
    server = start(*debug)
    shop = make_shop(server, near)
    assert shop.read() == 1
    shop.follow()
    client(server).save()
    shop.change(2)
    assert shop.read() == 2
    shop.change(3)
    if how == "reload":
        client(server).execute_command("DEBUG", "RELOAD", "NOSAVE")
    elif how == "restart":
        server.kill()
        server.start()
    else:
        client(server).flushall()
    assert [shop.read() for _ in range(3)] == [3] * 3
    wait_until(lambda: shop.read() and not shop.store.breaker.is_open)
    shop.read()
    fills = shop.fills
    assert [shop.read() for _ in range(3)] == [3] * 3
    assert shop.fills == fills, "caching goes on"


def test_a_reload_of_the_same_data_forgets_nothing(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start("--enable-debug-command", "yes")
    shop = make_shop(server)
    shop.read()
    client(server).execute_command("DEBUG", "RELOAD")
    assert shop.read() == 1
    assert shop.fills == 1


# -- what a server or its user may lack --------------------------------------------------


def confine(server: Server, *commands: str) -> dict[str, str]:
    """Let a user do only so much; return how to be that user."""
    word = "pw"
    arguments = ("reset", "on", f">{word}", "~app:*", "-@all", *commands)
    client(server).execute_command("ACL", "SETUSER", "app", *arguments)
    return {"CACHE_REDIS_URL": f"redis://app:{word}@127.0.0.1:{server.port}/0"}


def test_a_server_that_may_not_be_asked_who_it_is_is_doubted_after_each_loss(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start()
    settings = confine(server, *(command for command in COMMANDS if command != "+info"))
    shop = make_shop(server, **settings)
    assert [shop.read() for _ in range(3)] == [1] * 3
    assert shop.fills == 1
    other = make_shop(server, **settings)
    assert [other.read() for _ in range(3)] == [1] * 3
    assert other.fills == 1, "it may have been another server before"
    shop.price = 2
    client(server).client_kill_filter(_type="normal", skipme=True)
    assert [shop.read() for _ in range(3)] == [2] * 3


def test_a_user_who_may_read_in_no_script_loses_no_invalidation(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start()
    shop = make_shop(server, **confine(server, *COMMANDS))
    shop.read()
    confine(server, *(command for command in COMMANDS if command != "+get"))
    shop.change(2)
    assert shop.store.breaker.is_open, "it is kept until the server takes it"
    confine(server, *COMMANDS)
    wait_until(lambda: not shop.store.breaker.is_open)
    assert shop.read() == 2


@NEAR
@pytest.mark.parametrize("denied", ["evalsha", "set"])
def test_a_user_who_may_not_write_is_served_hits(
    start: Callable[..., Server], make_shop: Callable[..., Shop], denied: str, near: int
) -> None:
    server = start()
    full = make_shop(server)
    full.read()
    settings = confine(server, *(command for command in COMMANDS if command != f"+{denied}"))
    shop = make_shop(server, near, **settings)
    assert [shop.read() for _ in range(3)] == [1] * 3
    assert shop.fills == 0
    full.change(2)
    shop.price = 2
    assert [shop.read() for _ in range(3)] == [2] * 3, "computed each time"
    assert full.read() == 2
    assert denied == "evalsha" or not client(server).keys("*lease*")


@NEAR
def test_scripts_that_the_server_has_forgotten_are_told_it_once(
    start: Callable[..., Server], make_shop: Callable[..., Shop], near: int
) -> None:
    server = start()
    shop = make_shop(server, near)
    shop.read()
    shop.change(2)
    at = client(server)
    at.script_flush()
    at.config_resetstat()
    for price in (3, 4, 5):
        assert shop.read() == price - 1
        shop.change(price)
    assert shop.fills == 4
    told = at.info("commandstats")["cmdstat_script|load"]["calls"]
    # For a fill, an invalidation and, with a near cache, a look at a known key.
    assert told == (3 if near else 2)
    assert not shop.engine.counts


@pytest.mark.parametrize("has_poll", [True, False])
def test_a_connection_that_was_closed_while_idle_is_made_anew(
    start: Callable[..., Server],
    make_shop: Callable[..., Shop],
    monkeypatch: pytest.MonkeyPatch,
    has_poll: bool,
) -> None:
    if not has_poll:
        monkeypatch.setattr(connections, "select", None)
    server = start()
    shop = make_shop(server)
    for price in (1, 2, 3):
        assert [shop.read() for _ in range(2)] == [price] * 2
        client(server).client_kill_filter(_type="normal", skipme=True)
        shop.change(price + 1)
    assert not shop.engine.counts, "nobody met an error"
    assert shop.fills == 3


def test_threads_wait_for_one_of_the_few_connections(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start()
    shop = make_shop(server, CACHE_POOL_SIZE=2)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: shop.read(), range(400))) == {1}
    assert shop.fills == 1
    assert len(shop.store._pool._idle) == 2
    assert not shop.engine.counts
    held = [shop.store._pool._free.get() for _ in range(2)]
    assert shop.read() == 1, "computed, because none became free in time"
    assert shop.engine.counts["store: unreachable"] == 1
    for _ in held:
        shop.store._pool._free.put(None)
    wait_until(lambda: not shop.store.breaker.is_open)


def test_a_server_without_hello_caches_without_near(
    start: Callable[..., Server], make_shop: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    server = start("--rename-command", "HELLO", "")
    shop = make_shop(server, 2**20)
    assert [shop.read() for _ in range(3)] == [1] * 3
    assert shop.fills == 1
    wait_until(lambda: "unknown command 'HELLO'" in caplog.text)
    shop.change(2)
    assert [shop.read() for _ in range(3)] == [2] * 3


def test_a_node_of_a_cluster_caches_where_all_keys_are_in_one_slot(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start("--cluster-enabled", "yes")
    at = client(server)
    at.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_until(lambda: "cluster_state:ok" in str(at.execute_command("CLUSTER", "INFO")))
    shop = make_shop(server, 2**20, CACHE_KEY_PREFIX="{app}")
    assert [shop.read() for _ in range(3)] == [1] * 3
    shop.follow()
    shop.change(2)
    assert [shop.read() for _ in range(3)] == [2] * 3
    assert shop.fills == 2


# -- reconnecting ------------------------------------------------------------------------


class Attempts:
    """A process whose near cache loses its connection, and cannot make it anew."""

    def __init__(
        self, shop: Shop, server: Server, fault: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._server, self._fault, self._at = server, fault, client(server)
        self._at.ping()
        self.made = 0
        track = shop.store.track

        def counted(*arguments: Any) -> Any:
            self.made += 1
            return track(*arguments)

        monkeypatch.setattr(shop.store, "track", counted)

    def begin(self) -> None:
        if self._fault.endswith("denied"):
            denied = f"+{self._fault.partition(' ')[0]}"
            confine(self._server, *(command for command in COMMANDS if command != denied))
        elif self._fault == "replica":
            self._at.replicaof("127.0.0.1", free_port())
        elif self._fault == "password":
            self._at.execute_command("ACL", "SETUSER", "app", "resetpass", ">other")
        elif self._fault == "clients":
            self._at.config_set("maxclients", 1)
        self._at.client_kill_filter(_type="normal", skipme=True)

    def end(self) -> None:
        self._at.config_set("maxclients", 1000)
        self._at.replicaof("NO", "ONE")
        confine(self._server, *COMMANDS)


FAULTS = ["mget denied", "client|tracking denied", "ping denied", "replica", "password", "clients"]


@pytest.mark.parametrize("fault", FAULTS)
def test_however_often_it_is_tried_the_log_has_one_line_of_it(
    start: Callable[..., Server],
    make_shop: Callable[..., Shop],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    monkeypatch.setattr("flask_coherent_cache._near.tracking.RETRY_SECONDS", 0.02)
    server = start()
    shop = make_shop(server, 2**20, **confine(server, *COMMANDS))
    shop.follow()
    attempts = Attempts(shop, server, fault, monkeypatch)
    attempts.begin()
    wait_until(lambda: shop.read() and attempts.made >= 5)
    lines = Counter(line.partition(":")[0] for line in caplog.messages)
    assert lines["The near cache cannot follow the server, and each hit asks it"] == 1
    assert lines["The near cache follows the server again."] == 0
    attempts.end()
    wait_until(lambda: shop.read() and not shop.store.breaker.is_open)
    shop.follow()
    assert caplog.messages.count("The near cache follows the server again.") == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_attempt_comes_after_a_pause(
    start: Callable[..., Server],
    make_shop: Callable[..., Shop],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    server = start()
    shop = make_shop(server, 2**20, **confine(server, *COMMANDS))
    shop.follow()
    monkeypatch.setattr("flask_coherent_cache._near.tracking.RETRY_SECONDS", 3600)
    shop.engine.near._tracker._attempted_at = float("-inf")
    attempts = Attempts(shop, server, fault, monkeypatch)
    attempts.begin()
    wait_until(lambda: shop.read() and attempts.made == 1)
    tracker = shop.engine.near._tracker
    wait_until(lambda: shop.read() and tracker._connection is None)
    for _ in range(100):
        shop.read()
    assert attempts.made == 1


# -- the last words before a loss --------------------------------------------------------


def test_what_this_process_invalidated_is_not_handed_over(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    shop = make_shop(start(), 2**20)
    shop.follow()
    tracker = shop.engine.near._tracker
    with shop.unwatched():  # So what the server tells of it is not read before it is lost.
        shop.change(2)
        tracker._lose(OSError("lost"))
        assert not len(shop.engine.fallback)
    assert [shop.read() for _ in range(3)] == [2] * 3


def test_what_the_server_told_before_it_was_lost_counts(
    start: Callable[..., Server], make_shop: Callable[..., Shop]
) -> None:
    server = start()
    shop, other = make_shop(server, 2**20), make_shop(server)
    shop.follow()
    tracker, at = shop.engine.near._tracker, client(server)
    (follower,) = (one for one in at.client_list() if one["name"] == "app-near")
    with tracker.lock:
        tracker.drain()
        other.change(2)
        at.client_kill_filter(_id=follower["id"])
        wait_until(lambda: "app-near" not in {one["name"] for one in at.client_list()})
        assert not tracker.is_current()
        wait_until(lambda: not tracker.is_current() and tracker._connection is None)
        assert not len(shop.engine.fallback)


def test_a_primary_that_became_a_replica_and_kept_its_data_is_left(
    start: Callable[..., Server], make_shop: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = start(), start()
    shop = make_shop(one, 2**20)
    shop.follow()
    replicate(other, one)
    partial = client(other).info("stats")["sync_partial_ok"]
    promote(other)
    replicate(one, other)
    assert client(other).info("stats")["sync_partial_ok"] == partial + 1
    near = shop.engine.near._tracker
    wait_until(lambda: near._connection is None)
    assert "read only" in caplog.text or "another" in caplog.text


# -- all of it at once -------------------------------------------------------------------


@NEAR
@pytest.mark.long
def test_nothing_stale_comes_of_failovers_and_failbacks_amid_writes(
    start: Callable[..., Server], make_shop: Callable[..., Shop], near: int
) -> None:
    one, other = start(), start()
    replicate(other, one)
    shops = [make_shop(one, near) for _ in range(2)]
    price, stale = 1, 0

    def write(times: int) -> None:
        nonlocal price, stale
        for _ in range(times):
            price += 1
            for shop in shops:
                shop.price = price
            shops[price % 2].change(price)
            stale += sum(shop.read() != price for shop in shops for _ in range(3))

    for _ in range(6):
        write(20)
        promote(other)
        write(5)  # At the former primary, and what it is told then is forgotten.
        for shop in shops:
            move(shop, other)
        client(one).client_kill_filter(_type="normal", skipme=True)
        write(20)
        replicate(one, other)
        write(20)
        one, other = other, one
        for shop in shops:
            wait_until(lambda shop=shop: shop.read() and not shop.store.breaker.is_open)
            shop.follow()
    assert not stale
    fills = [shop.fills for shop in shops]
    assert [shop.read() for shop in shops * 3] == [price] * 6
    assert [shop.fills for shop in shops] == fills, "caching goes on"


def move(shop: Shop, server: Server) -> None:
    """Have an address lead to another server, as DNS does: for each connection made from now on."""
    pool = shop.store._pool
    pool._source.connection_kwargs["port"] = server.port
    for connection in pool._idle:
        connection.port = server.port
