"""The pattern of Flask's tutorial: a hook puts the user on ``g``, a decorator asks for one."""

import functools
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, g, redirect, render_template, request, session, url_for

from flask_coherent_cache import Cache
from visits import (
    CACHED,
    NO_PAGE,
    NOBODY,
    PER_USER,
    Page,
    Site,
    Visitor,
    not_cached,
    raises,
)

TEMPLATES = {
    "base.html": "<main>{% block main %}{% endblock %}</main>",
    "public.html": "{% extends 'base.html' %}{% block main %}Hello all{% endblock %}",
    "layout.html": "<nav>{% if g.user %}{{ g.user.name }}{% else %}nobody{% endif %}</nav>"
    "{% block main %}{% endblock %}",
    "blog.html": "{% extends 'layout.html' %}{% block main %}Posts{% endblock %}",
    "fragment.html": "{% cache 60, 'menu' %}Hello {{ g.user.name or 'nobody' }}{% endcache %}",
}
Hook = Callable[[], None]

PAGES = [
    Page("/", "<main>Hello all</main>", CACHED),
    Page("/plain", "Hello all", CACHED),
    Page("/blog", "<nav>{name}</nav>Posts", not_cached("session"), raises("session")),
    Page("/my-blog", "<nav>{name}</nav>Posts", PER_USER),
    Page("/create", "Create as {name}", PER_USER, nobody=302),
    Page("/update", "Update as {name}", PER_USER, nobody=302),
    Page("/members", "Members only", not_cached("session"), nobody=302),
    Page("/memoized", "Posts of {name}", PER_USER, raises("session")),
    Page("/by-name", "Posts of {name}", PER_USER),
    Page("/fragment", "Hello {name}", NO_PAGE, raises("session")),
]


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """The tutorial's decorator."""

    @functools.wraps(view)
    def wrapped_view(**kwargs: Any) -> Any:
        if g.user is None:
            return redirect(url_for("auth.login"))
        return view(**kwargs)

    return wrapped_view


def auth_blueprint(load_user: Callable[[str], Any]) -> tuple[Blueprint, Hook]:
    """The tutorial's blueprint, with its hook; the user comes from ``load_user``."""
    bp = Blueprint("auth", __name__, url_prefix="/auth")

    @bp.before_app_request
    def load_logged_in_user() -> None:
        user_id = session.get("user_id")
        if user_id is None:
            g.user = None
        else:
            g.user = load_user(user_id)

    @bp.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        session.clear()
        session["user_id"] = request.form["name"]
        return redirect("/")

    @bp.post("/logout")
    def logout() -> Any:
        session.clear()
        return redirect("/")

    return bp, load_logged_in_user


