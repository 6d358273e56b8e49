"""Fixtures for all tests: an application of its own for each, on a fresh SQLite database."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy import event
from werkzeug.test import TestResponse

from package import load

MakeApp = Callable[..., Flask]


class Client(FlaskClient):
    """A client that reads each response whole and closes it, as a server does."""

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Make a request."""
        return super().open(*args, buffered=buffered, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Keep the settings of the developer's shell out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*load("config").load({"APP_ENV": "testing"}, {}), "FLASK_DEBUG"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows, to be copied."""
    path = tmp_path_factory.mktemp("database") / "blank.db"
    app = load().create_app(APP_ENV="testing", DATABASE_URL=f"sqlite:///{path}")
    db = load("extensions").db
    with app.app_context():
        db.create_all()
        # The last connection to leave writes the log into the file.
        db.engine.dispose()
    return path


@pytest.fixture
def make_app(
    tmp_path: Path, blank_database: Path, request: pytest.FixtureRequest
) -> Iterator[MakeApp]:
    """Make applications with settings of one's own.

    Every hit is computed again and compared, but where a test counts what a hit asks for.
    """
    apps: list[Flask] = []
    verify = 0 if "count_queries" in request.fixturenames else 1

    def make(**settings: Any) -> Flask:
        path = tmp_path / f"app{len(apps)}.db"
        shutil.copy(blank_database, path)
        defaults = {
            "APP_ENV": "testing",
            "DATABASE_URL": f"sqlite:///{path}",
            "CACHE_VERIFY": verify,
        }
        app = load().create_app(defaults | settings)
        app.test_client_class = Client
        apps.append(app)
        return app

    yield make
    for app in apps:
        with app.app_context():
            entries = load("extensions").cache.engine
            assert entries is None or not entries.statistics.differences
            load("extensions").db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An application for tests: SQLite, SimpleCache, no CSRF check."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser with no cookies."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """The command line."""
    return app.test_cli_runner()


@pytest.fixture
def db() -> Any:
    """The database extension; it needs an application context."""
    return load("extensions").db


@pytest.fixture
def cache() -> Any:
    """The cache extension; it needs an application context."""
    return load("extensions").cache


@pytest.fixture
def count_queries(app: Flask, db: Any) -> Callable[[], Any]:
    """Collect the statements that run inside a `with` block."""
    with app.app_context():
        engine = db.engine

    @contextmanager
    def count() -> Iterator[list[str]]:
        statements: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return count
