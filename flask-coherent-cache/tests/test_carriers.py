"""What hooks leave for a view, on the context or in the session, and what they do to a body."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import cached_property
from typing import Any

import pytest
from flask import Flask, Response, g, request, session
from flask.ctx import _AppCtxGlobals
from flask.globals import request_ctx

import flask_coherent_cache as caching


@pytest.fixture
def lenient(make_app: Any) -> tuple[Flask, Any]:
    """An application in production, and its cache."""
    app, cache = make_app(CACHE_STRICT=False)
    return app, cache


def test_what_hangs_on_the_context_is_taken_as_on_the_request(lenient: tuple[Flask, Any]) -> None:
    app, cache = lenient

    @app.before_request
    def keep_tenant() -> None:
        request_ctx.tenant = request.headers.get("X-Tenant")  # type: ignore[attr-defined]

    cache.influences_only_through(keep_tenant, g=(), reason="it says too little")

    @app.get("/tenant")
    @cache.cached()
    def tenant() -> str:
        return f"{request_ctx.tenant}"  # type: ignore[attr-defined]

    @app.get("/plain")
    @cache.cached()
    def plain() -> str:
        return "all"

    client = app.test_client()
    for name in ("red", "blue"):
        answer = client.get("/tenant", headers={"X-Tenant": name})
        assert answer.text == name
        assert "X-Tenant" in answer.headers["Cache-Status"]
        # The hook wrote elsewhere than it was said to.
        assert "X-Tenant" in client.get("/plain").headers["Cache-Status"]


def test_a_memoized_function_takes_from_the_context(lenient: tuple[Flask, Any]) -> None:
    app, cache = lenient

    @cache.memoize(make_name=lambda _: "tenant")
    def tenant() -> str:
        return f"{getattr(request_ctx, 'tenant', None)}"

    @app.get("/tenant")
    def view() -> str:
        request_ctx.tenant = request.headers.get("X-Tenant")  # type: ignore[attr-defined]
        assert request_ctx.tenant == request.headers.get("X-Tenant")  # type: ignore[attr-defined]
        del request_ctx.tenant  # type: ignore[attr-defined]
        assert not hasattr(request_ctx, "tenant")
        request_ctx.tenant = request.headers.get("X-Tenant")  # type: ignore[attr-defined]
        return str(tenant())

    client = app.test_client()
    for name in ("red", "blue", "red"):
        assert client.get("/tenant", headers={"X-Tenant": name}).text == name


class Globals(_AppCtxGlobals):
    """A ``g`` with ways of its own to the same names."""

    the_tenant: str | None = None

    @cached_property
    def upper(self) -> str:
        return request.headers.get("X-Tenant", "").upper()

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(f"the_{name}", default)

    def taken(self) -> Any:
        return super().get("the_tenant")

    def looked_up(self) -> Any:
        return super().__getattr__("the_tenant")


@pytest.mark.parametrize(
    "take",
    [
        lambda own: own.get("tenant"),
        lambda own: own.the_tenant,
        lambda own: own.upper.lower(),
        lambda own: own.taken(),
        lambda own: own.looked_up(),
        lambda own: _AppCtxGlobals.setdefault(own, "the_tenant"),
    ],
)
def test_a_subclass_of_g_takes_names_by_its_own_methods(
    lenient: tuple[Flask, Any], take: Callable[[Any], Any]
) -> None:
    app, cache = lenient
    app.app_ctx_globals_class = Globals

    @app.before_request
    def keep_tenant() -> None:
        g.the_tenant = request.headers.get("X-Tenant")
        assert g.upper is not None

    cache.influences_only_through(
        keep_tenant, g=("the_tenant", "upper"), reason="it leaves nothing else"
    )

    @app.get("/tenant")
    @cache.cached()
    def tenant() -> str:
        return f"{take(g._get_current_object())}"

    @app.get("/other")
    @cache.cached()
    def other() -> str:
        return f"{g.get('theme')}"

    client = app.test_client()
    for name in ("red", "blue"):
        answer = client.get("/tenant", headers={"X-Tenant": name})
        assert answer.text == name
        assert "X-Tenant" in answer.headers["Cache-Status"]
        client.get("/other", headers={"X-Tenant": name})
    assert "; hit" in client.get("/other").headers["Cache-Status"]


@pytest.mark.parametrize(("value", "counts"), [("same", False), ("other", True)])
def test_a_session_that_is_written_again_as_it_was(
    lenient: tuple[Flask, Any], value: str, counts: bool
) -> None:
    app, cache = lenient

    @app.before_request
    def write_again() -> None:
        if session:
            session["name"] = "same" if value == "same" else request.path

    cache.influences_only_through(write_again, reason="it only renews the session")

    @app.get("/plain")
    @cache.cached()
    def plain() -> str:
        return "all"

    @app.get("/start")
    def start() -> str:
        session["name"] = "same"
        return "started"

    client = app.test_client()
    client.get("/start")
    statuses = [client.get("/plain").headers["Cache-Status"] for _ in range(2)]
    assert ("session" in statuses[0]) == counts
    assert ("; hit" in statuses[1]) != counts


def test_the_etag_of_a_page_past_the_cache_is_of_the_last_bytes(
    lenient: tuple[Flask, caching.Cache],
) -> None:
    app, cache = lenient

    @app.after_request
    def sign(response: Response) -> Response:
        return app.response_class(response.get_data() + request.query_string, 200, response.headers)

    @app.get("/page")
    @cache.cached()
    def page() -> str:
        return f"for {request.headers.get('X-Name')}"

    client = app.test_client()
    first, same, other = (client.get(f"/page?{query}") for query in ("a", "a", "b"))
    assert "X-Name" in first.headers["Cache-Status"]
    assert first.headers["ETag"] == same.headers["ETag"]
    assert first.headers["ETag"] != other.headers["ETag"]


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_declared_variable_adds_nothing_outside_of_requests(
    lenient: tuple[Flask, Any], is_declared: bool
) -> None:
    app, cache = lenient
    line: ContextVar[str | None] = ContextVar("line", default=None)
    if is_declared:
        cache.influences_only_through(line, reason="the log shows it")

    @cache.memoize()
    def tagged() -> str:
        cache.tag("a tag")
        return "tagged"

    shown = cache.memoize()(show)

    def run() -> None:
        line.set("1")
        with app.app_context():
            tagged()
            shown("later")

    shown_names.clear()
    copy_context().run(run)
    cache.invalidate("a tag")
    copy_context().run(run)
    assert shown_names == ["later"] * (1 if is_declared else 2)


shown_names: list[str] = []


def show(name: str) -> str:
    shown_names.append(name)
    return name