def site_views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table."""
    public, private = cache.cached(), cache.cached(private=True)

    def rendered(path: str, template: str, decorate: Callable[..., Any]) -> None:
        def view() -> str:
            return render_template(template)

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_") or "index"
        app.add_url_rule(path, view_func=decorate(view))

    rendered("/", "public.html", public)
    rendered("/blog", "blog.html", public)
    rendered("/my-blog", "blog.html", private)
    rendered("/fragment", "fragment.html", lambda view: view)

    @app.get("/plain")
    @public
    def plain() -> str:
        return "Hello all"

    @app.get("/create")
    @login_required
    @private
    def create() -> str:
        return f"Create as {g.user['name']}"

    @app.get("/update")
    @private
    @login_required
    def update() -> str:
        return f"Update as {g.user['name']}"

    @app.get("/members")
    @login_required
    @public
    def members() -> str:
        return "Members only"

    @cache.memoize(make_name=lambda _: "posts")
    def posts() -> str:
        return f"Posts of {g.user['name'] if g.user else NOBODY}"

    @cache.memoize(make_name=lambda _: "posts_of")
    def posts_of(name: str) -> str:
        return f"Posts of {name}"

    @app.get("/memoized")
    @private
    def memoized() -> str:
        return posts()

    @app.get("/by-name")
    @private
    def by_name() -> str:
        return posts_of(g.user["name"] if g.user else NOBODY)


def declared(app: Flask, cache: Cache) -> None:
    """Register all, and declare the hook."""
    bp, hook = auth_blueprint(lambda name: {"name": name})
    app.register_blueprint(bp)
    declare: Any = cache.influences_only_through
    declare(hook, g="user", reason="it loads the user, and does no more")
    site_views(app, cache)


def signed_in(site: Site, name: str) -> Visitor:
    """A visitor who signed in."""
    visitor = site.visitor(name)
    assert visitor.post("/auth/login", name=name).status_code == 302
    return visitor


def test_with_the_hook_declared(build: Callable[..., Site]) -> None:
    site = build(declared, TEMPLATES)
    site.tour(PAGES, [signed_in(site, "ann"), signed_in(site, "bob"), site.visitor()])


def test_who_logs_out_or_changes_sees_their_own(build: Callable[..., Site]) -> None:
    site = build(declared, TEMPLATES)
    ann = signed_in(site, "ann")
    for _ in range(2):
        assert ann.get("/my-blog").text == "<nav>ann</nav>Posts"
        assert ann.get("/update").text == "Update as ann"
    ann.post("/auth/logout")
    for _ in range(2):
        assert ann.get("/my-blog").text == "<nav>nobody</nav>Posts"
        assert ann.get("/create").status_code == ann.get("/update").status_code == 302
    ann.post("/auth/login", name="bob")
    for _ in range(2):
        assert ann.get("/create").text == "Create as bob"
        assert ann.get("/memoized" if not site.is_strict else "/by-name").text == "Posts of bob"


def test_without_a_declaration_the_hook_counts_whole(build: Callable[..., Site]) -> None:
    """Right, if slow: nobody said what the hook does."""

    def register(app: Flask, cache: Cache) -> None:
        bp, _ = auth_blueprint(lambda name: {"name": name})
        app.register_blueprint(bp)
        site_views(app, cache)

    pages = [
        Page("/", "<main>Hello all</main>", not_cached("session")),
        Page("/plain", "Hello all", not_cached("session")),
        Page("/my-blog", "<nav>{name}</nav>Posts", PER_USER),
        Page("/create", "Create as {name}", PER_USER, nobody=302),
        Page("/update", "Update as {name}", PER_USER, nobody=302),
        Page("/members", "Members only", not_cached("session"), nobody=302),
        Page("/by-name", "Posts of {name}", PER_USER),
    ]
    site = build(register, TEMPLATES)
    site.tour(pages, [signed_in(site, "ann"), signed_in(site, "bob"), site.visitor()])


@pytest.mark.usefixtures("reports_again")
def test_a_hook_that_writes_elsewhere_counts_whole(
    build: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    """The declaration says less than what the hook does."""
    # Each message is logged once in a process.

    def load_user(name: str) -> dict[str, str]:
        g.theme = f"theme of {name}"
        return {"name": name}

    def register(app: Flask, cache: Cache) -> None:
        bp, hook = auth_blueprint(load_user)
        app.register_blueprint(bp)
        declare: Any = cache.influences_only_through
        declare(hook, g="user", reason="it loads the user, and does no more")

        @app.get("/themed")
        @cache.cached()
        def themed() -> str:
            return str(g.get("theme", "theme of nobody"))

        @app.get("/plain")
        @cache.cached()
        def plain() -> str:
            return "Hello all"

    site = build(register)
    ann, bob, nobody = signed_in(site, "ann"), signed_in(site, "bob"), site.visitor()
    # By itself or by the hook: the log names it.
    with caplog.at_level(logging.WARNING, "flask_coherent_cache"):
        for _ in range(3):
            for visitor in (ann, bob, nobody):
                assert visitor.get("/plain").text == "Hello all"
                assert site.is_hit(visitor.get("/plain")) != (
                    site.has_cache and visitor is not nobody
                )
                if not (site.is_strict and site.has_cache):
                    assert visitor.get("/themed").text == f"theme of {visitor.name}"
    if site.has_cache:
        assert "theme" in caplog.text


def with_a_database(app: Flask, cache: Cache, *, names: tuple[str, ...]) -> None:
    """Register the tutorial's own way: the hook opens the database, which stays on ``g``."""
    path = app.config["DATABASE"]

    def get_db() -> sqlite3.Connection:
        if "db" not in g:
            g.db = sqlite3.connect(path)
            g.db.row_factory = sqlite3.Row
        return g.db  # type: ignore[no-any-return]

    @app.teardown_appcontext
    def close_db(_: BaseException | None = None) -> None:
        db = g.pop("db", None)
        if db is not None:
            db.close()

    def load_user(name: str) -> Any:
        return get_db().execute("SELECT name FROM user WHERE name = ?", (name,)).fetchone()

    bp, hook = auth_blueprint(load_user)
    app.register_blueprint(bp)
    declare: Any = cache.influences_only_through
    declare(hook, g=names, reason="it loads the user from the database")
    site_views(app, cache)

    @app.get("/posts")
    @cache.cached(tags=["posts"])
    def posts() -> str:
        return str(get_db().execute("SELECT 'Posts of all'").fetchone()[0])

    @app.get("/my-posts")
    @cache.cached(private=True)
    def my_posts() -> str:
        name = g.user["name"] if g.user else NOBODY
        return f"{name}: " + str(get_db().execute("SELECT 'Posts'").fetchone()[0])


def test_with_the_tutorials_database(build: Callable[..., Site], tmp_path: Any) -> None:
    """What a view takes from a ``g.db`` that the hook opened depends on what the hook read."""
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("CREATE TABLE user (name TEXT PRIMARY KEY)")
        db.executemany("INSERT INTO user VALUES (?)", [("ann",), ("bob",)])
    db.close()

    def register(app: Flask, cache: Cache) -> None:
        with_a_database(app, cache, names=("user", "db"))

    site = build(register, TEMPLATES, DATABASE=str(tmp_path / "db"))
    visitors = [signed_in(site, "ann"), signed_in(site, "bob")]
    pages = [page for page in PAGES if page.path != "/memoized"]
    pages.append(Page("/my-posts", "{name}: Posts", PER_USER))
    site.tour(pages, [*visitors, site.visitor()])
    # Whether the hook has opened the database tells whether somebody is signed in.
    posts = Page("/posts", "Posts of all", not_cached("session"), raises("session"))
    site.tour([posts], [*visitors, site.visitor()])


def test_a_database_that_is_not_on_g_costs_nothing(build: Callable[..., Site]) -> None:
    """As with Flask-SQLAlchemy, whose session is not on ``g``."""
    rows = {"ann": {"name": "ann"}, "bob": {"name": "bob"}}

    def register(app: Flask, cache: Cache) -> None:
        bp, hook = auth_blueprint(rows.get)
        app.register_blueprint(bp)
        declare: Any = cache.influences_only_through
        declare(hook, g="user", reason="it loads the user from the database")

        @app.get("/posts")
        @cache.cached()
        def posts() -> str:
            return f"Posts of {len(rows)}"

    site = build(register)
    visitors = [signed_in(site, "ann"), signed_in(site, "bob"), site.visitor()]
    site.tour([Page("/posts", "Posts of 2", CACHED)], visitors)
