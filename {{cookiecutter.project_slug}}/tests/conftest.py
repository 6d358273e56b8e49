"""Fixtures for all tests: an application for each, on a fresh copy of an empty database.

`cache_log` comes with Flask-Coherent-Cache; `catalog/test_caching.py` shows how to use it.
"""

import shutil
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from flask_coherent_cache.testing import close_cache
from jinja2 import FileSystemBytecodeCache
from sqlalchemy import event

from {{cookiecutter.package_name}} import create_app
from {{cookiecutter.package_name}}.config import load
from {{cookiecutter.package_name}}.extensions import cache, db


class Client(FlaskClient):
    """A client that reads each response whole and closes it, as a server does."""

    def open(self, *args, buffered=True, **kwargs):
        return super().open(*args, buffered=buffered, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment():
    """Keep the settings of the developer's shell out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*load({"APP_ENV": "testing"}, {}), "FLASK_DEBUG"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory):
    """A SQLite file with all tables and no rows, to be copied."""
    path = tmp_path_factory.mktemp("database") / "blank.db"
    app = create_app(APP_ENV="testing", DATABASE_URL=f"sqlite:///{path}")
    with app.app_context():
        db.create_all()
        # The last connection to leave writes the log into the file.
        db.engine.dispose()
    return path


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory):
    """What Jinja makes of the templates, once for all applications."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def make_app(tmp_path, blank_database, compiled_templates, request):
    """Make applications with settings of one's own.

    Every hit is computed again and compared, so a stale or a mixed-up page fails the test; not
    where a test counts queries.
    """
    apps = []
    verify = 0 if "count_queries" in request.fixturenames else 1

    def make(**settings):
        path = tmp_path / f"app{len(apps)}.db"
        shutil.copy(blank_database, path)
        defaults = {"APP_ENV": "testing", "DATABASE_URL": f"sqlite:///{path}"}
        app = create_app(defaults | {"CACHE_VERIFY": verify} | settings)
        app.test_client_class = Client
        app.jinja_env.bytecode_cache = compiled_templates
        apps.append(app)
        return app

    yield make
    for app in apps:
        with app.app_context():
            close_cache(cache)
            db.engine.dispose()


@pytest.fixture
def app(make_app):
    """An application for tests: SQLite, SimpleCache, no CSRF check."""
    return make_app()


@pytest.fixture
def client(app):
    """A browser with no cookies."""
    return app.test_client()


@pytest.fixture
def runner(app):
    """The command line."""
    return app.test_cli_runner()


@pytest.fixture
def count_queries(app):
    """Collect the SQL statements that run inside a `with` block."""
    with app.app_context():
        engine = db.engine

    @contextmanager
    def count():
        statements = []

        def note(_connection, _cursor, statement, *_):
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return count
