"""`flask cache doctor` names each fault that is planted, at real servers where it is theirs."""

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from flask import Flask

from application import cache as the_cache
from flask_coherent_cache import _stores as stores
from flask_coherent_cache._statistics.records import Refusal
from flask_coherent_cache._tools.doctor.processes import Processes, whole_tables
from flask_coherent_cache._tools.overview import Overview
from flask_coherent_cache.testing import Server, free_port, wait_until
from flask_coherent_cache.tools import Commands, Finding
from report_stubs import HEALTHY, SETTINGS, entry, invoke, invoke_json, lookups, report, tell

MakeApp = Callable[..., Flask]
MakeServer = Callable[..., Server]

#: What compose.yaml lets its user do.
COMMANDS = (
    *("+get", "+set", "+mget", "+del", "+unlink", "+incr", "+time", "+evalsha", "+script|load"),
    *("+ping", "+info", "+select", "+client|setname", "+client|tracking"),
)


@pytest.fixture
def examine(make_app: MakeApp) -> Callable[..., dict[str, Any]]:
    """Run the doctor; return what it found that is not well, by check, and the exit code."""

    def run(server: Server | None = None, **settings: Any) -> dict[str, Any]:
        at = server.settings if server is not None else {}
        app = make_app(**{**SETTINGS, **at, **settings})
        code, told = invoke_json(app, "doctor", "--wait", "0")
        findings = told["findings"]
        assert code == (1 if any(each["severity"] == "problem" for each in findings) else 0)
        assert all(each["remedy"] for each in findings if each["severity"] == "problem")
        return {each["check"]: each for each in findings if each["severity"] != "ok"}

    return run


def is_problem(found: dict[str, Any], check: str, words: str) -> bool:
    return found[check]["severity"] == "problem" and words in found[check]["what"]


def connect(server: Server) -> redis.Redis:
    return redis.Redis(port=server.port)


