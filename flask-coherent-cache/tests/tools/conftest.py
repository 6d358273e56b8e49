"""Cache servers as they should be, and with faults."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from application import cache as the_cache
from application import create_app
from flask_coherent_cache.testing import Server
from report_stubs import HEALTHY, SETTINGS
from starting import started

MakeServer = Callable[..., Server]


@pytest.fixture
def cache() -> Any:
    """The cache extension; it needs an application context."""
    return the_cache


@pytest.fixture
def make_app() -> Callable[..., Flask]:
    """Make applications with settings of one's own."""
    return create_app


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An application on SimpleCache."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser with no cookies."""
    return app.test_client()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[MakeServer]:
    """Start servers of one's own, and stop them."""
    servers: list[Server] = []

    def make(kind: str = "RedisCache", *options: str) -> Server:
        servers.append(started(kind, tmp_path / f"server{len(servers)}", *options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis with nothing to find fault with."""
    server = Server("RedisCache", tmp_path_factory.mktemp("redis"), *HEALTHY)
    if server.command is None:
        pytest.skip("no server for RedisCache on this machine")
    with server:
        yield server


@pytest.fixture
def make(make_app: Callable[..., Flask], healthy: Server) -> Iterator[Callable[..., Flask]]:
    """Make applications on the healthy server, whose cache is emptied in the end."""
    apps: list[Flask] = []

    def make(**settings: Any) -> Flask:
        apps.append(make_app(**{**SETTINGS, **healthy.settings, **settings}))
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context():
            entries = the_cache.engine
            entries.clear()
            entries.store.delete(entries.reports._places)
            entries.close()
