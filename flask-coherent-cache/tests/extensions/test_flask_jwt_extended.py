"""Flask-JWT-Extended: a token in a header or in a cookie, and a callable that names its owner."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, jsonify, request

from flask_coherent_cache import Cache
from visits import (
    NOBODY,
    NOT_INSTALLED,
    PER_USER,
    Page,
    Site,
    Visitor,
    not_cached,
    raises,
)

jwt: Any = pytest.importorskip("flask_jwt_extended", reason=NOT_INSTALLED)

HEADER, COOKIE = "Authorization", "access_token_cookie"
REVOKED: set[str] = set()


def pages(named: str) -> list[Page]:
    """The table; a token comes by ``named``."""
    return [
        Page("/shared", "Hello {name}", not_cached(named), nobody=401),
        Page("/members", "Members only", not_cached(named), nobody=401),
        Page("/by-identity", "Hello {name}", PER_USER, nobody=401),
        Page("/by-identity-below", "Hello {name}", PER_USER, nobody=401),
        Page("/user", "Hello {name}", PER_USER, nobody=401),
        Page("/optional-shared", "Hello {name}", not_cached(named)),
        Page("/memoized", "Hello {name}", PER_USER, raises(named), nobody=401),
    ]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table, as the documentation does."""
    manager = jwt.JWTManager(app)

    @manager.user_lookup_loader  # type: ignore[untyped-decorator]
    def user_lookup(_: Any, payload: dict[str, Any]) -> dict[str, str]:
        return {"name": payload["sub"]}

    @manager.token_in_blocklist_loader  # type: ignore[untyped-decorator]
    def is_revoked(_: Any, payload: dict[str, Any]) -> bool:
        return payload["sub"] in REVOKED

    @app.post("/login")
    def login() -> Any:
        token = jwt.create_access_token(identity=request.form["name"])
        response = jsonify(access_token=token)
        jwt.set_access_cookies(response, token)
        return response

    @app.get("/")
    @cache.cached()
    def index() -> str:
        return "Hello all"

    @app.get("/members")
    @jwt.jwt_required()
    @cache.cached()
    def members() -> str:
        return "Members only"

    def who() -> str:
        return f"Hello {jwt.get_jwt_identity() or NOBODY}"

    def identity() -> Any:
        jwt.verify_jwt_in_request()
        return jwt.get_jwt_identity()

    @cache.memoize(make_name=lambda _: "greeting")
    def greeting() -> str:
        return who()

    def register(path: str, *decorators: Callable[..., Any], call: Any = who) -> None:
        def view() -> Any:
            return call()

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_")
        decorated: Callable[..., Any] = view
        for decorate in reversed(decorators):
            decorated = decorate(decorated)
        app.add_url_rule(path, view_func=decorated)

    own, required = cache.cached(private=jwt.get_jwt_identity), jwt.jwt_required()
    register("/shared", required, cache.cached())
    register("/by-identity", required, own)
    register("/by-identity-below", cache.cached(private=identity), required)
    register("/user", required, own, call=lambda: f"Hello {jwt.current_user['name']}")
    register("/optional", jwt.jwt_required(optional=True), own)
    register("/optional-shared", jwt.jwt_required(optional=True), cache.cached())
    register("/private", required, cache.cached(private=True))
    register("/memoized", required, own, call=greeting)


@pytest.fixture(autouse=True)
def _nobody_is_revoked() -> None:
    REVOKED.clear()


def make_site(build: Callable[..., Site], location: str) -> Site:
    """Build the site for tokens from ``headers`` or ``cookies``."""
    settings = {
        "JWT_SECRET_KEY": "j" * 40,
        "JWT_TOKEN_LOCATION": [location],
        "JWT_COOKIE_CSRF_PROTECT": False,
    }
    return build(views, **settings)


def signed_in(site: Site, location: str) -> list[Visitor]:
    """Two users with a token, and somebody without."""
    visitors = site.visitors("ann", "bob", NOBODY)
    for visitor in visitors[:2]:
        answer = visitor.post("/login", name=visitor.name)
        assert answer.json is not None
        if location == "headers":
            visitor.client.delete_cookie(COOKIE)
            visitor.headers = {HEADER: f"Bearer {answer.json['access_token']}"}
    return visitors


def test_a_token_in_a_header(build: Callable[..., Site]) -> None:
    site = make_site(build, "headers")
    private = Page("/private", "Hello {name}", PER_USER, nobody=401)
    site.tour([*pages(HEADER), private], signed_in(site, "headers"))


def test_a_token_in_a_cookie(build: Callable[..., Site]) -> None:
    """``private=True`` knows the session's cookie, and no other."""
    site = make_site(build, "cookies")
    private = Page("/private", "Hello {name}", not_cached(COOKIE), nobody=401)
    site.tour([*pages(COOKIE), private], signed_in(site, "cookies"))


@pytest.mark.parametrize("location", ["headers", "cookies"])
def test_nobody_is_a_user_of_none(build: Callable[..., Site], location: str) -> None:
    """A callable that returns ``None`` sends the request past the cache."""
    site = make_site(build, location)
    ann, bob, nobody = signed_in(site, location)
    for number in range(3):
        for visitor in (ann, bob, nobody):
            answer = visitor.get("/optional")
            assert answer.text == f"Hello {visitor.name}"
            if visitor is nobody:
                assert not site.has_cache or "; hit" not in answer.headers["Cache-Status"]
            else:
                assert number == 0 or site.is_hit(answer)


@pytest.mark.parametrize("location", ["headers", "cookies"])
def test_a_revoked_or_old_token_opens_no_cached_page(
    build: Callable[..., Site], location: str
) -> None:
    site = make_site(build, location)
    ann, bob, _ = signed_in(site, location)
    paths = ("/by-identity", "/by-identity-below", "/user", "/members")
    for path in paths:
        assert [ann.get(path).status_code for _ in range(2)] == [200, 200]
    REVOKED.add("ann")
    for path in paths:
        assert ann.get(path).status_code == 401
        assert bob.get(path).status_code == 200
    REVOKED.clear()
    with site.app.app_context():
        old = jwt.create_access_token("ann", expires_delta=timedelta(seconds=-10))
    ann.headers = {HEADER: f"Bearer {old}"}
    ann.client.set_cookie(COOKIE, old)
    for path in paths:
        assert ann.get(path).status_code == 401
