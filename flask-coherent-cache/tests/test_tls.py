"""Redis and Valkey by TLS, with whatever can be wrong with a certificate, and by a socket file."""

import gc
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from flask import Flask

from flask_coherent_cache._dependencies.dependencies import Dependencies
from flask_coherent_cache._stores import StoreError
from flask_coherent_cache.testing import ServerEndedError, free_port, redis_server, wait_until

MakeApp = Callable[..., tuple[Flask, Any]]


# redis-py leaves the socket of a handshake that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Certificates:
    """Certificates in a folder, made by an authority or by one that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("authority", "stranger"):
            usage = ("-addext", "keyUsage=critical,keyCertSign")
            self._openssl(*f"req -x509 -days 2 -out {name}.pem".split(), *self._new(name), *usage)
        self.authority, self.stranger = folder / "authority.pem", folder / "stranger.pem"

    def make(self, name: str, subject: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        self._openssl(*f"req -out {name}.csr".split(), *self._new(name))
        extensions = f"subjectAltName={subject}\nauthorityKeyIdentifier=keyid\n"
        (self.folder / f"{name}.ext").write_text(extensions)
        self._openssl(
            *f"x509 -req -in {name}.csr -out {name}.pem -extfile {name}.ext -days {days}".split(),
            *("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"),
        )
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _new(self, name: str) -> list[str]:
        kind = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        return [*kind.split(), "-keyout", f"{name}.key", "-subj", f"/CN={name}"]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments],  # noqa: S607 - openssl is where PATH says
            cwd=self.folder,
            check=True,
            capture_output=True,
        )


class Server(NamedTuple):
    """A server that listens without TLS on `port` too, for the tests themselves."""

    port: int
    tls_port: int


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not shutil.which("openssl"):
        pytest.skip("no openssl on this machine to make certificates with")
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serve(certificates: Certificates, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers with a certificate."""
    started = []

    def start(pair: tuple[Path, Path], clients: str = "no") -> Server:
        certificate, key = map(str, pair)
        tls_port = free_port()
        server = redis_server(
            tmp_path,
            *("--tls-port", str(tls_port), "--tls-cert-file", certificate, "--tls-key-file", key),
            *("--tls-ca-cert-file", str(certificates.authority), "--tls-auth-clients", clients),
        )
        try:
            port = server.__enter__()
        except ServerEndedError:
            pytest.skip("the Redis or Valkey on this machine was built without TLS")
        if port is None:
            pytest.skip("no Redis and no Valkey on this machine")
        started.append(server)
        return Server(port, tls_port)

    yield start
    for server in started:
        server.__exit__(None, None, None)


@pytest.fixture
def server(serve: Callable[..., Server], certificates: Certificates) -> Server:
    return serve(certificates.make("server"))


@pytest.fixture
def plain(server: Server) -> Iterator[redis.Redis]:
    """A connection without TLS, which looks on."""
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture
def backend() -> dict[str, Any]:
    """Each test says itself where its server is."""
    # What the process itself computed would be served meanwhile.
    return {"CACHE_TYPE": "RedisCache", "CACHE_DEGRADED_SECONDS": 0}


@pytest.fixture(autouse=True)
def _failed_handshakes() -> Iterator[None]:
    yield
    gc.collect()


def by_url(server: Server, certificates: Certificates) -> dict[str, Any]:
    return {
        "CACHE_REDIS_URL": f"rediss://127.0.0.1:{server.tls_port}/0",
        "CACHE_REDIS_CA_FILE": str(certificates.authority),
    }


def by_parts(server: Server, certificates: Certificates) -> dict[str, Any]:
    return {
        "CACHE_REDIS_TLS": True,
        "CACHE_REDIS_HOST": "127.0.0.1",
        "CACHE_REDIS_PORT": server.tls_port,
        "CACHE_REDIS_CA_FILE": str(certificates.authority),
    }


def follow(app: Flask, cache: Any) -> None:
    """Wait until the near cache follows its server."""
    with app.app_context():
        cache.engine.observe()  # A generation is there.
        wait_until(lambda: cache.engine.near.observe(Dependencies()))


def asked(plain: redis.Redis) -> int:
    stats = plain.info("commandstats")
    return sum(values["calls"] for name, values in stats.items() if name[8:] in ("get", "mget"))


def counted(cache: Any) -> Callable[[int], tuple[int, int]]:
    """A memoized function that says how often it ran."""
    fills = iter(range(1_000_000))

    @cache.memoize(60, make_name=lambda name: "counted", tags=["all"])
    def count(number: int) -> tuple[int, int]:
        cache.tag(f"number:{number}")
        return number, next(fills)

    return count


@pytest.mark.parametrize("settings", [by_url, by_parts])
def test_the_whole_cache_works_by_tls(
    make_app: MakeApp,
    server: Server,
    certificates: Certificates,
    plain: redis.Redis,
    settings: Callable[..., dict[str, Any]],
) -> None:
    (app, cache), (other, its_cache) = (
        make_app(**settings(server, certificates)) for _ in range(2)
    )
    follow(app, cache)
    count = counted(cache)
    with app.app_context():
        first = count(1)
    before = asked(plain)
    for _ in range(20):
        with app.app_context():
            assert count(1) == first
    assert asked(plain) - before < 20
    for _ in range(20):
        with app.app_context():
            last = count(1)
        with other.app_context():
            its_cache.invalidate("number:1")
        with app.app_context():
            assert count(1) > last


