"""A warm application against the same one without a cache: nobody can tell them apart.

The warm one runs as in production: Redis, a near cache, pages before Flask. Requests are drawn from
a seed; each is sent twice to it and once to the other.
"""

import io
import random
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from compared_answers import compare, report
from conftest import SETTINGS
from drawn_requests import Asked, Pair, requests_of
from flask_coherent_cache.testing import wait_until
from many_readers import make_site
from many_routes import ROUTES, Route
from shared_cache import SharedCache


@pytest.fixture
def pair(server_settings: dict[str, Any]) -> Iterator[Pair]:
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis and no Valkey on this machine")
    production = {"CACHE_STRICT": False, "CACHE_NEW_PAGES_PER_MINUTE": 1_000_000}
    settings = SETTINGS | production | server_settings["RedisCache"] | {"CACHE_TYPE": "RedisCache"}
    warm, cache = make_site({**settings, "CACHE_KEY_PREFIX": "warm"})
    cold, _ = make_site({**settings, "CACHE_TYPE": "NullCache"})
    sign = SecureCookieSessionInterface().get_signing_serializer(warm)
    assert sign is not None
    cookies = {name: sign.dumps({"user": name}) for name in ("ada", "bob")}
    with warm.app_context():
        cache.clear()
    follow(warm, cache)
    yield Pair(warm, cache, cold, cookies)
    with warm.app_context():
        cache.clear()
        cache.engine.close()


def follow(app: Flask, cache: Any) -> None:
    """Wait until the near cache follows its server."""
    from flask_coherent_cache._dependencies.dependencies import Dependencies  # noqa: PLC0415

    with app.app_context():
        cache.engine.observe()
        wait_until(lambda: cache.engine.near.observe(Dependencies()))


AT_LENGTH = [(1, 600), pytest.param(2, 6000, marks=pytest.mark.long)]


@pytest.mark.parametrize(("seed", "requests"), AT_LENGTH)
def test_nobody_can_tell_that_there_is_a_cache(pair: Pair, seed: int, requests: int) -> None:
    rng = random.Random(seed)
    for asked in requests_of(pair, rng, requests):
        if rng.random() < 0.02:
            pair.change_data()
        compare(pair, asked, pair.warm)
    report(pair)
    assert not list(pair.differences), "\n" + "\n".join(pair.differences.values())
    assert pair.counts["hits"] > pair.counts["answers"] // 5


@pytest.mark.parametrize(("seed", "requests"), AT_LENGTH)
def test_nobody_can_tell_that_there_is_a_shared_cache_in_front(
    pair: Pair, seed: int, requests: int
) -> None:
    """What the application says of its answers has to hold for who stores all that it may."""
    rng, shared = random.Random(seed), SharedCache(pair.warm)
    for asked in requests_of(pair, rng, requests):
        # Of an answer that no cached view gave, the application says nothing to caches.
        is_cached = asked.route is None or asked.route.options is not None
        compare(pair, asked, shared if is_cached else pair.warm)
    report(pair)
    assert not list(pair.differences), "\n" + "\n".join(pair.differences.values())
    assert shared.hits > pair.counts["answers"] // 100


@pytest.mark.parametrize("route", [route for route in ROUTES if route.hits], ids=lambda r: r.rule)
def test_each_page_that_can_be_stored_is_hit(pair: Pair, route: Route) -> None:
    for path in route.paths:
        asked = Asked(route, "GET", path, "", (("X-User", "ada"),))
        answers = [pair.ask(pair.warm, asked) for _ in range(2)]
        assert answers[1].is_hit, (path, answers[1].headers)


def test_pages_are_served_before_flask(pair: Pair) -> None:
    """What the other tests compare is in part what Flask never sees."""
    served = set()
    for route in ROUTES:
        for _ in range(4):
            environ = Asked(route, "GET", route.paths[0], "", ()).environ()
            list(pair.warm.wsgi_app(environ, lambda *_: io.BytesIO().write))
        if pair.cache.request_summary(environ).endpoint is not None:
            served.add(route.view.__name__)
    assert {"plain", "json_page", "language", "moved", "control", "query"} <= served
    assert not served & {route.view.__name__ for route in ROUTES if route.hooked}
