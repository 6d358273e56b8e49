"""Hooks that read only sometimes, and what the final response says."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort, after_this_request, g, request, session
from werkzeug.exceptions import NotFound

from isolation.alternating import ANN, BOB, Visit, come, details, hits, texts
from shared_cache import SharedCache


def same() -> str:
    return "the same for all"


def test_a_hook_that_looks_for_what_the_first_visitor_lacks(app: Flask, cache: Any) -> None:
    @app.before_request
    def look() -> None:
        g.who = request.cookies.get("who", "nobody")

    app.add_url_rule("/page", "page", cache.cached(60)(lambda: g.who))
    answers = come(app, {}, {"headers": {"Cookie": "who=ann"}}, {"headers": {"Cookie": "who=bob"}})
    assert texts(answers) == ["nobody", "ann", "bob"] * 2
    assert hits(answers) == 0


@pytest.mark.parametrize(
    ("look", "visit"),
    [
        (lambda: request.headers.get("X-Who"), ANN),
        (lambda: "X-Who" in request.headers and "known", ANN),
        (lambda: request.args.get("who"), {"query_string": "who=ann"}),
        (lambda: request.environ.get("REMOTE_USER"), {"environ_overrides": {"REMOTE_USER": "ann"}}),
        (lambda: session.get("who"), {"headers": {"Cookie": "session=made-up"}}),
        (lambda: request.authorization, {"headers": {"Authorization": "Bearer ann"}}),
    ],
)
def test_the_absence_of_an_input_is_an_input(
    app: Flask, cache: Any, look: Callable[[], Any], visit: Visit
) -> None:
    @app.before_request
    def guard() -> None:
        g.who = look() or "nobody"

    app.add_url_rule("/page", "page", cache.cached(60)(lambda: str(g.who)))
    answers = come(app, {}, visit)
    assert texts(answers) == texts(come(app, {}, visit))
    assert hits(answers) == 0, details(answers)


def test_a_guard_refuses_also_after_the_page_was_filled(app: Flask, cache: Any) -> None:
    """The hook reads for some visitors only; the first of them comes past it."""

    @app.before_request
    def guard() -> None:
        if request.headers.get("X-Beta") and request.headers.get("X-Who") != "ann":
            abort(403)

    app.add_url_rule("/page", "page", cache.cached(60)(same))
    beta: Visit = {"headers": {"X-Beta": "1", "X-Who": "bob"}}
    assert [a.status_code for a in come(app, ANN, beta)] == [200, 403] * 2


def test_a_hook_that_begins_to_read_once_a_page_is_stored(app: Flask, cache: Any) -> None:
    switch = {"on": False}

    @app.before_request
    def look() -> None:
        g.who = request.headers["X-Who"] if switch["on"] else "nobody"

    app.add_url_rule("/page", "page", cache.cached(60)(lambda: g.who))
    assert hits(come(app, ANN, BOB)) == 3
    switch["on"] = True
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert all("fwd=bypass" in detail and "X-Who" in detail for detail in details(answers))


def test_a_condition_on_a_declared_input(app: Flask, cache: Any) -> None:
    @app.before_request
    def look() -> None:
        if request.args.get("mine"):
            g.who = request.headers["X-Who"]

    page = cache.cached(60, query=("mine",))(lambda: g.get("who", "all"))
    app.add_url_rule("/page", "page", page)
    mine: list[Visit] = [{**ANN, "query_string": "mine=1"}, {**BOB, "query_string": "mine=1"}]
    answers = come(app, ANN, *mine, BOB)
    assert texts(answers) == ["all", "ann", "bob", "all"] * 2
    assert hits(answers) == 3, details(answers)


def test_a_404_with_the_visitors_name(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60, not_found_timeout=60)
    def page() -> str:
        raise NotFound(description=f"nothing for {request.headers['X-Who']}")

    answers = come(app, ANN, BOB)
    assert hits(answers) == 0
    assert ["ann" in text for text in texts(answers)] == [True, False] * 2


def test_a_cached_404_without_a_name_is_hit(app: Flask, cache: Any) -> None:
    app.errorhandler(404)(lambda _: ("nothing here", 404))
    app.add_url_rule("/page", "page", cache.cached(60, not_found_timeout=60)(lambda: abort(404)))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["nothing here"] * 4
    assert hits(answers) == 3


# -- the final response ----------------------------------------------------------------------


def _cookie(response: Response) -> Response:
    response.set_cookie("seen", request.headers["X-Who"])
    return response


def _no_store(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _private(response: Response) -> Response:
    response.cache_control.private = True
    return response


def _added_field(response: Response) -> Response:
    response.headers.add("Cache-Control", "No-Store")
    return response


def _vary(response: Response) -> Response:
    response.vary.add("X-Who")
    response.headers["X-Shown"] = request.headers["X-Who"]
    return response


def _renewed_session(response: Response) -> Response:
    session["who"] = request.headers["X-Who"]
    return response


CHANGES = [_cookie, _no_store, _private, _added_field, _vary, _renewed_session]


def _is_public(answer: Any) -> bool:
    return "public" in ",".join(answer.headers.getlist("Cache-Control")).lower()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("max_age", [None, 60])
def test_a_response_that_a_hook_made_private_is_never_public(
    app: Flask, cache: Any, change: Callable[[Response], Response], max_age: int | None
) -> None:
    app.after_request(change)
    app.add_url_rule("/page", "page", cache.cached(60, max_age=max_age)(same))
    answers = come(app, ANN, BOB)
    assert hits(answers) == 3, details(answers)
    assert not any(_is_public(answer) for answer in answers)
    _each_is_changed(change, answers)


def _each_is_changed(change: Callable[[Response], Response], answers: list[Any]) -> None:
    """The hook's effect is the visitor's own, and not lost on hits."""
    name = {_cookie: "Set-Cookie", _renewed_session: "Set-Cookie", _vary: "X-Shown"}.get(change)
    if name is None:
        assert all(not _is_public(answer) for answer in answers)
        return
    values = [answer.headers[name] for answer in answers]
    if change is not _renewed_session:
        assert ["ann" in value for value in values] == [True, False] * 2
    assert all(len(answer.headers.getlist(name)) == 1 for answer in answers)


@pytest.mark.parametrize("change", [_cookie, _vary])
@pytest.mark.parametrize("registers", ["after_request", "after_this_request"])
def test_the_effect_of_a_hook_is_ones_own_behind_a_shared_cache(
    app: Flask, cache: Any, change: Callable[[Response], Response], registers: str
) -> None:
    if registers == "after_request":
        app.after_request(change)

    @app.get("/page")
    @cache.cached(60, max_age=60)
    def page() -> str:
        if registers == "after_this_request":
            after_this_request(change)
        return same()

    _each_is_changed(change, come(SharedCache(app.wsgi_app), ANN, BOB))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["view", "before_request"])
def test_a_response_that_is_changed_after_this_request(
    app: Flask, cache: Any, change: Callable[[Response], Response], where: str
) -> None:
    """What the view registers is lost on hits, so its page is not stored."""
    if where == "before_request":
        app.before_request(lambda: after_this_request(change) and None)

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        if where == "view":
            after_this_request(change)
        return same()

    answers = come(app, ANN, BOB)
    assert not any(_is_public(answer) for answer in answers)
    _each_is_changed(change, answers)
    if where == "view":
        assert all("after_this_request" in detail for detail in details(answers))


def test_a_session_that_is_renewed_on_each_answer(app: Flask, cache: Any) -> None:
    app.add_url_rule("/page", "page", cache.cached(60)(same))

    @app.get("/sign-in")
    def sign_in() -> str:
        session.permanent = True
        session["who"] = "ann"
        return "signed in"

    client = app.test_client()
    client.get("/sign-in")
    answers = [client.get("/page") for _ in range(3)]
    for answer in answers:
        assert not ("Set-Cookie" in answer.headers and _is_public(answer))
    assert not any("Set-Cookie" in answer.headers for answer in come(app, ANN, BOB))


def test_a_view_may_say_public_itself(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> Response:
        return Response("same", headers={"Cache-Control": "public, max-age=5"})

    answers = come(app, ANN, BOB)
    assert hits(answers) == 3
    assert all(_is_public(answer) for answer in answers)
