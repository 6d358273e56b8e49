"""The factory: what it takes, and what it makes."""

import runpy
import sys
from pathlib import Path

import pytest
from flask import request
from flask_coherent_cache import UndeclaredInput
from sqlalchemy import text

from {{cookiecutter.package_name}} import config, create_app
from {{cookiecutter.package_name}}.extensions import cache, db

PACKAGE = Path(config.__file__).parent


def test_settings_come_from_an_object():
    class Config:
        APP_ENV = "testing"
        DATABASE_URL = "sqlite://"
        SITE_NAME = "Elsewhere"

    app = create_app(Config)
    assert app.config["SITE_NAME"] == "Elsewhere"
    assert app.testing


def test_overrides_win_over_the_mapping_and_the_environment(monkeypatch):
    monkeypatch.setenv("SITE_NAME", "environment")
    app = create_app({"APP_ENV": "testing", "SITE_NAME": "mapping"}, SITE_NAME="override")
    assert app.config["SITE_NAME"] == "override"
    assert create_app(APP_ENV="testing").config["SITE_NAME"] == "environment"


def test_two_applications_live_side_by_side(make_app):
    first, second = make_app(MY_OWN=1), make_app(MY_OWN=2)
    assert first.test_client().get("/healthz").status_code == 200
    assert (first.config["MY_OWN"], second.config["MY_OWN"]) == (1, 2)


def test_development_starts_without_any_setting(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(f"{PACKAGE.name}.instance_path", lambda: str(tmp_path))
    app = create_app()
    assert app.debug
    assert "SECRET_KEY is not set" in caplog.text
    with app.app_context():
        assert Path(db.engine.url.database) == tmp_path / "app.db"


def test_a_page_that_reads_what_it_did_not_declare_fails_its_test(app):
    app.add_url_rule("/page", "page", cache.cached(60)(lambda: request.args["lang"]))
    with pytest.raises(UndeclaredInput, match="query parameter lang"):
        app.test_client().get("/page?lang=en")


def test_the_instance_folder_is_the_projects(monkeypatch, tmp_path):
    assert Path(config.instance_path()) == Path(__file__).parents[1] / "instance"
    # Installed, and so in no src/: the working directory's.
    monkeypatch.setattr(config, "PACKAGE", tmp_path / "site-packages" / PACKAGE.name)
    assert Path(config.instance_path()) == Path.cwd() / "instance"


def test_sqlite_enforces_foreign_keys_and_writes_ahead(app):
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA busy_timeout")) == 5000


class Hidden:
    """An importer that has everything but the library."""

    def find_spec(self, name, *_):
        if name == "flask_coherent_cache":
            raise ModuleNotFoundError(name=name)


def test_without_the_library_it_says_where_that_is(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("flask_coherent_cache")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="It comes with this project, in vendor/"):
        runpy.run_path(str(PACKAGE / "__init__.py"))
