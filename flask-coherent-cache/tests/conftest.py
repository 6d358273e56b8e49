"""An application of its own for the caching package, once for each backend that can run."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import flask_coherent_cache as caching
from answers import seen
from flask_coherent_cache._dependencies import inputs
from flask_coherent_cache.testing import memcached_server, redis_server
from proofs.cases.databases import postgresql

BACKENDS = ("SimpleCache", "RedisCache", "MemcachedCache")

#: Patient with a busy machine: a time-out would be a bypass, and these tests count fills.
SETTINGS = {
    "SECRET_KEY": "k" * 40,
    "CACHE_STRICT": True,
    "CACHE_CONNECT_TIMEOUT_SECONDS": 5,
    "CACHE_SOCKET_TIMEOUT_SECONDS": 5,
    "CACHE_POOL_SIZE": 64,
}


@pytest.fixture(scope="session")
def server_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings of each backend whose server could be started."""
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as redis_port, memcached_server() as memcached_port:
        settings: dict[str, Any] = {"SimpleCache": {}}
        if redis_port is not None:
            settings["RedisCache"] = {"CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"}
        if memcached_port is not None:
            address = f"127.0.0.1:{memcached_port}"
            settings["MemcachedCache"] = {"CACHE_MEMCACHED_SERVERS": [address]}
        yield settings


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a PostgreSQL of the tests' own."""
    with postgresql() as url:
        if url is None:
            pytest.skip("no PostgreSQL on this machine")
        yield url


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, server_settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of one backend."""
    if request.param not in server_settings:
        pytest.skip(f"no server for {request.param} on this machine")
    return {"CACHE_TYPE": request.param, **server_settings[request.param]}


@pytest.fixture
def make_app(backend: dict[str, Any]) -> Iterator[Callable[..., tuple[Flask, Any]]]:
    """Make an application with a cache of its own; all of them share the backend's server."""
    made: list[tuple[Flask, Any]] = []

    def make(**settings: Any) -> tuple[Flask, Any]:
        app = Flask("shop", template_folder=None)
        app.config.update({**SETTINGS, **backend, **settings})
        cache = caching.Cache(app)
        made.append((app, cache))
        return app, cache

    yield make
    for app, cache in made:
        with app.app_context():
            if cache.engine is not None:
                cache.clear()
                cache.engine.close()


@pytest.fixture
def reports_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cache log what it has logged once already, in another test."""
    monkeypatch.setattr(inputs, "_reported", type(inputs._reported)())


@pytest.fixture
def app(make_app: Callable[..., tuple[Flask, Any]]) -> Flask:
    """One application; ``app.extensions["cache"]`` knows its cache."""
    return make_app()[0]


@pytest.fixture
def cache(app: Flask) -> Any:
    """The cache of ``app``, emptied."""
    cache = next(iter(app.extensions["cache"]))
    with app.app_context():
        cache.clear()
    return cache


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A visitor of ``app``."""
    return app.test_client()


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()
