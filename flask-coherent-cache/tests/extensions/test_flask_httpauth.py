"""Flask-HTTPAuth: by password, by token, and by a header of one's own."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, render_template

from flask_coherent_cache import Cache
from visits import (
    CACHED,
    NOBODY,
    NOT_INSTALLED,
    PER_USER,
    Page,
    Site,
    Verdict,
    Visitor,
    not_cached,
    raises,
)

flask_httpauth: Any = pytest.importorskip("flask_httpauth", reason=NOT_INSTALLED)

PASSWORDS = {"ann": "ann-password", "bob": "bob-password"}
TOKENS = {"ann-token": "ann", "bob-token": "bob"}
HEADER = "Authorization"

PAGES = [
    Page("/shared", "Hello {name}", not_cached(HEADER), nobody=401),
    Page("/members", "Members only", not_cached(HEADER), nobody=401),
    Page("/private", "Hello {name}", PER_USER, nobody=401),
    Page("/private-below", "Hello {name}", PER_USER, nobody=401),
    Page("/optional", "Hello {name}", PER_USER),
    Page("/optional-shared", "Hello {name}", not_cached(HEADER)),
    Page("/by-callable", "Hello {name}", PER_USER, nobody=401),
    Page("/memoized", "Hello {name}", PER_USER, raises(HEADER), nobody=401),
]


def views(app: Flask, cache: Cache, auth: Any) -> None:
    """Register the pages of the table."""

    def who() -> str:
        return f"Hello {auth.current_user() or NOBODY}"

    @cache.memoize(make_name=lambda _: "greeting")
    def greeting() -> str:
        return who()

    @app.get("/")
    @cache.cached()
    def index() -> str:
        return "Hello all"

    @app.get("/template")
    @cache.cached()
    def template() -> str:
        return render_template("public.html")

    @app.get("/members")
    @auth.login_required
    @cache.cached()
    def members() -> str:
        return "Members only"

    def register(path: str, *decorators: Callable[..., Any], call: Any = who) -> None:
        def view() -> Any:
            return call()

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_")
        decorated: Callable[..., Any] = view
        for decorate in reversed(decorators):
            decorated = decorate(decorated)
        app.add_url_rule(path, view_func=decorated)

    private = cache.cached(private=True)
    register("/shared", auth.login_required, cache.cached())
    register("/private", auth.login_required, private)
    register("/private-below", private, auth.login_required)
    register("/optional", auth.login_required(optional=True), private)
    register("/optional-shared", auth.login_required(optional=True), cache.cached())
    register("/by-callable", auth.login_required, cache.cached(private=auth.current_user))
    register("/memoized", auth.login_required, private, call=greeting)


TEMPLATES = {"public.html": "<p>Hello all</p>"}


def basic(app: Flask, cache: Cache) -> None:
    """Ask for a password, as Flask-HTTPAuth's documentation does."""
    auth = flask_httpauth.HTTPBasicAuth()

    @auth.verify_password  # type: ignore[untyped-decorator]
    def verify_password(name: str, password: str) -> str | None:
        return name if PASSWORDS.get(name) == password else None

    views(app, cache, auth)


def token(app: Flask, cache: Cache) -> None:
    """Ask for a token, as Flask-HTTPAuth's documentation does."""
    auth = flask_httpauth.HTTPTokenAuth(scheme="Bearer")
    auth.verify_token(TOKENS.get)
    views(app, cache, auth)


def basic_header(name: str, password: str) -> dict[str, str]:
    """Write the header of a name and a password."""
    return {HEADER: "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


def visitors(site: Site, header: Callable[[str], dict[str, str]]) -> list[Visitor]:
    """Two users and somebody without a header."""
    three = site.visitors("ann", "bob", NOBODY)
    for visitor in three[:2]:
        visitor.headers = header(visitor.name)
    return three


def test_by_password(build: Callable[..., Site]) -> None:
    site = build(basic, TEMPLATES)
    site.tour(PAGES, visitors(site, lambda name: basic_header(name, PASSWORDS[name])))


def test_by_token(build: Callable[..., Site]) -> None:
    site = build(token, TEMPLATES)
    site.tour(PAGES, visitors(site, lambda name: {HEADER: f"Bearer {name}-token"}))


def test_a_wrong_password_opens_no_cached_page(build: Callable[..., Site]) -> None:
    site = build(basic, TEMPLATES)
    ann = visitors(site, lambda name: basic_header(name, PASSWORDS[name]))[0]
    paths = ("/private", "/private-below", "/by-callable", "/members", "/shared")
    thief = site.visitor("ann")
    for _ in range(2):
        for path in paths:
            thief.headers = basic_header("ann", "guess")
            assert thief.get(path).status_code == 401
            thief.headers = {}
            assert thief.get(path).status_code == 401
            thief.headers = {HEADER: "Basic \xff\xff"}
            assert thief.get(path).status_code == 401
            assert ann.get(path).status_code == 200


def test_a_password_that_was_changed_opens_no_guarded_page(build: Callable[..., Site]) -> None:
    """The decorator above the cache is asked on a hit, too."""
    changing = dict(PASSWORDS)

    def register(app: Flask, cache: Cache) -> None:
        auth = flask_httpauth.HTTPBasicAuth()
        auth.verify_password(lambda name, given: name if changing.get(name) == given else None)
        views(app, cache, auth)

    site = build(register, TEMPLATES)
    ann = visitors(site, lambda name: basic_header(name, PASSWORDS[name]))[0]
    for path in ("/private", "/by-callable"):
        assert [ann.get(path).text for _ in range(2)] == ["Hello ann"] * 2
    changing["ann"] = "another"
    for path in ("/private", "/by-callable"):
        assert ann.get(path).status_code == 401


def test_by_a_header_of_its_own(build: Callable[..., Site]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        auth = flask_httpauth.HTTPTokenAuth(header="X-API-Key")
        auth.verify_token(TOKENS.get)
        views(app, cache, auth)

        @app.get("/declared")
        @auth.login_required
        @cache.cached(vary=("X-API-Key",))
        def declared() -> str:
            return f"Hello {auth.current_user()}"

    site = build(register, TEMPLATES)
    key = "X-API-Key"
    pages = [
        Page("/", "Hello all", CACHED),
        Page("/template", "<p>Hello all</p>", CACHED),
        Page("/shared", "Hello {name}", not_cached(key), nobody=401),
        Page("/members", "Members only", not_cached(key), nobody=401),
        Page("/private", "Hello {name}", not_cached(key), nobody=401),
        Page("/optional-shared", "Hello {name}", not_cached(key)),
        Page("/by-callable", "Hello {name}", PER_USER, nobody=401),
        Page("/declared", "Hello {name}", Verdict(entries=2), nobody=401),
    ]
    site.tour(pages, visitors(site, lambda name: {key: f"{name}-token"}))
