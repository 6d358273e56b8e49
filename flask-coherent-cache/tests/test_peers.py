"""Several caches in one application, one cache in several, and a cache outside of any context."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

import flask_coherent_cache as caching

Caches = tuple[Any, Any]


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Any]]:
    """Make a further cache of an application, with settings of its own."""
    made: list[tuple[Flask, Any]] = []

    def make(app: Flask, **settings: Any) -> Any:
        peer = caching.Cache(app, config={"CACHE_KEY_PREFIX": "peer", **settings})
        made.append((app, peer))
        return peer

    yield make
    for app, peer in made:
        with app.app_context():
            if peer.engine is not None:
                peer.clear()
                peer.engine.close()


@pytest.fixture
def caches(app: Flask, cache: Any, make_peer: Callable[..., Any]) -> Caches:
    """Two caches of one application on one server."""
    return cache, make_peer(app)


class Counted:
    """Functions of which each call is counted."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> int:
        self.calls += 1
        return self.calls


def test_each_cache_has_its_own_settings(app: Flask, make_peer: Callable[..., Any]) -> None:
    app.config["CACHE_DEFAULT_TIMEOUT"] = 200
    peer = make_peer(app, CACHE_DEFAULT_TIMEOUT=7, CACHE_STRICT=False)
    third = make_peer(app, CACHE_KEY_PREFIX="third", CACHE_TYPE="NullCache")
    with app.app_context():
        assert peer.settings["CACHE_DEFAULT_TIMEOUT"] == 7
        assert peer.engine.config["CACHE_DEFAULT_TIMEOUT"] == 7
        assert third.settings["CACHE_DEFAULT_TIMEOUT"] == 200
        assert third.engine is None
    assert app.config["CACHE_DEFAULT_TIMEOUT"] == 200


def test_settings_go_from_the_application_over_the_cache_to_init_app() -> None:
    app = Flask("shop")
    app.config.update(CACHE_TYPE="SimpleCache", CACHE_GRACE=1, CACHE_THRESHOLD=11)
    cache = caching.Cache(config={"CACHE_GRACE": 2, "CACHE_THRESHOLD": 22})
    cache.init_app(app, config={"CACHE_THRESHOLD": 33})
    with app.app_context():
        assert (cache.settings["CACHE_GRACE"], cache.settings["CACHE_THRESHOLD"]) == (2, 33)


def test_the_policy_of_an_entry_is_its_caches(app: Flask, make_peer: Callable[..., Any]) -> None:
    peer = make_peer(app, CACHE_DEFAULT_TIMEOUT=0)
    counted = Counted()

    @peer.memoize(make_name=str)
    def count(what: str) -> int:
        return counted(what)

    with app.app_context():
        assert [count("a"), count("a")] == [1, 2]


def test_both_hit_in_one_context(app: Flask, caches: Caches) -> None:
    one, other = caches
    first, second = Counted(), Counted()

    @one.memoize(60, make_name=str)
    def count_one(what: str) -> int:
        return first(what)

    @other.memoize(60, make_name=str)
    def count_other(what: str) -> int:
        return second(what)

    for _ in range(2):
        with app.app_context():
            assert [count_one("a"), count_other("a"), count_one("a"), count_other("a")] == [1] * 4


def test_plain_values_of_two_caches_are_two(app: Flask, caches: Caches) -> None:
    one, other = caches
    with app.app_context():
        one.set("key", 1)
        other.set("key", 2)
        assert (one.get("key"), other.get("key")) == (1, 2)
        other.delete("key")
        assert (one.get("key"), other.get("key")) == (1, None)


