"""Fixtures of the cases: servers, and the cache under test, ours and Flask-Caching's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from databases import postgresql
from flask_coherent_cache.testing import memcached_server, redis_server
from harness import make_app

NAMES = {"RedisCache": "Redis or Valkey", "MemcachedCache": "Memcached"}


class Subject:
    """An application with the cache under test: the project's ("ours") or "stock"."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name = name
        self.settings = settings
        self.app, self.cache = self.another()

    @property
    def is_ours(self) -> bool:
        return self.name == "ours"

    def another(self, **settings: Any) -> tuple[Flask, Any]:
        """Make a further application, on the same server if it has one."""
        # Production's way with inputs that a view did not declare: not stored, no error.
        app, cache = make_app(self.name, self.settings, CACHE_STRICT=False, **settings)
        with app.app_context():
            cache.clear()
        return app, cache

    def get(self, path: str, **options: Any) -> Any:
        """Make a request as a client without cookies."""
        return self.app.test_client().get(path, **options)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in an application context of its own."""
        with self.app.app_context():
            return function(*arguments)

    def judge(self, right: bool) -> None:
        """Assert that what was seen is right here, and wrong on stock Flask-Caching."""
        if self.is_ours:
            assert right
        else:
            assert not right, "stock Flask-Caching is right, too: this proof shows nothing"


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int | None]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(scope="session")
def server_settings(redis_port: int | None) -> Iterator[dict[str, dict[str, Any]]]:
    """The settings of each backend that this machine can run."""
    with memcached_server() as memcached_port:
        settings: dict[str, dict[str, Any]] = {"SimpleCache": {}}
        if redis_port is not None:
            settings["RedisCache"] = {"CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"}
        if memcached_port is not None:
            address = f"127.0.0.1:{memcached_port}"
            settings["MemcachedCache"] = {"CACHE_MEMCACHED_SERVERS": [address]}
        yield settings


def settings_of(backend: str, server_settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the settings of a backend, or skip in words."""
    if backend not in server_settings:
        pytest.skip(f"there is no {NAMES[backend]} on this machine")
    return {"CACHE_TYPE": backend, **server_settings[backend]}


@pytest.fixture(params=["SimpleCache", "RedisCache"])
def backend(request: pytest.FixtureRequest, server_settings: Any) -> dict[str, Any]:
    """The settings of a backend that Flask-Caching has, too."""
    return settings_of(request.param, server_settings)


@pytest.fixture(params=["SimpleCache", "RedisCache", "MemcachedCache"])
def every_backend(request: pytest.FixtureRequest, server_settings: Any) -> dict[str, Any]:
    """The settings of one backend of all."""
    return settings_of(request.param, server_settings)


@pytest.fixture
def redis_settings(server_settings: Any) -> dict[str, Any]:
    """The settings that lead to a Redis."""
    return settings_of("RedisCache", server_settings)


@pytest.fixture(params=["ours", "stock"])
def name(request: pytest.FixtureRequest) -> str:
    """Whose cache is under test."""
    return str(request.param)


@pytest.fixture
def subject(name: str, backend: dict[str, Any]) -> Subject:
    """The cache under test, on SimpleCache and on Redis."""
    return Subject(name, backend)


@pytest.fixture
def on_redis(name: str, redis_settings: dict[str, Any]) -> Subject:
    """The cache under test, on Redis."""
    return Subject(name, redis_settings)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The address of a PostgreSQL that lives as long as the tests."""
    with postgresql() as url:
        if url is None:
            pytest.skip("there is no PostgreSQL on this machine")
        yield url


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The address of a SQLite file."""
    return f"sqlite:///{tmp_path}/shop.sqlite3"
