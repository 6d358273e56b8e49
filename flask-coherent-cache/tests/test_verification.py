"""Hits that are computed again: what is equal passes, what differs is found and dropped."""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g, has_request_context, render_template_string, request, session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import flask_coherent_cache as caching
from flask_coherent_cache._dependencies.dependencies import current_dependencies
from test_near import ready

MakeApp = Callable[..., tuple[Flask, Any]]

#: What a module keeps for itself is what no tag can see.
hidden = {"text": "the first secret"}


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Product(db.Model):  # type: ignore[name-defined, misc]
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclass
class Price:
    cents: int


class Plain:
    """Has no equality of its own."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts


@pytest.fixture(autouse=True)
def _first() -> None:
    hidden["text"] = "the first secret"


@pytest.fixture
def made(make_app: MakeApp) -> tuple[Flask, Any]:
    """An application whose every hit is computed again."""
    app, cache = make_app(CACHE_VERIFY=1)
    with app.app_context():
        cache.clear()
    return app, cache


@pytest.fixture
def verifying(made: tuple[Flask, Any]) -> Flask:
    return made[0]


@pytest.fixture
def cache(made: tuple[Flask, Any]) -> Any:
    return made[1]


def outcomes(app: Flask, cache: Any) -> dict[str, int]:
    """What became of the hits that were chosen."""
    with app.app_context():
        return dict(cache.engine.statistics.verified)


EQUAL = {"compared": 1}
DIFFERENT = {"compared": 1, "different": 1}
SET_ASIDE = {"set aside": 1}


# -- pages -------------------------------------------------------------------------------


def test_an_equal_page_passes(verifying: Flask, cache: Any) -> None:
    contexts = []

    @verifying.get("/")
    @cache.cached(60, query=("q",))
    def index() -> tuple[str, dict[str, str]]:
        contexts.append(request._get_current_object())  # type: ignore[attr-defined]
        return "long text " * 500 + request.args.get("q", ""), {"X-Kind": "index"}

    client = verifying.test_client()
    client.get("/?q=a")
    hit = client.get("/?q=a", headers={"Accept-Encoding": "gzip"})
    assert "; hit" in hit.headers["Cache-Status"]
    assert outcomes(verifying, cache) == EQUAL
    assert len(contexts) == 2
    assert "; hit" in client.head("/?q=a").headers["Cache-Status"]
    assert outcomes(verifying, cache) == {"compared": 2}
    # It is nobody's lookup, and nobody's fill.
    with verifying.app_context():
        lookups = cache.engine.statistics.lookups("page", "index")
    assert (lookups.results["hit"], lookups.results["miss"], lookups.fills) == (2, 1, 1)
    assert lookups.results["bypass"] == 0


def test_a_page_that_differs_is_dropped_and_named_without_its_content(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @verifying.get("/")
    @cache.cached(60, tags=("home",), vary=("X-Shop",))
    def index() -> str:
        return f"<p>{hidden['text']}</p>" + request.headers.get("X-Shop", "")

    client = verifying.test_client()
    shop = {"X-Shop": "a visitor's value"}
    client.get("/", headers=shop)
    hidden["text"] = "the second secret"
    with caplog.at_level(logging.WARNING):
        served = client.get("/", headers=shop)
    assert b"first" in served.data
    assert outcomes(verifying, cache) == DIFFERENT
    with verifying.app_context():
        assert cache.engine.statistics.differences == {("page", "index"): 1}
    (told,) = [one.getMessage() for one in caplog.records if "CACHE_VERIFY" in one.getMessage()]
    assert "the page index differs from what is computed now, at byte 7 of the body" in told
    assert "Key: 'page:http://localhost/" in told
    assert "home" in told
    assert "header X-Shop" in told
    assert "secret" not in told
    assert "visitor" not in told
    answer = client.get("/", headers=shop)
    assert "fwd=miss" in answer.headers["Cache-Status"]
    assert b"second" in answer.data


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"status": 203}, "the status"),
        ({"headers": {"X-Kind": "b"}}, "the header X-Kind"),
        ({"headers": {}}, "the header X-Kind"),
        ({"headers": {"X-Kind": "a", "Content-Language": "de"}}, "the header Content-Language"),
        ({"status": 404}, "the status"),
    ],
)
def test_status_and_headers_are_compared(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture, change: Any, where: str
) -> None:
    said = {"status": 200, "headers": {"X-Kind": "a"}}

    @verifying.get("/")
    @cache.cached(60)
    def index() -> Any:
        return "text", said["status"], said["headers"]

    client = verifying.test_client()
    client.get("/")
    said.update(change)
    client.get("/")
    assert outcomes(verifying, cache) == DIFFERENT
    assert f"at {where}." in caplog.text


def test_what_belongs_to_one_response_is_not_compared(verifying: Flask, cache: Any) -> None:
    numbers = count()

    @verifying.after_request
    def number(response: Any) -> Any:
        response.headers["X-Number"] = str(next(numbers))
        return response

    @verifying.get("/")
    @cache.cached(60)
    def index() -> tuple[str, dict[str, str]]:
        own = f'"{next(numbers)}"'
        return "text", {"ETag": own, "X-Request-ID": own, "Cache-Control": f"max-age={own[1:-1]}"}

    client = verifying.test_client()
    client.get("/")
    client.get("/")
    assert outcomes(verifying, cache) == EQUAL


def test_the_visitor_s_own_cookies_and_headers_are_sent_again(verifying: Flask, cache: Any) -> None:
    @verifying.get("/login/<name>")
    def login(name: str) -> str:
        session["name"] = name
        return name

    @verifying.get("/")
    @cache.cached(60, private=True, vary_cookies=("theme",))
    def index() -> str:
        return f"{session.get('name')} {request.cookies.get('theme')}"

    client = verifying.test_client()
    client.set_cookie("theme", "dark")
    client.get("/login/ann")
    client.get("/")
    assert client.get("/").text == "ann dark"
    assert outcomes(verifying, cache) == EQUAL


def test_a_stale_memoized_value_does_not_hide_in_a_page(verifying: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "inner")
    def inner() -> str:
        return hidden["text"]

    @verifying.get("/")
    @cache.cached(60)
    def index() -> str:
        return str(inner())

    client = verifying.test_client()
    client.get("/")
    hidden["text"] = "another"
    client.get("/")
    assert outcomes(verifying, cache) == DIFFERENT


def test_a_page_is_set_aside_if_it_was_invalidated_meanwhile(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: Counter[str] = Counter()

    @verifying.get("/")
    @cache.cached(60, tags=("home",))
    def index() -> str:
        seen["index"] += 1
        if seen["index"] == 2:
            cache.invalidate("home")
        return str(seen["index"])

    client = verifying.test_client()
    client.get("/")
    assert client.get("/").text == "1"
    assert outcomes(verifying, cache) == SET_ASIDE
    assert "CACHE_VERIFY" not in caplog.text


@pytest.mark.parametrize("fault", ["raises", "exits", "sets a cookie"])
def test_a_page_that_cannot_be_computed_is_set_aside(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    seen: Counter[str] = Counter()

    @verifying.get("/")
    @cache.cached(60)
    def index() -> Any:
        seen["index"] += 1
        if seen["index"] == 2 and fault == "raises":
            raise ZeroDivisionError
        if seen["index"] == 2 and fault == "exits":
            sys.exit("A time-out of gevent's is no Exception, either.")
        response = verifying.make_response("text")
        if seen["index"] == 2:
            response.set_cookie("a", "b")
        return response

    client = verifying.test_client()
    client.get("/")
    answer = client.get("/")
    assert answer.text == "text"
    assert "Set-Cookie" not in answer.headers
    assert outcomes(verifying, cache) == SET_ASIDE
    assert "ZeroDivisionError" not in caplog.text


def test_a_hook_that_answers_itself_sets_the_comparison_aside(verifying: Flask, cache: Any) -> None:
    seen: Counter[str] = Counter()

    @verifying.before_request
    def limit() -> Any:
        seen["asked"] += 1
        return ("too many", 429) if seen["asked"] == 3 else None

    @verifying.get("/")
    @cache.cached(60)
    def index() -> str:
        return "text"

    client = verifying.test_client()
    client.get("/")
    assert client.get("/").text == "text"
    assert outcomes(verifying, cache) == SET_ASIDE


def test_the_second_answer_shares_nothing_with_the_first(verifying: Flask, cache: Any) -> None:
    torn_down = []

    @verifying.before_request
    def mark() -> None:
        assert not hasattr(g, "mark")
        g.mark = len(torn_down)

    @verifying.teardown_request
    def note(error: Any) -> None:
        torn_down.append(g.mark)

    @verifying.get("/")
    @cache.cached(60)
    def index() -> str:
        return "text"

    client = verifying.test_client()
    with verifying.app_context():  # As tests have it.
        client.get("/")
    client.get("/")
    assert torn_down == [0, 1, 1]
    assert outcomes(verifying, cache) == EQUAL


def test_a_page_says_what_may_differ(verifying: Flask, cache: Any) -> None:
    numbers = count()

    def without_number(body: bytes) -> bytes:
        return body.partition(b"#")[0]

    @verifying.get("/some")
    @cache.cached(60, may_differ=without_number)
    def some() -> str:
        return f"{hidden['text']} #{next(numbers)}"

    @verifying.get("/all")
    @cache.cached(60, may_differ=True)
    def everything() -> str:
        return str(next(numbers))

    client = verifying.test_client()
    for _ in range(2):
        client.get("/some")
        client.get("/all")
    assert outcomes(verifying, cache) == EQUAL
    hidden["text"] = "another"
    client.get("/some")
    assert outcomes(verifying, cache) == {"compared": 2, "different": 1}


def test_a_page_that_is_served_before_flask_is_verified_by_flask(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_VERIFY=1, SESSION_REFRESH_EACH_REQUEST=False)
    if not cache.serve_before_flask(app):
        pytest.skip("no near cache with this store")
    ready(app, cache)

    @app.get("/")
    @cache.cached(60)
    def index() -> str:
        return hidden["text"]

    client = app.test_client(use_cookies=False)
    with app.app_context():
        verifier = cache.engine.verifier
    verifier._share = 0
    for _ in range(4):
        client.get("/")
    middleware = app.extensions["coherent_cache_page_middleware"]
    with app.app_context():
        lookups = cache.engine.statistics.lookups("page", "index")
    assert middleware._near._aliases
    assert lookups.served
    served = sum(sum(timings.read()[0]) for timings in lookups.served.values())
    verifier._share = 1
    client.get("/")
    assert outcomes(app, cache) == EQUAL
    hidden["text"] = "another"
    client.get("/")
    assert outcomes(app, cache) == {"compared": 2, "different": 1}
    assert sum(sum(timings.read()[0]) for timings in lookups.served.values()) == served
    assert client.get("/").text == "another"


# -- functions and fragments -----------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"b", "a", "c"},
        lambda: [Price(1), float("nan")],
        lambda: Plain("x", "".join(["x"])),
        lambda: (number for number in range(3)),
        lambda: None,
    ],
)
def test_an_equal_value_passes(verifying: Flask, cache: Any, make: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> Any:
        return make()

    with verifying.test_request_context():
        value()
        value()
    assert outcomes(verifying, cache) == EQUAL


def test_equal_values_of_other_bytes_pass(verifying: Flask, cache: Any) -> None:
    seen: Counter[str] = Counter()

    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> Any:
        seen["value"] += 1
        one = "".join(["x", "y"])
        other = one if seen["value"] == 1 else "".join(["x", "y"])
        return Plain(one, other)

    with verifying.test_request_context():
        value()
        value()
    assert seen["value"] == 2
    assert outcomes(verifying, cache) == EQUAL


@pytest.mark.parametrize("kind", ["memoized", "cached", "fragment"])
def test_a_value_that_differs_is_dropped_and_named_without_its_content(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    @cache.memoize(60, make_name=lambda name: "memoized")
    def memoized(number: int) -> str:
        return hidden["text"]

    @cache.cached(60, key_prefix="cached")
    def cached() -> str:
        return hidden["text"]

    verifying.add_template_global(lambda: hidden["text"], "shown")

    def fragment() -> str:
        return render_template_string("{% cache 60, 'fragment' %}{{ shown() }}{% endcache %}")

    ask = {"memoized": lambda: memoized(1), "cached": cached, "fragment": fragment}[kind]
    with verifying.app_context():
        ask()
        assert ask() == "the first secret"
        assert outcomes(verifying, cache) == EQUAL
        hidden["text"] = "the second secret"
        assert ask() == "the first secret"
        assert outcomes(verifying, cache) == {"compared": 2, "different": 1}
        told = caplog.text
        assert "differs from what is computed now, at byte" in told
        assert kind in told
        assert "secret" not in told
        assert ask() == "the second secret"


def test_a_difference_drops_what_was_built_on_the_entry(verifying: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "inner")
    def inner() -> str:
        return hidden["text"]

    @verifying.get("/")
    @cache.cached(60, may_differ=True)
    def index() -> str:
        return str(inner())

    client = verifying.test_client()
    client.get("/")
    hidden["text"] = "another"
    with verifying.app_context():
        inner()
    assert client.get("/").text == "another"


def test_a_function_is_set_aside_if_it_was_invalidated_meanwhile(
    verifying: Flask, cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: Counter[str] = Counter()

    @cache.memoize(60, tags=("number",), make_name=lambda name: "value")
    def value() -> int:
        seen["value"] += 1
        if seen["value"] == 2:
            cache.invalidate("number")
        return seen["value"]

    with verifying.app_context():
        assert [value(), value()] == [1, 1]
    assert outcomes(verifying, cache) == SET_ASIDE
    assert "CACHE_VERIFY" not in caplog.text


def test_what_a_recomputation_raises_reaches_nobody(verifying: Flask, cache: Any) -> None:
    seen: Counter[str] = Counter()

    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> int:
        seen["value"] += 1
        return 1 // (2 - seen["value"])

    with verifying.app_context():
        assert [value(), value()] == [1, 1]
    assert outcomes(verifying, cache) == SET_ASIDE


def test_a_context_older_than_the_entry_sets_the_comparison_aside(
    verifying: Flask, cache: Any
) -> None:
    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> str:
        return hidden["text"]

    with verifying.test_request_context():
        with verifying.app_context():
            cache.engine.observe()
        cache.invalidate("something")
        with verifying.test_request_context():
            value()
        assert value() == "the first secret"
    assert outcomes(verifying, cache) == SET_ASIDE


def test_a_function_says_what_may_differ(verifying: Flask, cache: Any) -> None:
    numbers = count()

    @cache.memoize(60, make_name=lambda name: "some", may_differ=lambda value: value["text"])
    def some() -> dict[str, Any]:
        return {"text": hidden["text"], "at": next(numbers)}

    @cache.memoize(60, make_name=lambda name: "all", may_differ=True)
    def everything() -> int:
        return next(numbers)

    @cache.cached(60, key_prefix="cached", may_differ=lambda value: None)
    def cached() -> int:
        return next(numbers)

    with verifying.app_context():
        for _ in range(2):
            some()
            everything()
            cached()
        assert outcomes(verifying, cache) == {"compared": 2}
        hidden["text"] = "another"
        some()
        assert outcomes(verifying, cache) == {"compared": 3, "different": 1}


def test_what_may_differ_is_checked_when_a_function_is_decorated(cache: Any) -> None:
    for decorate in (cache.cached(60, may_differ="Date"), cache.memoize(60, may_differ=3)):
        with pytest.raises(ValueError, match="may_differ is"):
            decorate(test_what_may_differ_is_checked_when_a_function_is_decorated)


def test_what_a_recomputation_reads_counts_for_nobody(verifying: Flask, cache: Any) -> None:
    seen: Counter[str] = Counter()

    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> int:
        seen["value"] += 1
        if seen["value"] > 1:
            request.headers.get("X-Secret")
            cache.tag("late")
        return 1

    @verifying.get("/")
    @cache.cached(60, may_differ=True)
    def index() -> str:
        return str(value())

    with verifying.test_request_context():
        value()
    answer = verifying.test_client().get("/")
    assert seen["value"] == 2
    assert "stored" in answer.headers["Cache-Status"]
    assert "public" in answer.headers["Cache-Control"]
    cache_entries = verifying.extensions["cache"][cache]
    (entry,) = [one for one in cache_entries.statistics.known_entries() if one.level == "page"]
    assert "late" not in entry.tags


def test_what_a_recomputation_leaves_on_g_counts(verifying: Flask, cache: Any) -> None:
    seen: Counter[str] = Counter()

    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> int:
        seen["value"] += 1
        if seen["value"] > 1:
            g.secret = request.headers.get("X-Secret")
        return 1

    @verifying.get("/")
    @cache.cached(60, may_differ=True)
    def index() -> str:
        return f"{value()} {g.get('secret')}"

    verifying.config["CACHE_STRICT"] = False
    with verifying.test_request_context():
        value()
    answer = verifying.test_client().get("/", headers={"X-Secret": "ann"})
    assert answer.text == "1 ann"
    assert "stored" not in answer.headers["Cache-Status"]


def test_nested_functions_are_computed_and_count_nowhere(verifying: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "inner")
    def inner() -> str:
        return hidden["text"]

    @cache.memoize(60, make_name=lambda name: "outer")
    def outer() -> str:
        assert not has_request_context()
        return str(inner())

    with verifying.app_context():
        outer()
        hidden["text"] = "another"
        outer()
        statistics = cache.engine.statistics
        counts = {one.name.rpartition(".")[2]: one.results for one in statistics.all_lookups()}
    assert outcomes(verifying, cache) == DIFFERENT
    assert counts["inner"]["bypass"] == counts["inner"]["hit"] == 0


# -- the database ----------------------------------------------------------------------------


@pytest.fixture
def shop(verifying: Flask, cache: Any, tmp_path: Path) -> Flask:
    verifying.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
    db.init_app(verifying)
    with verifying.app_context():
        cache.watch(db)
        db.create_all()
        db.session.add(Product(id=1, name="one"))
        db.session.commit()

    @cache.memoize(60, make_name=lambda name: "name_of")
    def name_of(number: int) -> str:
        return str(db.session.get(Product, number).name)

    @verifying.get("/<int:number>")
    @cache.cached(60)
    def index(number: int) -> str:
        return str(name_of(number))

    @verifying.post("/<int:number>/<name>")
    def rename(number: int, name: str) -> str:
        name_of(number)
        db.session.get(Product, number).name = name
        named = name_of(number)
        db.session.commit()
        return str(named)

    verifying.extensions["name_of"] = name_of
    return verifying


def test_pages_of_a_database_pass(shop: Flask, cache: Any) -> None:
    client = shop.test_client()
    for name in ("two", "three"):
        client.get("/1")
        client.get("/1")
        with shop.app_context():
            shop.extensions["name_of"](1)
        assert client.post(f"/1/{name}").text == name
        assert client.get("/1").text == name
    found = outcomes(shop, cache)
    assert found["compared"] >= 4
    assert "different" not in found


def test_a_dependency_that_is_not_tracked_is_found(shop: Flask, cache: Any) -> None:
    client = shop.test_client()
    client.get("/1")
    with shop.app_context():
        # Past what watches the sessions and the engine.
        raw = db.engine.raw_connection()
        raw.cursor().execute("UPDATE product SET name = 'two'")
        raw.commit()
        raw.close()
    assert client.get("/1").text == "one"
    assert outcomes(shop, cache)["different"] == 1
    assert client.get("/1").text in ("one", "two")
    assert client.get("/1").text == "two"


def test_rows_that_a_recomputation_leaves_in_the_session_count_for_what_uses_them(
    shop: Flask, cache: Any
) -> None:
    kept = []

    @cache.memoize(60, make_name=lambda name: "value")
    def value() -> str:
        if kept:
            kept.append(db.session.get(Product, 1))
        return "one"

    with shop.test_request_context():
        value()
    kept.append(None)
    with shop.test_request_context():
        value()
        assert kept[1].name == "one"
        assert "product:1" in current_dependencies().collected()
        assert not current_dependencies().verifying


# -- the setting ---------------------------------------------------------------------------------


def test_without_the_setting_nothing_is_computed_again(make_app: MakeApp) -> None:
    app, cache = make_app()
    with app.app_context():
        assert cache.engine.verifier is None


@pytest.mark.parametrize("share", [-0.1, 1.1, "all", None])
def test_the_share_is_checked(share: Any) -> None:
    app = Flask("shop")
    app.config.update(CACHE_TYPE="SimpleCache", CACHE_VERIFY=share)
    with pytest.raises(ValueError, match="CACHE_VERIFY is"):
        caching.Cache(app)


def test_a_share_is_drawn(made: tuple[Flask, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    app, cache = made
    with app.app_context():
        verifier = cache.engine.verifier
    verifier._share = 0.25
    drawn = iter([0.0, 0.2499, 0.25, 0.9])
    monkeypatch.setattr("random.random", lambda: next(drawn))
    assert [verifier.chooses() for _ in range(4)] == [True, True, False, False]


def test_what_is_computed_again_reads_no_session(make_app: MakeApp) -> None:
    app, cache = make_app(CACHE_VERIFY=1)
    app.secret_key = "k" * 40

    @app.before_request
    def load_user() -> None:
        g.user = session.get("user")

    cache.influences_only_through(load_user, g="user", reason="it only sets g.user")

    @cache.memoize(60)
    def double(number: int) -> int:
        return 2 * number

    @app.get("/sign-in")
    def sign_in() -> str:
        session["user"] = "Ada"
        return str(double(2))

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return str(double(2))

    client = app.test_client()
    client.get("/sign-in")
    statuses = [client.get("/page").headers["Cache-Status"] for _ in range(2)]
    assert ["stored" in statuses[0], "; hit" in statuses[1]] == [True, True], statuses
