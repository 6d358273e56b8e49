"""Flask-Login: signed in by the session, by a cookie that remembers, or by a header."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, redirect, render_template, request

from flask_coherent_cache import Cache
from visits import (
    CACHED,
    NO_PAGE,
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

flask_login: Any = pytest.importorskip("flask_login", reason=NOT_INSTALLED)
#: Flask-Login dates its cookie by what Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:datetime\.datetime\.utcnow:DeprecationWarning")

TEMPLATES = {
    "base.html": "<main>{% block main %}{% endblock %}</main>",
    "public.html": "{% extends 'base.html' %}{% block main %}Hello all{% endblock %}",
    "greeting.html": "{% extends 'base.html' %}{% block main %}"
    "Hello {{ current_user.name }}{% endblock %}",
    "with_menu.html": "<nav>{{ current_user.name }}</nav>{% block main %}{% endblock %}",
    "inherits.html": "{% extends 'with_menu.html' %}{% block main %}Hello all{% endblock %}",
    "includes.html": "Hello all{% include 'menu.html' %}",
    "menu.html": "<nav>{{ current_user.name }}</nav>",
    "macro.html": "{% macro menu() %}<nav>{{ current_user.name }}</nav>{% endmacro %}",
    "imports.html": "{% from 'macro.html' import menu with context %}Hello all{{ menu() }}",
    "optional.html": "{% if title %}{{ title }}{% endif %}Hello {{ missing or 'all' }}",
    "fragment.html": "{% cache 60, 'greeting' %}Hello {{ current_user.name }}{% endcache %}",
    "around.html": "{{ current_user.name }}{% cache 60, 'footer' %} and all{% endcache %}",
}

#: What uses the user where the key does not hold it.
SHARED = [
    Page("/greeting", "<main>Hello {name}</main>", not_cached("session"), raises("session")),
    Page("/inherits", "<nav>{name}</nav>Hello all", not_cached("session"), raises("session")),
    Page("/includes", "Hello all<nav>{name}</nav>", not_cached("session"), raises("session")),
    Page("/imports", "Hello all<nav>{name}</nav>", not_cached("session"), raises("session")),
    Page("/in-view", "Hello {name}", not_cached("session"), raises("session")),
    Page("/members", "Members only", not_cached("session"), nobody=302),
    Page("/members-below", "Members only", not_cached("session"), raises("session"), nobody=302),
    Page("/memoized", "Hello {name}", PER_USER, raises("session")),
    Page("/fragment", "Hello {name}", NO_PAGE, NO_PAGE),
]
PAGES = [
    Page("/", "<main>Hello all</main>", CACHED),
    Page("/plain", "Hello all", CACHED),
    Page("/optional", "Hello all", CACHED),
    Page("/around", "{name} and all", NO_PAGE),
    Page("/private", "<main>Hello {name}</main>", PER_USER),
    Page("/account", "Account of {name}", PER_USER, nobody=302),
    Page("/orders", "Orders of {name}", PER_USER, nobody=302),
    Page("/orders-by-id", "Orders of {name}", PER_USER, nobody=302),
    Page("/by-callable", "<main>Hello {name}</main>", PER_USER, nobody=200),
    *SHARED,
]


class User(flask_login.UserMixin):  # type: ignore[misc]
    """A user whose id is the name."""

    def __init__(self, name: str) -> None:
        self.id = self.name = name


class Stranger(flask_login.AnonymousUserMixin):  # type: ignore[misc]
    """A visitor who is not signed in."""

    name = NOBODY


def sign_in_views(app: Flask, **options: Any) -> Any:
    """Register Flask-Login with a user loader, and how to sign in and out."""
    manager = flask_login.LoginManager()
    manager.login_view = manager.refresh_view = "sign_in"
    manager.anonymous_user = Stranger
    # A message would change the session, and with it the key.
    manager.login_message = manager.needs_refresh_message = None
    for name, value in options.items():
        setattr(manager, name, value)
    manager.init_app(app)
    manager.user_loader(User)

    @app.post("/sign-in")
    def sign_in() -> Any:
        flask_login.login_user(User(request.form["name"]), remember="remember" in request.form)
        return redirect("/")

    @app.post("/sign-out")
    @flask_login.login_required
    def sign_out() -> Any:
        flask_login.logout_user()
        return redirect("/")

    return manager


def templated(app: Flask, path: str, template: str, decorate: Callable[..., Any]) -> None:
    """Register a view that renders a template."""

    def view() -> str:
        return render_template(template)

    view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_") or "index"
    app.add_url_rule(path, view_func=decorate(view))


def site_views(app: Flask, cache: Cache) -> None:
    """Register all pages of the table."""
    sign_in_views(app)
    public, private = cache.cached(), cache.cached(private=True)
    templated(app, "/", "public.html", public)
    templated(app, "/optional", "optional.html", public)
    templated(app, "/greeting", "greeting.html", public)
    templated(app, "/inherits", "inherits.html", public)
    templated(app, "/includes", "includes.html", public)
    templated(app, "/imports", "imports.html", public)
    templated(app, "/private", "greeting.html", private)
    templated(app, "/fragment", "fragment.html", lambda view: view)
    templated(app, "/around", "around.html", lambda view: view)
    by_name = cache.cached(private=lambda: flask_login.current_user.name)
    templated(app, "/by-callable", "greeting.html", by_name)

    @app.get("/plain")
    @cache.cached()
    def plain() -> str:
        return "Hello all"

    @app.get("/in-view")
    @cache.cached()
    def in_view() -> str:
        return f"Hello {flask_login.current_user.name}"

    member_views(app, cache)
    function_views(app, cache)


def member_views(app: Flask, cache: Cache) -> None:
    """Register pages for who is signed in."""

    @app.get("/account")
    @flask_login.login_required
    @cache.cached(private=True)
    def account() -> str:
        return f"Account of {flask_login.current_user.name}"

    @app.get("/orders")
    @cache.cached(private=True)
    @flask_login.login_required
    def orders() -> str:
        return f"Orders of {flask_login.current_user.name}"

    @app.get("/members")
    @flask_login.login_required
    @cache.cached()
    def members() -> str:
        return "Members only"

    @app.get("/members-below")
    @cache.cached()
    @flask_login.login_required
    def members_below() -> str:
        return "Members only"


def function_views(app: Flask, cache: Cache) -> None:
    """Register pages whose functions are memoized."""

    @cache.memoize(make_name=lambda _: "greeting")
    def greeting() -> str:
        return f"Hello {flask_login.current_user.name}"

    @cache.memoize(make_name=lambda _: "orders_of")
    def orders_of(user_id: str) -> str:
        return f"Orders of {user_id}"

    @app.get("/memoized")
    @cache.cached(private=True)
    def memoized() -> str:
        return greeting()

    @app.get("/orders-by-id")
    @flask_login.login_required
    @cache.cached(private=True)
    def orders_by_id() -> str:
        return orders_of(flask_login.current_user.get_id())


@pytest.fixture
def site(build: Callable[..., Site]) -> Site:
    """The site of the table."""
    return build(site_views, TEMPLATES)


def signed_in(site: Site, name: str, **form: str) -> Visitor:
    """A visitor who signed in."""
    visitor = site.visitor(name)
    assert visitor.post("/sign-in", name=name, **form).status_code == 302
    return visitor


def test_nobody_sees_anothers_page(site: Site) -> None:
    site.tour(PAGES, [signed_in(site, "ann"), signed_in(site, "bob"), site.visitor()])


def test_a_login_manager_costs_no_public_page_its_caching(build: Callable[..., Site]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        manager = flask_login.LoginManager()
        manager.init_app(app)
        manager.user_loader(User)
        templated(app, "/", "public.html", cache.cached())

    site = build(register, TEMPLATES)
    site.tour([Page("/", "<main>Hello all</main>", CACHED)], site.visitors("one", "other"))


@pytest.mark.parametrize("hooked", [True, False])
def test_a_page_that_flask_login_guards_is_asked_for_each_time(
    build: Callable[..., Site], way: str, hooked: bool
) -> None:
    def register(app: Flask, cache: Cache) -> None:
        site_views(app, cache)
        if not hooked:
            # Nothing but the guard, and who the user is, is left of it.
            app.after_request_funcs.clear()

    site = build(register, TEMPLATES)
    asked: list[str] = []
    dispatch = site.app.full_dispatch_request

    def counted() -> Any:
        asked.append(request.path)
        return dispatch()

    site.app.full_dispatch_request = counted  # type: ignore[method-assign]
    visitors = [signed_in(site, name, remember="yes") for name in ("ann", "bob")]
    for number in range(4):
        for visitor in visitors:
            assert visitor.get("/account").text == f"Account of {visitor.name}"
            assert visitor.get("/private").text == f"<main>Hello {visitor.name}</main>"
        assert site.visitor().get("/account").status_code == 302
        assert asked.count("/account") == 3 * (number + 1), way
        assert asked.count("/private") == 2 * (number + 1), way


def test_who_signs_out_or_changes_sees_their_own(site: Site) -> None:
    ann = signed_in(site, "ann")
    for _ in range(2):
        assert ann.get("/private").text == "<main>Hello ann</main>"
    ann.post("/sign-out")
    for _ in range(2):
        assert ann.get("/private").text == "<main>Hello nobody</main>"
        assert ann.get("/account").status_code == 302
        assert ann.get("/orders").status_code == 302
    ann.post("/sign-in", name="bob")
    for _ in range(2):
        assert ann.get("/private").text == "<main>Hello bob</main>"
        assert ann.get("/orders").text == "Orders of bob"


def test_a_remembered_user_is_who_they_are(site: Site) -> None:
    visitors = [signed_in(site, name, remember="yes") for name in ("ann", "bob")]
    pages = [page for page in PAGES if page.verdict is PER_USER and page.development is None]
    for visitor in visitors:
        visitor.client.delete_cookie("session")
        assert visitor.client.get_cookie("remember_token")
    for number in range(3):
        for visitor in [*visitors, site.visitor()]:
            for page in pages:
                answer = visitor.get(page.path)
                if visitor.name != NOBODY or page.nobody == 200:
                    assert answer.text == page.shows.format(name=visitor.name)
                    # The first page signs them in, and sets the session's cookie.
                    assert number < 2 or site.is_hit(answer), page.path
                if "Set-Cookie" in answer.headers:
                    assert "public" not in answer.headers.get("Cache-Control", "")


def test_a_remembered_user_without_a_session_on_each_visit(site: Site) -> None:
    visitors = [signed_in(site, name, remember="yes") for name in ("ann", "bob")]
    for _ in range(3):
        for visitor in visitors:
            for path in ("/private", "/by-callable"):
                visitor.client.delete_cookie("session")
                assert visitor.get(path).text == f"<main>Hello {visitor.name}</main>"
            visitor.client.delete_cookie("session")
            assert visitor.get("/orders").text == f"Orders of {visitor.name}"
        assert site.visitor().get("/private").text == "<main>Hello nobody</main>"


def fresh_views(app: Flask, cache: Cache) -> None:
    """Register pages that ask for a fresh sign-in, and one that says whether it is."""
    sign_in_views(app)

    @app.get("/above")
    @flask_login.fresh_login_required
    @cache.cached(private=True)
    def above() -> str:
        return f"Card of {flask_login.current_user.name}"

    @app.get("/below")
    @cache.cached(private=True)
    @flask_login.fresh_login_required
    def below() -> str:
        return f"Card of {flask_login.current_user.name}"

    @app.get("/freshness")
    @cache.cached(private=True)
    def freshness() -> str:
        name = flask_login.current_user.name
        return f"{name} {'fresh' if flask_login.login_fresh() else 'not fresh'}"


def test_only_a_fresh_sign_in_opens_what_asks_for_one(build: Callable[..., Site]) -> None:
    site = build(fresh_views)
    ann = signed_in(site, "ann", remember="yes")
    for _ in range(2):
        assert ann.get("/above").text == ann.get("/below").text == "Card of ann"
        assert ann.get("/freshness").text == "ann fresh"
    assert site.is_hit(ann.get("/below"))
    ann.client.delete_cookie("session")
    for _ in range(3):
        assert ann.get("/above").status_code == ann.get("/below").status_code == 302
        assert ann.get("/freshness").text == "ann not fresh"
    assert site.is_hit(ann.get("/freshness"))


def test_basic_protection_takes_the_freshness_of_a_stolen_session(
    build: Callable[..., Site],
) -> None:
    site = build(fresh_views)
    ann = signed_in(site, "ann")
    for _ in range(2):
        assert ann.get("/below").text == "Card of ann"
        assert ann.get("/freshness").text == "ann fresh"
    for _ in range(2):
        assert ann.get("/freshness", User_Agent="thief").text == "ann not fresh"
        assert ann.get("/below", User_Agent="thief").status_code == 302


def test_basic_protection_is_not_passed_by_a_hit(build: Callable[..., Site]) -> None:
    site = build(fresh_views)
    ann = signed_in(site, "ann")
    cookie = ann.client.get_cookie("session")
    assert cookie is not None
    for _ in range(2):
        assert ann.get("/below").text == "Card of ann"
    thief = site.visitor()
    for _ in range(2):
        thief.client.set_cookie("session", cookie.value)
        assert thief.get("/below", User_Agent="thief").status_code == 302
        thief.client.set_cookie("session", cookie.value)
        assert thief.get("/freshness", User_Agent="thief").text == "ann not fresh"
    assert ann.get("/freshness").text == "ann fresh"


def test_strong_protection_ends_a_stolen_session(build: Callable[..., Site]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        sign_in_views(app, session_protection="strong")
        member_views(app, cache)
        templated(app, "/private", "greeting.html", cache.cached(private=True))

    site = build(register, TEMPLATES)
    ann, thief = signed_in(site, "ann"), site.visitor()
    cookie = ann.client.get_cookie("session")
    assert cookie is not None
    for _ in range(2):
        assert ann.get("/private").text == "<main>Hello ann</main>"
        assert ann.get("/orders").text == "Orders of ann"
        assert ann.get("/account").text == "Account of ann"
    assert site.is_hit(ann.get("/private"))
    for path, status in (("/private", 200), ("/orders", 302), ("/account", 302)) * 2:
        thief.client.set_cookie("session", cookie.value)
        answer = thief.get(path, User_Agent="thief")
        assert answer.status_code == status
        assert "ann" not in answer.text
    assert ann.get("/private").text == "<main>Hello ann</main>"


def test_a_header_that_the_user_loader_reads_counts(build: Callable[..., Site]) -> None:
    """It is the owner's code, of which the library knows nothing."""

    def register(app: Flask, cache: Cache) -> None:
        manager = sign_in_views(app)

        @manager.user_loader  # type: ignore[untyped-decorator]
        def load_user(user_id: str) -> User:
            return User(f"{user_id} at {request.headers.get('X-Tenant')}")

        templated(app, "/", "public.html", cache.cached())
        templated(app, "/private", "greeting.html", cache.cached(private=True))
        declared = cache.cached(private=True, vary=("X-Tenant",))
        templated(app, "/declared", "greeting.html", declared)

    site = build(register, TEMPLATES)
    visitors = []
    for tenant in ("red", "blue"):
        visitors.append(signed_in(site, "ann"))
        visitors[-1].shown, visitors[-1].headers = f"ann at {tenant}", {"X-Tenant": tenant}
    # One session for both, as on two hosts of one domain.
    cookie = visitors[0].client.get_cookie("session")
    assert cookie is not None
    visitors[1].client.set_cookie("session", cookie.value)
    pages = [
        Page("/", "<main>Hello all</main>", CACHED),
        Page("/private", "<main>Hello {name}</main>", not_cached("X-Tenant")),
        Page("/declared", "<main>Hello {name}</main>", Verdict(entries=2)),
    ]
    site.tour(pages, visitors)


