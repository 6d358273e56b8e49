"""Flask-Limiter: who asks too often is told so, also where the page is cached."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

from flask_coherent_cache import Cache, UndeclaredInput
from visits import CACHED, NOT_INSTALLED, PER_USER, Page, Site, Visitor, not_cached, raises

flask_limiter: Any = pytest.importorskip("flask_limiter", reason=NOT_INSTALLED)
get_remote_address: Any = pytest.importorskip("flask_limiter.util").get_remote_address

ADDRESS = "REMOTE_ADDR"
#: A window as long as a year ends during no test, but for one in many millions.
PAGES = [
    Page("/", "Hello all", CACHED),
    Page("/above", "Limited", CACHED),
    Page("/below", "Limited", not_cached(ADDRESS), raises(ADDRESS)),
    Page("/by-key", "Limited", not_cached("X-API-Key")),
    Page("/exempt", "Not limited", CACHED),
    Page("/private", "Hello all", PER_USER),
    Page("/shows", "{name} are left", not_cached(ADDRESS), raises(ADDRESS)),
]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table, as Flask-Limiter's documentation does."""
    limiter = flask_limiter.Limiter(
        get_remote_address,
        app=app,
        default_limits=[app.config.get("LIMIT", "1000/year")],
        storage_uri="memory://",
        headers_enabled=True,
    )
    few = app.config.get("FEW", "1000/year")

    @app.get("/")
    @cache.cached()
    def index() -> str:
        return "Hello all"

    @app.get("/above")
    @limiter.limit(few)
    @cache.cached()
    def above() -> str:
        return "Limited"

    @app.get("/below")
    @cache.cached()
    @limiter.limit(few)
    def below() -> str:
        return "Limited"

    @app.get("/by-key")
    @limiter.limit(few, key_func=lambda: request.headers.get("X-API-Key", "none"))
    @cache.cached()
    def by_key() -> str:
        return "Limited"

    @app.get("/exempt")
    @limiter.exempt
    @cache.cached()
    def exempt() -> str:
        return "Not limited"

    @app.get("/private")
    @cache.cached(private=True)
    def private() -> str:
        return "Hello all"

    @app.get("/shows")
    @cache.cached()
    def shows() -> str:
        return f"{limiter.current_limit.limit.amount} are left"


def addresses(site: Site) -> list[Visitor]:
    """Visitors at three addresses."""
    visitors = [site.visitor(address, REMOTE_ADDR=address) for address in ("1.1.1.1", "2.2.2.2")]
    for visitor in visitors:
        visitor.shown = "1000"
    return visitors


def test_a_limit_costs_no_page_its_caching(build: Callable[..., Site]) -> None:
    site = build(views)
    # One session for all, the empty one.
    shared = [page for page in PAGES if page.path != "/private"]
    site.tour(shared, addresses(site))


@pytest.mark.parametrize("path", ["/", "/private", "/above", "/below"])
def test_who_asks_too_often_is_told_so_on_hits(build: Callable[..., Site], path: str) -> None:
    site = build(views, LIMIT="5/year", FEW="5/year")
    here, there = addresses(site)
    if path == "/below" and site.is_strict and site.has_cache:
        with pytest.raises(UndeclaredInput, match=ADDRESS):
            here.get(path)
        return
    for number in range(5):
        for visitor in (here, there):
            answer = visitor.get(path)
            assert answer.status_code == 200
            assert answer.headers["X-RateLimit-Limit"] == "5"
            assert answer.headers["X-RateLimit-Remaining"] == str(4 - number)
            assert number == 0 or path == "/below" or site.is_hit(answer)
    for _ in range(2):
        for visitor in (here, there):
            assert visitor.get(path).status_code == 429
    other = site.visitor(REMOTE_ADDR="3.3.3.3")
    assert other.get(path).status_code == 200
    assert other.get(path).headers["X-RateLimit-Remaining"] == "3"


def test_a_limit_by_key_counts_each_key(build: Callable[..., Site]) -> None:
    site = build(views, FEW="3/year")
    here, there = addresses(site)
    here.headers, there.headers = {"X-API-Key": "one"}, {"X-API-Key": "other"}
    for number in range(3):
        for visitor in (here, there):
            answer = visitor.get("/by-key")
            assert answer.headers["X-RateLimit-Remaining"] == str(2 - number)
    assert here.get("/by-key").status_code == there.get("/by-key").status_code == 429


def test_what_is_left_is_shown_to_nobody_else(build: Callable[..., Site]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        limiter = flask_limiter.Limiter(
            get_remote_address, app=app, default_limits=["10/year"], storage_uri="memory://"
        )

        @app.get("/left")
        @cache.cached()
        def left() -> str:
            return f"{limiter.current_limit.remaining} are left"

    site = build(register)
    here, there = addresses(site)
    if site.has_cache and site.is_strict:
        with pytest.raises(UndeclaredInput, match=ADDRESS):
            here.get("/left")
        return
    for number in range(3):
        assert here.get("/left").text == there.get("/left").text == f"{9 - number} are left"
