"""Flask-DebugToolbar: a hook that changes the body of each response."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, redirect, render_template, request, session

from flask_coherent_cache import Cache
from visits import CACHED, NOT_INSTALLED, PER_USER, Page, Site, Visitor, not_cached, raises

flask_debugtoolbar: Any = pytest.importorskip("flask_debugtoolbar", reason=NOT_INSTALLED)

TEMPLATES = {
    "public.html": "<html><body><p>Hello all</p></body></html>",
    "greeting.html": "<html><body><p>Hello {{ session.name or 'nobody' }}</p></body></html>",
}
TOOLBAR = 'id="flDebug"'
#: All that the toolbar puts before the end of the body.
BLURRED = r"</p>[\s\S]*</body>"

PAGES = [
    Page("/", "<html><body><p>Hello all*</html>", CACHED, blurred=BLURRED),
    Page("/plain", "Hello all", CACHED),
    Page(
        "/shared",
        "<html><body><p>Hello {name}*</html>",
        not_cached("session"),
        raises("session"),
        blurred=BLURRED,
    ),
    Page("/private", "<html><body><p>Hello {name}*</html>", PER_USER, blurred=BLURRED),
]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table, and the toolbar as its documentation does."""
    flask_debugtoolbar.DebugToolbarExtension(app)

    @app.post("/name")
    def name() -> Any:
        session["name"] = request.form["name"]
        return redirect("/")

    @app.get("/")
    @cache.cached()
    def index() -> str:
        return render_template("public.html")

    @app.get("/moved")
    @cache.cached()
    def moved() -> Any:
        return redirect("/", 301)

    @app.get("/plain")
    @cache.cached()
    def plain() -> Any:
        return app.response_class("Hello all", mimetype="text/plain")

    @app.get("/shared")
    @cache.cached()
    def shared() -> str:
        return render_template("greeting.html")

    @app.get("/private")
    @cache.cached(private=True)
    def private() -> str:
        return render_template("greeting.html")


@pytest.fixture
def site(build: Callable[..., Site]) -> Site:
    """The site of the table; the toolbar is on in each way to run it."""
    return build(views, TEMPLATES, DEBUG_TB_ENABLED=True)


def visitors(site: Site) -> list[Visitor]:
    """Two visitors with a name, and one without."""
    three = site.visitors("ann", "bob", "nobody")
    for visitor in three[:2]:
        assert visitor.post("/name", name=visitor.name).status_code < 400
    return three


def test_the_toolbar_costs_no_page_its_caching(site: Site) -> None:
    site.tour(PAGES, visitors(site))


@pytest.mark.parametrize("path", ["/", "/private"])
def test_each_page_has_one_toolbar_of_its_own(site: Site, path: str) -> None:
    for _ in range(3):
        for visitor in visitors(site):
            answer = visitor.get(path)
            assert answer.text.count(TOOLBAR) == 1
            assert answer.content_length == len(answer.data)
            others = {"ann": "bob", "bob": "ann"}.get(visitor.name)
            # It shows the session.
            assert not others or not re.search(rf"\b{others}\b", answer.text)


@pytest.mark.parametrize("path", ["/", "/private", "/shared"])
def test_equal_etags_mean_equal_bodies(site: Site, path: str) -> None:
    """A strong one means the same bytes (RFC 9110, 8.8.1)."""
    if path == "/shared" and site.is_strict:
        pytest.skip("the view raises here")
    bodies: dict[str, bytes] = {}
    for _ in range(3):
        for visitor in visitors(site):
            answer = visitor.get(path)
            etag, weak = answer.get_etag()
            if etag is not None and not weak:
                assert bodies.setdefault(etag, answer.data) == answer.data
    assert b"flDebug" in answer.data


def test_a_redirect_is_intercepted_also_on_hits(site: Site) -> None:
    for visitor in visitors(site) * 2:
        answer = visitor.get("/moved")
        assert answer.status_code == 200
        assert "Redirect intercepted" in answer.text
        assert answer.content_length == len(answer.data)


def test_without_a_toolbar_the_stored_page_has_none(site: Site) -> None:
    """The page was stored before the hook changed the body."""
    for visitor in visitors(site):
        assert TOOLBAR in visitor.get("/").text
    site.app.config["DEBUG_TB_HOSTS"] = ("9.9.9.9",)
    answer = site.visitor().get("/")
    assert answer.text == TEMPLATES["public.html"]
    assert site.is_hit(answer)