@pytest.mark.parametrize("drop", ["delete_memoized", "invalidate", "clear", "set"])
def test_what_is_built_from_another_cache_is_dropped_with_it(
    app: Flask, caches: Caches, drop: str
) -> None:
    one, other = caches
    counted = Counted()

    @one.memoize(60, make_name=str)
    def inner(what: str) -> int:
        one.tag("stock")
        return counted(what) + (one.get("base") or 0)

    @other.memoize(60, make_name=str)
    def outer(what: str) -> int:
        return inner(what) * 10

    with app.app_context():
        assert (outer("a"), outer("a")) == (10, 10)
    with app.app_context():
        match drop:
            case "delete_memoized":
                one.delete_memoized(inner)
            case "invalidate":
                one.invalidate("stock")
            case "clear":
                one.clear()
            case "set":
                one.set("base", 0)
    with app.app_context():
        assert outer("a") == 20


def test_clearing_one_cache_leaves_what_another_made_by_itself(app: Flask, caches: Caches) -> None:
    one, other = caches
    counted = Counted()

    @other.memoize(60, make_name=str)
    def count(what: str) -> int:
        return counted(what)

    with app.app_context():
        count("a")
        one.clear()
    with app.app_context():
        assert count("a") == 1


def test_a_shared_cache_keeps_nothing_that_was_built_in_this_process(
    app: Flask, cache: Any, make_peer: Callable[..., Any]
) -> None:
    local = make_peer(app, CACHE_TYPE="SimpleCache")
    counted = Counted()

    @local.memoize(60, make_name=str)
    def inner(what: str) -> int:
        return counted(what)

    @cache.memoize(60, make_name=str)
    def outer(what: str) -> int:
        return inner(what)

    with app.app_context():
        shared = cache.engine.store.shared
        outer("a")
        inner("b")
        local.invalidate("none")
        stored = [seen.entry is not None for seen in cache.engine.inspect([key_of(outer, "a")])]
    assert stored == [not shared]


def key_of(function: Any, *args: Any) -> str:
    key: str = function.make_cache_key(function.uncached, *args)
    return key


def test_one_prefix_on_one_server_is_refused(app: Flask, make_peer: Callable[..., Any]) -> None:
    if app.config["CACHE_TYPE"] == "SimpleCache":
        make_peer(app, CACHE_KEY_PREFIX="app")
        return
    with pytest.raises(ValueError, match="give one of them another prefix"):
        make_peer(app, CACHE_KEY_PREFIX="app")


def test_one_prefix_on_one_server_is_refused_however_it_is_spelled(
    server_settings: dict[str, Any],
) -> None:
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis on this machine")
    url = server_settings["RedisCache"]["CACHE_REDIS_URL"]
    port = int(url.rpartition(":")[2].partition("/")[0])
    app = Flask("shop")
    app.config.update(SECRET_KEY="k" * 40, CACHE_TYPE="RedisCache")
    caching.Cache(app, config={"CACHE_REDIS_URL": url})
    elsewhere = caching.Cache(app, config={"CACHE_REDIS_URL": url[:-1] + "1"})
    assert elsewhere in app.extensions["cache"]
    with pytest.raises(ValueError, match="CACHE_KEY_PREFIX 'app'"):
        caching.Cache(app, config={"CACHE_REDIS_HOST": "localhost", "CACHE_REDIS_PORT": port})
    assert len(app.extensions["cache"]) == 2


# -- the database ----------------------------------------------------------------------------


@pytest.fixture
def shop(app: Flask, caches: Caches, tmp_path: Any) -> tuple[Any, Any]:
    """A database that both caches watch, with one product."""
    db = SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/shop.db"

    class Product(db.Model):  # type: ignore[name-defined, misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    db.init_app(app)
    with app.app_context():
        for cache in caches:
            cache.watch(db)
        db.create_all()
        db.session.add(Product(id=1, name="old"))
        db.session.commit()
    return db, Product


