"""Flask-Principal: an identity on ``g``, and permissions that views and templates ask for."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, current_app, redirect, render_template, request

from flask_coherent_cache import Cache
from visits import (
    CACHED,
    NO_PAGE,
    NOBODY,
    NOT_INSTALLED,
    PER_USER,
    Page,
    Site,
    Visitor,
    not_cached,
    raises,
)

principal: Any = pytest.importorskip("flask_principal", reason=NOT_INSTALLED)

TEMPLATES = {
    "public.html": "<p>Hello all</p>",
    "menu.html": "<p>{% if admin.can() %}admin{% else %}not admin{% endif %}</p>",
    "fragment.html": "{% cache 60, 'menu' %}{% if admin.can() %}admin{% else %}not admin"
    "{% endif %}{% endcache %}",
}
REFUSED, RAISES = not_cached("session"), raises("session")

#: Ann is an administrator, Bob is not, and each sees which.
PAGES = [
    Page("/", "Hello all", CACHED),
    Page("/public", "<p>Hello all</p>", CACHED),
    Page("/menu", "<p>{name}</p>", REFUSED, RAISES),
    Page("/my-menu", "<p>{name}</p>", PER_USER),
    Page("/in-view", "{name}", REFUSED, RAISES),
    Page("/my-view", "{name}", PER_USER),
    Page("/memoized", "{name}", PER_USER, RAISES),
    Page("/fragment", "{name}", NO_PAGE, raises("session")),
]
#: Only for who is signed in; nobody else is let in.
GUARDED = [
    Page("/guarded", "For admins", PER_USER, nobody=403),
    Page("/guarded-below", "For admins", PER_USER, nobody=403),
    Page("/guarded-shared", "For admins", REFUSED, nobody=403),
    Page("/guarded-inside", "For admins", PER_USER, nobody=403),
]
ADMIN = principal.Permission(principal.RoleNeed("admin"))


def sign_in_views(app: Flask) -> None:
    """Register Flask-Principal as its documentation does."""
    principal.Principal(app)

    @principal.identity_loaded.connect_via(app)  # type: ignore[untyped-decorator]
    def on_identity_loaded(_: Flask, identity: Any) -> None:
        if identity.id == "ann":
            identity.provides.add(principal.RoleNeed("admin"))

    @app.post("/sign-in")
    def sign_in() -> Any:
        identity = principal.Identity(request.form["name"])
        principal.identity_changed.send(current_app._get_current_object(), identity=identity)
        return redirect("/")


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the tables."""
    sign_in_views(app)
    public, private = cache.cached(), cache.cached(private=True)

    def role() -> str:
        return "admin" if ADMIN.can() else "not admin"

    @cache.memoize(make_name=lambda _: "role")
    def memoized_role() -> str:
        return role()

    def inside() -> str:
        with ADMIN.require(403):
            return "For admins"

    def register(path: str, call: Callable[[], str], *decorators: Callable[..., Any]) -> None:
        def view() -> str:
            return call()

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_") or "index"
        decorated: Callable[..., Any] = view
        for decorate in reversed(decorators):
            decorated = decorate(decorated)
        app.add_url_rule(path, view_func=decorated)

    require = ADMIN.require(403)
    menu = lambda: render_template("menu.html", admin=ADMIN)  # noqa: E731 - one of many
    register("/", lambda: "Hello all", public)
    register("/public", lambda: render_template("public.html"), public)
    register("/menu", menu, public)
    register("/my-menu", menu, private)
    register("/in-view", role, public)
    register("/my-view", role, private)
    register("/memoized", memoized_role, private)
    register("/fragment", lambda: render_template("fragment.html", admin=ADMIN))
    register("/guarded", lambda: "For admins", require, private)
    register("/guarded-below", lambda: "For admins", private, require)
    register("/guarded-shared", lambda: "For admins", require, public)
    register("/guarded-inside", inside, private)


def signed_in(site: Site, name: str) -> Visitor:
    """A visitor who signed in."""
    visitor = site.visitor(name)
    assert visitor.post("/sign-in", name=name).status_code == 302
    visitor.shown = "admin" if name == "ann" else "not admin"
    return visitor


def test_nobody_has_anothers_permissions(build: Callable[..., Site]) -> None:
    site = build(views, TEMPLATES)
    nobody = site.visitor()
    nobody.shown = "not admin"
    site.tour(PAGES, [signed_in(site, "ann"), signed_in(site, "bob"), nobody])


def test_who_may_not_gets_no_cached_page(build: Callable[..., Site]) -> None:
    site = build(views, TEMPLATES)
    bob = signed_in(site, "bob")
    bob.name = NOBODY
    site.tour(GUARDED, [signed_in(site, "ann"), bob, site.visitor()])


def test_what_a_handler_reads_goes_with_the_identity(build: Callable[..., Site]) -> None:
    """Its handlers are the owner's, and reach a page by the identity only."""

    def register(app: Flask, cache: Cache) -> None:
        sign_in_views(app)

        @principal.identity_loaded.connect_via(app)  # type: ignore[untyped-decorator]
        def on_identity_loaded(_: Flask, identity: Any) -> None:
            if request.headers.get("X-Office") == "yes":
                identity.provides.add(principal.RoleNeed("admin"))

        @app.get("/")
        @cache.cached()
        def index() -> str:
            return "Hello all"

        @app.get("/my-view")
        @cache.cached(private=True)
        def my_view() -> str:
            return "admin" if ADMIN.can() else "not admin"

    site = build(register)
    here, there = signed_in(site, "bob"), signed_in(site, "bob")
    here.shown, here.headers = "admin", {"X-Office": "yes"}
    pages = [
        Page("/", "Hello all", CACHED),
        Page("/my-view", "{name}", not_cached("X-Office"), raises("X-Office")),
    ]
    site.tour(pages, [here, there])
