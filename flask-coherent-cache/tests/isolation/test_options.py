"""What the options of a decorator read: it is in the key, or it has no way into the page."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request

from flask_coherent_cache.testing import wait_until
from isolation.alternating import ANN, BOB, Visit, come, details, hits, texts

calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def who() -> str:
    return str(request.headers.get("X-Who", "nobody"))


def own() -> str:
    calls["page"] += 1
    return who()


def same() -> str:
    calls["page"] += 1
    return "the same for all"


#: Options whose functions read the header, and have no other effect on the page.
LOOKING: dict[str, dict[str, Any]] = {
    "unless": {"unless": lambda: who() == "carl"},
    "forced_update": {"forced_update": lambda: who() == "carl"},
    "is_stale": {"is_stale": lambda _: who() == "carl"},
    "response_filter": {"response_filter": lambda _: who() != "carl"},
}


@pytest.mark.parametrize("options", LOOKING.values(), ids=LOOKING)
def test_what_an_option_looks_at_does_not_keep_a_page_from_being_cached(
    app: Flask, cache: Any, options: dict[str, Any]
) -> None:
    app.add_url_rule("/page", "page", cache.cached(60, **options)(same))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["the same for all"] * 4
    assert hits(answers) == 3, details(answers)


@pytest.mark.parametrize("options", LOOKING.values(), ids=LOOKING)
def test_what_an_option_looks_at_is_noticed_in_the_view(
    app: Flask, cache: Any, options: dict[str, Any]
) -> None:
    app.add_url_rule("/page", "page", cache.cached(60, **options)(own))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


@pytest.mark.parametrize("options", LOOKING.values(), ids=LOOKING)
def test_what_an_option_of_a_function_looks_at(
    app: Flask, cache: Any, options: dict[str, Any]
) -> None:
    remembered = cache.memoize(60, **options)(same)
    app.add_url_rule("/page", "page", lambda: str(remembered()))
    assert texts(come(app, ANN, BOB)) == ["the same for all"] * 4
    assert calls["page"] == 1


NAMING: dict[str, dict[str, Any]] = {
    "make_cache_key": {"make_cache_key": who},
    "key_prefix": {"key_prefix": who},
    "private": {"private": who},
    "vary": {"vary": ("X-Who",)},
}


@pytest.mark.parametrize("options", NAMING.values(), ids=NAMING)
def test_what_makes_the_key_is_in_the_key(app: Flask, cache: Any, options: dict[str, Any]) -> None:
    app.add_url_rule("/page", "page", cache.cached(60, **options)(own))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 2, details(answers)


def test_a_tenant_is_in_every_key(app: Flask, cache: Any) -> None:
    cache.tenant(who)
    remembered = cache.memoize(60)(same)
    app.add_url_rule("/page", "page", cache.cached(60)(own))
    app.add_url_rule("/value", "value", lambda: str(remembered()) + who())
    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2
    assert texts(come(app, ANN, BOB, path="/value"))[:2] == [
        "the same for allann",
        "the same for allbob",
    ]


class User:
    """Middleware may put anything into the environment."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return "User()"


def _cookies(*lines: str) -> list[Visit]:
    return [{"headers": {"Cookie": line}} if line else {} for line in lines]


def _environs(*values: Any) -> list[Visit]:
    given = [{} if value is None else {"app.user": value} for value in values]
    return [{"environ_overrides": environ} for environ in given]