def test_a_commit_reaches_both(app: Flask, caches: Caches, shop: tuple[Any, Any]) -> None:
    db, product = shop
    one, other = caches

    @one.memoize(60, make_name=str)
    def by_one(key: int) -> str:
        return str(db.session.get(product, key).name)

    @other.memoize(60, make_name=str)
    def by_other(key: int) -> str:
        return str(db.session.get(product, key).name)

    for order in ((by_one, by_other), (by_other, by_one)):
        for name in ("old", "new"):
            with app.app_context():
                db.session.get(product, 1).name = name
                db.session.commit()
            for _ in range(2):
                with app.app_context():
                    assert [read(1) for read in order] == [name, name]
    lookups = [
        cache.engine.statistics.lookups("function", f"{__name__}.{name}")
        for cache, name in ((one, by_one.__qualname__), (other, by_other.__qualname__))
    ]
    assert all(each.results["hit"] for each in lookups)


def test_a_rolled_back_change_reaches_neither(
    app: Flask, caches: Caches, shop: tuple[Any, Any]
) -> None:
    db, product = shop

    def read(cache: Any) -> Any:
        @cache.memoize(60, make_name=lambda name: f"{name}{id(cache)}")
        def named(key: int) -> str:
            return str(db.session.get(product, key).name)

        return named

    reads = [read(cache) for cache in caches]
    with app.app_context():
        assert [each(1) for each in reads] == ["old", "old"]
    with app.app_context():
        db.session.get(product, 1).name = "never"
        db.session.flush()
        assert [each(1) for each in reads] == ["never", "never"]
        db.session.rollback()
    with app.app_context():
        assert [each(1) for each in reads] == ["old", "old"]


def test_notes_of_one_cache_are_not_worked_off_by_another(tmp_path: Any) -> None:
    from sqlalchemy import create_engine  # noqa: PLC0415

    from flask_coherent_cache._sqlalchemy.outbox import OutboxTable, outbox_table  # noqa: PLC0415

    engine = create_engine(f"sqlite:///{tmp_path}/notes.db")
    with engine.begin() as connection:
        from sqlalchemy import MetaData  # noqa: PLC0415

        metadata = MetaData()
        outbox_table(metadata)
        metadata.create_all(connection)
    one, other = OutboxTable([engine], "one"), OutboxTable([engine], "other")
    with engine.begin() as connection:
        one.add(connection.connection, engine.dialect, {"product:1"}, in_transaction=False)
    assert list(one.read().values()) == [["product:1"]]
    assert other.read() == {}
    engine.dispose()


def test_what_is_built_from_an_entry_older_than_the_other_cache_is_cleared_with_it(
    app: Flask, cache: Any, make_peer: Callable[..., Any]
) -> None:
    inner_counted, outer_counted = Counted(), Counted()

    @cache.memoize(60, make_name=lambda _: "inner")
    def inner() -> int:
        return inner_counted("inner")

    with app.app_context():
        inner()
    peer = make_peer(app)

    @peer.memoize(60, make_name=lambda _: "outer")
    def outer() -> int:
        return 10 * inner() + outer_counted("outer")

    for _ in range(2):
        with app.app_context():
            assert outer() == 11
    cache.clear()
    with app.app_context():
        assert outer() == 22


# -- outside of a context --------------------------------------------------------------------


def test_everything_works_outside_of_a_context(app: Flask, cache: Any) -> None:
    counted = Counted()

    @cache.memoize(60, make_name=str)
    def count(what: str) -> int:
        cache.tag("stock")
        return counted(what)

    @cache.cached(60, key_prefix="all")
    def count_all() -> int:
        return counted()

    assert [count("a"), count("a"), count_all(), count_all()] == [1, 1, 2, 2]
    cache.delete_memoized(count, "a")
    assert [count("a"), count("a")] == [3, 3]
    cache.invalidate("stock")
    assert [count("a"), count("a")] == [4, 4]
    cache.delete("all")
    assert count_all() == 5
    assert cache.set("key", 1)
    assert (cache.get("key"), cache.has("key"), cache.add("key", 2)) == (1, True, False)
    assert cache.set_many({"x": 1, "y": 2}) == ["x", "y"]
    assert (cache.get_many("x", "y"), cache.get_dict("x")) == ([1, 2], {"x": 1})
    assert cache.delete_many("x", "y") == ["x", "y"]
    assert cache.check() == "ok"
    assert cache.clear()
    assert cache.get("key") is None


