"""Pages of one visitor: sessions, named users, and responses that are never stored."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import wraps
from typing import Any

import pytest
from flask import Flask, Response, abort, make_response, redirect, request, session
from flask.sessions import SecureCookieSession, SessionInterface
from flask.testing import FlaskClient

from answers import seen, status_of


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
def test_a_request_that_bears_a_user_bypasses_the_cache(
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

    def __init__(self, kept: Any, kind: type[Any] = SecureCookieSession) -> None:
        self.kept = kept
        self.kind = kind

    def open_session(self, app: Flask, request: Any) -> Any:
        return self.kind(self.kept)

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


def test_a_session_has_what_its_class_defines(app: Flask, cache: Any, client: FlaskClient) -> None:
    class Session(SecureCookieSession):
        @staticmethod
        def greeting(name: str) -> str:
            return f"Hello {name}"

        @classmethod
        def kind(cls) -> str:
            return cls.__name__

        def name(self) -> str:
            return str(dict.get(self, "name"))

        @property
        def surname(self) -> str:
            return f"{super().get('name')}"

    app.config["CACHE_STRICT"] = False
    app.session_interface = ServerSession({"name": "ann"}, Session)

    @app.get("/words")
    @cache.cached(60)
    def words() -> str:
        return session.greeting(session.kind())  # type: ignore[attr-defined, no-any-return]

    @app.get("/name")
    @cache.cached(60)
    def name() -> str:
        return session.name()  # type: ignore[attr-defined, no-any-return]

    @app.get("/surname")
    @cache.cached(60)
    def surname() -> str:
        return session.surname  # type: ignore[attr-defined, no-any-return]

    for hit in (False, True):
        response = client.get("/words")
        assert (response.text, "; hit" in status_of(response)) == ("Hello Session", hit)
        for path in ("/name", "/surname"):
            assert status_of(client.get(path)).endswith('; detail="undeclared: session"')


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
