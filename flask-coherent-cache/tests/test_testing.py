"""The fixture `cache_log`, and what its assertions say when they fail."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, render_template_string, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_coherent_cache import Cache, testing
from flask_coherent_cache.testing import CacheLog, close_cache, wait_until

pytest_plugins = ["pytester"]
# As pytest finds it in other projects.
cache_log = testing.cache_log

LIBRARY = Path(__file__).parents[1]
MENU = "{% cache 60, 'menu' %}{{ total() }}{% endcache %}"


class Model(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Model)


class Product(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


@pytest.fixture
def shop() -> Iterator[Flask]:
    """Two products: a page and a memoized function for each, and a menu on a page."""
    app = Flask("shop")
    app.config.update(
        TESTING=True, SECRET_KEY="k" * 40, SQLALCHEMY_DATABASE_URI="sqlite://", CACHE_STRICT=False
    )
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    db.init_app(app)
    cache.watch(db)

    @cache.memoize(60)
    def price(number: int) -> int:
        return db.get_or_404(Product, number).price

    @cache.memoize(60)
    def total() -> int:
        return len(db.session.scalars(db.select(Product.id)).all())

    @app.get("/product/<int:number>")
    @cache.cached(60)
    def product(number: int) -> str:
        return f"{price(number)}"

    @app.get("/menu")
    def menu() -> str:
        return render_template_string(MENU)

    app.add_template_global(total)

    @app.get("/personal")
    @cache.cached(60)
    def personal() -> str:
        return request.headers.get("X-Plan", "")

    @app.get("/missing")
    @cache.cached(60)
    def missing() -> str:
        abort(404)

    @app.post("/product/<int:number>")
    def change(number: int) -> Response:
        db.get_or_404(Product, number).price += 1
        db.session.commit()
        return Response(status=204)

    with app.app_context():
        db.create_all()
        db.session.add_all([Product(id=1, price=10), Product(id=2, price=20)])
        db.session.commit()
    app.extensions["price"] = price
    yield app
    with app.app_context():
        db.engine.dispose()


@contextmanager
def failing() -> Iterator[list[str]]:
    """Collect the words of an assertion that does not hold."""
    words: list[str] = []
    with pytest.raises(AssertionError) as raised:
        yield words
    words += str(raised.value).splitlines()


def test_a_page_is_filled_once_and_then_hit(shop: Flask, cache_log: CacheLog) -> None:
    client = shop.test_client()
    for _ in range(3):
        client.get("/product/1")
    cache_log.page("product").was_filled(times=1, because="new").was_hit(times=2).was_kept()
    assert [event.kind for event in cache_log.events] == ["filled", "filled", "hit", "hit"]


def test_a_commit_drops_what_was_built_from_the_row_and_nothing_else(
    shop: Flask, cache_log: CacheLog
) -> None:
    client = shop.test_client()
    client.get("/product/1")
    client.get("/product/2")
    price = cache_log.function(shop.extensions["price"])
    price.depends_on("product:2")
    client.post("/product/1")
    price.was_dropped(times=1, by="product:1")
    page = cache_log.page("product").was_dropped(times=1)
    page.was_dropped(by="POST change").was_dropped(by="test_testing.py")
    client.get("/product/1")
    cache_log.page("product").was_filled(times=3).was_filled(because="invalidated", times=1)
    cache_log.page("product").was_filled(because="product:1", times=1)


def test_a_commit_outside_a_request_is_told_by_its_line(shop: Flask, cache_log: CacheLog) -> None:
    shop.test_client().get("/product/2")
    with shop.app_context():
        db.session.get_one(Product, 2).price = 5
        db.session.commit()
    (dropped, _) = [event for event in cache_log.events if event.kind == "dropped"]
    assert dropped.why.startswith("test_testing.py:")
    assert dropped.why.endswith(" test_a_commit_outside_a_request_is_told_by_its_line")


def test_a_fragment_and_a_function_within_it(shop: Flask, cache_log: CacheLog) -> None:
    client = shop.test_client()
    client.get("/menu")
    client.get("/menu")
    cache_log.fragment("menu").was_filled(times=1).was_hit(times=1)
    cache_log.function("total").was_filled(times=1).was_hit(times=0)


def test_what_is_not_stored_says_why(shop: Flask, cache_log: CacheLog) -> None:
    client = shop.test_client()
    client.get("/personal")
    cache_log.page("personal").was_not_stored(times=1, because="undeclared: header X-Plan")
    cache_log.page("personal").was_not_stored(because="test_testing.py").was_filled(times=0)
    client.get("/missing")
    cache_log.page("missing").was_not_stored(because="status: 404")
    client.get("/product/1", headers={"Authorization": "Bearer x"})
    cache_log.page("product").was_not_stored(times=1, because="header Authorization")


def test_a_store_that_does_not_answer_takes_nothing(cache_log: CacheLog) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 40)
    url = "redis://127.0.0.1:1/0"
    cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})
    app.add_url_rule("/", "home", cache.cached(60)(lambda: f"{cache.get('nothing')}"))
    assert app.test_client().get("/").text == "None"
    cache_log.page("home").was_not_stored(times=1, because="the store did not take it")
    assert [event.kind for event in cache_log.events] == ["failed", "not stored"]
    with app.app_context():
        close_cache(cache)


def test_stale_values_and_plain_ones(shop: Flask, cache_log: CacheLog) -> None:
    (cache,) = shop.extensions["cache"]
    with shop.app_context():
        cache.get("nothing")
        cache.set("something", 1)
        assert cache.get("something") == 1
    assert [str(event) for event in cache_log.events] == [
        "value cache.get: missed",
        "value cache.get: hit",
    ]

    @shop.get("/old")
    @cache.cached(0.01, grace=60)
    def old() -> str:
        return "old"

    def is_served_stale() -> bool:
        shop.test_client().get("/old")
        return any(event.kind == "stale" for event in cache_log.events)

    wait_until(is_served_stale)
    cache_log.page("old").was_served_stale().was_filled(because="new", times=1)


def test_clearing_the_cache_drops_everything_once(shop: Flask, cache_log: CacheLog) -> None:
    (cache,) = shop.extensions["cache"]
    client = shop.test_client()
    client.get("/product/1")
    client.get("/product/2")
    with shop.app_context():
        cache.clear()
        cache.clear()
    cache_log.page("product").was_dropped(times=2, by="cache.clear()")


def test_entries_from_before_the_log_are_dropped_too(shop: Flask) -> None:
    shop.test_client().get("/product/1")
    log = CacheLog()
    with log.listening():
        shop.test_client().post("/product/1")
    log.page("product").was_dropped(times=1)
    shop.test_client().get("/product/1")
    log.page("product").was_filled(times=0)


def test_the_log_can_begin_again(shop: Flask, cache_log: CacheLog) -> None:
    shop.test_client().get("/product/1")
    cache_log.clear()
    assert str(cache_log) == "nothing"
    shop.test_client().get("/product/1")
    cache_log.page("product").was_filled(times=0).was_hit(times=1)


@pytest.mark.parametrize("before_flask", [False, True])
def test_hits_in_this_process_are_logged(
    make_app: Callable[..., tuple[Flask, Any]], cache_log: CacheLog, before_flask: bool
) -> None:
    app, cache = make_app()

    @app.get("/near")
    @cache.cached(60)
    def near() -> str:
        return "near"

    if before_flask:
        cache.serve_before_flask(app)
    client = app.test_client()

    def asked() -> int:
        client.get("/near")
        return cache_log.page("near").events.count(cache_log.events[-1])

    wait_until(lambda: asked() >= 20)
    cache_log.page("near").was_filled(times=1).was_hit(times=20)


@pytest.mark.parametrize("answers", ["aaa", "abc"], ids=["the same", "another"])
def test_a_hit_that_differs_is_said_at_the_end(answers: str) -> None:
    app, left = Flask("shop"), iter(answers)
    app.config.update(SECRET_KEY="k" * 40, CACHE_VERIFY=1, CACHE_STRICT=False)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "home", cache.cached(60)(lambda: next(left)))
    client = app.test_client()
    assert {client.get("/").text for _ in range(2)} == {"a"}
    with app.app_context():
        if answers == "aaa":
            close_cache(cache)
            return
        with failing() as words:
            close_cache(cache)
    assert words == ["What is computed now differs from what was served: ['page home']"]


def test_a_cache_that_is_switched_off_has_nothing_to_close() -> None:
    app = Flask("off")
    cache = Cache(app, config={"CACHE_TYPE": "NullCache"})
    with app.app_context():
        close_cache(cache)


def test_an_assertion_that_fails_says_what_happened(shop: Flask, cache_log: CacheLog) -> None:
    client = shop.test_client()
    client.get("/product/1")
    client.get("/product/1")
    with failing() as words:
        cache_log.page("product").was_filled(times=2)
    assert words[0] == "The page product was filled once, not twice. What happened:"
    assert words[1].startswith(f"1. function {__name__}.shop.<locals>.price: filled (new), ")
    assert words[2].startswith("2. page product: filled (new), depends on ")
    assert words[3:] == ["3. page product: hit"]
    with failing() as words:
        cache_log.page("product").was_dropped(by="product:2")
    assert words[0] == "The page product was never dropped (product:2). What happened:"
    with failing() as words:
        cache_log.page("product").depends_on("product:1", "category:3")
    assert words[0] == "The page product does not depend on category:3. What happened:"
    client.post("/product/1")
    with failing() as words:
        cache_log.page("product").was_kept()
    assert words[0] == "The page product was dropped once, not never. What happened:"


def test_a_name_that_nothing_has_is_asked_about(shop: Flask, cache_log: CacheLog) -> None:
    shop.test_client().get("/product/1")
    with failing() as words:
        cache_log.page("roduct").was_hit()
    assert words[0] == (
        "The page roduct was never hit. No cache did anything for it: is this its name? "
        "What happened:"
    )


OWNERS_TEST = """
from flask import Flask
from flask_coherent_cache import Cache, testing

def test_a_page(cache_log):
    app = Flask("shop")
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "home", cache.cached(60)(lambda: "home"))
    for _ in range(2):
        app.test_client().get("/")
    cache_log.page("home").was_filled().was_hit(times=2)
"""


def test_pytest_finds_the_fixture_and_shows_the_words_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY / "src"), prepend=":")
    pytester.makepyfile(OWNERS_TEST)
    result = pytester.runpytest_subprocess("-p", "flask_coherent_cache.testing")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *AssertionError: The page home was hit once, not twice. What happened:", "E *2. page*"]
    )
    assert "__tracebackhide__" not in result.stdout.str()


def test_the_plugin_is_declared_by_the_name_of_its_module() -> None:
    pyproject = tomllib.loads((LIBRARY / "pyproject.toml").read_text(encoding="utf-8"))
    module = "flask_coherent_cache.testing"
    assert pyproject["project"]["entry-points"]["pytest11"] == {module: module}
