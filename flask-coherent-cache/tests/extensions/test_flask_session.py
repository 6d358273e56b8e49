"""Flask-Session: sessions that lie on the server, in files or in Redis."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, flash, redirect, render_template, request, session

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

flask_session: Any = pytest.importorskip("flask_session", reason=NOT_INSTALLED)
cachelib: Any = pytest.importorskip("cachelib.file", reason=NOT_INSTALLED)
redis: Any = pytest.importorskip("redis", reason=NOT_INSTALLED)

SINCE = datetime(2024, 2, 1, 12, 0)
TEMPLATES = {
    "public.html": "<p>Hello all</p>",
    "greeting.html": "<p>Hello {{ session.name or 'nobody' }}</p>",
    "fragment.html": "{% cache 60, 'hello' %}Hello {{ session.name or 'nobody' }}{% endcache %}",
    "flashes.html": "<p>{{ get_flashed_messages()|join(',') }}</p>",
}
REFUSED, RAISES = not_cached("session"), raises("session")

PAGES = [
    Page("/", "Hello all", CACHED),
    Page("/public", "<p>Hello all</p>", CACHED),
    Page("/shared", "<p>Hello {name}</p>", REFUSED, RAISES),
    Page("/in-view", "Hello {name}", REFUSED, RAISES),
    Page("/contains", "Hello {name}", REFUSED, RAISES),
    Page("/items", "Hello {name}", REFUSED, RAISES),
    Page("/private", "<p>Hello {name}</p>", PER_USER),
    Page("/by-callable", "<p>Hello {name}</p>", PER_USER),
    Page("/memoized", "Hello {name}", PER_USER, RAISES),
    Page("/fragment", "Hello {name}", NO_PAGE, RAISES),
]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table."""
    flask_session.Session(app)
    public, private = cache.cached(), cache.cached(private=True)

    @app.post("/name")
    def name() -> Any:
        session["name"] = request.form["name"]
        session["since"] = SINCE
        return redirect("/")

    @app.post("/leave")
    def leave() -> Any:
        session.clear()
        return redirect("/")

    @app.post("/flash")
    def flashing() -> Any:
        flash(request.form["text"])
        return redirect("/")

    def contains() -> str:
        return f"Hello {session['name']}" if "name" in session else f"Hello {NOBODY}"

    @cache.memoize(make_name=lambda _: "greeting")
    def greeting() -> str:
        return f"Hello {session.get('name', NOBODY)}"

    def register(path: str, decorate: Callable[..., Any], call: Callable[[], str]) -> None:
        def view() -> str:
            return call()

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_") or "index"
        app.add_url_rule(path, view_func=decorate(view))

    by_name = cache.cached(private=lambda: session.get("name", NOBODY))
    register("/", public, lambda: "Hello all")
    register("/public", public, lambda: render_template("public.html"))
    register("/shared", public, lambda: render_template("greeting.html"))
    register("/in-view", public, lambda: f"Hello {session.get('name', NOBODY)}")
    register("/contains", public, contains)
    register("/items", public, lambda: f"Hello {dict(session.items()).get('name', NOBODY)}")
    register("/private", private, lambda: render_template("greeting.html"))
    register("/by-callable", by_name, lambda: render_template("greeting.html"))
    register("/memoized", private, greeting)
    register("/fragment", lambda view: view, lambda: render_template("fragment.html"))
    register("/flashes", private, lambda: render_template("flashes.html"))


@pytest.fixture(params=["cachelib", "redis"])
def site(
    request: pytest.FixtureRequest,
    build: Callable[..., Site],
    tmp_path: Path,
    server_settings: dict[str, Any],
) -> Any:
    """The site of the table, with its sessions in files or in Redis."""
    if request.param == "cachelib":
        files = cachelib.FileSystemCache(str(tmp_path), threshold=100)
        yield build(views, TEMPLATES, SESSION_TYPE="cachelib", SESSION_CACHELIB=files)
        return
    if "RedisCache" not in server_settings:
        pytest.skip("no Redis or Valkey on this machine")
    client = redis.Redis.from_url(server_settings["RedisCache"]["CACHE_REDIS_URL"])
    yield build(views, TEMPLATES, SESSION_TYPE="redis", SESSION_REDIS=client)
    client.close()


def named(site: Site, name: str) -> Visitor:
    """A visitor who gave a name."""
    visitor = site.visitor(name)
    assert visitor.post("/name", name=name).status_code == 302
    return visitor


def test_nobody_sees_anothers_page(site: Site) -> None:
    """A session has a time in it, which JSON cannot write."""
    site.tour(PAGES, [named(site, "ann"), named(site, "bob"), site.visitor()])


def test_who_leaves_or_changes_sees_their_own(site: Site) -> None:
    ann = named(site, "ann")
    for name in ("ann", "bob", NOBODY, "ann"):
        if name == NOBODY:
            ann.post("/leave")
        else:
            ann.post("/name", name=name)
        for path in ("/private", "/by-callable"):
            for _ in range(2):
                assert ann.get(path).text == f"<p>Hello {name}</p>"


def test_a_message_is_shown_once_and_to_nobody_else(site: Site) -> None:
    ann, bob = named(site, "ann"), named(site, "bob")
    for _ in range(3):
        assert ann.get("/flashes").text == bob.get("/flashes").text == "<p></p>"
    ann.post("/flash", text="for ann")
    assert bob.get("/flashes").text == "<p></p>"
    assert ann.get("/flashes").text == "<p>for ann</p>"
    for _ in range(2):
        assert ann.get("/flashes").text == bob.get("/flashes").text == "<p></p>"
