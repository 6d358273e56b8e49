"""`flask cache warm`: the pages that views declare."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, request
from flask.views import MethodView

from flask_coherent_cache._pages.view_functions import warm_of
from report_stubs import invoke, invoke_json

MakeApp = Callable[..., Flask]
BASE = ("--base-url", "https://Shop.test/")


@pytest.fixture
def app(make: MakeApp) -> Flask:
    """An application whose own pages, such as the example's, are not warmed."""
    app = make(TRUSTED_HOSTS=["shop.test", "localhost"], PUBLIC_URL="https://shop.test")
    kept = {name: view for name, view in app.view_functions.items() if not warm_of(view)}
    app.view_functions.clear()
    app.view_functions.update(kept)
    return app


def paths(told: dict[str, Any], outcome: str) -> list[str]:
    return sorted(page["path"] for page in told["pages"] if page["outcome"] == outcome)


def test_pages_of_an_application_under_a_prefix(app: Flask, cache: Any) -> None:
    app.config["APPLICATION_ROOT"] = "/shop"

    @app.get("/one")
    @cache.cached(60, warm=True)
    def one() -> str:
        return "one"

    _, told = invoke_json(app, "warm", *BASE)
    assert paths(told, "filled") == ["/shop/one"]
    visit = app.test_client().get("/one", base_url="https://shop.test/shop")
    assert "; hit" in visit.headers["Cache-Status"]


def test_declared_pages_are_hits_to_visitors(app: Flask, cache: Any) -> None:
    @app.get("/one")
    @cache.cached(60, warm=True)
    def one() -> str:
        return "one"

    def numbers() -> Iterator[dict[str, Any]]:
        yield {"number": 1}
        yield {"number": 2, "size": "a b"}

    @app.get("/many/<int:number>")
    @cache.cached(60, query=("size",), warm=numbers)
    def many(number: int) -> str:
        return f"{number} {request.args.get('size')}"

    @app.get("/other")
    @cache.cached(60)
    def other() -> str:
        return "other"

    class Classy(MethodView):
        @cache.cached(60, warm=True)
        def get(self) -> str:
            return "classy"

    app.add_url_rule("/classy", view_func=Classy.as_view("classy"))
    asked = ["/classy", "/many/1", "/many/2?size=a+b", "/one"]
    code, told = invoke_json(app, "warm", *BASE)
    assert (code, told["base_url"], paths(told, "filled")) == (0, "https://shop.test", asked)
    client = app.test_client()
    for path in (*asked, "/many/2?size=a%20b&utm_source=x"):
        response = client.get(path, base_url="https://shop.test")
        hit = "; hit" in response.headers["Cache-Status"]
        # A query is kept as it is spelt, so another spelling is another page.
        assert hit is ("%20" not in path), path
    stranger = client.get("/one", base_url="http://localhost")
    assert "fwd=miss" in stranger.headers["Cache-Status"]
    assert "fwd=miss" in client.get("/other", base_url="https://shop.test").headers["Cache-Status"]
    # PUBLIC_URL says the address, too.
    code, told = invoke_json(app, "warm")
    assert (code, paths(told, "hit")) == (0, asked)
    assert "0 filled, 4 hit, 0 stale, 0 failed." in invoke(app, "warm").output


def test_what_failed_is_said_and_the_rest_is_done(app: Flask, cache: Any) -> None:
    @app.get("/good")
    @cache.cached(60, warm=True)
    def good() -> str:
        return "good"

    @app.get("/gone")
    @cache.cached(60, warm=True)
    def gone() -> str:
        abort(410)

    @app.get("/refused")
    @cache.cached(60, warm=True)
    def refused() -> Any:
        return "refused", {"Cache-Control": "no-store"}

    @app.get("/lacking/<name>")
    @cache.cached(60, warm=True)
    def lacking(name: str) -> str:
        return name

    code, told = invoke_json(app, "warm", *BASE)
    assert code == 1
    assert paths(told, "filled") == ["/good"]
    why = {page["path"]: page["detail"] for page in told["pages"] if page["outcome"] == "failed"}
    assert why["/gone"] == "the application answers 410 GONE"
    assert why["/refused"] == "it was not stored: cache-control"
    assert "name" in why["lacking"]
    text = invoke(app, "warm", *BASE).output
    assert re.search(r"^failed +/gone: the application answers 410 GONE", text, re.MULTILINE)
    assert "0 filled, 1 hit, 0 stale, 3 failed." in text


def test_an_old_page_is_computed_anew(app: Flask, cache: Any) -> None:
    @app.get("/old")
    @cache.cached(60, grace=60, warm=True)
    def old() -> str:
        return "old"

    assert invoke_json(app, "warm", *BASE)[1]["filled"] == 1
    with app.app_context():
        cache.refresh("page:https://shop.test/old")
    assert invoke_json(app, "warm", *BASE)[1]["stale"] == 1


def test_concurrency_is_bounded(app: Flask, cache: Any) -> None:
    threads: set[str] = set()
    all_busy = threading.Barrier(3)

    @app.get("/busy/<int:number>")
    @cache.cached(60, warm=lambda: ({"number": number} for number in range(12)))
    def busy(number: int) -> str:
        threads.add(threading.current_thread().name)
        # Twelve are four times three: it passes only where three run at once.
        all_busy.wait(10)
        return str(number)

    code, told = invoke_json(app, "warm", *BASE, "--concurrency", "3")
    assert (code, told["filled"], len(threads)) == (0, 12, 3)


def test_the_bound_on_made_up_addresses_is_not_for_the_owner(app: Flask, cache: Any) -> None:
    config = app.extensions["cache"][cache].config
    config["CACHE_NEW_PAGES_PER_MINUTE"] = 3

    @app.get("/bounded/<int:number>")
    @cache.cached(60, warm=lambda: ({"number": number} for number in range(8)))
    def bounded(number: int) -> str:
        return str(number)

    assert invoke_json(app, "warm", *BASE)[1]["filled"] == 8
    assert config["CACHE_NEW_PAGES_PER_MINUTE"] == 3


@pytest.mark.parametrize(
    "arguments",
    [(), ("--base-url", "shop.test"), ("--base-url", "https://shop.test/here")],
    ids=["none", "no scheme", "a path"],
)
def test_it_has_to_be_told_the_address(make: MakeApp, arguments: tuple[str, ...]) -> None:
    result = invoke(make(), "warm", *arguments)
    assert result.exit_code == 2
    assert "https://www.example.com" in result.output


def test_to_warm_nothing_is_said(app: Flask) -> None:
    result = invoke(app, "warm", *BASE)
    assert result.exit_code == 1
    assert "No view says warm=" in result.output


def test_what_cannot_be_warmed_is_refused_at_once(cache: Any) -> None:
    with pytest.raises(ValueError, match="warm is 'yes'"):
        cache.cached(60, warm="yes")
    with pytest.raises(ValueError, match="one visitor's"):
        cache.cached(60, warm=True, private=True)


def test_a_log_line_for_each_page_is_spared(
    app: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/quiet")
    @cache.cached(60, warm=True)
    def quiet() -> str:
        return "quiet"

    access = logging.getLogger(f"{app.import_name}.access")

    @app.after_request
    def write(response: Response) -> Response:
        access.info("%s", request.path)
        return response

    caplog.set_level("INFO")
    invoke(app, "warm", *BASE)
    assert "/quiet" not in caplog.text
    app.test_client().get("/quiet", base_url="https://shop.test")
    assert "/quiet" in caplog.text
