"""Settings: what is accepted, what is refused, and in which words.

Those of the cache (`CACHE_…`) are checked by the library, and tested there.
"""

import os
import re

import pytest
from click.testing import CliRunner
from flask.cli import FlaskGroup

from {{cookiecutter.package_name}} import create_app
from {{cookiecutter.package_name}}.config import ConfigurationError, load

KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY}


def read(**environment):
    return load({}, environment)


def refusal(**environment):
    with pytest.raises(ConfigurationError) as caught:
        read(**environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {},
            {"DEBUG": True, "CACHE_TYPE": "SimpleCache", "CACHE_TOOLBAR": True}
            | {"LOG_FORMAT": "text", "SESSION_COOKIE_SECURE": False, "TRUSTED_HOSTS": None}
            | {"SQLALCHEMY_DATABASE_URI": "sqlite:///app.db", "API_TOKEN": None},
        ),
        (
            PRODUCTION,
            {"DEBUG": False, "CACHE_TYPE": "RedisCache", "CACHE_TOOLBAR": False}
            | {"LOG_FORMAT": "json", "SESSION_COOKIE_SECURE": True, "HSTS_SECONDS": 31_536_000}
            | {"TRUSTED_HOSTS": ["localhost", "127.0.0.1"]},
        ),
    ],
    ids=["development", "production"],
)
def test_defaults(environment, expected):
    settings = read(**environment)
    assert settings | expected == settings
    assert re.fullmatch("(dev-)?[0-9a-f]{12}", settings["RELEASE"])


def test_every_setting_has_its_type():
    settings = read(
        WEB_CONCURRENCY="3",
        DATABASE_TIMEOUT_SECONDS="1.5",
        SESSION_COOKIE_SECURE="yes",
        TRUSTED_HOSTS="shop.example, .other.example",
        API_TOKEN=" ",
        GUNICORN_THREADS="16",
    )
    assert settings["WEB_CONCURRENCY"] == 3
    assert settings["DATABASE_TIMEOUT_SECONDS"] == 1.5
    assert settings["SESSION_COOKIE_SECURE"] is True
    assert settings["TRUSTED_HOSTS"][:2] == ["shop.example", ".other.example"]
    assert settings["API_TOKEN"] is None, "an empty value is no value"
    assert settings["CACHE_POOL_SIZE"] == 20, "it follows the threads"


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("APP_ENV", "staging", "one of development, testing, production"),
        ("DEBUG", "perhaps", "true or false"),
        ("LOG_LEVEL", "loud", "one of DEBUG, INFO"),
        ("LOG_FORMAT", "xml", "one of text, json"),
        ("RELEASE", "a/b", "letters, digits"),
        ("TRUSTED_HOSTS", "https://shop.example", "without scheme and port"),
        ("PROXY_COUNT", "-1", "a whole number from 0 to 10"),
        ("PUBLIC_URL", "https://shop.test/here", "scheme and host"),
        ("SCRIPT_NAME", "/shop/", "without a slash at its end"),
        ("HSTS_SECONDS", "1e9", "a whole number from 0"),
        ("WEB_CONCURRENCY", "many", "a whole number from 1 to 256"),
        *(("CACHE_TYPE", "a.Cache", "one of Simple"), ("CACHE_KEY_PREFIX", "*", "letters, digits")),
        ("DATABASE_TIMEOUT_SECONDS", "soon", "a number of seconds from 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_do(setting, value, remedy):
    message = refusal(**{setting: value})
    assert f"- {setting} is '{value}': " in message
    assert remedy in message


def test_all_errors_come_at_once_those_of_the_cache_too():
    wrong = {"WEB_CONCURRENCY": "many", "PROXY_COUNT": "x", "DEBUG": "1", "CACHE_GRACE": "soon"}
    message = refusal(APP_ENV="production", **wrong)
    for setting in (*wrong, "SECRET_KEY"):
        assert f"- {setting} " in message


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("DATABASE_URL", "postgresql://me:hunter2@host:port/db"), ("DATABASE_URL", "hunter2")),
        *(("CACHE_REDIS_URL", "http://:hunter2@host"), ("SECRET_KEY", "hunter2")),
    ],
)
def test_no_message_shows_a_secret(setting, value):
    message = refusal(**PRODUCTION | {setting: value})
    assert setting in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "key",
    [
        *("short", "x" * 40, "change-me-change-me-change-me-0123456789", "Your-Secret-Key-" + KEY),
        *("qwertyuiopasdfghjklzxcvbnm1234567890", "k7Qm2Zx9" * 4),
    ],
)
def test_production_refuses_a_weak_key(key):
    assert "SECRET_KEY will not do" in refusal(APP_ENV="production", SECRET_KEY=key)
    assert "SECRET_KEY_FALLBACKS will not do" in refusal(**PRODUCTION, SECRET_KEY_FALLBACKS=key)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"DEBUG": "1"}, "production needs it off"),
        ({"FLASK_DEBUG": "1"}, "production needs it off"),
        ({"CACHE_TOOLBAR": "true"}, "CACHE_TOOLBAR is on"),
        ({"CACHE_TYPE": "SimpleCache", "WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY is 2"),
        ({"CACHE_REDIS_TLS": "true", "CACHE_REDIS_URL": "redis://h"}, "CACHE_REDIS_TLS"),
    ],
)
def test_production_refuses_what_does_not_do_there(settings, words):
    assert words in refusal(**PRODUCTION | settings)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_by_psycopg_3(scheme):
    url = f"{scheme}://me:pw@host/name?sslmode=verify-full"
    settings = read(DATABASE_URL=url, GUNICORN_THREADS="6")
    given = "postgresql+psycopg://me:pw@host/name?sslmode=verify-full"
    assert settings["SQLALCHEMY_DATABASE_URI"] == given
    options = settings["SQLALCHEMY_ENGINE_OPTIONS"]
    assert options["pool_pre_ping"] is True
    assert options["pool_size"] == 6
    assert options["connect_args"]["connect_timeout"] == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://h/d?prepare_threshold=0", "has parameters"),
        ("postgresql://h/d?sslmode=require&surprise=1", "has parameters"),
        ("sqlite:///app.db?timeout=soon", "has parameters"),
        ("sqlite:////nowhere/app.db", "names the file /nowhere/app.db, whose folder is not there"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused(url, words):
    assert f"DATABASE_URL {words}" in refusal(DATABASE_URL=url)


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_that_cannot_be_written_is_refused(monkeypatch, tmp_path, exists):
    if exists:
        (tmp_path / "app.db").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "of this process may not write" in refusal(DATABASE_URL=f"sqlite:///{tmp_path}/app.db")


def test_a_command_says_in_words_what_is_wrong(monkeypatch):
    # The command sets it, and it would stay.
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "false")
    group = FlaskGroup(create_app=lambda: create_app(APP_ENV="staging"), load_dotenv=False)
    result = CliRunner().invoke(group, ["routes"])
    assert result.exit_code == 1
    assert "Error: The settings are wrong:\n- APP_ENV is 'staging'" in result.output
    assert "Traceback" not in result.output


def test_an_error_of_a_statement_tells_no_parameters_in_production():
    for url in ("sqlite:///app.db", "postgresql://me:pw@host/name"):
        for environment, hidden in ((PRODUCTION, True), ({}, False)):
            options = read(DATABASE_URL=url, **environment)["SQLALCHEMY_ENGINE_OPTIONS"]
            assert options["hide_parameters"] is hidden
