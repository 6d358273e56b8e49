"""What applications on Flask-Caching rely on, beside what its own tests say."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request

import flask_coherent_cache
from flask_coherent_cache import Cache

calls: list[Any] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


@pytest.fixture
def made() -> tuple[Flask, Any]:
    """An application on SimpleCache, for what is the same on all stores."""
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 40, CACHE_STRICT=True)
    return app, Cache(app)


def number() -> int | None:
    calls.append("number")
    return len(calls)


def nothing() -> None:
    calls.append("nothing")


def fetch(app: Flask, *paths: str) -> list[str]:
    client = app.test_client()
    return [client.get(path).text for path in paths]


def test_is_stale_is_asked_of_a_page_on_every_store(app: Flask, cache: Any) -> None:
    seen = []

    def is_stale(page: Response) -> bool:
        seen.append(page.get_data(as_text=True))
        return page.get_data() == b"1"

    app.add_url_rule("/", "page", cache.cached(60, is_stale=is_stale)(lambda: f"{number()}"))
    assert fetch(app, "/", "/", "/") == ["1", "2", "2"]
    assert seen == ["1", "2"]


def test_is_stale_gets_the_arguments_of_a_view_that_asks_for_them(made: tuple[Flask, Any]) -> None:
    app, cache = made
    seen = []

    @app.route("/<name>")
    @cache.cached(60, is_stale=lambda page, name: seen.append(name))
    def page(name: str) -> str:
        return name

    fetch(app, "/ann", "/ann")
    assert seen == ["ann"]


def test_a_page_that_asks_is_stale_is_not_served_before_flask(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app()
    cache.serve_before_flask(app)
    stale: list[bool] = []
    view = cache.cached(60, is_stale=lambda page: bool(stale))(lambda: f"{number()}")
    app.add_url_rule("/", "page", view)
    assert fetch(app, "/", "/", "/") == ["1", "1", "1"]
    stale.append(True)
    assert fetch(app, "/") == ["2"]


def test_a_key_that_is_assigned_is_a_view_s_key(made: tuple[Flask, Any]) -> None:
    app, cache = made

    @app.route("/")
    @cache.cached(60)
    def page() -> str:
        return f"{request.args['a']} {number()}"

    page.make_cache_key = lambda **_: request.args["a"]
    assert fetch(app, "/?a=x", "/?a=y", "/?a=x") == ["x 1", "y 2", "x 1"]
    with app.app_context():
        cache.delete("x")
    assert fetch(app, "/?a=x", "/?a=y") == ["x 3", "y 2"]


def test_a_key_that_is_assigned_is_a_function_s_key(made: tuple[Flask, Any]) -> None:
    app, cache = made
    cached = cache.cached(60, key_prefix="number")(number)
    cached.make_cache_key = lambda **_: "another"
    with app.app_context():
        assert [cached(), cached()] == [1, 1]
        cache.delete("number")
        assert cached() == 1
        cache.delete("another")
        assert cached() == 2


def test_pages_are_deleted_by_the_name_that_flask_caching_gives_them(
    made: tuple[Flask, Any],
) -> None:
    app, cache = made

    @app.route("/works")
    @cache.cached(60, query_string=True)
    def works() -> str:
        return f"{request.args.get('limit')} {number()}"

    assert fetch(app, "/works?limit=1", "/works?limit=2") == ["1 1", "2 2"]
    with app.app_context():
        cache.delete(works.make_cache_key(path="/works", query_args={"limit": 1}))
    assert fetch(app, "/works?limit=1", "/works?limit=2") == ["1 3", "2 2"]
    with app.app_context():
        cache.delete_cached(works, "/works", "limit=2")
    assert fetch(app, "/works?limit=1", "/works?limit=2") == ["1 3", "2 4"]
    with app.app_context():
        cache.delete_cached(works, "/works")
    assert fetch(app, "/works?limit=1", "/works?limit=2") == ["1 5", "2 6"]


def test_pages_of_a_blueprint_are_deleted(made: tuple[Flask, Any]) -> None:
    app, cache = made
    shop = Blueprint("inner", __name__, url_prefix="/shop")

    @shop.route("/<name>")
    @cache.cached(60)
    def page(name: str) -> str:
        return f"{name} {number()}"

    app.register_blueprint(shop, name="renamed")
    assert fetch(app, "/shop/a", "/shop/b") == ["a 1", "b 2"]
    with app.app_context():
        cache.delete_cached(page, name="a")
    assert fetch(app, "/shop/a", "/shop/b") == ["a 3", "b 2"]


class Numbers:
    """Its method looks at nothing of an instance."""

    def square(self, number: int) -> int:
        calls.append(number)
        return number * number

    def looks_around(self, number: int) -> int:
        calls.append(number)
        return number * len(locals())

    def of_itself(self, number: int) -> int:
        calls.append(number)
        return sum(each * len(self.__dict__) for each in [number])

    def __caching_id__(self) -> str:
        return "numbers"


@pytest.mark.parametrize(
    ("method", "dropped"), [("square", [2]), ("looks_around", [2, 3]), ("of_itself", [2, 3])]
)
@pytest.mark.parametrize("ignored", [None, ["self"]])
def test_to_delete_a_call_drops_no_other_that_came_after_it(
    made: tuple[Flask, Any], method: str, dropped: list[int], ignored: list[str] | None
) -> None:
    """A method that looks at its instance may find there what was read before."""
    app, cache = made
    memoized = cache.memoize(60, args_to_ignore=ignored)(getattr(Numbers, method))
    numbers = Numbers()
    with app.app_context():
        memoized(numbers, 2)
        memoized(numbers, 3)
    with app.app_context():
        cache.delete_memoized(memoized, numbers, 2)
        calls.clear()
        memoized(numbers, 2)
        memoized(numbers, 3)
    assert calls == dropped


def test_to_delete_a_key_drops_no_function_that_came_after_it(made: tuple[Flask, Any]) -> None:
    app, cache = made
    first = cache.cached(60, key_prefix="first")(number)
    second = cache.cached(60, key_prefix="second")(number)
    with app.app_context():
        assert [first(), second()] == [1, 2]
    with app.app_context():
        cache.delete("first")
        assert [first(), second()] == [3, 2]


def test_none_is_not_stored_where_that_is_said(made: tuple[Flask, Any]) -> None:
    app, cache = made
    with app.app_context():
        for decorator in (cache.memoize, cache.cached):
            for options in ({"cache_none": False}, {"cache_none": True}, {}):
                key = {"key_prefix": repr(options)} if decorator == cache.cached else {}
                name = {} if key else {"make_name": lambda name, options=options: repr(options)}
                cached = decorator(60, **options, **key, **name)(nothing)
                calls.clear()
                assert [cached(), cached()] == [None, None]
                assert len(calls) == (2 if options.get("cache_none") is False else 1)


def test_the_source_is_in_a_key_where_settings_that_come_later_say_so() -> None:
    cache = Cache()
    memoized, fixed = cache.memoize(60)(number), cache.cached(60, key_prefix="fixed")(number)
    app = Flask("shop")
    app.config["CACHE_SOURCE_CHECK"] = True
    view = cache.cached(60)(lambda: f"{number()}")
    app.add_url_rule("/", "page", view)
    cache.init_app(app)
    plain = Cache(app, config={"CACHE_SOURCE_CHECK": False}).memoize(60)(number)
    with app.test_request_context():
        assert memoized.make_cache_key(number) != plain.make_cache_key(number)
        assert fixed.make_cache_key() != "fixed"
        assert [fixed(), fixed()] == [1, 1]
        cache.delete(fixed.make_cache_key())
        assert fixed() == 2
    assert fetch(app, "/", "/") == ["3", "3"]
    with app.app_context():
        cache.delete_cached(view, "/")
    assert fetch(app, "/") == ["4"]


def test_a_page_of_another_source_is_another(made: tuple[Flask, Any]) -> None:
    app, cache = made

    def first() -> str:
        return "first"

    def second() -> str:
        return "second"

    app.add_url_rule("/", "page", cache.cached(60, source_check=True)(first))
    assert fetch(app, "/") == ["first"]
    app.view_functions["page"] = cache.cached(60, source_check=True)(second)
    assert fetch(app, "/") == ["second"]


def test_options_of_a_backend_are_settings(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("shop")
    app.config["CACHE_OPTIONS"] = {"threshold": 7, "default_timeout": timedelta(minutes=1), "a": 1}
    with caplog.at_level(logging.WARNING):
        cache = Cache(app)
    assert "CACHE_OPTIONS['a'] changes nothing" in caplog.text
    assert cache.engine.store._max_entries == 7
    with app.app_context():
        assert [cache.memoize()(number)() for _ in range(2)] == [1, 1]
        cache.set("a", 1)
        assert cache.get("a") == 1


def test_a_serializer_is_refused_or_said_to_change_nothing() -> None:
    app = Flask("shop")
    with pytest.raises(ValueError, match="CACHE_SERIALIZER"):
        Cache(app, config={"CACHE_SERIALIZER": "json"})
    from cachelib.serializers import JSONSerializer  # noqa: PLC0415 - of this test alone

    with pytest.warns(UserWarning, match="CACHE_SERIALIZER changes nothing"):
        Cache(app, config={"CACHE_SERIALIZER": JSONSerializer})


def test_the_extension_of_templates_can_be_left_out() -> None:
    app = Flask("shop")
    Cache(app, with_jinja2_ext=False)
    assert not app.jinja_env.extensions.keys() & {"flask_caching.jinja2ext.CacheExtension"}
    assert not any("Fragment" in name for name in app.jinja_env.extensions)


def test_what_is_imported_from_flask_caching_can_be_imported_from_here() -> None:
    for name in ("make_template_fragment_key", "cache_view_hit", "CachedResponse", "Cache"):
        assert name in flask_coherent_cache.__all__


def test_a_key_with_the_source_is_known_before_there_is_an_application() -> None:
    cache = Cache()
    keys = [
        cache.memoize(60, source_check=check)(number).make_cache_key(number)
        for check in (None, True)
    ]
    assert len({*keys}) == 2