def test_many_messages_at_once_come_through_whole(
    make_app: MakeApp, server: Server, certificates: Certificates
) -> None:
    app, cache = make_app(**by_url(server, certificates))
    other, its_cache = make_app(CACHE_REDIS_URL=f"redis://127.0.0.1:{server.port}/0")
    follow(app, cache)
    count = counted(cache)
    # Of some 60 bytes each, by which they fill many records of TLS.
    names = [f"number:{number}" for number in range(2_000)]
    for _ in range(5):
        with app.app_context():
            values = {number: count(number) for number in (0, 999, 1_999)}
        with other.app_context():
            its_cache.invalidate(*names)
        with app.app_context():
            assert all(count(number) > old for number, old in values.items())
    follow(app, cache)


def test_nothing_stays_behind_in_the_connection(
    make_app: MakeApp, server: Server, certificates: Certificates, plain: redis.Redis
) -> None:
    """What was decrypted lies where no poll sees it, so it must all be taken out."""
    cache = make_app(CACHE_NEAR_BYTES=0, **by_url(server, certificates))[1]
    tracking = cache.engine.store.track("test", ["app:tag:"])
    try:
        for size in (1, 3, 500, 5_000):
            names = [f"app:tag:{number:050}" for number in range(size)]
            plain.mset(dict.fromkeys(names, "1"))
            told: list[str] = []

            def take(told: list[str] = told, size: int = size) -> bool:
                _, messages, _ = tracking.receive()
                assert tracking._socket.pending() == 0
                told += [key.decode() for message in messages for key in message[1]]
                return len(told) >= size

            wait_until(take)
            assert sorted(told) == names
    finally:
        tracking.close()


def test_a_server_may_ask_for_a_certificate_in_return(
    make_app: MakeApp, serve: Callable[..., Server], certificates: Certificates
) -> None:
    server = serve(certificates.make("server"), clients="yes")
    certificate, key = map(str, certificates.make("client", "DNS:client"))
    own = {"CACHE_REDIS_CERT_FILE": certificate, "CACHE_REDIS_KEY_FILE": key}
    app, cache = make_app(**by_parts(server, certificates), **own)
    with app.app_context():
        assert cache.set("key", 1)
        assert cache.get("key") == 1
    follow(app, cache)
    app, cache = make_app(**by_parts(server, certificates))
    is_a_miss(app, cache)


def is_a_miss(app: Flask, cache: Any) -> None:
    """Nothing is looked up and nothing stored, and nobody notices."""
    with pytest.raises(StoreError):
        cache.engine.store.get_many(["app:clock"])
    with pytest.raises(StoreError):
        cache.engine.store.track("test", ["app:tag:"])
    count = counted(cache)
    with app.app_context():
        assert [count(1), count(1)] == [(1, 0), (1, 1)]
        assert not cache.set("key", 1)

    @app.get("/")
    @cache.cached(60)
    def page() -> str:
        return "text"

    for _ in range(2):
        answer = app.test_client().get("/")
        assert (answer.status_code, answer.text) == (200, "text")
        assert "hit" not in answer.headers["Cache-Status"]


@pytest.mark.parametrize("settings", [by_url, by_parts])
@pytest.mark.parametrize(
    ("certificate", "authority"),
    [
        ({}, "stranger"),
        ({"subject": "IP:127.0.0.2"}, "authority"),
        ({"subject": "DNS:localhost"}, "authority"),
        ({"days": 0}, "authority"),
        ({}, None),
    ],
    ids=["unknown authority", "other address", "other name", "expired", "no authority"],
)
def test_a_server_that_cannot_be_verified_is_a_miss(
    make_app: MakeApp,
    serve: Callable[..., Server],
    certificates: Certificates,
    settings: Callable[..., dict[str, Any]],
    certificate: dict[str, Any],
    authority: str | None,
) -> None:
    server = serve(certificates.make("server", **certificate))
    own = {**settings(server, certificates)}
    own["CACHE_REDIS_CA_FILE"] = authority and str(getattr(certificates, authority))
    is_a_miss(*make_app(**own))


def test_a_server_without_tls_is_a_miss(
    make_app: MakeApp, server: Server, certificates: Certificates
) -> None:
    # It waits for the end of a line, which what TLS begins with does not have.
    settings = by_url(server._replace(tls_port=server.port), certificates)
    is_a_miss(*make_app(**settings, CACHE_SOCKET_TIMEOUT_SECONDS=0.1))
    is_a_miss(*make_app(CACHE_REDIS_URL=f"redis://127.0.0.1:{server.tls_port}/0"))


def test_a_server_that_says_nothing_is_a_miss(
    make_app: MakeApp, certificates: Certificates
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = by_url(Server(0, silent.getsockname()[1]), certificates)
        is_a_miss(*make_app(**settings, CACHE_SOCKET_TIMEOUT_SECONDS=0.1))


def test_a_file_that_is_gone_is_a_miss(
    make_app: MakeApp, server: Server, certificates: Certificates, tmp_path: Path
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_bytes(Path(certificates.authority).read_bytes())
    made = make_app(**{**by_url(server, certificates), "CACHE_REDIS_CA_FILE": str(authority)})
    authority.unlink()
    is_a_miss(*made)


def test_a_socket_file_will_do(make_app: MakeApp) -> None:
    # Not pytest's folder: such a path has 100 bytes or so at most.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with redis_server(path.parent, "--unixsocket", str(path)) as port:
            if port is None:
                pytest.skip("no Redis and no Valkey on this machine")
            app, cache = make_app(CACHE_REDIS_URL=f"unix://{path}?db=0")
            follow(app, cache)
            count = counted(cache)
            with app.app_context():
                assert count(1) == count(1) == (1, 0)
                cache.invalidate("number:1")
                assert count(1) == (1, 1)
