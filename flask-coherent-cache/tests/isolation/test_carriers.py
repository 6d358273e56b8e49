"""What was read in one place and is used in another, without an argument that says so."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Request,
    copy_current_request_context,
    g,
    make_response,
    render_template_string,
    request,
    request_finished,
    session,
    stream_with_context,
    url_for,
)
from flask.globals import app_ctx, request_ctx
from werkzeug.utils import cached_property

from isolation.alternating import ANN, BOB, Visit, come, details, hits, texts


def who() -> str:
    return str(request.headers["X-Who"])


# -- memoized functions: they stand here, for a closure would be one more carrier ------------


def by_attribute() -> str:
    return str(g.who)


def by_get() -> str:
    return str(g.get("who"))


def by_vars() -> str:
    return str(vars(g._get_current_object())["who"])  # type: ignore[attr-defined]


def by_getattr() -> str:
    return str(getattr(g, "who"))  # noqa: B009 - another way of reading


def by_pop() -> str:
    return str(g.pop("who"))


def by_setdefault() -> str:
    return str(g.setdefault("who", "nobody"))


def by_iteration() -> str:
    return str([name for name in g if name in ("ann", "bob")])


def by_containing() -> str:
    return str("ann" in g)


def by_basket() -> str:
    return ",".join(g.basket)


def by_request_attribute() -> str:
    return str(request.tenant)  # type: ignore[attr-defined]


def by_session_attribute() -> str:
    return str(session.tenant)  # type: ignore[attr-defined]


def by_context_attribute() -> str:
    return str(request_ctx.tenant)  # type: ignore[attr-defined]


def by_app_context_attribute() -> str:
    return str(app_ctx.tenant)  # type: ignore[attr-defined]


def by_view_args() -> str:
    return str((request.view_args or {})["tenant"])


def by_nested() -> str:
    return f"<{now['inner']()}>"


def link() -> str:
    return url_for("page")


def outside_link() -> str:
    return url_for("page", _external=True)


def address() -> str:
    return request.host


has_begun, may_end = Event(), Event()


def wait(value: int) -> int:
    has_begun.set()
    assert may_end.wait(10)
    return value


def link_in_a_language() -> str:
    return url_for("about")


#: The memoized function that ``by_nested`` calls.
now: dict[str, Callable[[], str]] = {}


def _put_on_g(*_: Any) -> None:
    g.who = who()


def _put_a_name_on_g(*_: Any) -> None:
    setattr(g, who(), True)


def _fill_later(*_: Any) -> None:
    g.basket.append(who())


def _put_on_request(*_: Any) -> None:
    request.tenant = who()  # type: ignore[attr-defined]


def _put_on_session(*_: Any) -> None:
    session.tenant = who()  # type: ignore[attr-defined]


def _put_on_context(*_: Any) -> None:
    request_ctx.tenant = who()  # type: ignore[attr-defined]


def _put_on_app_context(*_: Any) -> None:
    app_ctx.tenant = who()  # type: ignore[attr-defined]


def _put_into_view_args(_: str | None, values: dict[str, Any] | None) -> None:
    assert values is not None
    values["tenant"] = who()


CARRIERS: dict[str, tuple[Callable[..., None], Callable[[], str]]] = {
    "g.name": (_put_on_g, by_attribute),
    "g.get": (_put_on_g, by_get),
    "vars(g)": (_put_on_g, by_vars),
    "getattr(g)": (_put_on_g, by_getattr),
    "g.pop": (_put_on_g, by_pop),
    "g.setdefault": (_put_on_g, by_setdefault),
    "iter(g)": (_put_a_name_on_g, by_iteration),
    "in g": (_put_a_name_on_g, by_containing),
    "filled later": (_fill_later, by_basket),
    "request": (_put_on_request, by_request_attribute),
    "session": (_put_on_session, by_session_attribute),
    "context": (_put_on_context, by_context_attribute),
    "application context": (_put_on_app_context, by_app_context_attribute),
    "view_args": (_put_into_view_args, by_view_args),
}


def _hooked(app: Flask, put: Callable[..., None]) -> None:
    app.before_request(lambda: setattr(g, "basket", []))
    app.url_value_preprocessor(put) if put is _put_into_view_args else app.before_request(put)


@pytest.mark.parametrize(("put", "take"), CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_memoized_function_that_takes_from_a_carrier(
    app: Flask,
    cache: Any,
    log: list[str],
    put: Callable[..., None],
    take: Callable[[], str],
    nested: bool,
) -> None:
    _hooked(app, put)
    now["inner"] = cache.memoize(60)(take)
    remembered = cache.memoize(60)(by_nested) if nested else now["inner"]
    app.add_url_rule("/page", "page", lambda **_: remembered())
    answers = texts(come(app, ANN, BOB))
    assert answers[0] != answers[1]
    assert answers[:2] == answers[2:]
    # What hangs on the session or stands in the path is seen as a part of that.
    named = ("X-Who", "the session", "the path")
    assert any(name in line for line in log for name in named), log


@pytest.mark.parametrize("put", [_put_on_g, _put_on_request, _put_on_context])
def test_a_memoized_function_that_takes_nothing_is_cached(
    app: Flask, cache: Any, put: Callable[..., None]
) -> None:
    _hooked(app, put)
    fills: list[str] = []
    remembered = cache.memoize(60, make_name=lambda _: "own")(lambda: fills.append("") or "same")
    app.add_url_rule("/page", "page", lambda **_: remembered())
    assert texts(come(app, ANN, BOB)) == ["same"] * 4
    # A closure over what is not plain is a carrier, too.
    assert len(fills) in (1, 4)


@pytest.mark.parametrize(("put", "take"), CARRIERS.values(), ids=CARRIERS)
def test_a_page_that_takes_from_a_carrier(
    app: Flask, cache: Any, put: Callable[..., None], take: Callable[[], str]
) -> None:
    _hooked(app, put)
    app.add_url_rule("/page", "page", cache.cached(60)(lambda **_: take()))
    answers = come(app, ANN, BOB)
    assert hits(answers) == 0
    assert texts(answers)[0] != texts(answers)[1]
    assert texts(answers)[:2] == texts(answers)[2:]
    assert all("X-Who" in detail for detail in details(answers)), details(answers)


@pytest.mark.parametrize("take", [by_attribute, by_get, by_vars, by_getattr, by_pop])
def test_a_page_that_takes_what_a_declared_hook_left(
    app: Flask, cache: Any, take: Callable[[], str]
) -> None:
    app.before_request(_put_on_g)
    cache.influences_only_through(_put_on_g, g="who", reason="it leaves it on g")
    app.add_url_rule("/page", "page", cache.cached(60)(take))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


@pytest.mark.parametrize(
    "put",
    [
        _put_on_request,
        _put_on_context,
        _put_on_app_context,
        _put_on_session,
        _put_into_view_args,
        _fill_later,
    ],
)
def test_a_declared_hook_that_writes_elsewhere_counts_whole(
    app: Flask, cache: Any, log: list[str], put: Callable[..., None]
) -> None:
    _hooked(app, put)
    cache.influences_only_through(put, g="who", reason="so says its owner")
    takes = dict(CARRIERS.values())
    app.add_url_rule("/page", "page", cache.cached(60)(lambda **_: takes[put]()))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


# -- methods and arguments -------------------------------------------------------------------


class Service:
    """Stands outside of requests, and a hook tells it the tenant."""

    tenant = ""

    def __caching_id__(self) -> str:
        return "the service"

    def label(self) -> str:
        return f"label of {self.tenant}"


class Basket:
    """Not plain: its text tells nothing of what is in it."""

    tenant = ""


def label_of(basket: Basket) -> str:
    return f"label of {basket.tenant}"


def label_of_contents(baskets: list[Any]) -> str:
    return f"label of {baskets[0].tenant}"


def test_a_method_whose_self_was_filled_by_a_hook(app: Flask, cache: Any) -> None:
    service = Service()
    label = cache.memoize(60)(Service.label)
    app.before_request(lambda: setattr(service, "tenant", who()))
    app.add_url_rule("/page", "page", lambda: label(service))
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


@pytest.mark.parametrize("function", [label_of, label_of_contents])
def test_an_ignored_argument_that_a_hook_filled(
    app: Flask, cache: Any, function: Callable[..., str]
) -> None:
    basket = Basket()
    name = "baskets" if function is label_of_contents else "basket"
    label = cache.memoize(60, args_to_ignore=[name])(function)
    app.before_request(lambda: setattr(basket, "tenant", who()))
    passed = [basket] if function is label_of_contents else basket
    app.add_url_rule("/page", "page", lambda: label(passed))
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


def test_a_closure_that_a_hook_filled(app: Flask, cache: Any) -> None:
    basket = Basket()
    label = cache.memoize(60, make_name=lambda _: "label")(lambda: f"label of {basket.tenant}")
    app.before_request(lambda: setattr(basket, "tenant", who()))
    app.add_url_rule("/page", "page", label)
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


def by_get_or_nobody() -> str:
    return str(g.get("who", "nobody"))


def test_what_a_command_filled_is_no_visitors(app: Flask, cache: Any) -> None:
    remembered = cache.memoize(60)(by_get_or_nobody)
    with app.app_context():
        assert remembered() == "nobody"
    app.before_request(_put_on_g)
    app.add_url_rule("/page", "page", remembered)
    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2


def test_what_one_blueprint_leaves_is_not_what_another_does(app: Flask, cache: Any) -> None:
    """Nothing is read of the request: the path alone says which hook runs."""
    remembered = cache.memoize(60)(by_get_or_nobody)
    for name in ("ann", "bob"):
        part = Blueprint(name, __name__)
        part.before_request(lambda name=name: setattr(g, "who", name))
        part.add_url_rule(f"/{name}", "page", remembered)
        app.register_blueprint(part)
    for _ in range(2):
        for name in ("ann", "bob"):
            assert texts(come(app, {}, path=f"/{name}")) == [name] * 2


def test_a_connection_on_g_is_no_visitors(app: Flask, cache: Any) -> None:
    """Flask's own pattern for a database; two visitors share what was read by it."""
    remembered = cache.memoize(60)(by_connection)
    app.add_url_rule("/page", "page", remembered)
    calls.clear()
    assert texts(come(app, ANN, BOB)) == ["connected"] * 4
    assert len(calls) == 1


