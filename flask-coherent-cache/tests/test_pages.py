"""Pages: what is stored, for whom, under which key, and what the response says."""

import copy
import gzip
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import wraps
from typing import Any

import pytest
from flask import (
    Flask,
    Request,
    Response,
    abort,
    g,
    jsonify,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSession, SessionInterface
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

import flask_coherent_cache as caching
from flask_coherent_cache import negotiation
from flask_coherent_cache._pages import pages
from flask_coherent_cache.testing import wait_until
from noise import noise

seen: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def status_of(response: Any) -> str:
    """What the cache says that it did."""
    return str(response.headers["Cache-Status"])


def view(app: Flask, path: str, cached: Any) -> Callable[..., Any]:
    """Register a view under a path, cached, and named after it."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        app.add_url_rule(path, view_func=cached(function))
        return function

    return register


def test_a_page_is_filled_once_and_then_hit(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        seen["page"] += 1
        return f"<p>{seen['page']}</p>"

    first, second = client.get("/page"), client.get("/page")
    assert status_of(first).startswith("page-cache; fwd=miss; stored")
    assert status_of(second).startswith("page-cache; hit; ttl=")
    assert first.data == second.data == b"<p>1</p>"
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert second.headers["Age"] == "0"
    assert second.headers["Cache-Control"] == "public, no-cache"


def test_head_is_answered_from_the_page_of_get(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "body"

    assert "stored" not in status_of(client.head("/page"))
    assert client.get("/page").data == b"body"
    head = client.head("/page")
    assert "; hit" in status_of(head)
    assert head.data == b""
    assert head.headers["Content-Length"] == "4"
    assert client.get("/page").data == b"body"


def test_post_goes_past_the_cache(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.route("/page", methods=["GET", "POST"])
    @cache.cached(60)
    def page() -> str:
        return request.method

    assert client.post("/page").data == b"POST"
    assert client.get("/page").data == b"GET"
    response = client.post("/page")
    assert response.data == b"POST"
    assert "fwd=bypass" in status_of(response)


def test_a_condition_is_evaluated_after_the_cache(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "body"

    etag = client.get("/page").headers["ETag"]
    assert not etag.startswith("W/")
    not_modified = client.get("/page", headers={"If-None-Match": etag})
    assert (not_modified.status_code, not_modified.data) == (304, b"")
    assert "; hit" in status_of(not_modified)
    assert client.get("/page").status_code == 200


def test_the_key_holds_host_scheme_and_script_root(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.url_root

    urls = ["http://a/", "http://b/", "https://a/", "http://a/sub/"]
    for _ in range(2):
        assert [client.get("/page", base_url=url).get_data(as_text=True) for url in urls] == urls


def test_only_declared_query_parameters_enter_the_key(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/list")
    @cache.cached(60, query=("page",))
    def listing() -> str:
        seen["list"] += 1
        return "+".join(request.args.getlist("page"))

    assert client.get("/list?page=2").data == b"2"
    assert client.get("/list?utm=x&page=2&page=3").data == b"2+3"
    assert client.get("/list?utm=y&page=2").data == b"2"
    assert seen["list"] == 2


def test_query_string_keeps_order(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/list")
    @cache.cached(60, query_string=True)
    def listing() -> str:
        return ",".join(request.args.getlist("a"))

    assert client.get("/list?a=1&a=2").data == b"1,2"
    assert client.get("/list?a=2&a=1").data == b"2,1"


@pytest.mark.parametrize(
    "read",
    [
        lambda: request.args.get("page"),
        lambda: dict(request.args),
        lambda: "page" in request.args,
        lambda: request.values.get("page"),
        lambda: request.headers.get("X-Plan"),
        lambda: dict(request.headers),
        lambda: request.cookies.get("plan"),
        lambda: request.accept_languages.best,
        lambda: request.user_agent.string,
        lambda: request.authorization,
    ],
)
def test_an_undeclared_input_raises_in_development(
    app: Flask, cache: Any, client: FlaskClient, read: Callable[[], Any]
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(read())

    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(
        caching.UndeclaredInput, match=r"depends on .* read at .*test_pages\.py:\d+ .* declare"
    ):
        client.get("/page?page=3", headers={"X-Plan": "gold"})


def test_an_undeclared_input_is_not_stored_in_production_and_says_so_once(
    make_app: Callable[..., tuple[Flask, Any]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_coherent_cache._dependencies.inputs._reported", set())
    app, cache = make_app(CACHE_STRICT=False)

    @app.get("/plans")
    @cache.cached(60)
    def plans() -> str:
        return request.headers.get("X-Plan", "none")

    client = app.test_client()
    for plan in ("gold", "silver"):
        response = client.get("/plans", headers={"X-Plan": plan})
        assert response.get_data(as_text=True) == plan
        assert 'detail="undeclared: header X-Plan"' in status_of(response)
    assert sum("X-Plan" in record.getMessage() for record in caplog.records) == 1


def test_declared_headers_enter_the_key(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/hello")
    @cache.cached(60, vary=("Accept-Language",))
    def hello() -> Response:
        response = make_response(request.headers.get("Accept-Language", ""))
        response.vary.add("Accept-Language")
        return response

    for _ in range(2):
        for language in ("de", "en"):
            response = client.get("/hello", headers={"Accept-Language": language})
            assert response.get_data(as_text=True) == language
    assert "; hit" in status_of(response)


def test_a_memoized_function_may_not_read_the_request(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @cache.memoize(60, make_name=lambda name: "reads")
    def reads() -> str:
        return request.args.get("page", "")

    @app.get("/page")
    @cache.cached(60, query=("page",))
    def page() -> str:
        return str(reads()) + request.args.get("page", "")

    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(caching.UndeclaredInput, match="pass it as an argument"):
        client.get("/page?page=1")


def test_what_belongs_to_one_user_is_never_stored(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    app.config["CACHE_STRICT"] = False

    def cookie() -> Response:
        response = make_response("one")
        response.set_cookie("id", "1")
        return response

    def with_control(value: str) -> Callable[[], Response]:
        return lambda: Response("one", headers={"Cache-Control": value})

    answers: dict[str, tuple[Callable[[], Any], str]] = {
        "cookie": (cookie, "set-cookie"),
        "private": (with_control("private"), "cache-control"),
        "no_store": (with_control("no-store"), "cache-control"),
        "session": (lambda: session.get("user", "one"), '"undeclared: session user"'),
        "vary": (lambda: Response("one", headers={"Vary": "X-Plan"}), "vary"),
        "stream": (lambda: Response(iter(["o", "ne"])), "stream"),
        "created": (lambda: ("one", 201), "status"),
        "partial": (lambda: ("one", 206), "status"),
        "failed": (lambda: ("one", 500), "status"),
        "found": (lambda: redirect("/elsewhere"), "status"),
    }
    for name, (answer, _) in answers.items():
        function = cache.cached(60)(lambda answer=answer: answer())
        app.add_url_rule(f"/{name}", name, function)
    for name, (_, reason) in answers.items():
        for _ in range(2):
            response = client.get(f"/{name}")
            assert status_of(response) == f"page-cache; fwd=miss; detail={reason}"


@pytest.mark.parametrize("touched", [True, False])
def test_a_request_that_bears_a_user_goes_past(
    app: Flask, cache: Any, client: FlaskClient, touched: bool
) -> None:
    @app.before_request
    def look() -> None:
        if touched:
            session.get("user")

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "page"

    headers = {} if touched else {"Authorization": "Bearer x"}
    for _ in range(2):
        response = client.get("/page", headers=headers)
        reason = '"undeclared: session user"' if touched else "authorization"
        assert status_of(response) == f"page-cache; fwd=bypass; detail={reason}"


def test_a_private_page_is_of_one_session(app: Flask, cache: Any) -> None:
    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user"] = name
        return name

    @app.get("/account")
    @cache.cached(60, private=True)
    def account() -> str:
        seen[str(session.get("user"))] += 1
        return f"Hello {session.get('user')}"

    ann, bob, stranger = app.test_client(), app.test_client(), app.test_client()
    ann.get("/sign-in/ann")
    bob.get("/sign-in/bob")
    for _ in range(2):
        assert ann.get("/account").data == b"Hello ann"
        assert bob.get("/account").data == b"Hello bob"
        assert stranger.get("/account").data == b"Hello None"
    assert seen == {"ann": 1, "bob": 1, "None": 1}
    response = ann.get("/account")
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in response.headers["Vary"]


class ServerSession(SessionInterface):
    """A session that lies on the server, and may hold anything."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def open_session(self, app: Flask, request: Any) -> Any:
        return SecureCookieSession(self.kept)

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        pass


@pytest.mark.parametrize(
    "kept",
    [
        {"basket": {(1, 2): Decimal("1.5")}, "seen": {1, 2}, "at": date(2026, 1, 2)},
        {1: "a", "1": "b", None: b"\xff"},
    ],
)
def test_a_session_may_hold_what_json_cannot_express(app: Flask, cache: Any, kept: Any) -> None:
    app.session_interface = ServerSession(kept)

    @app.get("/account")
    @cache.cached(60, private=True)
    def account() -> str:
        return f"{len(session)}"

    client = app.test_client()
    for hit in (False, True):
        response = client.get("/account")
        assert (response.text, "; hit" in status_of(response)) == (f"{len(kept)}", hit)
    kept["more"] = 1.0
    assert client.get("/account").text == f"{len(kept)}"


def test_a_session_without_a_stable_text_is_refused(
    app: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app.session_interface = ServerSession({"basket": object()})

    @app.get("/account")
    @cache.cached(60, private=True)
    def account() -> str:
        return "mine"

    for _ in range(2):
        response = app.test_client().get("/account")
        assert (response.text, "detail=session" in status_of(response)) == ("mine", True)
    assert "private=function" in caplog.text


def test_a_private_page_may_name_its_user(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/account")
    @cache.cached(60, private=lambda: request.headers.get("X-User"))
    def account() -> str:
        seen["account"] += 1
        return "account"

    assert "detail=anonymous" in status_of(client.get("/account"))
    assert "stored" in status_of(client.get("/account", headers={"X-User": "ann"}))
    assert "; hit" in status_of(client.get("/account", headers={"X-User": "ann"}))
    assert "stored" in status_of(client.get("/account", headers={"X-User": "bob"}))


def test_a_404_is_stored_by_choice(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/<int:number>")
    @cache.cached(60, not_found_timeout=30)
    def thing(number: int) -> str:
        seen["thing"] += 1
        abort(404)

    @app.get("/other")
    @cache.cached(60)
    def other() -> str:
        abort(404)

    first, second = client.get("/7"), client.get("/7")
    assert first.status_code == second.status_code == 404
    assert first.data == second.data
    assert "; hit; ttl=30" in status_of(second) or "; hit; ttl=29" in status_of(second)
    assert seen["thing"] == 1
    for _ in range(2):
        assert status_of(client.get("/other")) == "page-cache; fwd=miss; detail=status"


def test_a_view_is_invalidated_by_endpoint_and_arguments(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/thing/<int:number>")
    @cache.cached(60)
    def thing(number: int) -> str:
        seen[str(number)] += 1
        return str(number)

    def visit() -> None:
        client.get("/thing/1")
        client.get("/thing/2")

    visit()
    with app.app_context():
        cache.invalidate_view("thing", number=1)
    visit()
    assert seen == {"1": 2, "2": 1}
    with app.app_context():
        cache.invalidate_view("thing")
    visit()
    assert seen == {"1": 3, "2": 2}
    with app.app_context():
        cache.delete_cached(thing, path="/thing/1")
        cache.delete_cached(thing, number=2)
    visit()
    assert seen == {"1": 4, "2": 3}
    with app.app_context():
        with pytest.raises(ValueError, match="no endpoint 'thingy'"):
            cache.invalidate_view("thingy")
        with pytest.raises(ValueError, match=r"takes \['number'\], not \['id'\]"):
            cache.invalidate_view("thing", id=1)
        with pytest.raises(ValueError, match="no view"):
            cache.delete_cached(visit)


def test_an_expired_page_is_served_stale_while_it_is_refilled(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(1, grace=60, query=("q",))
    def page() -> str:
        seen["page"] += 1
        return f"{seen['page']} {request.args['q']} {request.host}"

    client.get("/page?q=a", base_url="http://shop.test")
    wait_until(
        lambda: "hit; ttl=0" not in status_of(client.get("/page?q=a", base_url="http://shop.test")),
        5,
    )
    wait_until(
        lambda: client.get("/page?q=a", base_url="http://shop.test").data == b"2 a shop.test"
    )


def test_a_class_based_view(app: Flask, cache: Any, client: FlaskClient) -> None:
    class Things(MethodView):
        @cache.cached(60)  # type: ignore[untyped-decorator]
        def get(self) -> BaseResponse:
            seen["things"] += 1
            return jsonify(seen["things"])

    app.add_url_rule("/things", view_func=Things.as_view("things"))
    assert client.get("/things").json == client.get("/things").json == 1


def test_what_a_client_would_rather_have() -> None:
    prefers_json = negotiation.prefers_json
    assert prefers_json("application/json")
    assert prefers_json("application/problem+json, text/html;q=0.5")
    assert not prefers_json("")
    assert not prefers_json("*/*")
    assert not prefers_json("text/html,application/json;q=0.9")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 503])
def test_an_error_is_never_stored(app: Flask, cache: Any, client: FlaskClient, status: int) -> None:
    @app.get("/raised")
    @cache.cached(60)
    def raised() -> str:
        seen["raised"] += 1
        if seen["raised"] == 1:
            abort(status)
        return "good"

    @app.get("/returned")
    @cache.cached(60)
    def returned() -> tuple[str, int]:
        seen["returned"] += 1
        return ("bad", status) if seen["returned"] == 1 else ("good", 200)

    for path in ("/raised", "/returned"):
        assert client.get(path).status_code == status
        assert client.get(path).data == b"good"


@pytest.mark.parametrize("cached_outside", [True, False])
def test_either_order_of_the_decorators_keeps_a_secret(
    app: Flask, cache: Any, cached_outside: bool
) -> None:
    app.config["CACHE_STRICT"] = False

    def login_required(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if "user" not in session:
                abort(401)
            return function(*args, **kwargs)

        return checked

    def secret() -> str:
        return f"the secret of {session.get('user')}"

    order = (
        [login_required, cache.cached(60)] if cached_outside else [cache.cached(60), login_required]
    )
    function: Any = secret
    for decorator in order:
        function = decorator(function)
    app.add_url_rule("/secret", view_func=function)

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user"] = name
        return name

    ann, bob, stranger = app.test_client(), app.test_client(), app.test_client()
    ann.get("/sign-in/ann")
    bob.get("/sign-in/bob")
    for _ in range(2):
        assert ann.get("/secret").data == b"the secret of ann"
        assert bob.get("/secret").data == b"the secret of bob"
        assert stranger.get("/secret").status_code == 401


def test_a_conditional_or_partial_answer_of_the_view_is_not_stored(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/file")
    @cache.cached(60)
    def file() -> Any:
        response = make_response("0123456789")
        response.add_etag()
        return response.make_conditional(request.environ, accept_ranges=True, complete_length=10)

    etag = client.get("/file").headers["ETag"]
    with app.app_context():
        cache.clear()
    assert client.get("/file", headers={"If-None-Match": etag}).status_code == 304
    assert client.get("/file", headers={"Range": "bytes=0-3"}).data in (b"0123", b"0123456789")
    assert client.get("/file").data == b"0123456789"


def test_a_helper_cached_without_a_key_does_not_stand_in_for_the_view(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @cache.cached(60)
    def helper() -> list[int]:
        return [1, 2]

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return f"<p>{sum(helper())}</p>"

    assert [client.get("/page").data for _ in range(2)] == [b"<p>3</p>"] * 2


def test_a_response_may_set_its_own_timeout(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/brief/<int:seconds>")
    @cache.cached(60)
    def brief(seconds: int) -> Response:
        response: Response = caching.CachedResponse(make_response("brief"), seconds)
        return response

    assert "stored; ttl=7" in status_of(client.get("/brief/7"))
    assert "stored" not in status_of(client.get("/brief/0"))


def test_a_key_of_the_views_own_making(app: Flask, cache: Any, client: FlaskClient) -> None:
    def by_plan() -> str:
        return "plan-" + request.args.get("plan", "none")

    @app.get("/plans")
    @cache.cached(60, make_cache_key=by_plan)
    def plans() -> str:
        seen["plans"] += 1
        return request.args.get("plan", "none")

    @app.get("/same/<name>")
    @cache.cached(60, key_prefix="the same for all")
    def same(name: str) -> str:
        return name

    for plan in ("gold", "silver", "gold"):
        assert client.get(f"/plans?plan={plan}&utm=1").get_data(as_text=True) == plan
    assert seen["plans"] == 2
    with app.app_context():
        cache.delete("plan-gold")
    client.get("/plans?plan=gold")
    assert seen["plans"] == 3
    assert [client.get(f"/same/{name}").data for name in "ab"] == [b"a", b"a"]


def test_a_key_of_the_views_own_making_holds_what_it_was_made_from(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app(CACHE_STRICT=False)
    calls: list[str] = []

    def add(name: str, **options: Any) -> None:
        @app.get(f"/{name}", endpoint=name)
        @cache.cached(60, **options)
        def index() -> str:
            calls.append(name)
            return request.args["a"] + request.args["b"]

    add("part", make_cache_key=lambda: request.args["a"])
    add("constant", key_prefix=lambda: "all")
    add("named", make_cache_key=lambda: request.args["a"], query=("b",))
    add("string", make_cache_key=lambda: "all", query_string=True)
    add("both", make_cache_key=lambda: request.args["a"] + request.args["b"])
    add("whole", make_cache_key=lambda: f"{request.args.to_dict()}")
    add("path", key_prefix=lambda: request.full_path)
    client = app.test_client()
    for name in ("part", "constant", "named", "string", "both", "whole", "path"):
        got = [client.get(f"/{name}?a=1&b={b}").text for b in "1212"]
        assert got == ["11", "12", "11", "12"]
        assert calls.count(name) == (4 if name in ("part", "constant") else 2)


# -- what else of a request can lead to another's page ---------------------------------------


def _by_cookie(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sign in by a cookie of one's own, as extensions do, outside the cached view."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        g.user = request.cookies.get("user", "nobody")
        return function(*args, **kwargs)

    return guarded


class RequestOfTenant(Request):
    """Reads the environment before anybody can watch."""

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        self.tenant = environ.get("HTTP_X_TENANT", "none")
        self.early = self.cookies, self.args  # Werkzeug computes them once.


def test_what_a_request_class_made_of_the_environment_is_noticed(app: Flask, cache: Any) -> None:
    app.config["CACHE_STRICT"] = False
    app.request_class = RequestOfTenant

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(request.tenant)  # type: ignore[attr-defined]

    @app.get("/other")
    @cache.cached(60)
    def other() -> str:
        return "other"

    client = app.test_client()
    for tenant in ("ann", "bob") * 2:
        response = client.get("/page", headers={"X-Tenant": tenant})
        assert response.text == tenant
        assert status_of(response).endswith('detail="undeclared: request attribute tenant"')
        other_page = client.get("/other", headers={"X-Tenant": tenant})
    assert "; hit" in status_of(other_page)


def test_what_a_request_class_computed_early_is_watched_all_the_same(
    app: Flask, cache: Any
) -> None:
    app.config["CACHE_STRICT"] = False
    app.request_class = RequestOfTenant

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.args.get("name", "") + request.cookies.get("theme", "")

    for name in ("ann", "bob") * 2:
        client = app.test_client()
        client.set_cookie("theme", name)
        response = client.get(f"/page?name={name}")
        assert response.text == name * 2
        assert "undeclared: query parameter name, cookie theme" in status_of(response)


NO_KEY = '"undeclared: cookie user"'


@pytest.mark.parametrize("private", [False, True])
def test_a_cookie_that_is_read_before_the_view_is_noticed(
    app: Flask, cache: Any, private: bool
) -> None:
    @app.get("/page")
    @_by_cookie
    @cache.cached(60, private=private)
    def page() -> str:
        return str(g.user)

    for user in ("ann", "bob"):
        client = app.test_client()
        client.set_cookie("user", user)
        for _ in range(2):
            response = client.get("/page")
            assert (response.text, status_of(response).split("=")[-1]) == (user, NO_KEY)


@pytest.mark.parametrize("step", ["url_value_preprocessor", "before_request", "memoized"])
def test_a_cookie_that_is_read_in_a_step_before_the_view_is_noticed(
    app: Flask, cache: Any, step: str
) -> None:
    app.config["CACHE_STRICT"] = False

    def read(*_: Any) -> None:
        g.theme = request.cookies.get("theme", "light")

    if step == "memoized":
        app.before_request(cache.memoize(60, make_name=lambda name: "read")(read))
    else:
        getattr(app, step)(read)

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(g.theme)

    for theme in ("light", "dark", "light"):
        client = app.test_client()
        client.set_cookie("theme", theme)
        assert client.get("/page").text == theme


def test_a_page_is_invalidated_by_arguments_that_were_taken_from_the_view(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.url_value_preprocessor
    def take_language(_: Any, values: dict[str, Any] | None) -> None:
        g.language = (values or {}).pop("language", "en")

    @app.get("/<language>/page")
    @cache.cached(60)
    def page() -> str:
        return str(g.language)

    client.get("/de/page")
    assert "; hit" in status_of(client.get("/de/page"))
    with app.app_context():
        cache.invalidate_view("page", language="de")
    assert "; hit" not in status_of(client.get("/de/page"))


def test_what_wraps_the_view_sees_its_refusals(app: Flask, cache: Any, client: FlaskClient) -> None:
    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call() -> Any:
            try:
                return function()
            except HTTPException as error:
                return {"error": error.code}, error.code

        return call

    @app.get("/page")
    @wrapped
    @cache.cached(60)
    def page() -> str:
        abort(404)

    answer = client.get("/page")
    assert (answer.status_code, answer.json) == (404, {"error": 404})
    assert status_of(answer) == "page-cache; fwd=miss; detail=status"


def test_a_head_does_not_take_the_lease_from_the_gets_after_it(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "page"

    client.head("/page")
    assert not cache._app().extensions["cache"][cache]._refused


def test_the_session_is_no_cookie_that_was_read(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "page"

    with client.session_transaction() as opened:
        opened["user"] = "ann"
    client.get("/page")
    assert "; hit" in status_of(client.get("/page"))


def test_a_get_with_a_body_goes_past(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.form.get("name", "nobody")

    poisoning = client.get("/page", data={"name": "evil"})
    assert (poisoning.text, status_of(poisoning)) == ("evil", "page-cache; fwd=bypass; detail=body")
    assert client.get("/page").text == "nobody"


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda: "HX-Request" in request.headers, "header Hx-Request"),
        (lambda: request.environ["HTTP_HX_REQUEST"], "header Hx-Request"),
        (lambda: Request(request.environ).query_string, "environment value SERVER_NAME"),
        (lambda: request.headers.getlist("HX-Request"), "header Hx-Request"),
        (lambda: request.headers.environ.get("HTTP_HX_REQUEST"), "header Hx-Request"),
        (lambda: list(request.headers), "headers"),
        (lambda: f"{request.headers}", "headers"),
        (lambda: dict(request.environ), "environment"),
        (lambda: {**request.environ}, "environment"),
        (lambda: request.environ | {}, "environment"),
        (lambda: {} | request.environ, "environment"),
        (lambda: copy.copy(request.environ), "environment"),
        (lambda: list(request.environ.items()), "environment"),
        (lambda: request.environ == {}, "environment"),
        (lambda: request.is_json, "header Content-Type"),
        (lambda: request.mimetype, "header Content-Type"),
        (lambda: request.remote_addr, "environment value REMOTE_ADDR"),
        (lambda: request.remote_user, "environment value REMOTE_USER"),
        (lambda: request.environ["REMOTE_ADDR"], "environment value REMOTE_ADDR"),
        (lambda: bool(request.args), "query string"),
        (lambda: len(request.args), "query string"),
        (lambda: list(request.args.listvalues()), "query string"),
        (lambda: dict(request.args.to_dict()), "query string"),
        (lambda: list(request.args.items()), "query string"),
        (lambda: request.url, "query string"),
        (lambda: request.full_path, "query string"),
        (lambda: request.query_string, "query string"),
        (lambda: list(request.values), "query string"),
        (lambda: list(request.cookies), "cookies"),
        (lambda: request.cookies.get("a"), "cookie a"),
    ],
)
def test_every_way_to_look_at_an_input_is_seen(
    app: Flask, cache: Any, client: FlaskClient, read: Callable[[], Any], name: str
) -> None:
    app.config["CACHE_STRICT"] = False

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return f"{read()}"

    response = client.get("/page?x=1", headers={"HX-Request": "true"})
    assert status_of(response).startswith(f'page-cache; fwd=miss; detail="undeclared: {name}')


@pytest.mark.parametrize(
    "read",
    [lambda: request.host, lambda: request.base_url, lambda: url_for("page", _external=True)],
)
def test_a_memoized_function_may_not_hold_the_host(
    app: Flask, cache: Any, client: FlaskClient, read: Callable[[], str]
) -> None:
    app.config["CACHE_STRICT"] = False
    function = cache.memoize(60, make_name=lambda name: "host")(read)

    @app.get("/page")
    def page() -> str:
        return str(function())

    for host in ("evil.example", "good.example"):
        assert host in client.get("/page", base_url=f"http://{host}").text


def test_a_session_that_is_modified_in_the_view_is_noticed_after_a_change_before_it(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    app.config["CACHE_STRICT"] = False

    @app.before_request
    def keep() -> None:
        session.permanent = True

    @app.get("/page")
    @cache.cached(60, private=lambda: "ann")
    def page() -> str:
        return str(session.pop("code", "none"))

    with client.session_transaction() as opened:
        opened["code"] = "1234"
    assert [client.get("/page").text for _ in range(2)] == ["1234", "none"]


@pytest.mark.parametrize("options", [{"query": ("page",)}, {"query_string": True}])
def test_a_constant_key_still_holds_the_declared_query(
    app: Flask, cache: Any, client: FlaskClient, options: dict[str, Any]
) -> None:
    @app.get("/page")
    @cache.cached(60, key_prefix="products", **options)
    def page() -> str:
        return request.args.get("page", "1")

    assert [client.get(f"/page?page={number}").text for number in "123"] == list("123")
    assert "; hit" in status_of(client.get("/page?page=2"))
    with app.app_context():
        cache.delete("products")
    assert "; hit" not in status_of(client.get("/page?page=2"))


def test_vary_says_what_the_key_holds(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60, vary=("Accept-Language",))
    def page() -> str:
        return request.headers.get("Accept-Language", "en")

    for _ in range(2):
        assert client.get("/page").headers["Vary"] == "Accept-Language"


def test_a_parameter_in_any_spelling_enters_the_key(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page")
    @cache.cached(60, query=("é",))
    def page() -> str:
        return request.args["é"]

    for number in "12":
        raw = f"é={number}".encode().decode("latin-1")
        assert client.get("/page", environ_overrides={"QUERY_STRING": raw}).text == number


def test_pages_are_dropped_by_path_and_by_converted_arguments(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/page/<float:number>")
    @cache.cached(60, key_prefix="mine/%s")
    def page(number: float) -> str:
        return f"{number}"

    drops = [
        lambda: cache.delete_cached(page, path="/page/1.0"),
        lambda: cache.invalidate_view("page", number=1),
    ]
    for drop in drops:
        client.get("/page/1.0")
        assert "; hit" in status_of(client.get("/page/1.0"))
        with app.app_context():
            drop()
        assert "; hit" not in status_of(client.get("/page/1.0"))


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_covered_by_grace(
    app: Flask, cache: Any, client: FlaskClient, status: int
) -> None:
    @app.get("/page")
    @cache.cached(1, grace=60, private=lambda: "ann")
    def page() -> str:
        seen["page"] += 1
        return "page" if seen["page"] == 1 else abort(status)

    assert client.get("/page").status_code == 200
    expired = time.time() + 1
    wait_until(lambda: time.time() > expired)
    assert client.get("/page").status_code == status


def gzipped(client: FlaskClient, path: str = "/page", accept: str = "gzip", **options: Any) -> Any:
    return client.get(path, headers={"Accept-Encoding": accept, **options})


@pytest.fixture
def _long_page(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        seen["page"] += 1
        return "<p>many words</p>" * 200


@pytest.mark.usefixtures("_long_page")
@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, gzip;q=0.8", "gzip"),
        ("*", "gzip"),
        ("gzip, identity;q=0.5", "gzip"),
        ("", None),
        ("br", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("gzip;q=0, *", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.6, *;q=0.1", None),
    ],
)
def test_compression_is_what_the_client_would_rather_have(
    client: FlaskClient, accept: str, encoding: str | None
) -> None:
    for _ in range(2):
        response = gzipped(client, accept=accept)
        body = gzip.decompress(response.data) if encoding else response.data
        assert response.headers.get("Content-Encoding") == encoding
        assert body == b"<p>many words</p>" * 200
        assert response.headers["Content-Length"] == str(len(response.data))
        assert response.headers["Vary"] == "Accept-Encoding"
    assert seen["page"] == 1


@pytest.mark.usefixtures("_long_page")
def test_each_representation_has_an_etag_of_its_own(client: FlaskClient) -> None:
    plain, compressed = client.get("/page"), gzipped(client)
    assert plain.headers["ETag"] != compressed.headers["ETag"]
    same = {"If-None-Match": compressed.headers["ETag"]}
    assert gzipped(client, **same).status_code == 304
    assert "Content-Encoding" not in gzipped(client, **same).headers
    assert client.get("/page", headers=same).status_code == 200


def test_a_body_that_gains_nothing_is_not_compressed(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    long = "<p>many words</p>" * 200

    def image() -> Response:
        return Response(b"\0" * 5000, mimetype="image/png")

    def encoded() -> Response:
        return Response(gzip.compress(long.encode()), headers={"Content-Encoding": "gzip"})

    def random() -> Response:
        return Response(noise(5000), mimetype="text/plain")

    bodies: dict[str, Callable[[], Any]] = {"/short": lambda: "<p>few words</p>"}
    bodies |= {"/image": image, "/encoded": encoded, "/random": random}
    for path, function in bodies.items():
        app.add_url_rule(path, path, cache.cached(60, key_prefix=path)(function))
    app.add_url_rule("/private", "private", cache.cached(60, private=True)(lambda: long))
    for path in (*bodies, "/private"):
        first, second = gzipped(client, path), gzipped(client, path)
        assert first.data == second.data
        assert "Accept-Encoding" not in second.headers.get("Vary", "")
        assert ("Content-Encoding" in second.headers) == (path == "/encoded")


@pytest.mark.parametrize(
    ("options", "control"),
    [
        ({}, "public, no-cache"),
        ({"max_age": 0}, "public, max-age=0"),
        ({"max_age": 60}, "public, max-age=60"),
        ({"max_age": 60, "private": True}, "private, max-age=60"),
        (
            {"max_age": 60, "stale_while_revalidate": 30, "stale_if_error": 600},
            "public, max-age=60, stale-while-revalidate=30, stale-if-error=600",
        ),
    ],
)
def test_caches_outside_are_told_what_the_view_asks_for(
    app: Flask, cache: Any, client: FlaskClient, options: dict[str, Any], control: str
) -> None:
    @app.get("/page")
    @cache.cached(60, **options)
    def page() -> str:
        return "text"

    for _ in range(2):
        assert client.get("/page").headers["Cache-Control"] == control


def test_the_views_own_cache_control_stands(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get("/page")
    @cache.cached(60, max_age=60)
    def page() -> Response:
        return Response("text", headers={"Cache-Control": "max-age=5"})

    assert client.get("/page").headers["Cache-Control"] == "max-age=5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stale_if_error": 60}, "stale_if_error without max_age"),
        ({"max_age": -1}, "max_age is -1"),
        ({"max_age": 1.5}, "max_age is 1.5"),
        ({"max_age": 60, "stale_while_revalidate": "x"}, "stale_while_revalidate is 'x'"),
    ],
)
def test_what_caches_outside_could_not_follow_is_refused(
    cache: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cache.cached(60, **options)


def test_the_key_is_shown_in_development_only(app: Flask, cache: Any, client: FlaskClient) -> None:
    @app.get('/pa"ge')
    @cache.cached(60)
    def page() -> str:
        return "text"

    assert "key=" not in status_of(client.get('/pa"ge'))
    app.debug = True
    assert '; key="page:http://localhost/pa%22ge"' in status_of(client.get('/pa"ge'))


def test_a_key_is_shown_as_a_structured_field() -> None:
    shown = pages.cache_status("miss", None, False, None, 'a "key" \\ of ü and \n')
    assert shown == r'page-cache; fwd=miss; key="a \"key\" \\ of %FC and %0A"'


def test_tags_are_named_to_a_cache_in_front(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    app, cache = make_app(CACHE_SURROGATE_KEYS=True)

    @app.get("/page")
    @cache.cached(60, tags=("product:7", "two words"))
    def page() -> str:
        return "text"

    for _ in range(3):
        keys = app.test_client().get("/page").headers["Surrogate-Key"].split(" ")
        assert {"product:7", "two%20words", "view:page"} <= set(keys)


def test_who_listens_is_told_what_was_invalidated(app: Flask, cache: Any) -> None:
    told: list[frozenset[str] | None] = []

    @cache.on_invalidate
    def broken(tags: frozenset[str] | None) -> None:
        raise RuntimeError("the CDN is away")

    cache.on_invalidate(told.append)
    with app.app_context():
        cache.invalidate("product:7", "product")
        cache.clear()
        cache.invalidate()
    assert told == [frozenset({"product:7", "product"}), None]


@pytest.mark.usefixtures("_long_page")
def test_the_date_is_the_servers(client: FlaskClient) -> None:
    """Gunicorn adds one to every response, and two of them are none (RFC 9110, 6.6.1)."""
    for _ in range(2):
        assert "Date" not in client.get("/page").headers


@pytest.mark.usefixtures("_long_page")
def test_a_head_on_its_own_says_what_a_get_would(client: FlaskClient) -> None:
    headers = {"Accept-Encoding": "gzip"}
    head, get = (client.open("/page", method=method, headers=headers) for method in ("HEAD", "GET"))
    assert "fwd=miss" in status_of(head) and "fwd=miss" in status_of(get)  # noqa: PT018
    assert not head.data
    said = [
        {name: value for name, value in each.headers if name != "Cache-Status"}
        for each in (head, get)
    ]
    assert said[0] == said[1]


@pytest.mark.usefixtures("_long_page")
def test_nobody_outside_guesses_how_long_a_page_that_was_refused_lasts(client: FlaskClient) -> None:
    response = client.get("/page", headers={"Authorization": "Bearer x"})
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Cache-Control" not in client.post("/page").headers


def test_an_error_that_goes_past_the_cache_is_answered_as_it_is(
    app: Flask, cache: Any, client: FlaskClient
) -> None:
    @app.get("/gone")
    @cache.cached(60)
    def gone() -> str:
        abort(404)

    response = client.get("/gone", headers={"Authorization": "Bearer x"})
    assert response.status_code == 404
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "detail=authorization" in response.headers["Cache-Status"]