@contextmanager
def proxy(
    server: Server, change: Callable[[bytes], bytes] = bytes, pause: float = 0
) -> Iterator[dict[str, str]]:
    """Stand between application and server: change what it answers, or hold it back for seconds."""
    listening = socket.create_server(("127.0.0.1", free_port()))
    sockets: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, to_client: bool) -> None:
        try:
            while data := source.recv(1_000_000):
                if to_client:
                    time.sleep(pause)
                    data = change(data)
                target.sendall(data)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", server.port))
            sockets.extend((client, upstream))
            for arguments in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(target=forward, args=arguments, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield {"CACHE_REDIS_URL": f"redis://127.0.0.1:{listening.getsockname()[1]}/0"}
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        # First, or it adds a connection of the last moment, which nobody closes.
        thread.join()
        for each in (listening, *sockets):
            each.close()


# -- all well ----------------------------------------------------------------------------


def test_it_says_that_the_cache_is_switched_off(make: MakeApp) -> None:
    app = make()
    assert invoke(app, "off").exit_code == 0
    try:
        _, told = invoke_json(app, "doctor", "--wait", "0")
    finally:
        assert invoke(app, "on").exit_code == 0
    (found,) = (each for each in told["findings"] if each["check"] == "switch")
    assert found["severity"] == "advice"
    assert re.match(r"The cache is switched off since 20\d\d-\d\d-\d\d ", found["what"])
    assert "flask cache on" in found["remedy"]
    # Its key is no stranger's.
    strays = [each for each in told["findings"] if each["check"] == "releases"]
    assert [each["severity"] for each in strays] == ["ok"]


def test_where_all_is_well_it_says_so(make: MakeApp) -> None:
    tell(make, report(1, lookups=[lookups("home", fills=100, fill_seconds=1.0)]))
    app = make()
    result = invoke(app, "doctor", "--wait", "0")
    assert result.exit_code == 0, result.output
    assert "No problems found." in result.output
    code, told = invoke_json(app, "doctor", "--wait", "0")
    assert (code, told["problems"]) == (0, 0)
    checks = [each["check"] for each in told["findings"] if each["check"] != "declaration"]
    assert checks == [
        "backend", "secret-key", "pool", "waiting", "server", "switch", "timeouts",
        "writes", "tracking", "eviction", "memory", "clock", "releases", "processes", "lease",
    ]  # fmt: skip
    assert {each["severity"] for each in told["findings"]} == {"ok"}
    with app.app_context():
        store = app.extensions["cache"][next(iter(app.extensions["cache"]))].store
    # Of its own keys it leaves none.
    assert [key for key in store.scan("")[0] if ":doctor:" in key] == []


def test_memcached_is_well_too(start: MakeServer, examine: Any) -> None:
    found = examine(start("MemcachedCache"))
    assert set(found) == {"releases", "processes"}
    assert found["releases"]["severity"] == "unknown"


# -- faults of the server ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RedisCache", "MemcachedCache"])
def test_a_server_that_is_not_there(start: MakeServer, examine: Any, kind: str) -> None:
    server = start(kind)
    server.kill()
    found = examine(server)
    assert is_problem(found, "server", f"127.0.0.1:{server.port}")
    assert "Start it" in found["server"]["remedy"]


def test_a_server_that_hangs(
    start: MakeServer, examine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache._tools.doctor.refusals.PATIENCE_SECONDS", 0.5)
    server = start()
    server.pause()
    timeouts = {f"CACHE_{name}_TIMEOUT_SECONDS": 0.25 for name in ("CONNECT", "SOCKET")}
    assert is_problem(examine(server, **timeouts), "server", "does not answer within 0.5 s")


@pytest.mark.parametrize("credentials", ["wrong@", ":wrong@", ""], ids=["user", "password", "none"])
def test_a_wrong_password(start: MakeServer, examine: Any, credentials: str) -> None:
    server = start("RedisCache", "--requirepass", "right")
    url = f"redis://{credentials}127.0.0.1:{server.port}/0"
    found = examine(server, CACHE_REDIS_URL=url)
    assert is_problem(found, "credentials", "does not let us in")
    assert "wrong" not in str(found)


@pytest.mark.parametrize(
    "denied",
    [command.removeprefix("+") for command in COMMANDS if command != "+script|load"],
)
def test_a_user_that_lacks_a_command(start: MakeServer, examine: Any, denied: str) -> None:
    # Whoever else has loaded the scripts, the user runs them.
    server = start("RedisCache", *HEALTHY)
    allowed = [command for command in COMMANDS if command != f"+{denied}"]
    connect(server).execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "-@all", *allowed)
    number = 1 if denied == "select" else 0
    found = examine(server, CACHE_REDIS_URL=f"redis://app:pw@127.0.0.1:{server.port}/{number}")
    check = "tracking" if denied.startswith("client") else "permissions"
    assert found[check]["severity"] == "problem"
    assert f"+{denied}" in found[check]["remedy"]


@pytest.mark.parametrize(
    "missing", ["HELLO", "CLIENT", "INFO", "EVALSHA", "SCRIPT", "TIME", "UNLINK", "MGET"]
)
def test_a_server_without_a_command(start: MakeServer, examine: Any, missing: str) -> None:
    # As of an older one, of one that somebody has confined, or behind a proxy.
    server = start("RedisCache", *HEALTHY, "--rename-command", missing, "")
    found = examine(server)
    check = "tracking" if missing in ("HELLO", "CLIENT") else "permissions"
    assert found[check]["severity"] == "problem"
    assert missing in found[check]["what"] + found[check]["remedy"]
    assert "See its log" not in str(found)


def test_a_node_of_a_cluster(start: MakeServer, examine: Any) -> None:
    one, other = (start("RedisCache", *HEALTHY, "--cluster-enabled", "yes") for _ in range(2))
    assert is_problem(examine(one), "cluster", "nobody has the slot")
    halves = {one: (0, 8191), other: (8192, 16383)}
    for server, slots in halves.items():
        connect(server).execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
    connect(one).execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
    for server in halves:
        wait_until(lambda server=server: is_up(server))
    for server in halves:
        (problem,) = (each for check, each in examine(server).items() if check == "cluster")
        assert "in one slot" in problem["what"] or "lie on another" in problem["what"]
    # In braces, all keys lie at one of the two, and the other one names it.
    found = {server: examine(server, CACHE_KEY_PREFIX="{shop}") for server in halves}
    (stranger,) = (server for server in halves if "cluster" in found[server])
    (owner,) = (server for server in halves if server is not stranger)
    assert is_problem(found[stranger], "cluster", f"127.0.0.1:{owner.port}")
    assert set(found[owner]) == {"processes"}


def is_up(server: Server) -> bool:
    return "cluster_state:ok" in str(connect(server).execute_command("CLUSTER", "INFO"))


def test_a_proxy_that_ends_the_connection(start: MakeServer, examine: Any) -> None:
    # As twemproxy does at a command that it does not know.
    with socket.create_server(("127.0.0.1", free_port())) as listening:

        def serve() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        found = examine(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/0")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert is_problem(found, "server", "ends the connection instead of answering")
    assert "twemproxy" in found["server"]["remedy"]


def test_a_server_that_lets_nobody_in_for_now(start: MakeServer, examine: Any) -> None:
    few = start("RedisCache", *HEALTHY, "--min-replicas-to-write", "1")
    assert is_problem(examine(few), "writes", "fewer replicas than min-replicas-to-write")
    full = start("RedisCache", *HEALTHY)
    held = connect(full)
    held.config_set("maxclients", 1)
    assert is_problem(examine(full), "clients", "as many connections as it may")
    held.config_set("maxclients", 100)


def test_a_host_whose_clock_is_off_is_named(make: MakeApp) -> None:
    hours_30 = 30 * 3600
    tell(make, report(1, at=time.time() - hours_30, host="web1"))
    tell(make, report(2, at=time.time() + hours_30, host="web2"))
    tell(make, report(3, at=time.time() - 5, host="web3"))
    code, told = invoke_json(make(), "doctor", "--wait", "0")
    assert code == 1
    problems = [each["what"] for each in told["findings"] if each["severity"] == "problem"]
    assert problems == [
        "The clock of host web1 is about 30 h behind the server's.",
        "The clock of host web2 is about 30 h ahead of the server's.",
    ]


def test_this_host_is_named_where_its_clock_is_off(
    healthy: Server, examine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 30 * 3600)
    found = examine(healthy)
    assert is_problem(found, "clock", "30 h ahead of")
    assert socket.gethostname() in found["clock"]["what"]


def test_a_user_that_reaches_other_keys(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY)
    connect(server).execute_command("ACL", "SETUSER", "app", "on", ">pw", "~other:*", "+@all")
    found = examine(server, CACHE_REDIS_URL=f"redis://app:pw@127.0.0.1:{server.port}/0")
    assert is_problem(found, "permissions", "key")
    assert "CACHE_KEY_PREFIX" in found["permissions"]["remedy"]


def test_where_keys_may_not_be_listed_that_is_said(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY)
    connect(server).execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "-@all", *COMMANDS)
    found = examine(server, CACHE_REDIS_URL=f"redis://app:pw@127.0.0.1:{server.port}/0")
    assert set(found) == {"releases", "processes"}
    assert found["releases"]["severity"] == "unknown"
    assert "scan" in found["releases"]["what"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--maxmemory", "0"], "maxmemory is 0"),
        (["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"], "noeviction"),
        (["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-random"], "allkeys-random"),
        (["--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl"], "volatile-ttl"),
    ],
    ids=["no bound", "noeviction", "random", "ttl"],
)
def test_an_eviction_policy_that_does_harm(
    start: MakeServer, examine: Any, options: list[str], words: str
) -> None:
    assert is_problem(examine(start("RedisCache", *options)), "eviction", words)