#: The fills of ``by_connection``.
calls: list[str] = []


def by_connection() -> str:
    calls.append("")
    if "connection" not in g:
        g.connection = Basket()
    return "connected" if g.connection else ""


def test_a_helper_cached_under_a_key(app: Flask, cache: Any) -> None:
    app.before_request(_put_on_g)
    helper = cache.cached(60, key_prefix="helper")(by_attribute)
    app.add_url_rule("/page", "page", helper)
    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2


class Shop:
    """A class that a hook tells the tenant, for all that is made of it."""

    tenant = ""

    @classmethod
    def label(cls) -> str:
        return f"label of {cls.tenant}"


def label_of_class(kind: type[Shop]) -> str:
    return kind.label()


def label_by_default(service: Service = Service()) -> str:  # noqa: B008 - one for all calls
    return service.label()


def test_a_class_that_a_hook_filled(app: Flask, cache: Any) -> None:
    label = cache.memoize(60)(label_of_class)
    app.before_request(lambda: setattr(Shop, "tenant", who()))
    app.add_url_rule("/page", "page", lambda: label(Shop))
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


def test_a_class_method_whose_class_a_hook_filled(app: Flask, cache: Any) -> None:
    label = cache.memoize(60)(Shop.label.__func__)
    app.before_request(lambda: setattr(Shop, "tenant", who()))
    app.add_url_rule("/page", "page", lambda: label(Shop))
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


