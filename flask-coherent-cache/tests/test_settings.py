"""The table of settings, and how values are read, refused and reported by it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache import Cache
from flask_coherent_cache._functions.functions import is_strict
from flask_coherent_cache.settings import SETTINGS, Setting, read

NUMBERS = {name: setting for name, setting in SETTINGS.items() if setting.kind.most is not None}


@pytest.mark.parametrize(("name", "setting"), SETTINGS.items())
def test_each_setting_has_help_and_a_default_that_will_do(name: str, setting: Setting) -> None:
    assert re.fullmatch(r"[A-Z].*[^.]\.", setting.help)
    assert setting.kind.use
    if setting.default is None:
        assert read({name: None}) == read({})
    else:
        values, problems = read({name: setting.default})
        assert not problems
        default = setting.default
        assert values[name] == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize(("name", "setting"), NUMBERS.items())
def test_each_number_has_bounds_that_hold(name: str, setting: Setting) -> None:
    least, most = setting.kind.least, setting.kind.most
    assert least is not None
    assert most is not None
    for value in (least, most, f" {most} "):
        assert read({name: value})[1] == []
    for value in (least - 1, most + 1, "many", "nan", True, [1]):
        _, (problem,) = read({name: value})
        assert problem.startswith(f"{name} is ")
        assert problem.endswith(f": use {setting.kind.use}.")


def test_each_number_is_one() -> None:
    assert len(NUMBERS) > 20
    assert NUMBERS.keys() == {
        name
        for name, setting in SETTINGS.items()
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool)
    }


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("CACHE_THRESHOLD", "500", 500),
        ("CACHE_THRESHOLD", 500.0, 500),
        ("CACHE_VERIFY", "0.01", 0.01),
        ("CACHE_NEAR_BYTES", None, None),
        ("CACHE_DEFAULT_TIMEOUT", timedelta(milliseconds=1500), 2),
        ("CACHE_TYPE", "redis", "RedisCache"),
        ("CACHE_REDIS_TLS", "yes", True),
        ("CACHE_TOOLBAR", "Off", False),
        ("CACHE_REDIS_USERNAME", "", None),
        ("CACHE_MEMCACHED_SERVERS", "one:11211, [::1]:11211", ["one:11211", "[::1]:11211"]),
        ("SECRET_KEY_FALLBACKS", "old, older", ["old", "older"]),
        ("CACHE_DIR", "/cache", "/cache"),
        ("CACHE_HASH_METHOD", None, None),
        ("CACHE_REDIS_HOST", None, "localhost"),
        ("RELEASE", None, "dev"),
        ("RELEASE", 7, "7"),
        ("WEB_CONCURRENCY", None, None),
        ("CACHE_REDIS_PASSWORD", 12345, "12345"),
        ("CACHE_MEMCACHED_SERVERS", ["one", "/sock"], ["one:11211", "/sock"]),
    ],
)
def test_a_value_is_read_from_text_or_as_it_is(name: str, given: Any, value: Any) -> None:
    values, problems = read({name: given, "OTHER": 1})
    assert not problems
    assert read({name: given}, production=True)[1] == []
    assert values[name] == value
    assert type(values[name]) is type(value)
    assert "OTHER" not in values


@pytest.mark.parametrize(
    ("name", "value", "use"),
    [
        ("CACHE_TYPE", "Tape", "use NullCache, SimpleCache"),
        ("CACHE_TYPE", 7, "use a name"),
        ("CACHE_KEY_PREFIX", "a:b:c", "without a colon"),
        ("CACHE_KEY_PREFIX", None, "without a colon"),
        ("CACHE_REDIS_TLS", "rediss", "true or false"),
        ("CACHE_REDIS_HOST", "http://redis", "a host name"),
        ("CACHE_REDIS_KEY_FILE", "/", "the path of a file"),
        ("CACHE_THRESHOLD", 1.5, "a whole number"),
        ("CACHE_LEASE_SECONDS", timedelta(1), "a number of seconds"),
        ("CACHE_MEMCACHED_SERVERS", "one:0", "host:port"),
        ("CACHE_MEMCACHED_SERVERS", 11211, "host:port"),
        ("CACHE_OPTIONS", "threshold", "a dictionary"),
        ("RELEASE", "", "a text"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_use(name: str, value: Any, use: str) -> None:
    values, (problem,) = read({name: value})
    assert f"{name} is {value!r}" in problem
    assert use in problem
    assert values[name] == SETTINGS[name].default


def test_a_default_timeout_of_0_stores_nothing_as_its_help_says() -> None:
    cache = Cache(app := Flask("shop"), config={"CACHE_DEFAULT_TIMEOUT": 0})
    computed: list[int] = []

    @cache.memoize()
    def count() -> int:
        computed.append(1)
        return len(computed)

    with app.app_context():
        assert [count(), count()] == [1, 2]
        cache.set("name", "value")
        assert cache.get("name") is None
    assert "0: nothing is stored" in SETTINGS["CACHE_DEFAULT_TIMEOUT"].help


@pytest.mark.parametrize(
    ("given", "strict"), [(None, True), ("", True), ("off", False), (False, False), ("on", True)]
)
@pytest.mark.parametrize("own", [True, False])
def test_strictness_is_what_the_setting_says(given: Any, strict: bool, own: bool) -> None:
    app = Flask("shop")
    app.testing = True
    settings = {"CACHE_STRICT": given}
    app.config.update({} if own else settings)
    cache = Cache(app, config=settings if own else None)
    assert is_strict(app.extensions["cache"][cache]) is strict


def test_what_was_read_can_be_the_configuration() -> None:
    app = Flask("shop")
    app.testing = True
    app.config.update(read({"CACHE_INSPECTOR": "false"})[0])
    cache = Cache(app)
    assert is_strict(app.extensions["cache"][cache])


def test_a_switch_that_is_text_is_off_for_all_that_look_at_the_configuration() -> None:
    app = Flask("shop")
    app.config.update(CACHE_INSPECTOR="false", CACHE_TOOLBAR="no", CACHE_SURROGATE_KEYS="0")
    Cache(app)
    assert app.config["CACHE_INSPECTOR"] is app.config["CACHE_TOOLBAR"] is False
    assert app.config["CACHE_SURROGATE_KEYS"] is False


def test_all_problems_come_at_once() -> None:
    _, problems = read({"CACHE_TYPE": "Tape", "CACHE_GRACE": -1, "CACHE_POOL_SIZE": "few"})
    assert [problem.split()[0] for problem in problems] == [
        "CACHE_TYPE", "CACHE_GRACE", "CACHE_POOL_SIZE",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"CACHE_GRACE is -1(.|\n)*CACHE_POOL_SIZE is 'few'"):
        Cache(Flask("shop"), config={"CACHE_GRACE": -1, "CACHE_POOL_SIZE": "few"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE_REDIS_URL", "http://:hunter2@host"),
        ("CACHE_REDIS_URL", ["hunter2"]),
        ("CACHE_REDIS_PASSWORD", ["hunter2"]),
    ],
)
def test_no_sentence_shows_a_secret(name: str, value: Any) -> None:
    _, (problem,) = read({name: value})
    assert problem.startswith(f"{name} will not do")
    assert "hunter2" not in problem


def test_the_callers_defaults_come_first() -> None:
    values, problems = read({"CACHE_GRACE": "9"}, CACHE_KEY_PREFIX="shop", CACHE_GRACE=3)
    assert (values["CACHE_KEY_PREFIX"], values["CACHE_GRACE"], problems) == ("shop", 9, [])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CACHE_TOOLBAR": "true"}, "CACHE_TOOLBAR is on"),
        ({"WEB_CONCURRENCY": "2"}, "SimpleCache and WEB_CONCURRENCY is 2"),
        ({"CACHE_REDIS_URL": "rediss://h?ssl_cert_reqs=none"}, "CACHE_REDIS_URL switches off"),
    ],
)
def test_production_refuses_what_is_unsafe(settings: dict[str, str], words: str) -> None:
    assert read(settings)[1] == []
    (problem,) = read(settings, production=True)[1]
    assert words in problem
