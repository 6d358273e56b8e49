"""Answers that stock Flask-Caching gives wrong: each case is run on it and seen wrong there."""

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask_caching
import pytest
from cachelib.serializers import JSONSerializer
from flask import Blueprint, Response, abort, make_response, request, session

from subjects import Subject

ANN = {"Authorization": "Bearer ann"}
BOB = {"Authorization": "Bearer bob"}


def in_thread(function: Callable[[], Any]) -> None:
    """Call a function at the same time as what runs here."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@contextmanager
def before_operation(store: Any, number: int, act: Callable[[], Any]) -> Iterator[list[str]]:
    """Do something before this thread's operation of that number; yield the operations' names."""
    seen: list[str] = []
    own = [name for name in dir(store) if not name.startswith("_") and callable(_of(store, name))]

    def watched(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any, **kwargs: Any) -> Any:
            if not acting and threading.get_ident() == here:
                seen.append(name)
                if len(seen) == number:
                    acting.append(True)
                    act()
                    acting.clear()
            return operation(*args, **kwargs)

        return watching

    acting: list[bool] = []
    here = threading.get_ident()
    for name in own:
        setattr(store, name, watched(name, getattr(store, name)))
    try:
        yield seen
    finally:
        for name in own:
            delattr(store, name)


def _of(store: Any, name: str) -> Any:
    return getattr(type(store), name, None)


def store_of(subject: Subject) -> Any:
    """The object that talks to the server."""
    return subject.run(
        lambda: subject.cache.engine.store if subject.is_ours else subject.cache.cache
    )


# -- lost invalidation, stale set --------------------------------------------------------------


def test_lost_invalidation(subject: Subject) -> None:
    """A drop that comes at any step of a miss, after the data was read or before, is not lost."""
    data = {"version": 0}
    lost = []

    @subject.cache.memoize(60, make_name=lambda name: "version")
    def version() -> int:
        return data["version"]

    def change() -> None:
        data["version"] += 1
        in_thread(lambda: subject.run(subject.cache.delete_memoized, version))

    for number in range(1, 20):
        subject.run(subject.cache.delete_memoized, version)
        with before_operation(store_of(subject), number, change) as operations:
            subject.run(version)
        if subject.run(version) != data["version"]:
            lost.append(operations[number - 1])
        if len(operations) < number:
            break
    assert number > 3
    subject.judge(not lost)


def test_stale_set(subject: Subject) -> None:
    """What a slow computation read before a drop is not stored after it."""
    data = {"version": 0}

    @subject.cache.cached(60, key_prefix="version")
    def version() -> int:
        found = data["version"]
        if found == 0:
            data["version"] = 1
            in_thread(lambda: subject.run(subject.cache.delete, "version"))
        return found

    subject.run(version)
    subject.judge(subject.run(version) == 1)


# -- HTTP exceptions cached --------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_raised_error_is_not_replayed(subject: Subject, status: int) -> None:
    calls = Counter[str]()

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> str:
        calls["page"] += 1
        if calls["page"] == 1:
            abort(status)
        return "good"

    assert subject.get("/page").status_code == status
    subject.judge(subject.get("/page").data == b"good")


def test_an_anonymous_401_is_not_served_to_who_is_signed_in(subject: Subject) -> None:
    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> str:
        if "Authorization" not in request.headers:
            abort(401)
        return "good"

    assert subject.get("/page").status_code == 401
    subject.judge(subject.get("/page", headers=ANN).status_code == 200)


def test_a_returned_error_is_not_replayed(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> tuple[str, int]:
        calls["page"] += 1
        return ("bad", 500) if calls["page"] == 1 else ("good", 200)

    assert subject.get("/page").status_code == 500
    subject.judge(subject.get("/page").data == b"good")


# -- cross-user --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"headers": ANN}, {"headers": BOB}),
        ({"base_url": "http://a.test"}, {"base_url": "http://b.test"}),
        ({"base_url": "http://a.test"}, {"base_url": "https://a.test"}),
        ({"headers": {"Accept": "text/html"}}, {"headers": {"Accept": "application/json"}}),
        ({"headers": {"Accept-Language": "de"}}, {"headers": {"Accept-Language": "en"}}),
        ({"headers": {"Accept-Encoding": "gzip"}}, {"headers": {"Accept-Encoding": "br"}}),
        ({"headers": {"Cookie": "user=ann"}}, {"headers": {"Cookie": "user=bob"}}),
        ({"query_string": "page=1"}, {"query_string": "page=2"}),
    ],
    ids=["authorization", "host", "scheme", "accept", "language", "encoding", "cookie", "query"],
)
def test_one_request_is_not_answered_with_anothers_page(
    subject: Subject, first: dict[str, Any], second: dict[str, Any]
) -> None:
    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> str:
        return f"{request.url_root} {request.args.get('page')} {sorted(request.headers)}"

    client = subject.app.test_client(use_cookies=False)
    answers = [client.get("/page", **options).data for options in (first, second, first)]
    subject.judge(answers[0] == answers[2] != answers[1])


def test_a_cookie_that_was_set_is_not_replayed(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> Response:
        calls["page"] += 1
        response = make_response("page")
        response.set_cookie("id", f"{calls['page']}")
        return response

    first, second = subject.get("/page"), subject.get("/page")
    subject.judge(first.headers["Set-Cookie"] != second.headers["Set-Cookie"])


@pytest.mark.parametrize("control", ["no-store", "private"])
def test_what_says_so_is_not_stored(subject: Subject, control: str) -> None:
    calls = Counter[str]()

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> Response:
        calls["page"] += 1
        return Response(f"{calls['page']}", headers={"Cache-Control": control})

    subject.judge(subject.get("/page").data != subject.get("/page").data)


# -- decorator order ---------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [True, False], ids=["cached outside", "cached inside"])
def test_either_order_of_the_decorators_keeps_a_secret(subject: Subject, outside: bool) -> None:
    def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs) if "user" in session else abort(401)

        return checked

    def secret() -> str:
        return f"the secret of {session['user']}"

    cached = subject.cache.cached(60)
    view = cached(login_required(secret)) if outside else login_required(cached(secret))
    subject.app.add_url_rule("/secret", view_func=view)
    clients = {name: subject.app.test_client() for name in ("ann", "bob", "nobody")}
    for name in ("ann", "bob"):
        with clients[name].session_transaction() as signed_in:
            signed_in["user"] = name
    told = {name: client.get("/secret") for name, client in clients.items()}
    right = all(told[name].text == f"the secret of {name}" for name in ("ann", "bob"))
    subject.judge(right and told["nobody"].status_code == 401)


# -- HEAD and POST, 304 and 206 ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_the_answer_to_one_method_is_not_given_to_another(subject: Subject, method: str) -> None:
    @subject.app.route("/page", methods=["GET", "POST", "DELETE"])
    @subject.cache.cached(60)
    def page() -> Response:
        # A view may spare itself the body of an answer to HEAD.
        return Response("" if request.method == "HEAD" else request.method)

    client = subject.app.test_client()
    client.open("/page", method=method)
    answers = [client.open("/page", method=other).text for other in ("GET", "DELETE")]
    subject.judge(answers == ["GET", "DELETE"])


@pytest.mark.parametrize(
    "header", [("If-None-Match", '"v1"'), ("Range", "bytes=0-3")], ids=["304", "206"]
)
def test_a_conditional_or_partial_answer_is_not_given_to_a_plain_get(
    subject: Subject, header: tuple[str, str]
) -> None:
    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> Any:
        response = make_response("0123456789")
        response.set_etag("v1")
        return response.make_conditional(request.environ, accept_ranges=True, complete_length=10)

    assert subject.get("/page", headers=dict([header])).status_code in (200, 206, 304)
    answer = subject.get("/page")
    subject.judge((answer.status_code, answer.data) == (200, b"0123456789"))


# -- query_string=True -------------------------------------------------------------------------


def test_the_order_of_equal_parameters_is_kept(subject: Subject) -> None:
    @subject.app.get("/page")
    @subject.cache.cached(60, query_string=True)
    def page() -> str:
        return ",".join(request.args.getlist("a"))

    assert subject.get("/page?a=1&a=2").data == b"1,2"
    subject.judge(subject.get("/page?a=2&a=1").data == b"2,1")


def test_parameters_that_the_view_does_not_know_make_no_entries(subject: Subject) -> None:
    calls = Counter[str]()
    declared = {"query": ("page",)} if subject.is_ours else {"query_string": True}

    @subject.app.get("/page")
    @subject.cache.cached(60, **declared)
    def page() -> str:
        calls["page"] += 1
        return request.args.get("page", "1")

    for number in range(200):
        assert subject.get(f"/page?page=1&junk{number}=1").data == b"1"
    subject.judge(calls["page"] == 1)


# -- memoize keys ------------------------------------------------------------------------------


class Numbered:
    """An object whose repr is its address."""

    def __init__(self, number: int) -> None:
        self.number = number

    def own(self) -> int:
        return self.number


def test_methods_of_objects_without_a_repr(subject: Subject) -> None:
    """Such a call is refused in words; stock answers with another object's value."""
    own = subject.cache.memoize(60)(Numbered.own)
    wrong = 0
    try:
        for number in range(1000):
            wrong += subject.run(own, Numbered(number)) != number
    except TypeError as error:
        assert "__caching_id__" in str(error)
    subject.judge(wrong == 0)