def test_a_default_that_a_hook_filled(app: Flask, cache: Any) -> None:
    (service,) = label_by_default.__defaults__ or ()
    label = cache.memoize(60)(label_by_default)
    app.before_request(lambda: setattr(service, "tenant", who()))
    app.add_url_rule("/page", "page", label)
    assert texts(come(app, ANN, BOB)) == ["label of ann", "label of bob"] * 2


@pytest.mark.parametrize("when", ["stream", "teardown_request", "request_finished", "on_close"])
def test_a_function_that_is_called_once_the_response_left(
    app: Flask, cache: Any, when: str
) -> None:
    """What it stores then is for the requests that come later."""
    remembered = cache.memoize(60)(by_attribute)
    found: list[str] = []
    app.before_request(_put_on_g)

    def note(*_: Any, **__: Any) -> None:
        found.append(remembered())

    if when == "teardown_request":
        app.teardown_request(note)
    if when == "request_finished":
        app.extensions["receiver"] = note  # A signal holds it weakly.
        request_finished.connect(note, app)

    @app.get("/page")
    @cache.cached(60)
    def page() -> Any:
        response = make_response(_stream(note) if when == "stream" else "page")
        if when == "on_close":
            response.call_on_close(stream_with_context(_calling)(note).__next__)
        return response

    come(app, ANN, BOB)
    assert found == ["ann", "bob"] * 2


