"""Tags, generations and plain values: the same on every backend."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, g

calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh_calls() -> None:
    calls.clear()


@pytest.fixture
def price(cache: Any) -> Any:
    """A memoized function that depends on a row."""

    @cache.memoize(60, make_name=lambda name: "price")
    def price(product: int) -> int:
        calls["price"] += 1
        cache.tag(f"product:{product}", "product:*")
        return product * 100

    return price


def in_a_context(app: Flask, function: Callable[[], Any]) -> Any:
    """Call as another request or job would: nothing was read before."""
    with app.app_context():
        return function()


def test_a_second_call_is_a_hit(app: Flask, price: Any) -> None:
    assert [in_a_context(app, lambda: price(4)) for _ in range(3)] == [400] * 3
    assert calls["price"] == 1


def test_a_tag_drops_what_was_built_from_it_and_nothing_else(
    app: Flask, cache: Any, price: Any
) -> None:
    in_a_context(app, lambda: (price(1), None))
    in_a_context(app, lambda: (price(2), None))
    in_a_context(app, lambda: cache.invalidate("product:1"))
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: price(2))
    assert calls["price"] == 3


def test_a_clock_that_was_started_below_the_tags_catches_up(
    app: Flask, cache: Any, price: Any
) -> None:
    """Another host knows Memcached's time to a second only."""
    store, clock = cache.engine.store, f"{cache.engine.prefix}:clock"
    if type(store).__name__ != "MemcachedStore":
        pytest.skip("it knows its time to a microsecond")
    in_a_context(app, lambda: price(1))
    store.put(clock, b"%d" % (int(store.get_many([clock])[0]) - 1_000_000), None)
    store.put(f"{cache.engine.prefix}:generation", b"another@memcached", None)
    for _ in range(4):
        in_a_context(app, lambda: price(1))
    assert calls["price"] <= 3


def test_an_invalidation_during_a_fill_leaves_nothing_stale(app: Flask, cache: Any) -> None:
    stock = [3]

    @cache.memoize(60, make_name=lambda name: "slow")
    def slow() -> int:
        cache.tag("stock")
        value = stock[0]
        if value == 3:
            stock[0] = 2
            in_a_context(app, lambda: cache.invalidate("stock"))
        return value

    assert in_a_context(app, slow) == 3
    assert in_a_context(app, slow) == 2


def test_an_outer_entry_depends_on_the_inner_ones_also_when_they_are_hits(
    app: Flask, cache: Any, price: Any
) -> None:
    @cache.memoize(60, make_name=lambda name: "total")
    def total() -> int:
        calls["total"] += 1
        return int(price(1)) + int(price(2))

    in_a_context(app, lambda: price(1))
    in_a_context(app, total)
    in_a_context(app, lambda: cache.invalidate("product:1"))
    in_a_context(app, total)
    assert calls["total"] == 2


def label(cents: int) -> str:
    calls["label"] += 1
    return f"{cents} ct"


def label_of_g(cents: int) -> str:
    calls["label"] += 1
    return f"{cents + g.cents} ct"


@pytest.mark.parametrize(("function", "fills"), [(label, 1), (label_of_g, 2)])
def test_what_was_read_before_a_fill_counts_where_something_leads_back_to_it(
    app: Flask, cache: Any, price: Any, function: Callable[[int], str], fills: int
) -> None:
    cached = cache.memoize(60)(function)

    def read_then_fill() -> str:
        g.cents = int(price(1))
        return str(cached(5))

    in_a_context(app, read_then_fill)
    in_a_context(app, lambda: cache.invalidate("product:1"))
    in_a_context(app, read_then_fill)
    assert calls["label"] == fills


def test_clear_makes_everything_invalid(app: Flask, cache: Any, price: Any) -> None:
    in_a_context(app, lambda: price(1))
    in_a_context(app, cache.clear)
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 2


@pytest.mark.parametrize("lost", ["clock", "generation", "tag:product:1"])
def test_a_store_that_loses_a_key_costs_a_computation(
    app: Flask, cache: Any, price: Any, lost: str
) -> None:
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: cache.engine.store.delete([f"app:{lost}"]))
    assert in_a_context(app, lambda: price(1)) == 100
    assert calls["price"] == 2
    assert in_a_context(app, lambda: price(1)) == 100
    assert calls["price"] == 2


def test_an_invalidation_without_a_clock_is_not_lost(app: Flask, cache: Any, price: Any) -> None:
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: cache.engine.store.delete(["app:clock"]))
    in_a_context(app, lambda: cache.invalidate("product:1"))
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 2


def test_a_tag_in_doubt_validates_nothing_until_it_is_settled(
    app: Flask, cache: Any, price: Any
) -> None:
    in_a_context(app, lambda: price(1))
    token = in_a_context(app, lambda: cache.engine.mark(["product:1"]))
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 3
    in_a_context(app, lambda: cache.engine.invalidate(["product:1"], token))
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 4


def test_one_writer_does_not_settle_the_doubt_of_another(
    app: Flask, cache: Any, price: Any
) -> None:
    with app.app_context():
        first = cache.engine.mark(["product:1"])
        second = cache.engine.mark(["product:1"])
        cache.engine.invalidate(["product:1"], first)
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 2
    in_a_context(app, lambda: cache.engine.invalidate(["product:1"], second))
    in_a_context(app, lambda: price(1))
    in_a_context(app, lambda: price(1))
    assert calls["price"] == 3