def test_closures_do_not_share_their_entries(subject: Subject) -> None:
    """A closure without a name of its own is refused when it is decorated."""

    def times(factor: int) -> Callable[[int], int]:
        def multiplied(number: int) -> int:
            return number * factor

        return multiplied

    answers = []
    try:
        for factor in (2, 3):
            answers.append(subject.run(subject.cache.memoize(60)(times(factor)), 5))
    except TypeError as error:
        assert "make_name" in str(error)
        answers = [10, 15]
    subject.judge(answers == [10, 15])


def test_functions_behind_a_decorator_without_wraps_do_not_share_their_entries(
    subject: Subject,
) -> None:
    def loud(function: Callable[[int], str]) -> Callable[[int], str]:
        def shouted(number: int) -> str:
            return function(number) + "!"

        return shouted

    answers = []
    try:
        for name in ("one", "two"):
            memoized = subject.cache.memoize(60)(loud(lambda number, name=name: f"{name}{number}"))
            answers.append(subject.run(memoized, 1))
    except TypeError as error:
        assert "make_name" in str(error)
        answers = ["one1!", "two1!"]
    subject.judge(answers == ["one1!", "two1!"])


def added(a: int, /, b: int = 2) -> int:
    return a + b


def test_positional_only_arguments_enter_the_key(subject: Subject) -> None:
    memoized = subject.cache.memoize(60)(added)
    answers = [subject.run(lambda a=a: memoized(a, b=7)) for a in (1, 2)]
    subject.judge(answers == [8, 9])


