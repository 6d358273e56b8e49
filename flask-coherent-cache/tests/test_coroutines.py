"""``async def`` views and functions: cached as any other, and awaited where a loop runs."""

import asyncio
import contextvars
import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

pytest.importorskip("asgiref", reason="Flask runs async views by asgiref")

calls: list[Any] = []
language: contextvars.ContextVar[str] = contextvars.ContextVar("caching_language", default="en")


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


async def double(x: int) -> int:
    await asyncio.sleep(0)
    calls.append(x)
    return 2 * x


async def rows() -> Any:
    yield 1


def test_an_async_view_is_cached(app: Flask, cache: Any) -> None:
    @app.route("/")
    @cache.cached(60, tags=("news",))
    async def page() -> str:
        await asyncio.sleep(0)
        calls.append("page")
        return "news"

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["news", "news"]
    assert calls == ["page"]
    cache.invalidate("news")
    assert "fwd=miss" in client.get("/").headers["Cache-Status"]


def test_a_class_of_async_views_is_cached(app: Flask, cache: Any) -> None:
    from flask.views import MethodView  # noqa: PLC0415 - used here only

    class Page(MethodView):
        decorators = (cache.cached(60),)

        async def get(self) -> str:
            calls.append("get")
            return "page"

    app.add_url_rule("/", view_func=Page.as_view("page"))
    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["page", "page"]
    assert calls == ["get"]


def test_outside_a_loop_a_memoized_coroutine_function_returns_its_value(
    app: Flask, cache: Any
) -> None:
    doubled = cache.memoize(60)(double)
    with app.app_context():
        assert [doubled(2), doubled(2), doubled(3)] == [4, 4, 6]
        cache.delete_memoized(doubled, 2)
        assert [doubled(2), doubled(3)] == [4, 6]
    assert calls == [2, 3, 2]


def test_in_a_loop_it_is_awaited(app: Flask, cache: Any) -> None:
    doubled = cache.memoize(60)(double)

    @app.route("/")
    async def page() -> str:
        both = await asyncio.gather(doubled(2), doubled(2), doubled(3))
        return f"{both} {await doubled(2)}"

    assert app.test_client().get("/").text == "[4, 4, 6] 4"
    assert sorted(calls) == [2, 3]


def test_what_a_coroutine_reads_becomes_tags(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "inner")
    async def inner() -> int:
        await asyncio.sleep(0)
        cache.tag("product")
        calls.append("inner")
        return len(calls)

    @cache.memoize(60, make_name=lambda name: "outer")
    async def outer() -> int:
        return 10 * await inner()

    doubled = cache.memoize(60)(double)

    @app.route("/")
    @cache.cached(60)
    async def page() -> str:
        first, second = await asyncio.gather(outer(), doubled(2))
        return f"{first} {second}"

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["10 4", "10 4"]
    cache.invalidate("product")
    assert client.get("/").text == "30 4"
    assert calls == ["inner", 2, "inner"], "what runs beside it depends on nothing of it"


@pytest.mark.parametrize("level", ["page", "function"])
def test_request_data_that_a_coroutine_reads_is_noticed(
    make_app: Callable[..., tuple[Flask, Any]], level: str
) -> None:
    app, cache = make_app(CACHE_STRICT=False)

    async def greeting() -> str:
        await asyncio.sleep(0)
        return request.headers.get("X-Name", "")

    if level == "page":
        app.add_url_rule("/", "page", cache.cached(60)(greeting))
    else:
        memoized = cache.memoize(60, make_name=lambda name: "greeting")(greeting)

        async def page() -> str:
            return await memoized()

        app.add_url_rule("/", "page", page)
    client = app.test_client()
    answers = [client.get("/", headers={"X-Name": name}).text for name in ("Ann", "Bob")]
    assert answers == ["Ann", "Bob"]


def test_context_variables_reach_a_coroutine(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "spoken")
    async def spoken() -> str:
        return language.get()

    @app.route("/")
    async def page() -> str:
        language.set("fr")
        return await spoken()

    assert contextvars.Context().run(app.test_client().get, "/").text == "fr"


def test_one_thread_computes_for_all(app: Flask, cache: Any) -> None:
    entered, waiting = threading.Event(), threading.Barrier(5)

    @cache.memoize(60, make_name=lambda name: "slow")
    async def slow() -> int:
        entered.set()
        await asyncio.sleep(0.05)
        calls.append("slow")
        return len(calls)

    results: list[int] = []

    def ask() -> None:
        with app.app_context():
            waiting.wait()
            results.append(slow())

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 5


def test_an_error_releases_the_key(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "failing")
    async def failing() -> int:
        calls.append("failing")
        if len(calls) == 1:
            raise LookupError("not yet")
        return len(calls)

    async def twice() -> int:
        with pytest.raises(LookupError, match="not yet"):
            await failing()
        return await failing()

    with app.app_context():
        assert asyncio.run(twice()) == 2


def test_without_asgiref_flask_says_what_to_install(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "asgiref.sync", None)
    doubled = cache.memoize(60)(double)
    with app.app_context(), pytest.raises(RuntimeError, match="Install Flask with the 'async'"):
        doubled(2)


def test_null_cache_and_unless_run_coroutines_too(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    for settings, options in (({"CACHE_TYPE": "NullCache"}, {}), ({}, {"unless": lambda: True})):
        app, cache = make_app(**settings)
        doubled = cache.memoize(60, **options)(double)

        async def ask(doubled: Any = doubled) -> Any:
            return await doubled(2)

        with app.app_context():
            assert [doubled(2), asyncio.run(ask())] == [4, 4]


def test_an_async_generator_is_refused_when_decorated(cache: Any) -> None:
    for decorator in (cache.cached, cache.memoize):
        with pytest.raises(TypeError, match="an async generator"):
            decorator(60)(rows)


def test_async_hooks_run_around_cached_pages(app: Flask, cache: Any) -> None:
    @app.before_request
    async def before() -> None:
        calls.append("before")

    @app.route("/")
    @cache.cached(60)
    async def page() -> str:
        calls.append("page")
        return "page"

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["page", "page"]
    assert calls == ["before", "page", "before"]


def test_a_local_of_the_application_is_not_taken_for_asgirefs_own(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app(CACHE_STRICT=False)
    local = importlib.import_module("asgiref.local").Local()
    importlib.import_module("asgiref.sync")
    serve = app.wsgi_app

    def remember(environ: dict[str, Any], start_response: Any) -> Any:
        local.name = environ.get("HTTP_X_NAME", "")
        return serve(environ, start_response)

    app.wsgi_app = remember  # type: ignore[method-assign]
    app.add_url_rule("/", "page", cache.cached(60)(lambda: local.name))
    client = app.test_client()

    def ask() -> list[str]:
        return [client.get("/", headers={"X-Name": name}).text for name in ("Ann", "Bob")]

    # In a context of its own, for the local stays set.
    assert contextvars.Context().run(ask) == ["Ann", "Bob"]


def test_outside_of_a_context_a_coroutine_s_tags_reach_what_awaits_it(
    app: Flask, cache: Any
) -> None:
    @cache.memoize(60, make_name=lambda name: "inside")
    async def inside() -> int:
        await asyncio.sleep(0)
        cache.tag("product")
        calls.append("inside")
        return len(calls)

    @cache.memoize(60, make_name=lambda name: "outside")
    async def outside() -> int:
        return 10 * await inside()

    async def both() -> tuple[int, int]:
        return await outside(), await inside()

    assert [asyncio.run(both()) for _ in range(2)] == [(10, 1)] * 2
    cache.invalidate("product")
    assert asyncio.run(both()) == (20, 2)
