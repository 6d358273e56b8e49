"""Settings: what is accepted, what is refused, and in which words."""

import re

import pytest
from click.testing import CliRunner
from flask.cli import FlaskGroup

from package import load, name

config = load("config")
KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIURSSVj4xH4XCHkeW4QxOuC3FyfIowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUwNDI1MzdaGA8yMTI2MTEwMTA0MjUz
N1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFMU
uSmqiCxrTe0L26NQoUwbQoJBW+vUyqRrxrXcAQe0g8zB5crMnQ8vYx422tVLVCIx
jIiG0aBrKqqc2kb54fejUzBRMB0GA1UdDgQWBBSbuu3VrIdyd9aC6gvcQ9V6t5Di
JTAfBgNVHSMEGDAWgBSbuu3VrIdyd9aC6gvcQ9V6t5DiJTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCY0i9+mX5rfM8doLAanB0BIAKNl+f4Hflt
5tUHyZjkJAIhAM6pSjkl0SI9rtOL68MVY3FgwiQ/T1rZLtdYLx24CAPe
-----END CERTIFICATE-----
"""
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY}


def read(**environment):
    return config.load({}, environment)


@pytest.fixture
def _certificate_file(tmp_path, monkeypatch):
    """``one.pem`` holds a certificate, and no key."""
    (tmp_path / "one.pem").write_text(CERTIFICATE)
    monkeypatch.chdir(tmp_path)


def refusal(**environment) -> str:
    with pytest.raises(config.ConfigurationError) as caught:
        read(**environment)
    return str(caught.value)


def test_defaults_of_development():
    settings = read()
    assert settings["APP_ENV"] == "development"
    assert settings["DEBUG"] is True
    assert settings["CACHE_TYPE"] == "SimpleCache"
    assert settings["CACHE_KEY_PREFIX"] == name()
    assert re.fullmatch("dev-[0-9a-f]{12}", settings["RELEASE"])
    assert settings["LOG_FORMAT"] == "text"
    assert settings["SESSION_COOKIE_SECURE"] is False
    assert settings["TRUSTED_HOSTS"] is None
    assert settings["SQLALCHEMY_DATABASE_URI"] == "sqlite:///app.db"
    assert settings["API_TOKEN"] is None


def test_defaults_of_production():
    settings = read(**PRODUCTION)
    assert settings["DEBUG"] is False
    assert settings["CACHE_TYPE"] == "RedisCache"
    assert settings["LOG_FORMAT"] == "json"
    assert settings["SESSION_COOKIE_SECURE"] is True
    assert settings["HSTS_SECONDS"] == 31_536_000
    assert settings["TRUSTED_HOSTS"] == ["localhost", "127.0.0.1"]
    assert re.fullmatch("[0-9a-f]{12}", settings["RELEASE"])


def test_every_setting_has_its_type():
    settings = read(
        WEB_CONCURRENCY="3",
        CACHE_GRACE="1.5",
        SESSION_COOKIE_SECURE="yes",
        TRUSTED_HOSTS="shop.example, .other.example",
        CACHE_MEMCACHED_SERVERS="one:11211,two:11211",
        SECRET_KEY_FALLBACKS="old,older",
    )
    assert settings["WEB_CONCURRENCY"] == 3
    assert settings["CACHE_GRACE"] == 1.5
    assert settings["SESSION_COOKIE_SECURE"] is True
    assert settings["TRUSTED_HOSTS"][:2] == ["shop.example", ".other.example"]
    assert settings["CACHE_MEMCACHED_SERVERS"] == ["one:11211", "two:11211"]
    assert settings["SECRET_KEY_FALLBACKS"] == ["old", "older"]


def test_an_empty_value_is_no_value():
    assert read(API_TOKEN="", CACHE_POOL_SIZE=" ")["CACHE_POOL_SIZE"] == 8


def test_the_pool_of_the_cache_follows_the_threads():
    assert read(GUNICORN_THREADS="16")["CACHE_POOL_SIZE"] == 20


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
        ("SESSION_COOKIE_SECURE", "2", "true or false"),
        ("HSTS_SECONDS", "1e9", "a whole number from 0"),
        ("WEB_CONCURRENCY", "many", "a whole number from 1 to 256"),
        ("GUNICORN_THREADS", "0", "a whole number from 1 to 256"),
        ("GUNICORN_TIMEOUT_SECONDS", "0", "a whole number from 1"),
        ("CACHE_TYPE", "Tape", "one of SimpleCache, RedisCache, MemcachedCache, NullCache"),
        ("CACHE_DEFAULT_TIMEOUT", "0", "a whole number from 1"),
        ("CACHE_KEY_PREFIX", "a:b", "letters, digits"),
        ("CACHE_REDIS_HOST", "http://redis", "a host name"),
        ("CACHE_REDIS_PORT", "70000", "a whole number from 1 to 65535"),
        ("CACHE_REDIS_TLS", "rediss", "true or false"),
        ("CACHE_REDIS_CA_FILE", "/nowhere/ca.pem", "the path of a file of certificates"),
        ("CACHE_REDIS_CA_FILE", "/", "the path of a file of certificates"),
        ("CACHE_REDIS_CERT_FILE", "/nowhere/client.pem", "the path of a file of certificates"),
        ("CACHE_REDIS_KEY_FILE", "/nowhere/client.key", "the path of a file"),
        ("CACHE_MEMCACHED_SERVERS", "memcached", "host:port"),
        ("CACHE_MEMCACHED_SERVERS", "memcached:99999", "host:port"),
        ("CACHE_CONNECT_TIMEOUT_SECONDS", "0", "a number of seconds from 0.01 to 30"),
        ("CACHE_SOCKET_TIMEOUT_SECONDS", "nan", "a number of seconds"),
        ("CACHE_POOL_SIZE", "0", "a whole number from 1"),
        ("CACHE_THRESHOLD", "0", "a whole number from 1"),
        ("CACHE_MAX_BYTES", "64M", "a whole number from 1024"),
        ("CACHE_COMPRESS_MIN_BYTES", "1k", "a whole number from 0"),
        ("CACHE_GRACE", "-1", "a number of seconds from 0"),
        ("CACHE_LEASE_SECONDS", "0", "a number of seconds from 0.1"),
        ("CACHE_WAIT_SECONDS", "soon", "a number of seconds from 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_do(setting, value, remedy):
    message = refusal(**{setting: value})
    assert f"- {setting} is '{value}': " in message
    assert remedy in message


def test_all_errors_come_at_once():
    message = refusal(
        APP_ENV="production", WEB_CONCURRENCY="many", PROXY_COUNT="x", DEBUG="1", SECRET_KEY=""
    )
    for setting in ("WEB_CONCURRENCY", "PROXY_COUNT", "DEBUG", "SECRET_KEY"):
        assert f"- {setting} " in message


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "mysql://me:hunter2@host/db"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "postgresql://me:hunter2@host:port/db"),
        ("CACHE_REDIS_URL", "http://:hunter2@host"),
        ("SECRET_KEY", "hunter2"),
    ],
)
def test_no_message_shows_a_secret(setting, value):
    message = refusal(APP_ENV="production", **{"SECRET_KEY": KEY, setting: value})
    assert setting in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h:abc/0", "redis://h:99999/0", "redis://:p/w@h/0", "redis://h/name"),
        *("redis://h/0?socket_timeout=x", "http://h", "redis://h/0?ssl_cert_reqs=required"),
        *("rediss://h/0?ssl_cert_reqs=yes", "rediss://h/0?surprise=1", "redis://h/0?timeout=x"),
    ],
)
def test_a_url_that_redis_py_does_not_take_is_refused(url):
    assert "CACHE_REDIS_URL will not do" in refusal(CACHE_REDIS_URL=url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://h",
            "redis:///0",
            "redis://[::1]:6379/0/",
            "redis://:pw@h:6379/0",
            "rediss://user:pw@h/1?ssl_cert_reqs=required",
        ),
        "unix:///run/redis.sock?db=1",
    ],
)
def test_a_url_that_redis_py_takes(url):
    assert read(CACHE_REDIS_URL=url)["CACHE_REDIS_URL"] == url


@pytest.mark.usefixtures("_certificate_file")
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"CACHE_REDIS_TLS": "true", "CACHE_REDIS_URL": "redis://:hunter2@h"}, "rediss://"),
        ({"CACHE_REDIS_TLS": "true", "CACHE_REDIS_URL": "unix:///run/s"}, "rediss://"),
        ({"CACHE_REDIS_CA_FILE": "one.pem"}, "CACHE_REDIS_CA_FILE is set, but"),
        (
            {"CACHE_REDIS_CA_FILE": "one.pem", "CACHE_REDIS_URL": "redis://:hunter2@h"},
            "CACHE_REDIS_CA_FILE is set, but",
        ),
        ({"CACHE_REDIS_TLS": "true", "CACHE_REDIS_KEY_FILE": "one.pem"}, "_CERT_FILE is not"),
        (
            {"CACHE_REDIS_TLS": "true", "CACHE_REDIS_CERT_FILE": "one.pem"},
            "CACHE_REDIS_CERT_FILE holds no certificate whose private key is there",
        ),
        (
            {"CACHE_REDIS_TLS": "true", "CACHE_REDIS_CERT_FILE": "one.pem"}
            | {"CACHE_REDIS_KEY_FILE": "one.pem"},
            "CACHE_REDIS_CERT_FILE holds no certificate whose private key is there",
        ),
    ],
)
def test_settings_of_tls_that_do_not_go_together_are_refused(settings, problem):
    message = refusal(**settings)
    assert problem in message
    assert "hunter2" not in message


@pytest.mark.usefixtures("_certificate_file")
@pytest.mark.parametrize(
    "settings",
    [
        {"CACHE_REDIS_URL": "rediss://h", "CACHE_REDIS_CA_FILE": "one.pem"},
        {"CACHE_REDIS_TLS": "true", "CACHE_REDIS_CA_FILE": "one.pem"},
        {"CACHE_REDIS_URL": "rediss://h", "CACHE_REDIS_TLS": "true"},
        {"CACHE_REDIS_URL": "rediss://h?ssl_check_hostname=yes&ssl_cert_reqs=required"},
    ],
)
def test_tls_by_url_and_by_parts(settings):
    taken = read(**PRODUCTION, **settings)
    assert {name: str(taken[name]).replace("True", "true") for name in settings} == settings


@pytest.mark.parametrize(
    "query",
    [
        *("ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"),
        *("ssl_check_hostname=0", "db=1&ssl_cert_reqs=none", "ssl%5Fcert_reqs=none"),
    ],
)
def test_production_verifies_the_server_that_it_speaks_tls_with(query):
    url = f"rediss://:hunter2@h/0?{query}"
    message = refusal(**PRODUCTION, CACHE_REDIS_URL=url)
    assert "CACHE_REDIS_URL switches off" in message
    assert "hunter2" not in message
    assert read(CACHE_REDIS_URL=url)["CACHE_REDIS_URL"] == url


@pytest.mark.parametrize(
    "key",
    [
        *("short", "x" * 40, "change-me-change-me-change-me-0123456789", "Your-Secret-Key-" + KEY),
        *("your-key-goes-here-your-key-goes-here-1", "qwertyuiopasdfghjklzxcvbnm1234567890"),
        *("abcdefghijklmnopqrstuvwxyz7531902468", "k7Qm2Zx9" * 4),
    ],
)
def test_production_refuses_a_weak_key(key):
    assert "SECRET_KEY will not do" in refusal(APP_ENV="production", SECRET_KEY=key)
    assert "SECRET_KEY_FALLBACKS will not do" in refusal(**PRODUCTION, SECRET_KEY_FALLBACKS=key)


def test_production_refuses_to_start_without_a_key():
    assert "SECRET_KEY is not set" in refusal(APP_ENV="production")


@pytest.mark.parametrize("setting", ["DEBUG", "FLASK_DEBUG"])
def test_production_refuses_debug(setting):
    assert "production needs it off" in refusal(**PRODUCTION, **{setting: "1"})


def test_the_toolbar_is_for_development_with_debug():
    assert read()["CACHE_TOOLBAR"] is True
    assert read(DEBUG="false")["CACHE_TOOLBAR"] is False
    assert read(APP_ENV="testing")["CACHE_TOOLBAR"] is False
    assert read(**PRODUCTION)["CACHE_TOOLBAR"] is False
    assert "CACHE_TOOLBAR is on" in refusal(**PRODUCTION, CACHE_TOOLBAR="true")


def test_production_refuses_the_cache_of_one_process_for_several():
    message = refusal(**PRODUCTION, CACHE_TYPE="SimpleCache", WEB_CONCURRENCY="2")
    assert "SimpleCache and WEB_CONCURRENCY is 2" in message
    assert read(**PRODUCTION, CACHE_TYPE="SimpleCache", WEB_CONCURRENCY="1")


def test_development_draws_another_key_at_each_start():
    assert read()["SECRET_KEY"] != read()["SECRET_KEY"]
    assert read()["SECRET_KEY_IS_RANDOM"]
    assert not read(SECRET_KEY="mine")["SECRET_KEY_IS_RANDOM"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_by_psycopg_3(scheme):
    settings = read(DATABASE_URL=f"{scheme}://me:pw@host/name", GUNICORN_THREADS="6")
    assert settings["SQLALCHEMY_DATABASE_URI"] == "postgresql+psycopg://me:pw@host/name"
    options = settings["SQLALCHEMY_ENGINE_OPTIONS"]
    assert options["pool_pre_ping"] is True
    assert options["pool_size"] == 6
    assert options["connect_args"]["connect_timeout"] == 2


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://h/d?prepare_threshold=0", "postgresql://h/d?autocommit=1"),
        *("postgresql://h/d?row_factory=x", "postgresql://h/d?sslmode=require&surprise=1"),
        *("sqlite:///app.db?timeout=soon", "sqlite:///app.db?surprise=1"),
    ],
)
def test_parameters_of_a_url_that_the_driver_does_not_take_are_refused(url):
    assert "DATABASE_URL has parameters" in refusal(DATABASE_URL=url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?sslmode=verify-full&application_name=shop&options=-c%20jit%3Doff",
        "sqlite:///app.db?timeout=9",
        "sqlite:///app.db?check_same_thread=false",
    ],
)
def test_parameters_of_a_url_that_the_driver_takes(url):
    assert read(DATABASE_URL=url)["DATABASE_URL"] == url


@pytest.mark.parametrize("path", ["/dev/null/app.db", "/nowhere/app.db"])
def test_a_file_whose_folder_is_not_there_is_refused(path):
    message = refusal(DATABASE_URL=f"sqlite:///{path}")
    assert f"DATABASE_URL names the file {path}, whose folder is not there" in message


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_that_cannot_be_written_is_refused(monkeypatch, tmp_path, exists):
    if exists:
        (tmp_path / "app.db").touch()
    monkeypatch.setattr(config.os, "access", lambda *_: False)
    assert "of this process may not write" in refusal(DATABASE_URL=f"sqlite:///{tmp_path}/app.db")


def test_without_a_url_the_folder_of_the_instance_is_needed(monkeypatch, tmp_path):
    (tmp_path / "instance").write_text("")
    monkeypatch.setattr(config, "instance_path", lambda: str(tmp_path / "instance"))
    assert "instance/app.db" in refusal()


def test_a_command_says_in_words_what_is_wrong(monkeypatch):
    # The command sets it, and it would stay.
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "false")
    group = FlaskGroup(create_app=lambda: load().create_app(APP_ENV="staging"), load_dotenv=False)
    result = CliRunner().invoke(group, ["routes"])
    assert result.exit_code == 1
    assert "Error: The settings are wrong:\n- APP_ENV is 'staging'" in result.output
    assert "Traceback" not in result.output


def test_sqlalchemys_own_setting_wins():
    settings = config.load({"SQLALCHEMY_DATABASE_URI": "sqlite://"}, {"DATABASE_URL": ""})
    assert settings["SQLALCHEMY_DATABASE_URI"] == "sqlite://"


def test_the_texts_of_the_project_are_its_defaults():
    settings = read()
    assert settings["SITE_NAME"]
    assert settings["SITE_DESCRIPTION"]
    assert read(SITE_NAME="Ünïcode 🛒")["SITE_NAME"] == "Ünïcode 🛒"


def test_the_release_changes_with_the_sources(monkeypatch, tmp_path):
    before = config.source_hash.__wrapped__()
    (tmp_path / "about.toml").write_text("")
    monkeypatch.setattr(config, "PACKAGE", tmp_path)
    assert config.source_hash.__wrapped__() != before


@pytest.mark.parametrize("url", ["sqlite:///app.db", "postgresql://me:pw@host/name"])
def test_an_error_of_a_statement_tells_no_parameters_in_production(url):
    for environment, hidden in ((PRODUCTION, True), ({}, False)):
        options = read(DATABASE_URL=url, **environment)["SQLALCHEMY_ENGINE_OPTIONS"]
        assert options["hide_parameters"] is hidden
