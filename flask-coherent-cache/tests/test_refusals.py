"""Why something is not cached: counted by name and reason, with what was read and by whom."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    after_this_request,
    g,
    render_template_string,
    request,
    session,
)
from flask.testing import FlaskClient

from flask_coherent_cache._statistics.statistics import OTHER, Refusal

MakeApp = Callable[..., tuple[Flask, Any]]

tracing: ContextVar[str] = ContextVar("tracing")


@pytest.fixture
def backend() -> dict[str, Any]:
    """What is counted in the process is the same with every store."""
    return {"CACHE_TYPE": "SimpleCache"}


@pytest.fixture
def made(make_app: MakeApp) -> tuple[Flask, Any]:
    return make_app(CACHE_STRICT=False)


@pytest.fixture
def site(made: tuple[Flask, Any]) -> Flask:
    return made[0]


@pytest.fixture
def cache(made: tuple[Flask, Any]) -> Any:
    return made[1]


@pytest.fixture
def client(site: Flask) -> FlaskClient:
    return site.test_client()


def refusals(app: Flask, cache: Any) -> dict[Refusal, int]:
    with app.app_context():
        return dict(cache.engine.statistics.refusals)


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if words in one.getMessage()]


def stream() -> Any:
    return Response(iter(["a", "b"]))


def with_cookie() -> Any:
    response = Response("text")
    response.set_cookie("theme", "a secret value")
    return response


def writes_session() -> str:
    session["name"] = "a secret value"
    return "text"


def registers() -> str:
    after_this_request(lambda response: response)
    return "text"


def gone() -> Any:
    abort(410)


#: What a view does, the reason, and what the log advises; nothing where it has no line.
PAGES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "status": (lambda: ("text", 503), "status: 503", ""),
    "raised": (gone, "status: 410", ""),
    "stream": (stream, "stream", "return the body whole"),
    "cookie": (with_cookie, "set-cookie: theme", "set it in a view that is not cached"),
    "no-store": (
        lambda: ("text", {"Cache-Control": "No-Store"}),
        "cache-control: no-store",
        "The view itself forbids it",
    ),
    "private": (
        lambda: ("text", {"Cache-Control": "private"}),
        "cache-control: private",
        "Declare private=True",
    ),
    "vary": (
        lambda: ("text", {"Vary": "X-Plan, Accept"}),
        "vary: X-Plan",
        "Declare them, vary=('X-Plan',)",
    ),
    "vary by cookie": (lambda: ("text", {"Vary": "Cookie"}), "vary: Cookie", "vary_cookies=('…',)"),
    "vary by who asks": (
        lambda: ("text", {"Vary": "Authorization"}),
        "vary: Authorization",
        "declare private=True",
    ),
    "vary by all": (lambda: ("text", {"Vary": "*"}), "vary: *", "every request differs"),
    "session": (writes_session, "session", "wrote to the session"),
    "hooks": (registers, "after_this_request", "use after_request"),
    "undeclared": (
        lambda: request.headers.get("X-Plan", "") + "text",
        "undeclared: header X-Plan",
        "declare it, vary=('X-Plan',), or do not read it. It is not cached.",
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_not_stored_has_a_reason(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    view, reason, advice = PAGES[name]
    site.add_url_rule("/", "page", cache.cached(60)(view))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            client.get("/", headers={"X-Plan": "gold"})
    ((refusal, count),) = refusals(site, cache).items()
    assert (refusal.level, refusal.name, refusal.reason) == ("page", "page", reason)
    assert count == 3
    assert ("test_refusals.py" in refusal.place) == (name == "undeclared")
    lines = said(caplog, "The view page")
    assert len(lines) == (1 if advice else 0)
    assert not advice or advice in lines[0]
    assert "secret" not in caplog.text


#: What a request brings, how the view is cached, the reason, and whether the log has it.
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, bool]] = {
    "authorization": (
        {"headers": {"Authorization": "Bearer secret"}},
        {},
        "authorization: header Authorization",
        True,
    ),
    "long key": ({"query_string": "q=" + "x" * 3000}, {"query": ("q",)}, "long-key", True),
    "anonymous": ({}, {"private": lambda: None}, "anonymous", False),
    "unless": ({}, {"unless": lambda: True}, "unless", False),
    "filtered": ({}, {"response_filter": lambda response: False}, "filtered", False),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_goes_past_has_a_reason(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    sent, options, reason, is_logged = REQUESTS[name]
    site.add_url_rule("/", "page", cache.cached(60, **options)(lambda: "text"))
    for _ in range(2):
        client.get("/", **sent)
    ((refusal, count),) = refusals(site, cache).items()
    assert (refusal.name, refusal.reason, count) == ("page", reason, 2)
    assert ("lambda" in refusal.place) == (name == "anonymous")
    assert len(said(caplog, "The view page")) == is_logged
    assert "secret" not in caplog.text


@pytest.mark.parametrize("sent", [{"method": "POST"}, {"data": b"text"}])
def test_methods_and_bodies_are_no_refusals(
    site: Flask, cache: Any, client: FlaskClient, sent: dict[str, Any]
) -> None:
    view = cache.cached(60)(lambda: "text")
    site.add_url_rule("/", "page", view, methods=["GET", "POST"])
    client.open("/", **sent)
    assert refusals(site, cache) == {}


def test_new_pages_and_values_beyond_the_bound_are_refused(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_NEW_PAGES_PER_MINUTE=1, CACHE_NEW_VALUES_PER_MINUTE=1)
    double = cache.memoize(60, make_name=lambda name: "double")(lambda number: 2 * number)
    app.add_url_rule("/<int:number>", "page", cache.cached(60)(lambda number: str(double(number))))
    for number in range(3):
        app.test_client().get(f"/{number}")
    found = {(one.level, one.reason): count for one, count in refusals(app, cache).items()}
    assert found == {("page", "limit: new keys"): 2, ("function", "limit: new keys"): 2}


def test_functions_and_fragments_have_reasons(
    site: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def memoized(function: Callable[[], Any], **options: Any) -> Any:
        name = function.__name__
        function.__qualname__ = name
        return cache.memoize(60, make_name=lambda _: name, **options)(function)

    def locked() -> Any:
        return lambda: None

    def skipped() -> int:
        return 1

    def kept_back() -> int:
        return 1

    def reads() -> str:
        return request.headers.get("X-Plan", "")

    calls = [memoized(one) for one in (writes_session, registers, locked, reads)]
    calls += [memoized(skipped, unless=lambda *_: True)]
    calls += [memoized(kept_back, response_filter=lambda result: False)]

    def fragment() -> str:
        return render_template_string(
            "{% cache 60, 'box' %}{{ request.headers['X-Plan'] }}{% endcache %}"
        )

    def unstable() -> str:
        return render_template_string(
            "{% cache 60, 'odd' %}{{ thing }}{% endcache %}", thing=object()
        )

    for _ in range(2):
        for call in (*calls, fragment, unstable):
            with site.test_request_context(headers={"X-Plan": "gold"}):
                call()
    found = {
        (one.level, one.name.rpartition(".")[2], one.reason): count
        for one, count in refusals(site, cache).items()
    }
    assert found == {
        ("function", "writes_session", "effects: wrote to the session"): 2,
        ("function", "registers", "effects: used after_this_request"): 2,
        ("function", "locked", "no encoding: function"): 2,
        ("function", "reads", "undeclared: header X-Plan"): 2,
        ("function", "skipped", "unless"): 2,
        ("function", "kept_back", "filtered"): 2,
        ("fragment", "box", "undeclared: header X-Plan"): 2,
        ("fragment", "odd", "unstable: the variable 'thing' is a builtins.object"): 2,
    }
    (line,) = said(caplog, "The fragment box")
    assert "name what it needs of it in the tag" in line
    (line,) = said(caplog, "reads depends on")
    assert "pass it as an argument" in line
    assert "gold" not in caplog.text


def test_names_that_visitors_make_up_fill_neither_counts_nor_log(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @site.get("/")
    @cache.cached(60)
    def index() -> str:
        return "".join(request.args.get(name, "") for name in str(request.referrer).split())

    @site.get("/other")
    @cache.cached(60)
    def other() -> str:
        return request.headers.get("X-Plan", "")

    for number in range(60):
        client.get("/", headers={"Referer": f"made-up-{number}"})
    client.get("/other")
    found = refusals(site, cache)
    assert len([one for one in found if one.name == "index"]) == 21
    assert found[Refusal("page", "index", OTHER, "")] == 40
    assert sum(found.values()) == 61
    assert len(said(caplog, "The view index")) == 20
    assert len(said(caplog, "The view other")) == 1


def test_uncommitted_changes_are_a_reason(site: Flask, cache: Any, client: FlaskClient) -> None:
    from flask_coherent_cache._dependencies.dependencies import current_dependencies  # noqa: PLC0415

    @site.get("/")
    @cache.cached(60)
    def index() -> str:
        return "text"

    @site.before_request
    def write() -> None:
        current_dependencies().uncommitted = True

    client.get("/")
    assert refusals(site, cache) == {Refusal("page", "index", "uncommitted changes", ""): 1}


# -- what the log advises --------------------------------------------------------------------


def complaint(client: FlaskClient, caplog: pytest.LogCaptureFixture, **sent: Any) -> str:
    """Ask for the page, and return what the log says of it."""
    client.get("/", **sent)
    (line,) = said(caplog, "The view index depends on")
    return line


def test_a_hook_that_is_declared_is_not_to_be_declared(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @site.before_request
    def load_plan() -> None:
        g.plan = request.headers.get("X-Plan")

    cache.influences_only_through(load_plan, g="plan", reason="it only sets g.plan")

    @site.get("/")
    @cache.cached(60)
    def index() -> str:
        return str(g.plan)

    line = complaint(client, caplog)
    assert "declare it, vary=('X-Plan',)" in line
    assert "influences_only_through" not in line


def test_a_declared_hook_that_writes_elsewhere_is_not_to_be_declared(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @site.before_request
    def load_plan() -> None:
        g.plan = g.other = request.headers.get("X-Plan")

    cache.influences_only_through(load_plan, g="plan", reason="it only sets g.plan")

    @site.get("/")
    @cache.cached(60)
    def index() -> str:
        return "text"

    assert "influences_only_through" not in complaint(client, caplog)


def test_a_hook_that_is_not_declared_may_be(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @site.before_request
    def load_plan() -> None:
        g.plan = request.headers.get("X-Plan")

    @site.get("/")
    @cache.cached(60)
    def index() -> str:
        return "text"

    assert "influences_only_through" in complaint(client, caplog)


def test_a_page_that_names_its_user_is_not_told_to_say_so(
    site: Flask, cache: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    @site.get("/")
    @cache.cached(60, private=lambda: "ann")
    def index() -> str:
        return str(session.get("name"))

    line = complaint(client, caplog)
    assert "private=True" not in line
    assert "name the user" not in line
    assert "have the function of private=… tell its values apart" in line


def test_a_nonce_is_not_to_be_passed_as_an_argument(
    site: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @cache.memoize(60, make_name=lambda name: "shows")
    def shows() -> str:
        return str(g.csp_nonce)

    with site.test_request_context():
        g.csp_nonce = "x"
        shows()
    (line,) = said(caplog, "shows depends on")
    assert "leave what shows it uncached" in line
    assert "pass it" not in line


def test_a_page_that_varies_by_the_environment_is_private_to_caches_in_front(
    site: Flask, cache: Any, client: FlaskClient
) -> None:
    @site.get("/")
    @cache.cached(60, vary_environ=("REMOTE_USER",), max_age=60)
    def index() -> str:
        return str(request.remote_user)

    for _ in range(2):
        answer = client.get("/", environ_overrides={"REMOTE_USER": "ann"})
        assert answer.headers["Cache-Control"] == "private, max-age=60"
    assert "; hit" in answer.headers["Cache-Status"]