def test_a_thread_shares_the_entries_of_requests(app: Flask, cache: Any) -> None:
    counted, found = Counted(), list[int]()

    @cache.memoize(60, make_name=str)
    def count(what: str) -> int:
        return counted(what)

    @app.get("/")
    def page() -> str:
        return str(count("a"))

    thread = threading.Thread(target=lambda: found.append(count("a")))
    thread.start()
    thread.join()
    assert found == [1]
    assert app.test_client().get("/").text == "1"
    thread = threading.Thread(target=lambda: cache.delete_memoized(count))
    thread.start()
    thread.join()
    assert app.test_client().get("/").text == "2"


def test_what_a_fill_depends_on_is_collected_outside_of_a_context(app: Flask, cache: Any) -> None:
    counted = Counted()

    @cache.memoize(60, make_name=str)
    def inner(what: str) -> int:
        return counted(what)

    @cache.memoize(60, make_name=str)
    def outer(what: str) -> int:
        return inner(what) + (cache.get("base") or 0)

    assert (outer("a"), outer("a")) == (1, 1)
    cache.delete_memoized(inner)
    assert outer("a") == 2
    cache.set("base", 10)
    assert outer("a") == 12


def test_a_watched_database_does_not_hinder_outside_of_a_context(
    app: Flask, caches: Caches, shop: tuple[Any, Any]
) -> None:
    counted = Counted()

    @caches[0].memoize(60, make_name=str)
    def count(what: str) -> int:
        return counted(what)

    assert (count("a"), count("a")) == (1, 1)


def test_without_an_application_it_says_so() -> None:
    cache = caching.Cache()
    with pytest.raises(RuntimeError, match="serves no application yet"):
        cache.get("key")


def test_one_cache_in_several_applications(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    shop, cache = make_app(CACHE_KEY_PREFIX="shop")
    office, _ = make_app(CACHE_KEY_PREFIX="office")
    cache.init_app(office, config={"CACHE_KEY_PREFIX": "desk", "CACHE_DEFAULT_TIMEOUT": 9})
    counted = Counted()

    @cache.memoize(60, make_name=str)
    def count(what: str) -> int:
        return counted(what)

    for app, expected in ((shop, 1), (office, 2), (shop, 1), (office, 2)):
        with app.app_context():
            assert count("a") == expected
    with office.app_context():
        assert cache.settings["CACHE_DEFAULT_TIMEOUT"] == 9
        cache.engine.close()
    with pytest.raises(RuntimeError, match="serves 2 applications"):
        count("a")
    with pytest.raises(RuntimeError, match="does not know the application 'stranger'"):
        call_in(Flask("stranger"), count)


def call_in(app: Flask, function: Any) -> Any:
    with app.app_context():
        return function("a")


def test_an_application_that_is_gone_is_not_counted() -> None:
    cache = caching.Cache()
    for _ in range(2):
        app = Flask("shop")
        cache.init_app(app)
    assert cache.set("key", 1)
    assert cache.get("key") == 1


def test_the_backend_of_flask_caching(app: Flask, cache: Any) -> None:
    with app.app_context():
        backend = cache.cache
        assert backend.set("key", {"a": [1]}, timeout=60)
        assert backend.get("key") == {"a": [1]} == cache.get("key")
        assert (backend.has("key"), backend.add("key", 1)) == (True, False)
        assert backend.delete("key")
        assert cache.get("key") is None
        assert backend.set_many({"x": 1, "y": 2}) == ["x", "y"]
        assert (backend.get_many("x", "y"), backend.get_dict("x")) == ([1, 2], {"x": 1})
        assert (backend.inc("x"), backend.dec("x", 2), cache.get("x")) == (2, 0, 0)
        assert backend.delete_many("x", "y") == ["x", "y"]
        assert backend.clear()
        with pytest.raises(AttributeError, match="has no 'flush'"):
            backend.flush()