def _calling(note: Callable[[], None]) -> Any:
    yield note()


@stream_with_context
def _stream(note: Callable[[], None]) -> Any:
    yield "page"
    note()


# -- requests of one's own -------------------------------------------------------------------


class TenantRequest(Request):
    """What an owner may add to requests."""

    @cached_property
    def tenant(self) -> str:
        return str(self.headers["X-Who"])


class TenantFlask(Flask):
    request_class = TenantRequest


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("after_init_app", [False, True])
def test_a_property_of_a_request_class_of_ones_own(
    make: Callable[..., tuple[Flask, Any]], declared: bool, after_init_app: bool
) -> None:
    app, cache = make(Flask if after_init_app else TenantFlask)
    app.request_class = TenantRequest

    def look() -> None:
        g.tenant = request.tenant  # type: ignore[attr-defined]

    if declared:
        app.before_request(look)
        cache.influences_only_through(look, g="tenant", reason="it leaves it on g")
    app.add_url_rule("/page", "page", cache.cached(60)(by_request_attribute))
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


class PlainTenantRequest(Request):
    """The attribute has a value in the class, so that all code can ask for it."""

    tenant = "nobody"


@pytest.mark.parametrize("level", ["page", "memoized"])
@pytest.mark.parametrize("declared", [False, True])
def test_an_attribute_of_a_request_class_of_ones_own(
    app: Flask, cache: Any, level: str, declared: bool
) -> None:
    app.request_class = PlainTenantRequest
    app.before_request(_put_on_request)
    if declared:
        cache.influences_only_through(_put_on_request, g="who", reason="so says its owner")
    decorate = cache.cached(60) if level == "page" else cache.memoize(60)
    remembered = decorate(by_request_attribute)
    app.add_url_rule("/page", "page", remembered)
    assert texts(come(app, ANN, BOB)) == ["ann", "bob"] * 2


def test_a_request_is_still_of_its_class(app: Flask, cache: Any) -> None:
    app.request_class = TenantRequest

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        current = request._get_current_object()  # type: ignore[attr-defined]
        return f"{isinstance(current, TenantRequest)} {type(current).__name__}"

    assert texts(come(app, ANN, BOB)) == ["True TenantRequest"] * 4


def test_a_thread_with_a_copied_context(app: Flask, cache: Any) -> None:
    from threading import Thread  # noqa: PLC0415 - in this test alone

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        found: list[str] = []

        @copy_current_request_context
        def read() -> None:
            found.append(who())

        thread = Thread(target=read)
        thread.start()
        thread.join()
        return found[0]

    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


@pytest.mark.parametrize("read", [outside_link, address])
def test_a_copied_context_shows_what_the_request_shows(
    app: Flask, cache: Any, read: Callable[[], str]
) -> None:
    memoized = cache.memoize(60)(read)

    @app.get("/page")
    def page() -> str:
        with ThreadPoolExecutor(1) as pool:
            copied = pool.submit(copy_current_request_context(memoized)).result()
        return f"{copied} {memoized()}"

    shop, office = ({"headers": {"Host": host}} for host in ("shop.example", "office.example"))
    answers = texts(come(app, shop, office))
    assert ["office" in answer for answer in answers] == [False, True] * 2