def test_users_are_told_by_a_key_in_a_header(build: Callable[..., Site]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        manager = sign_in_views(app)

        @manager.request_loader  # type: ignore[untyped-decorator]
        def load_user_from_request(asked: Any) -> User | None:
            key = asked.headers.get("X-Api-Key")
            return User(key.removesuffix("-key")) if key else None

        site_pages(app, cache)

    def site_pages(app: Flask, cache: Cache) -> None:
        templated(app, "/", "public.html", cache.cached())
        templated(app, "/greeting", "greeting.html", cache.cached())
        templated(app, "/private", "greeting.html", cache.cached(private=True))
        declared = cache.cached(private=True, vary=("X-Api-Key",))
        templated(app, "/declared", "greeting.html", declared)
        guarded = flask_login.login_required(cache.cached(private=True, vary=("X-Api-Key",))(name))
        app.add_url_rule("/guarded", view_func=guarded)

    def name() -> str:
        return str(flask_login.current_user.name)

    site = build(register, TEMPLATES)
    ann, bob, nobody = site.visitors("ann", "bob", NOBODY)
    ann.headers, bob.headers = {"X-Api-Key": "ann-key"}, {"X-Api-Key": "bob-key"}
    greeting = "<main>Hello {name}</main>"
    pages = [
        Page("/", "<main>Hello all</main>", CACHED),
        Page("/greeting", greeting, not_cached("X-Api-Key"), raises("")),
        Page("/private", greeting, not_cached("X-Api-Key")),
        Page("/declared", greeting, PER_USER),
        Page("/guarded", "{name}", PER_USER, nobody=302),
    ]
    site.tour(pages, [ann, bob, nobody])