def test_plain_values(app: Flask, cache: Any) -> None:
    with app.app_context():
        assert cache.get("greeting") is None
        assert cache.set("greeting", "hello", timeout=60)
        assert cache.get("greeting") == "hello"
        assert not cache.add("greeting", "again")
        assert cache.add("other", [1, 2])
        assert cache.get_many("greeting", "other") == ["hello", [1, 2]]
        assert cache.get_dict("greeting") == {"greeting": "hello"}
        assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
        assert cache.has("a")
        assert cache.delete_many("a", "b") == ["a", "b"]
        assert not cache.has("a")
        assert cache.unlink("other") == ["other"]
        cache.delete("greeting")
        assert cache.get("greeting") is None
        cache.set("greeting", "hello", timeout=0)
        assert cache.get("greeting") is None


def test_a_fill_depends_on_the_plain_keys_that_it_reads(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "banner")
    def banner() -> str:
        return f"*** {cache.get('motto')} ***"

    in_a_context(app, lambda: cache.set("motto", "one"))
    assert in_a_context(app, banner) == "*** one ***"
    in_a_context(app, lambda: cache.set("motto", "two"))
    assert in_a_context(app, banner) == "*** two ***"
    in_a_context(app, lambda: cache.delete("motto"))
    assert in_a_context(app, banner) == "*** None ***"


def test_two_releases_share_tags_and_not_entries(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    old_app, old = make_app(RELEASE="1", CACHE_KEY_PREFIX="two")
    new_app, new = make_app(RELEASE="2", CACHE_KEY_PREFIX="two")
    if old_app.config["CACHE_TYPE"] == "SimpleCache":
        pytest.skip("SimpleCache is not shared")
    with new_app.app_context():
        new.set("motto", "new")
    with old_app.app_context():
        assert old.get("motto") is None

    @old.memoize(60, make_name=lambda name: "old")
    def shown() -> int:
        calls["shown"] += 1
        old.tag("product:1")
        return calls["shown"]

    in_a_context(old_app, shown)
    in_a_context(new_app, lambda: new.invalidate("product:1"))
    assert in_a_context(old_app, shown) == 2


def test_a_prefix_does_not_run_into_another(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    app, cache = make_app(CACHE_KEY_PREFIX="app_")
    other_app, other = make_app(CACHE_KEY_PREFIX="app_staging_")
    in_a_context(other_app, lambda: other.set("motto", "kept"))
    in_a_context(app, cache.clear)
    assert in_a_context(other_app, lambda: other.get("motto")) == "kept"


@pytest.mark.parametrize("tags", [("",), (None,)])
def test_tags_must_be_names(app: Flask, cache: Any, tags: Any) -> None:
    with app.app_context(), pytest.raises(ValueError, match="tag"):
        cache.invalidate(*tags)


def test_two_tenants_share_tags_and_not_entries(app: Flask, cache: Any) -> None:
    tenant = ["north"]
    cache.tenant(lambda: tenant[0])

    @cache.memoize(60, make_name=lambda name: "greeting")
    def greeting() -> str:
        calls[tenant[0]] += 1
        cache.tag("greetings")
        return f"Hello {tenant[0]}"

    @app.get("/")
    @cache.cached(60)
    def page() -> str:
        return f"page of {tenant[0]}"

    def visit(name: str) -> None:
        tenant[0] = name
        assert in_a_context(app, greeting) == f"Hello {name}"
        assert app.test_client().get("/").get_data(as_text=True) == f"page of {name}"
        in_a_context(app, lambda: cache.set("mine", name))

    for name in ("north", "south", "north"):
        visit(name)
    assert calls == {"north": 1, "south": 1}
    assert in_a_context(app, lambda: cache.get("mine")) == "north"
    in_a_context(app, lambda: cache.invalidate("greetings"))
    for name in ("north", "south"):
        visit(name)
    assert calls == {"north": 2, "south": 2}


def test_a_digest_names_a_value_alike_in_all_releases_and_only_under_the_secret(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    names = []
    for secret, release in (("one" * 20, "r1"), ("one" * 20, "r2"), ("two" * 20, "r1")):
        app, cache = make_app(SECRET_KEY=secret, RELEASE=release)
        with app.app_context():
            names.append(cache.digest("ann@example.com"))
            assert cache.digest("bob@example.com") != names[-1]
    assert names[0] == names[1] != names[2]
    off, cache = make_app(SECRET_KEY="one" * 20, CACHE_TYPE="NullCache")
    with off.app_context():
        assert cache.digest("ann@example.com") == names[0]


OLD_SECRET, NEW_SECRET = "o" * 40, "n" * 40


@pytest.mark.parametrize("writer_is_new", [True, False])
def test_while_the_secret_is_replaced_a_write_reaches_what_either_secret_named(
    make_app: Callable[..., tuple[Flask, Any]], writer_is_new: bool
) -> None:
    before = {"SECRET_KEY": OLD_SECRET, "SECRET_KEY_FALLBACKS": [NEW_SECRET]}
    after = {"SECRET_KEY": NEW_SECRET, "SECRET_KEY_FALLBACKS": [OLD_SECRET], "RELEASE": "next"}
    pair = [make_app(**before), make_app(**after)]
    if not pair[0][1].engine.store.shared:
        pytest.skip("SimpleCache is not shared")

    def profile(app: Flask, cache: Any) -> Callable[[], int]:
        @cache.memoize(60, make_name=lambda name: "profile")
        def fill() -> int:
            calls["profile"] += 1
            cache.tag("user:" + cache.digest("ann@example.com"))
            return calls["profile"]

        return lambda: int(in_a_context(app, fill))

    profiles = [profile(*made) for made in pair]
    known = [shown() for shown in profiles]
    assert [shown() for shown in profiles] == known
    app, cache = pair[writer_is_new]
    with app.app_context():
        cache.invalidate(*(f"user:{digest}" for digest in cache.digests("ann@example.com")))
    assert all(shown() not in known for shown in profiles)
