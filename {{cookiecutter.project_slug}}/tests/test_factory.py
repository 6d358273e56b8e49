"""The factory: what it takes, and what it makes."""

import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from package import SOURCES, load, name


def test_settings_come_from_a_mapping(make_app):
    assert make_app(SITE_NAME="Elsewhere").config["SITE_NAME"] == "Elsewhere"


def test_settings_come_from_an_object():
    class Config:
        APP_ENV = "testing"
        DATABASE_URL = "sqlite://"
        SITE_NAME = "Elsewhere"

    app = load().create_app(Config)
    assert app.config["SITE_NAME"] == "Elsewhere"
    assert app.testing


def test_overrides_win_over_the_mapping_and_the_environment(monkeypatch):
    monkeypatch.setenv("SITE_NAME", "environment")
    app = load().create_app({"APP_ENV": "testing", "SITE_NAME": "mapping"}, SITE_NAME="override")
    assert app.config["SITE_NAME"] == "override"
    assert load().create_app(APP_ENV="testing").config["SITE_NAME"] == "environment"


def test_overrides_are_checked_too():
    with pytest.raises(load("config").ConfigurationError, match="CACHE_TYPE is 'Tape'"):
        load().create_app(APP_ENV="testing", CACHE_TYPE="Tape")


def test_unknown_settings_are_handed_on(make_app):
    assert make_app(MY_OWN=7).config["MY_OWN"] == 7


def test_two_applications_live_side_by_side(make_app):
    first, second = make_app(SITE_NAME="first"), make_app(SITE_NAME="second")
    assert first.test_client().get("/healthz").status_code == 200
    assert (first.config["SITE_NAME"], second.config["SITE_NAME"]) == ("first", "second")


@pytest.mark.parametrize("config", [None, {}], ids=["none", "empty"])
def test_development_starts_without_any_setting(config, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(load(), "instance_path", lambda: str(tmp_path))
    app = load().create_app(config)
    assert app.debug
    assert app.config["CACHE_TYPE"] == "SimpleCache"
    assert "SECRET_KEY is not set" in caplog.text


def test_a_relative_sqlite_file_lies_in_the_instance_folder(tmp_path, monkeypatch, db):
    monkeypatch.setattr(load(), "instance_path", lambda: str(tmp_path))
    app = load().create_app(APP_ENV="testing", DATABASE_URL="sqlite:///here.db")
    with app.app_context():
        assert Path(db.engine.url.database) == tmp_path / "here.db"


def test_the_instance_folder_is_the_projects(monkeypatch, tmp_path):
    config = load("config")
    assert Path(config.instance_path()) == Path(__file__).parents[1] / "instance"
    # Installed, and so in no src/: the working directory's.
    monkeypatch.setattr(config, "PACKAGE", tmp_path / "site-packages" / name())
    assert Path(config.instance_path()) == Path.cwd() / "instance"


def test_sqlite_enforces_foreign_keys_and_writes_ahead(app: Flask, db):
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(db.text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(db.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(db.text("PRAGMA busy_timeout")) == 5000


def test_postgresql_is_not_asked_at_the_start(make_app, db):
    app = make_app(DATABASE_URL="postgresql://me:pw@127.0.0.1:1/name")
    with app.app_context():
        assert db.engine.dialect.driver == "psycopg"
        assert db.engine.pool.size() == app.config["GUNICORN_THREADS"]
    assert app.test_client().get("/readyz").status_code == 503


HIDE = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name == "flask_coherent_cache":
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Hidden())
"""


def test_without_the_library_it_says_where_that_is():
    program = f"{HIDE}sys.path.insert(0, {str(SOURCES)!r})\nimport {name()}"
    result = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "It comes with this project, in vendor/" in result.stderr
    assert "stranger" in result.stderr