# -- nested @cached without a key --------------------------------------------------------------


def test_a_helper_without_a_key_does_not_answer_for_the_view(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.cache.cached(60)
    def helper() -> str:
        return "the helper's"

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> str:
        text = f"the view's, with {helper()}"
        calls["page"] += 1
        if calls["page"] == 1:
            raise RuntimeError("a failure after the helper's return")
        return text

    assert subject.get("/page").status_code == 500
    subject.judge(subject.get("/page").data == b"the view's, with the helper's")


# -- JSON serializer ---------------------------------------------------------------------------


@pytest.fixture
def safe(subject: Subject) -> Subject:
    """A cache whose bytes are not code: ours as it is, stock's with a serializer for JSON."""
    if not subject.is_ours:
        subject.app, subject.cache = subject.another(CACHE_SERIALIZER=JSONSerializer())
    return subject


def test_a_status_survives(safe: Subject) -> None:
    """A 404 that a view returns is stored by choice, and is still one."""
    choice = {"not_found_timeout": 60} if safe.is_ours else {}

    @safe.app.get("/page")
    @safe.cache.cached(60, **choice)
    def page() -> tuple[str, int]:
        return "nope", 404

    answers = [(answer.status_code, answer.data) for answer in map(safe.get, ["/page"] * 2)]
    safe.judge(answers == [(404, b"nope")] * 2)


@pytest.mark.parametrize(
    "value", [{1: "one"}, (1, 2), b"bytes"], ids=["int keys", "tuple", "bytes"]
)
def test_a_value_keeps_its_types(safe: Subject, value: Any) -> None:
    calls = Counter[str]()

    @safe.cache.memoize(60, make_name=lambda name: f"typed {value!r}")
    def typed() -> Any:
        calls["typed"] += 1
        return value

    answers = [safe.run(typed) for _ in range(2)]
    safe.judge(answers == [value, value] and calls["typed"] == 1)


def test_a_response_is_stored(safe: Subject) -> None:
    calls = Counter[str]()

    @safe.app.get("/page")
    @safe.cache.cached(60)
    def page() -> Response:
        calls["page"] += 1
        return Response("page")

    assert [safe.get("/page").data for _ in range(2)] == [b"page"] * 2
    safe.judge(calls["page"] == 1)


# -- timeout=0 ---------------------------------------------------------------------------------


def test_a_timeout_of_zero_is_not_forever(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.cache.memoize(0, make_name=lambda name: "counted")
    def counted() -> int:
        calls["counted"] += 1
        return calls["counted"]

    subject.judge([subject.run(counted) for _ in range(2)] == [1, 2])


def test_a_negative_timeout_is_not_forever(on_redis: Subject) -> None:
    """It is refused in words."""
    calls = Counter[str]()

    def counted() -> int:
        calls["counted"] += 1
        return calls["counted"]

    try:
        memoized = on_redis.cache.memoize(-1, make_name=lambda name: "counted")(counted)
        answers = [on_redis.run(memoized) for _ in range(2)]
    except ValueError as error:
        assert "0 seconds or more" in str(error)
        answers = [1, 2]
    on_redis.judge(answers == [1, 2])


def test_a_response_may_say_that_it_is_not_to_be_stored(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.app.get("/page")
    @subject.cache.cached(60)
    def page() -> Response:
        calls["page"] += 1
        return flask_caching.CachedResponse(make_response(f"{calls['page']}"), timeout=0)

    subject.judge([subject.get("/page").data for _ in range(2)] == [b"1", b"2"])


def test_none_is_a_value(subject: Subject) -> None:
    calls = Counter[str]()

    @subject.cache.memoize(60, make_name=lambda name: "nothing")
    def nothing() -> None:
        calls["nothing"] += 1

    for _ in range(3):
        assert subject.run(nothing) is None
    subject.judge(calls["nothing"] == 1)


# -- blueprints --------------------------------------------------------------------------------


def dropped(subject: Subject, path: str, drop: Callable[[Any], Any], **options: Any) -> bool:
    """Tell whether a page is computed again after it was dropped by its view."""
    blueprint = Blueprint("shop", __name__)
    calls = Counter[str]()
    endpoint = options.pop("endpoint", "page")
    base_url = options.pop("base_url", "http://localhost/")

    @subject.cache.cached(60, **options)
    def page(**_: Any) -> str:
        calls["page"] += 1
        return "page"

    blueprint.add_url_rule(path.replace("{name}", "<name>"), endpoint, page)
    subject.app.register_blueprint(blueprint, name="renamed")
    visit = functools.partial(subject.get, path.replace("{name}", "grün"), base_url=base_url)
    for _ in range(2):
        assert visit().status_code == 200
    assert calls["page"] == 1
    try:
        with subject.app.test_request_context("/", base_url=base_url):
            drop(page)
    except Exception as error:
        assert not subject.is_ours, error
    visit()
    return calls["page"] == 2


def test_a_view_registered_under_another_name_is_dropped(subject: Subject) -> None:
    subject.judge(dropped(subject, "/page", subject.cache.delete_cached, endpoint="other"))


def test_a_page_with_a_path_beyond_ascii_is_dropped(subject: Subject) -> None:
    drop = functools.partial(subject.cache.delete_cached, name="grün")
    subject.judge(dropped(subject, "/{name}", drop))


def test_a_page_beneath_a_script_name_is_dropped(subject: Subject) -> None:
    under = {"base_url": "http://localhost/shop/"}
    subject.judge(dropped(subject, "/page", subject.cache.delete_cached, **under))


def test_a_page_with_a_key_of_its_own_is_dropped(subject: Subject) -> None:
    own = {"make_cache_key": lambda *args, **kwargs: "my page"}
    subject.judge(dropped(subject, "/page", subject.cache.delete_cached, **own))