BY_COOKIE = {"vary_cookies": ("who",)}
BY_ENVIRON = {"vary_environ": ("app.user",)}
#: Values that a careless key takes for one: the option, how the view reads, the visitors.
ALIKE: dict[str, tuple[dict[str, Any], Callable[[], Any], list[Visit]]] = {
    "a cookie twice": (
        BY_COOKIE,
        lambda: request.cookies.getlist("who"),
        _cookies("who=ann; who=bob", "who=ann; who=carl", "who=ann"),
    ),
    "an empty cookie": (
        BY_COOKIE,
        lambda: request.cookies.get("who"),
        _cookies("", "who=", "who=null", 'who="[]"'),
    ),
    "an environment value": (
        BY_ENVIRON,
        lambda: repr(request.environ.get("app.user")),
        _environs(None, "", "None", "1", 1, True, 1.0, b"1"),
    ),
    "an object": (
        BY_ENVIRON,
        lambda: request.environ["app.user"].name,
        _environs(User("ann"), User("bob")),
    ),
    "a header": (
        {"vary": ("X-Who",)},
        lambda: repr(request.headers.get("X-Who")),
        [{}, *({"headers": {"X-Who": value}} for value in ("", "None", "a", "a,b", "a, b"))],
    ),
    "a query": (
        {"query": ("a", "b")},
        lambda: repr((request.args.getlist("a"), request.args.getlist("b"))),
        [{"query_string": query} for query in ("a=1&b=2", "a=1%26b=2", "a=1&b=2&b=3", "a=", "b=")],
    ),
}


@pytest.mark.parametrize(("options", "read", "visits"), ALIKE.values(), ids=ALIKE)
def test_values_that_look_alike_are_told_apart(
    app: Flask,
    cache: Any,
    options: dict[str, Any],
    read: Callable[[], Any],
    visits: list[Visit],
) -> None:
    seen: list[str] = []
    view = cache.cached(60, **options)(lambda: seen.append(str(read())) or seen[-1])
    app.add_url_rule("/page", "page", view)
    answers = texts(come(app, *visits))
    assert len(set(answers)) == len(visits)
    assert answers == answers[: len(visits)] * 2


def _read_all() -> str:
    calls["page"] += 1
    return " ".join(
        (
            request.headers["X-Who"],
            request.args["who"],
            request.cookies["who"],
            request.environ["REMOTE_USER"],
        )
    )


def _visit(who: str) -> Visit:
    return {
        "headers": {"X-Who": who, "Cookie": f"who={who}"},
        "query_string": f"who={who}",
        "environ_overrides": {"REMOTE_USER": who},
    }


def test_a_page_that_is_renewed_in_the_background_is_still_ones_own(app: Flask, cache: Any) -> None:
    """A refill has no visitor; it must know all that the key holds."""
    declared: dict[str, Any] = {
        "vary": ("X-Who",),
        "query": ("who",),
        "vary_cookies": ("who",),
        "vary_environ": ("REMOTE_USER",),
    }
    app.add_url_rule("/page", "page", cache.cached(1, grace=60, **declared)(_read_all))

    def visit_both() -> None:
        answers = texts(come(app, _visit("ann"), _visit("bob"), rounds=1))
        assert answers == ["ann ann ann ann", "bob bob bob bob"]

    def is_renewed() -> bool:
        visit_both()
        return calls["page"] >= 4

    wait_until(is_renewed)
    visit_both()


@pytest.mark.parametrize("level", ["page", "memoized"])
def test_who_waits_for_a_fill_does_not_get_what_is_not_stored(
    app: Flask, cache: Any, level: str
) -> None:
    """Two visitors come at once: one fills, the other waits for it."""
    from threading import Event, Thread  # noqa: PLC0415 - in this test alone

    is_filling, other_came = Event(), Event()
    app.before_request(lambda: other_came.set() if is_filling.is_set() else None)
    view: Callable[..., Any] = cache.cached(60)(_slowly) if level == "page" else None
    waits[:] = [is_filling, other_came]
    if level == "memoized":
        remembered = cache.memoize(60)(_slowly)
        view = lambda: str(remembered())  # noqa: E731 - a view like any other
    app.add_url_rule("/page", "page", view)
    found: dict[str, list[str]] = {}

    def come_as(name: str, visit: Visit) -> None:
        found[name] = texts(come(app, visit, rounds=1))

    ann = Thread(target=come_as, args=("ann", ANN))
    ann.start()
    assert is_filling.wait(60)
    come_as("bob", BOB)
    ann.join(60)
    assert found == {"ann": ["ann"], "bob": ["bob"]}


#: Says that a fill runs, and that another visitor came.
waits: list[Any] = []


def _slowly() -> str:
    is_filling, other_came = waits
    is_filling.set()
    assert other_came.wait(60)
    # The other one goes on to its lookup, and may find the fill still running.
    return who()
