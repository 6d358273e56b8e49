"""Reads of request data that is not in the key: they are noticed, whoever reads."""

import itertools
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Flask, Request, g, request, url_for
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

import flask_coherent_cache as caching
from answers import status_of
from flask_coherent_cache import settings


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
        caching.UndeclaredInput,
        match=r"depends on .* read at .*page_inputs\.py:\d+ .* declare",
    ):
        client.get("/page?page=3", headers={"X-Plan": "gold"})


def test_an_undeclared_input_raises_in_tests_with_settings_that_were_read(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    values, _ = settings.read({})
    app, cache = make_app(CACHE_STRICT=values["CACHE_STRICT"])

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return request.args["page"]

    app.testing = True
    with pytest.raises(caching.UndeclaredInput, match="query parameter page"):
        app.test_client().get("/page?page=3")


@pytest.mark.usefixtures("reports_again")
def test_an_undeclared_input_is_not_stored_in_production_and_says_so_once(
    make_app: Callable[..., tuple[Flask, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
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


class RequestWithBlueprint(Request):
    """A request whose part of the application is not only told by its path."""

    @property
    def blueprint(self) -> str | None:
        return self.headers.get("X-Part")


@pytest.mark.parametrize("name", ["blueprint", "blueprints"])
def test_what_a_request_class_says_in_the_place_of_flask_is_watched(
    app: Flask, cache: Any, name: str
) -> None:
    app.config["CACHE_STRICT"] = False
    app.request_class = RequestWithBlueprint

    @app.get("/part")
    @cache.cached(60)
    def part() -> str:
        return f"{getattr(request, name)}"

    client = app.test_client()
    for value in ("a", "b"):
        answer = client.get("/part", headers={"X-Part": value})
        assert value in answer.text
        assert "header X-Part" in status_of(answer)


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


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda: "HX-Request" in request.headers, "header Hx-Request"),
        (lambda: request.environ["HTTP_HX_REQUEST"], "header Hx-Request"),
        (lambda: Request(request.environ).query_string, "environment value SERVER_NAME"),
        (lambda: list(request.headers), "headers"),
        (lambda: dict(request.environ), "environment"),
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


@pytest.mark.usefixtures("cache")
def test_a_watched_query_is_read_as_flask_reads_it(app: Flask) -> None:
    url = "/?a=1&a=2&b=x&c="
    with app.test_request_context(url):
        watched, plain = request.args, Request(EnvironBuilder(url).get_environ()).args
        for name, default, kind in itertools.product("abcd", (None, 7), (None, int, sum)):
            assert watched.get(name, default, kind) == plain.get(name, default, kind)
        assert watched.get("d", type=int) is None
        with pytest.raises(ZeroDivisionError):
            watched.get("a", type=lambda value: 1 / 0)
