"""Page middleware: what is served before Flask, and that nobody can tell."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request, session
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_coherent_cache._pages.middleware import _alias
from test_near import MakeApp, backend, ready  # noqa: F401 - a fixture is used by name

Headers = list[tuple[str, str]]

TEXT = "<p>" + "a page of some length. " * 100


class Site:
    """An application with the middleware; counts what Flask is asked."""

    def __init__(self, app: Flask, cache: Any) -> None:
        self.app, self.cache = app, cache
        app.config.setdefault("REFRESH", False)
        app.config["SESSION_REFRESH_EACH_REQUEST"] = app.config["REFRESH"]
        assert cache.serve_before_flask(app)
        self.inner, self.dispatch = app.wsgi_app, app.full_dispatch_request
        self.asked, self.filled = 0, 0
        app.wsgi_app = self.with_scheme  # type: ignore[method-assign]
        app.full_dispatch_request = self.counted  # type: ignore[method-assign]
        ready(app, cache)

    def with_scheme(self, environ: Any, start_response: Any) -> Any:
        """Stand for WSGI middleware around the application, which runs on every hit, too."""

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            headers = [*headers, ("X-Scheme", environ["wsgi.url_scheme"])]
            return start_response(status, headers, *exc_info)

        return self.inner(environ, start)

    def counted(self) -> Any:
        self.asked += 1
        return self.dispatch()

    def view(self, path: str = "/page", **options: Any) -> Callable[..., Any]:
        def register(function: Callable[[], Any]) -> Callable[[], Any]:
            def counted() -> Any:
                self.filled += 1
                return function()

            counted.__name__ = counted.__qualname__ = f"view_{path.strip('/')}"
            return self.app.get(path)(self.cache.cached(60, **options)(counted))

        return register

    def ask(self, path: str = "/page", method: str = "GET", **options: Any) -> Any:
        return self.app.test_client(use_cookies=False).open(path, method=method, **options)

    def passed(self, *args: Any, **options: Any) -> bool:
        """Ask often enough that a page is known; tell whether Flask was left out in the end."""
        for _ in range(4):
            self.ask(*args, **options)
        before = self.asked
        self.ask(*args, **options)
        return self.asked == before


@pytest.fixture
def site(app: Flask, cache: Any) -> Site:
    site = Site(app, cache)

    @site.view()
    def page() -> str:
        return TEXT

    return site


def test_a_known_page_is_served_without_flask(site: Site) -> None:
    assert site.passed()
    assert site.filled == 1


def test_what_is_no_page_goes_on_to_flask(site: Site) -> None:
    assert site.passed()
    (copy,) = site.cache.engine.near._copies.values()
    copy.decoded, copy.entry = None, dataclasses.replace(copy.entry, value=b"no page")
    assert site.ask().text == TEXT


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", ["gzip", "identity", "gzip;q=0.1, identity;q=0.5", ""])
@pytest.mark.parametrize("condition", ["none", "same", "weak", "other", "list", "star", "bare"])
def test_it_answers_as_flask_does(site: Site, method: str, encoding: str, condition: str) -> None:
    headers = {"Accept-Encoding": encoding}
    etag = site.ask(headers=headers).headers["ETag"]
    conditions = {
        "same": etag,
        "weak": f"W/{etag}",
        "other": '"other"',
        "list": f'"other", {etag}',
        "star": "*",
        "bare": etag.strip('"'),
    }
    if condition in conditions:
        headers["If-None-Match"] = conditions[condition]
    assert site.passed(headers={"Accept-Encoding": encoding})
    environ = EnvironBuilder("/page", method=method, headers=headers).get_environ()
    ours, flasks = (
        run_wsgi_app(wsgi_app, dict(environ), buffered=True)
        for wsgi_app in (site.app, site.with_scheme)
    )
    assert ours[1] == flasks[1]
    assert b"".join(ours[0]) == b"".join(flasks[0])
    assert sorted(name for name, _ in ours[2]) == sorted(name for name, _ in flasks[2])
    # Of these the values change by the second.
    changing = ("Age", "Cache-Status")
    differing = {*ours[2]} ^ {*flasks[2]}
    assert [header for header in differing if header[0] not in changing] == []


def test_an_invalidation_is_seen_at_once(site: Site) -> None:
    assert site.passed()
    with site.app.app_context():
        site.cache.invalidate_view("view_page")
    site.ask()
    assert site.filled == 2
    assert site.passed()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("POST", {}),
        ("DELETE", {}),
        ("GET", {"headers": {"Authorization": "Bearer x"}}),
        ("GET", {"data": b"body"}),
        ("GET", {"headers": {"Transfer-Encoding": "chunked"}}),
        ("GET", {"headers": {"If-Modified-Since": "Wed, 25 Nov 2026 00:00:00 GMT"}}),
        ("GET", {"query_string": "never=seen"}),
        ("GET", {"headers": {"Host": "other.example"}}),
        ("GET", {"headers": {"Accept": "application/json"}}),
        ("GET", {"base_url": "https://localhost"}),
        ("GET", {"environ_overrides": {"SCRIPT_NAME": "/mounted"}}),
    ],
)
def test_what_is_not_known_for_certain_goes_on_to_flask(
    site: Site, method: str, options: dict[str, Any]
) -> None:
    assert site.passed()
    before = site.asked
    site.ask(method=method, **options)
    assert site.asked == before + 1


@pytest.mark.parametrize(
    "options",
    [
        {"private": lambda: "somebody"},
        {"unless": lambda: False},
        {"forced_update": lambda: False},
        {"make_cache_key": lambda: "key"},
        {"key_prefix": lambda: "key"},
        {"response_hit_indication": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_page_that_asks_something_of_each_request_goes_by_flask(
    site: Site, options: dict[str, Any]
) -> None:
    site.view("/asking", **options)(lambda: TEXT)
    assert not site.passed("/asking")
    assert site.passed("/page")


@pytest.mark.parametrize(
    "hook", ["before_request", "after_request", "teardown_request", "url_value_preprocessor"]
)
@pytest.mark.parametrize("skipped", [False, True])
def test_a_hook_of_the_application_is_not_left_out_unless_it_says_so(
    site: Site, hook: str, skipped: bool
) -> None:
    def run(*args: Any) -> Any:
        return args[0] if hook == "after_request" else None

    getattr(site.app, hook)(site.cache.skip_on_hit(run) if skipped else run)
    assert site.passed() is skipped


def test_a_wrapper_around_the_cached_view_is_not_left_out(site: Site) -> None:
    view = site.app.view_functions["view_page"]

    @functools.wraps(view)
    def checked() -> Any:
        return view()

    site.app.view_functions["view_page"] = checked
    assert not site.passed()


def test_each_declared_header_has_its_page(site: Site) -> None:
    @site.view("/greeting", vary=("Accept-Language",))
    def greeting() -> str:
        return f"{request.headers.get('Accept-Language')}"

    for language in ("de", "fr", "de", "fr"):
        headers = {"Accept-Language": language}
        assert site.passed("/greeting", headers=headers)
        assert site.ask("/greeting", headers=headers).text == language
    assert site.passed("/page")
    assert site.ask("/page").text == TEXT


def test_the_session_cookie_matters_where_it_must_be_renewed(app: Flask, cache: Any) -> None:
    site = Site(app, cache)
    site.view()(lambda: TEXT)
    app.add_url_rule("/sign-in", view_func=_signed_in)
    client = app.test_client()
    client.get("/sign-in")
    for _ in range(4):
        client.get("/page")
    before = site.asked
    client.get("/page")
    assert site.asked == before


def test_a_session_that_must_be_renewed_is_asked_for(make_app: MakeApp) -> None:
    app, cache = make_app(REFRESH=True)
    site = Site(app, cache)
    site.view()(lambda: TEXT)
    app.add_url_rule("/sign-in", view_func=_signed_in)
    client = app.test_client()
    client.get("/sign-in")
    for _ in range(3):
        assert "Set-Cookie" in client.get("/page").headers
    assert site.passed(), "who has no session"
    assert "Set-Cookie" in client.get("/page").headers


def _signed_in() -> str:
    session.permanent, session["name"] = True, "ada"
    return "in"


def test_development_sees_flask_each_time(make_app: MakeApp) -> None:
    app, cache = make_app()
    app.debug = True
    site = Site(app, cache)
    site.view()(lambda: TEXT)
    assert not site.passed()
    assert 'key="page:http://localhost/page"' in site.ask().headers["Cache-Status"]


def test_made_up_parameters_do_not_fill_the_near_cache(site: Site) -> None:
    assert site.passed()
    near = site.cache.engine.near
    for number in range(50):
        site.ask(query_string=f"made-up={number}")
    before = near.bytes
    for number in range(50, 100):
        site.ask(query_string=f"made-up={number}")
    assert near.bytes == before
    assert len(near) == 1
    assert site.filled == 1


def test_headers_in_a_key_are_known_by_their_names() -> None:
    alias = _alias
    environ = EnvironBuilder(headers={"X-A": "1", "X-B": "1"}).get_environ()
    assert alias(environ, ("HTTP_X_A",)) != alias(environ, ("HTTP_X_B",))


def test_a_declared_type_of_a_body_is_in_the_key(site: Site) -> None:
    @site.view("/typed", vary=("Content-Type",))
    def typed() -> str:
        return str(request.content_type)

    for kind in ("text/plain", "text/csv"):
        assert site.passed("/typed", headers={"Content-Type": kind})
        assert site.ask("/typed", headers={"Content-Type": kind}).text == kind


def test_a_session_interface_of_ones_own_is_asked_each_time(site: Site) -> None:
    class Renewing(type(site.app.session_interface)):  # type: ignore[misc]
        pass

    site.app.session_interface = Renewing()
    assert not site.passed()


def test_long_requests_are_not_remembered(site: Site) -> None:
    assert site.passed()
    near = site.cache.engine.near
    before = near.bytes
    for number in range(8):
        assert not site.passed(query_string=f"{number}=" + "x" * 3000)
    assert near.bytes == before
    assert site.filled == 1