def test_a_context_is_copied_beside_a_fill(app: Flask, cache: Any) -> None:
    app.config["CACHE_STRICT"] = True
    has_begun.clear()
    may_end.clear()
    memoized = cache.memoize(60)(wait)

    @app.get("/page")
    def page() -> str:
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(copy_current_request_context(memoized), 1)]
            assert has_begun.wait(10)
            running.append(pool.submit(copy_current_request_context(memoized), 2))
            may_end.set()
            return str([each.result() for each in running])

    assert texts(come(app, {})) == ["[1, 2]"] * 2


def test_a_stream_with_its_context(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> Any:
        @stream_with_context
        def parts() -> Any:
            yield who()

        return parts()

    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2
    assert hits(answers) == 0


def test_a_test_request_context(app: Flask, cache: Any) -> None:
    remembered = cache.memoize(60)(who)
    found = []
    for visit in (ANN, BOB) * 2:
        with app.test_request_context("/page", **visit):
            found.append(remembered())
    assert found == ["ann", "bob"] * 2


def test_a_request_within_a_request(app: Flask, cache: Any) -> None:
    """The inner one's reads are the page's own, which its key holds."""
    app.add_url_rule("/inner", "inner", who)

    @app.get("/page")
    @cache.cached(60, vary=("X-Who",))
    def page() -> str:
        with app.test_client() as client:
            return client.get("/inner", headers={"X-Who": who()}).text

    answers = come(app, ANN, BOB)
    assert texts(answers) == ["ann", "bob"] * 2


# -- URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_link", [link, outside_link])
@pytest.mark.parametrize("fragment", [False, True])
@pytest.mark.parametrize("differs", ["mount", "host", "scheme"])
def test_a_url_is_of_the_mount_where_it_was_made(
    app: Flask, cache: Any, make_link: Callable[[], str], fragment: bool, differs: str
) -> None:
    external = ", _external=True" if make_link is outside_link else ""
    template = f"{{% cache 60, 'link' %}}{{{{ url_for('page'{external}) }}}}{{% endcache %}}"
    remembered = cache.memoize(60)(make_link)

    @app.get("/page")
    def page() -> str:
        return render_template_string(template) if fragment else remembered()

    other = {"mount": "http://shop.test/b", "host": "http://other.test/a"}
    one: Visit = {"base_url": "http://shop.test/a"}
    two: Visit = {"base_url": other.get(differs, "https://shop.test/a")}
    own = [v["base_url"] + "/page" for v in (one, two)]
    if not external:
        own = [url.split(".test", 1)[1] for url in own]
    assert texts(come(app, one, two)) == own * 2


@pytest.mark.parametrize("level", ["memoized", "fragment", "page"])
def test_a_url_in_the_language_of_the_visitor(app: Flask, cache: Any, level: str) -> None:
    """As Flask's pattern "Internationalized Application URLs" has it, by a header."""

    @app.url_value_preprocessor
    def take(_: str | None, values: dict[str, Any] | None) -> None:
        g.language = (values or {}).pop("language", None) or who()

    @app.url_defaults
    def put(_: str, values: dict[str, Any]) -> None:
        values.setdefault("language", g.language)

    app.add_url_rule("/<language>/about", "about", lambda: "")
    remembered = cache.memoize(60)(link_in_a_language)
    fragment = "{% cache 60, 'link' %}{{ url_for('about') }}{% endcache %}"
    views: dict[str, Callable[[], str]] = {
        "memoized": remembered,
        "fragment": lambda: render_template_string(fragment),
        "page": cache.cached(60)(link_in_a_language),
    }
    app.add_url_rule("/page", "page", views[level])
    assert texts(come(app, ANN, BOB)) == ["/ann/about", "/bob/about"] * 2
