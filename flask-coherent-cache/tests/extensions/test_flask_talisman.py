"""Flask-Talisman: its headers are on hits, and its nonce is in no page that is stored."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, render_template

from flask_coherent_cache import Cache, UndeclaredInput
from visits import CACHED, NOT_INSTALLED, PER_USER, Page, Site, Visitor, not_cached, raises

flask_talisman: Any = pytest.importorskip("flask_talisman", reason=NOT_INSTALLED)

TEMPLATES = {
    "public.html": "<p>Hello all</p>",
    "script.html": "<script nonce='{{ csp_nonce() }}'></script>",
    "fragment.html": "{% cache 60, 's' %}<script nonce='{{ csp_nonce() }}'></script>{% endcache %}",
}
NONCE = r"nonce='([^']+)'"
SCRIPT = "<script *></script>"

PAGES = [
    Page("/", "Hello all", CACHED),
    Page("/public", "<p>Hello all</p>", CACHED),
    Page("/framed", "Hello all", CACHED),
    Page("/private", "<p>Hello all</p>", PER_USER),
]
WITH_NONCE = [
    Page("/script", SCRIPT, not_cached("nonce"), raises("nonce"), blurred=NONCE),
    Page("/my-script", SCRIPT, not_cached("nonce"), raises("nonce"), blurred=NONCE),
    Page("/memoized", SCRIPT, not_cached("nonce"), raises("nonce"), blurred=NONCE),
]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the tables, as Flask-Talisman's documentation does."""
    nonces = {"content_security_policy_nonce_in": ["script-src"]} if app.config["NONCE"] else {}
    talisman = flask_talisman.Talisman(
        app, content_security_policy={"default-src": "'self'", "script-src": "'self'"}, **nonces
    )
    public, private = cache.cached(), cache.cached(private=True)

    @cache.memoize(make_name=lambda _: "script")
    def script() -> str:
        return render_template("script.html")

    def register(path: str, decorate: Callable[..., Any], call: Callable[[], str]) -> None:
        def view() -> str:
            return call()

        view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_") or "index"
        app.add_url_rule(path, view_func=decorate(view))

    register("/", public, lambda: "Hello all")
    register("/public", public, lambda: render_template("public.html"))
    register("/private", private, lambda: render_template("public.html"))
    framed = talisman(frame_options="DENY")
    register("/framed", lambda view: framed(public(view)), lambda: "Hello all")
    register("/script", public, lambda: render_template("script.html"))
    register("/my-script", private, lambda: render_template("script.html"))
    register("/memoized", public, script)
    register("/fragment", lambda view: view, lambda: render_template("fragment.html"))


def visitors(site: Site) -> list[Visitor]:
    """Two visitors by HTTPS."""
    return [site.visitor(name, **{"wsgi.url_scheme": "https"}) for name in ("ann", "bob")]


@pytest.mark.parametrize("nonce", [False, True])
def test_pages_without_a_nonce_are_cached(build: Callable[..., Site], nonce: bool) -> None:
    site = build(views, TEMPLATES, NONCE=nonce)
    shared = [page for page in PAGES if page.path != "/private"]
    site.tour(shared, visitors(site))


def test_a_nonce_is_never_stored(build: Callable[..., Site]) -> None:
    site = build(views, TEMPLATES, NONCE=True)
    site.tour(WITH_NONCE, visitors(site))


@pytest.mark.parametrize("path", ["/script", "/my-script", "/memoized", "/fragment"])
def test_a_nonce_is_the_headers(build: Callable[..., Site], path: str) -> None:
    site = build(views, TEMPLATES, NONCE=True)
    if site.is_strict and site.has_cache:
        with pytest.raises(UndeclaredInput, match="nonce"):
            visitors(site)[0].get(path)
        return
    seen = set()
    for _ in range(3):
        for visitor in visitors(site):
            answer = visitor.get(path)
            (nonce,) = re.findall(NONCE, answer.text)
            assert f"'nonce-{nonce}'" in answer.headers["Content-Security-Policy"]
            seen.add(nonce)
    assert len(seen) == 6


@pytest.mark.parametrize("nonce", [False, True])
def test_its_headers_are_on_hits(build: Callable[..., Site], nonce: bool) -> None:
    site = build(views, TEMPLATES, NONCE=nonce)
    policies = set()
    for number in range(3):
        for visitor in visitors(site):
            for path, frame in (("/", "SAMEORIGIN"), ("/framed", "DENY")):
                answer = visitor.get(path)
                assert (number == 0) or site.is_hit(answer)
                assert answer.headers["X-Frame-Options"] == frame
                assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
                assert len(answer.headers.getlist("Content-Security-Policy")) == 1
                policies.add(answer.headers["Content-Security-Policy"])
    assert len(policies) == (12 if nonce else 1)


def test_http_is_redirected_also_where_the_page_is_cached(build: Callable[..., Site]) -> None:
    site = build(views, TEMPLATES, NONCE=False)
    by_http = site.visitor()
    for _ in range(2):
        assert [visitor.get("/").status_code for visitor in visitors(site)] == [200, 200]
        # In development Flask-Talisman lets it be.
        assert by_http.get("/").status_code == (200 if site.app.debug else 302)