def test_keys_that_never_expire_where_only_others_make_room(
    start: MakeServer, examine: Any
) -> None:
    server = start("RedisCache", "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru")
    assert "eviction" not in examine(server)
    connect(server).mset({f"queue:{number}": "job" for number in range(10)})
    assert is_problem(examine(server), "eviction", "never expire")


def test_a_server_that_is_full(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", "--maxmemory-policy", "noeviction")
    client = connect(server)
    client.mset({f"queue:{number}": b"x" * 10_000 for number in range(300)})
    client.config_set("maxmemory", "2mb")
    found = examine(server)
    assert is_problem(found, "writes", "full")
    assert is_problem(found, "eviction", "noeviction")


@pytest.mark.parametrize("kind", ["RedisCache", "MemcachedCache"])
def test_memory_that_does_not_hold_what_is_cached(
    start: MakeServer, examine: Any, make_app: MakeApp, kind: str
) -> None:
    small = ("--maxmemory", "4mb", *HEALTHY[2:]) if kind == "RedisCache" else ("-m", "2")
    server = start(kind, *small)
    store = stores.connect(make_app(**SETTINGS, **server.settings).config)
    for number in range(3000):
        store.put(f"other:{number}", b"x" * 10_000, 600)
    # Since it began, more was dropped than it holds, within the seconds that this took.
    wait_until(lambda: store.facts().uptime >= 1)
    store.close()
    assert is_problem(examine(server), "memory", "evicted")


def test_clocks_that_are_apart(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY)

    def later(answer: bytes) -> bytes:
        return re.sub(
            rb"(server_time_usec:)(\d{16})",
            lambda m: m[1] + b"%d" % (int(m[2]) + 7_000_000),
            answer,
        )

    with proxy(server, later) as settings:
        found = examine(server, **settings)
    assert is_problem(found, "clock", "ahead of")


def test_timeouts_into_which_no_call_fits(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY)
    with proxy(server, pause=0.03) as settings:
        found = examine(server, **settings, CACHE_SOCKET_TIMEOUT_SECONDS=0.02)
    assert is_problem(found, "timeouts", "CACHE_SOCKET_TIMEOUT_SECONDS is 0.02")


def test_fewer_connections_than_processes_make(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY, "--maxclients", "20")
    assert is_problem(examine(server, WEB_CONCURRENCY=4), "clients", "maxclients is 20")


def test_a_server_that_tells_of_no_writes(start: MakeServer, examine: Any) -> None:
    # As of a Redis before 6, and of some that are rented.
    server = start("RedisCache", *HEALTHY, "--rename-command", "CLIENT", "")
    assert is_problem(examine(server), "tracking", "each hit asks it")
    found = examine(server, CACHE_NEAR_BYTES=0)
    assert found["tracking"]["severity"] == "advice"


def test_a_replica(start: MakeServer, examine: Any) -> None:
    primary = start("RedisCache", *HEALTHY, "--repl-diskless-sync-delay", "0")
    replica = start("RedisCache", *HEALTHY, "--replicaof", "127.0.0.1", str(primary.port))
    wait_until(lambda: connect(replica).info("replication")["master_link_status"] == "up")
    found = examine(replica)
    assert is_problem(found, "writes", "read only")
    assert "the primary's address" in found["writes"]["remedy"]


def test_a_server_that_cannot_save(start: MakeServer, examine: Any) -> None:
    server = start("RedisCache", *HEALTHY, "--save", "3600 1")
    client = connect(server)
    folder = client.config_get("dir")["dir"]
    client.set("changed", 1)
    shutil.rmtree(folder)
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    found = examine(server)
    assert is_problem(found, "writes", "takes no writes")
    assert "save" in found["writes"]["remedy"]
    assert is_problem(found, "persistence", "snapshot failed")
    # Asked to end, it would insist on saving.
    server.kill()


def test_a_cache_that_is_written_to_a_disk(start: MakeServer, examine: Any) -> None:
    found = examine(start("RedisCache", *HEALTHY, "--appendonly", "yes"))
    assert "appendonly" in found["persistence"]["what"]
    assert found["persistence"]["severity"] == "advice"


def test_keys_of_other_releases_and_of_none(
    start: MakeServer, make_app: MakeApp, cache: Any, examine: Any
) -> None:
    server = start("RedisCache", *HEALTHY)
    old = make_app(**{**SETTINGS, **server.settings, "RELEASE": "v1"})
    with old.app_context():
        for number in range(3):
            cache.set(f"old {number}", 1)
        cache.engine.close()
    found = examine(server)
    assert found["releases"]["severity"] == "advice"
    assert "v1 (3)" in found["releases"]["what"]
    prefix = old.config["CACHE_KEY_PREFIX"]
    connect(server).mset({f"{prefix}:view//": 1, f"{prefix}:\x1b[2J": 1})
    result = invoke(make_app(**{**SETTINGS, **server.settings}), "doctor", "--wait", "0")
    assert result.exit_code == 1
    assert "2 keys begin as this application's" in result.output
    assert result.output.replace("\n", "").isprintable()


# -- faults of the settings --------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "check", "severity", "words"),
    [
        ({"CACHE_TYPE": "SimpleCache", "WEB_CONCURRENCY": 4}, "backend", "problem", "4: each"),
        ({"CACHE_TYPE": "NullCache"}, "backend", "advice", "nothing is cached"),
        ({"SECRET_KEY_IS_RANDOM": True}, "secret-key", "problem", "none can read"),
        ({"SECRET_KEY": "", "CACHE_TYPE": "SimpleCache"}, "secret-key", "advice", "sessions"),
        ({"CACHE_POOL_SIZE": 2, "GUNICORN_THREADS": 8}, "pool", "problem", "wait for a"),
        ({"CACHE_WAIT_SECONDS": 40}, "waiting", "problem", "GUNICORN_GRACEFUL_TIMEOUT_SECONDS"),
        ({"CACHE_SOCKET_TIMEOUT_SECONDS": 5}, "timeouts", "problem", "hangs"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_settings_that_do_not_go_together(
    healthy: Server,
    examine: Any,
    settings: dict[str, Any],
    check: str,
    severity: str,
    words: str,
) -> None:
    found = examine(healthy, **settings)
    assert found[check]["severity"] == severity
    assert words in found[check]["what"]


def test_production_on_simplecache(examine: Any) -> None:
    found = examine(APP_ENV="production", CACHE_TYPE="SimpleCache")
    assert "a restart empties the cache" in found["backend"]["what"]


def test_the_application_adds_checks_of_its_own(make: MakeApp) -> None:
    app = make(COLOUR="red")

    def check_colour(config: Mapping[str, Any]) -> Iterator[Finding]:
        yield Finding("colour", "problem", config["COLOUR"], "blue")

    Commands(the_cache, checks=[check_colour]).init_app(app)
    code, told = invoke_json(app, "doctor", "--wait", "0")
    assert code == 1
    (found,) = [each for each in told["findings"] if each["check"] == "colour"]
    assert (found["what"], found["remedy"]) == ("red", "blue")


# -- what the processes say --------------------------------------------------------------


def test_what_takes_longer_than_its_lease(make: MakeApp) -> None:
    known = entry("a", name="shop.home", seconds=14.0)
    slow = lookups("shop.report", fills=2, fill_seconds=50.0)
    tell(make, report(1, entries=[known], lookups=[slow]))
    _, told = invoke_json(make(), "doctor", "--wait", "0")
    (problem,) = [each for each in told["findings"] if each["severity"] == "problem"]
    assert problem["check"] == "lease"
    assert "shop.report (25.0 s), shop.home (14.0 s)" in problem["what"]
    assert problem["remedy"].startswith("CACHE_LEASE_SECONDS=50")


def test_entries_that_are_evicted_before_their_time(make: MakeApp) -> None:
    evicted = lookups("home", fills=100, reasons={"evicted": 40, "new": 60})
    tell(make, report(1, lookups=[evicted], counts={"unauthentic entry": 3}))
    _, told = invoke_json(make(), "doctor", "--wait", "0")
    found = {each["check"]: each for each in told["findings"]}
    assert is_problem(found, "evictions", "40 were of entries")
    assert "unauthentic entry (3)" in found["errors"]["what"]
    assert "same SECRET_KEY" in found["errors"]["remedy"]


def test_nobody_who_answers_is_said(healthy: Server, examine: Any) -> None:
    found = examine(healthy)
    assert set(found) == {"processes"}
    assert found["processes"]["severity"] == "unknown"


# -- what the processes tell -------------------------------------------------------------


def refusal(
    name: str, reason: str, place: str = "", *, level: Any = "page", count: int = 1
) -> tuple[Refusal, int]:
    return Refusal(level, name, reason, place), count


def test_it_names_what_is_never_cached_and_why(make: MakeApp) -> None:
    missed = {"miss": 5, "hit": 0}
    tell(
        make,
        report(
            1,
            lookups=[
                lookups("shop.cart", results=missed),
                lookups("shop.search", results={"bypass": 3}),
                lookups("shop.home", results={"hit": 1, "miss": 1}),
                lookups("shop.new", results={"miss": 1}, stored=1),
                lookups("shop.quiet", results=missed),
                lookups("shop.top", "function", results=missed),
            ],
            refusals=[
                refusal("shop.cart", "vary: X-Plan", count=2),
                refusal("shop.cart", "session", count=3),
                refusal("shop.search", "undeclared: header X-Plan", "shop/hooks.py:7 (plan)"),
                refusal("shop.home", "status: 404"),
                refusal("shop.new", "status: 404"),
                refusal("shop.top", "effects: wrote to the session", level="function"),
            ],
        ),
        report(2, refusals=[refusal("shop.cart", "vary: X-Plan", count=2)]),
    )
    code, told = invoke_json(make(), "doctor", "--wait", "0")
    assert code == 0
    pages, functions = (one for one in told["findings"] if one["check"] == "never-cached")
    assert pages["severity"] == "advice"
    assert pages["what"] == (
        "2 routes are never cached: shop.cart, because: vary: X-Plan; shop.search, because: "
        "undeclared: header X-Plan at shop/hooks.py:7 (plan)."
    )
    assert functions["what"] == (
        "1 function is never cached: shop.top, because: effects: wrote to the session."
    )


def test_a_hit_that_differed_is_a_problem(make: MakeApp) -> None:
    verified = {"compared": 7, "set aside": 2}
    tell(make, report(1, verified=verified))
    code, told = invoke_json(make(), "doctor", "--wait", "0")
    (found,) = (one for one in told["findings"] if one["check"] == "verification")
    assert (code, found["severity"]) == (0, "ok")
    assert found["what"] == "7 hits were computed again, 2 set aside, and none differed."
    differences = [(("page", "home"), 1)]
    tell(make, report(2, verified={"different": 1}, differences=differences))
    code, told = invoke_json(make(), "doctor", "--wait", "0")
    (found,) = (one for one in told["findings"] if one["check"] == "verification")
    assert (code, found["severity"]) == (1, "problem")
    assert "1 differed from their entry: page home (1)." in found["what"]


def test_it_lists_the_declarations_with_their_reasons(make_app: MakeApp) -> None:
    def load_user() -> None:
        pass

    the_cache.influences_only_through(load_user, g="user", reason="it only sets g.user")
    try:
        _, told = invoke_json(make_app(), "doctor", "--wait", "0")
    finally:
        the_cache._declarations.of_hooks.clear()
    listed = [one["what"] for one in told["findings"] if one["check"] == "declaration"]
    assert any(
        "load_user reaches pages only through g.user: it only sets g.user." in what
        for what in listed
    )
    assert any(what.startswith("opening the session does not reach pages: ") for what in listed)


def test_it_names_the_tables_on_the_whole_of_which_entries_depend() -> None:
    entries = [entry(f"page:/{number}", "product", "view:home") for number in range(3)]
    entries.append(entry("fn:one()", "product:1", "product:*", "product!"))
    overview = Overview([report(1, entries=entries)])
    known = Processes({"CACHE_NARROW": True}, overview, 0, frozenset({"product", "shelf"}))
    (found,) = whole_tables(known)
    assert found.severity == "advice"
    assert "3 of 4 known entries are dropped by every write to a table: product (3)" in found.what
    assert "columns of the model" in found.remedy
    (found,) = whole_tables(Processes({"CACHE_NARROW": False}, overview, 0, known.tables))
    assert "CACHE_NARROW=true" in found.remedy
    assert not [*whole_tables(Processes({}, overview, 0, frozenset({"shelf"})))]
