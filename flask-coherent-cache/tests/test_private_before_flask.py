"""Private pages before Flask: each visitor gets what Flask would give, whoever came before."""

import functools
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, abort, g, redirect, request, session
from flask.ctx import _AppCtxGlobals
from flask.sessions import SecureCookieSessionInterface
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import Aborter
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_coherent_cache._pages import known_sessions
from flask_coherent_cache.testing import wait_until
from test_middleware import TEXT, Site
from test_near import MakeApp, backend, ready  # noqa: F401 - a fixture is used by name

Build = Callable[..., Site]
Cookies = dict[str, str]


class Base(DeclarativeBase):
    """What the models are built on."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who can sign in."""

    name: Mapped[str] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)


def signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let who has a name in the session pass."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if "user" not in session:
            return redirect("/sign-in")
        return view(*args, **kwargs)

    return guarded


def current(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let who is in the database pass, with the session's version."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        user = db.session.get(User, session.get("user", ""))
        if user is None or not user.is_active or user.version != session.get("version"):
            abort(403)
        return view(*args, **kwargs)

    return guarded


def in_time(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let who came in time pass."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if time.time() > session["until"]:
            abort(403)
        return view(*args, **kwargs)

    return guarded


def only_open(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let everybody pass while it is open."""

    @functools.wraps(view)
    def guarded(wanted: Any) -> Any:
        if "open" not in wanted:
            abort(403)
        return view()

    return guarded


def load_user() -> None:
    g.user = db.session.get(User, session["user"]) if "user" in session else None


def require_user() -> None:
    if request.path == "/hooked" and g.user is None:
        abort(403)


@pytest.fixture
def build(make_app: MakeApp) -> Iterator[Build]:
    def make(**settings: Any) -> Site:
        app, cache = make_app(SQLALCHEMY_DATABASE_URI="sqlite://", **settings)
        db.init_app(app)
        cache.watch(db)
        site = Site(app, cache)
        register(site)
        with app.app_context():
            db.create_all()
            db.session.add_all([User(name="ada"), User(name="bob")])
            db.session.commit()
        return site

    return make


@pytest.fixture
def site(build: Build) -> Site:
    return build()


def register(site: Site) -> None:
    """Register the pages, and how to sign in and out."""
    app = site.app

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session.update(user=name, version=1, until=time.time() + 3600)
        session.permanent = "permanent" in request.args
        return name

    @app.get("/sign-out")
    def sign_out() -> str:
        session.clear()
        return "out"

    def mine(**_: Any) -> str:
        site.filled += 1
        return f"{session.get('user', 'nobody')}: {TEXT}"

    def guarded_by(path: str, *decorators: Callable[..., Any], **options: Any) -> None:
        view: Any = functools.wraps(mine)(functools.partial(mine))
        view = site.cache.cached(60, private=True, **options)(_named(view))
        for decorate in decorators:
            view = decorate(view)
        app.add_url_rule(path, path, view)

    guarded_by("/mine")
    guarded_by("/signed-in", signed_in)
    guarded_by("/current", current)
    guarded_by("/both", current, signed_in)
    guarded_by("/in-time", in_time)
    guarded_by("/of/<name>", signed_in)


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def view(**arguments: Any) -> Any:
        return function(**arguments)

    return view


def cookie_of(site: Site, name: str, query: str = "") -> str:
    """Sign in; return the cookie as browsers send it."""
    answer = site.app.test_client().get(f"/sign-in/{name}{query}")
    return str(answer.headers["Set-Cookie"].partition(";")[0])


def shown(site: Site, path: str, cookie: str | None, **headers: str) -> str:
    """Ask for a page; return who it is for, or the status."""
    answer = site.ask(path, headers=headers | ({"Cookie": cookie} if cookie else {}))
    return answer.text.partition(":")[0] if answer.status_code == 200 else answer.status


def is_known(site: Site, path: str, cookie: str, **headers: str) -> bool:
    return site.passed(path, headers={"Cookie": cookie, **headers})


def by_both(site: Site, environ: dict[str, Any]) -> tuple[Any, Any]:
    """Answer a request before Flask and by Flask alone."""

    def answer(wsgi_app: Any) -> Any:
        body, status, headers = run_wsgi_app(wsgi_app, dict(environ), buffered=True)
        changing = ("Age", "Cache-Status", "X-Scheme")
        return status, b"".join(body), sorted(h for h in headers if h[0] not in changing)

    return answer(site.app), answer(site.app.wsgi_app.__self__.inner.wsgi_app)  # type: ignore[attr-defined]


# -- each visitor gets the own page ----------------------------------------------------------


@pytest.mark.parametrize("path", ["/mine", "/signed-in", "/current", "/both", "/of/x"])
def test_a_known_session_is_served_without_flask(site: Site, path: str) -> None:
    cookies = {name: cookie_of(site, name) for name in ("ada", "bob")}
    for cookie in cookies.values():
        assert is_known(site, path, cookie)
    for name, cookie in cookies.items():
        before = site.asked
        assert shown(site, path, cookie) == name
        assert site.asked == before
    assert site.filled == 2


@pytest.mark.parametrize("path", ["/mine", "/signed-in", "/current"])
def test_visitors_in_every_order(site: Site, path: str) -> None:
    cookies: dict[str, str | None] = {name: cookie_of(site, name) for name in ("ada", "bob")}
    cookies["nobody"] = None
    turned_away = {"/signed-in": "302 FOUND", "/current": "403 FORBIDDEN"}
    for order in itertools.permutations([*cookies, *cookies]):
        for name in order:
            wanted = turned_away.get(path, name) if name == "nobody" else name
            assert shown(site, path, cookies[name]) == wanted
    with site.app.app_context():
        site.cache.clear()
    assert is_known(site, path, str(cookies["ada"]))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", ["none", "same", "weak", "list", "star", "range", "since"])
def test_it_answers_as_flask_does(site: Site, method: str, condition: str) -> None:
    headers = {"Cookie": cookie_of(site, "ada"), "Accept-Encoding": "gzip"}
    etag = site.ask("/current", headers=headers).headers["ETag"]
    assert is_known(site, "/current", headers["Cookie"])
    headers |= {
        "same": {"If-None-Match": etag},
        "weak": {"If-None-Match": f"W/{etag}"},
        "list": {"If-None-Match": f'"other", {etag}'},
        "star": {"If-None-Match": "*"},
        "range": {"Range": "bytes=0-9"},
        "since": {"If-Modified-Since": "Wed, 25 Nov 2026 00:00:00 GMT"},
    }.get(condition, {})
    ours, flasks = by_both(
        site, EnvironBuilder("/current", method=method, headers=headers).get_environ()
    )
    assert ours == flasks
    assert ("Cache-Control", "private, no-cache") in ours[2]
    assert ("Vary", "Cookie") in ours[2]
    assert "Set-Cookie" not in dict(ours[2])


def test_other_cookies_do_not_matter(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    before = site.asked
    for number in range(3):
        assert shown(site, "/mine", f"_ga=GA.{number}; {cookie}; theme={number}") == "ada"
    assert site.asked == before


def test_a_page_that_reads_another_cookie_is_asked_for(site: Site, build: Build) -> None:
    site = build(CACHE_STRICT=False)
    site.view("/theme", private=True)(lambda: f"{request.cookies.get('theme')}: ")
    site.view("/declared", private=True, vary_cookies=("theme",))(
        lambda: f"{request.cookies.get('theme')}: "
    )
    cookie = cookie_of(site, "ada")
    for path, theme in itertools.product(("/theme", "/declared"), ("dark", "light", "dark")):
        assert not is_known(site, path, f"{cookie}; theme={theme}")
        assert shown(site, path, f"{cookie}; theme={theme}") == theme


def test_the_loop_of_a_server_answers_known_sessions_only(site: Site) -> None:
    cookies = {name: cookie_of(site, name) for name in ("ada", "bob")}
    assert is_known(site, "/current", cookies["ada"])
    middleware = site.app.wsgi_app.__self__.inner  # type: ignore[attr-defined]

    def at_once(cookie: str) -> bytes | None:
        environ = EnvironBuilder("/current", headers={"Cookie": cookie}).get_environ()
        body = middleware.answer_at_once(environ, lambda *_: None)
        return None if body is None else b"".join(body)

    assert (at_once(cookies["ada"]) or b"").startswith(b"ada:")
    assert at_once(cookies["bob"]) is None
    assert at_once("") is None


# -- cookies that are not certain --------------------------------------------------------------


def hostile(ada: str, bob: str) -> dict[str, str]:
    """Write Cookie headers, made of two cookies whose sessions are known."""
    value, other = ada.partition("=")[2], bob.partition("=")[2]
    payload, stamp, signature = value.rsplit(".", 2)
    return {
        "forged": f"session={value[:-1]}{'A' if value[-1] != 'A' else 'B'}",
        "cut": ada[:-1],
        "longer": f"{ada}A",
        "another's signature": f"session={payload}.{stamp}.{other.rpartition('.')[2]}",
        "another's payload": f"session={other.rsplit('.', 2)[0]}.{stamp}.{signature}",
        "another time": f"session={payload}.{stamp[:-1]}z.{signature}",
        "no signature": f"session={payload}",
        "twice": f"{ada}; {bob}",
        "twice, turned": f"{bob}; {ada}",
        "twice the same": f"{ada}; {ada}",
        "twice, one empty": f"session=; {ada}",
        "twice, one bare": f"session; {ada}",
        "twice, one quoted": f'session="{other}"; {ada}',
        "twice, a space before =": f"session ={other}; {ada}",
        "twice, a space after =": f"session= {other}; {ada}",
        "twice, a tab": f"\tsession\t=\t{other}; {ada}",
        "twice, no space": f"{bob};{ada}",
        "hidden in quotes": f'a="x; {bob}"; {ada}',
        "in quotes": f'a="x; {ada}; y"',
        "an open quote": f'a="x; {bob}; {ada}',
        "an escaped quote": f'a="\\"; {bob}"; {ada}',
        "a control character": f"\x1f{bob}; {ada}",
        "a no-break space": f"\xa0{bob}; {ada}",
        "joined by a comma": f"{bob}, {ada}",
        "joined by a comma only": f"{ada},{bob}",
        "quoted": f'session="{value}"',
        "quoted once": f'session="{value}',
        "escaped": f'session="\\{ord(value[0]):03o}{value[1:]}"',
        "another name": f"Session={value}",
        "a longer name": f"xsession={value}",
        "a longer name beside": f"xsession={other}; {ada}",
        "a name in a value": f"a=session={other}; {ada}",
        "empty": "session=",
        "nothing": "",
        "only separators": ";;; ;",
        "not UTF-8": f"a=\xff; {ada}",
        "UTF-8": f"a=\xc3\xa4; {ada}",
        "long": f"a={'x' * 6000}; {ada}",
        "a line break": f"a=b\r\n{bob}; {ada}",
    }


def test_a_hostile_cookie_gets_what_flask_gives(site: Site) -> None:
    ada, bob = cookie_of(site, "ada"), cookie_of(site, "bob")
    for cookie in (ada, bob):
        assert is_known(site, "/mine", cookie)
    known = site.app.wsgi_app.__self__.inner._sessions  # type: ignore[attr-defined]
    site.app.config["PROPAGATE_EXCEPTIONS"] = False
    for words, header in hostile(ada, bob).items():
        environ = EnvironBuilder("/mine").get_environ() | {"HTTP_COOKIE": header}
        if words.startswith("twice"):
            assert known.user_of(environ) is None
        for _ in range(3):
            ours, flasks = by_both(site, environ)
            assert ours == flasks, words


def test_any_mixture_of_cookies_gets_what_flask_gives(site: Site) -> None:
    ada, bob = cookie_of(site, "ada"), cookie_of(site, "bob")
    for cookie in (ada, bob):
        assert is_known(site, "/mine", cookie)
    values = [each.partition("=")[2] for each in (ada, bob)]
    pieces = [ada, bob, *values, "session", "=", ";", "; ", '"', "\\", ",", " ", "\t", "a=b", "ä"]
    draw = random.Random(17)
    site.app.config["PROPAGATE_EXCEPTIONS"] = False
    known = site.app.wsgi_app.__self__.inner._sessions  # type: ignore[attr-defined]
    taken = 0
    for _ in range(3000):
        header = "".join(draw.choices(pieces, k=draw.randint(1, 7)))
        environ = EnvironBuilder("/mine").get_environ() | {"HTTP_COOKIE": header}
        if known.user_of(environ) is not None:
            taken += 1
            ours, flasks = by_both(site, environ)
            assert ours == flasks, header
    assert taken > 100


def test_no_cookie_is_kept(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    known = site.app.wsgi_app.__self__.inner._sessions  # type: ignore[attr-defined]
    near = site.cache.engine.near
    assert len(known._sessions.known) == 1
    for part in cookie.partition("=")[2].split("."):
        assert part not in f"{known._sessions} {near._aliases} {near._copies}"


def test_what_is_known_is_bounded(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_sessions, "_MOST_SESSIONS", 3)
    site = build()
    for number in range(9):
        assert is_known(site, "/mine", cookie_of(site, f"visitor-{number}"))
    known = site.app.wsgi_app.__self__.inner._sessions  # type: ignore[attr-defined]
    assert len(known._sessions.known) == 3


# -- sessions end ------------------------------------------------------------------------------


def test_a_session_that_ends_is_served_no_longer(build: Build) -> None:
    site = build(PERMANENT_SESSION_LIFETIME=2)
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    environ = EnvironBuilder("/mine", headers={"Cookie": cookie}).get_environ()

    def has_ended() -> bool:
        flasks = run_wsgi_app(site.app.wsgi_app.__self__.inner.wsgi_app, dict(environ))  # type: ignore[attr-defined]
        ended = b"nobody" in b"".join(flasks[0])
        if ended:
            assert shown(site, "/mine", cookie) == "nobody"
        return ended

    wait_until(has_ended)


def test_a_session_of_the_future_is_flasks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 60)
    assert shown(site, "/mine", cookie) == "nobody"


def test_signing_out_and_another_visitor_on_the_same_browser(site: Site) -> None:
    client = site.app.test_client()
    for name in ("ada", "bob", "ada"):
        client.get(f"/sign-in/{name}")
        for _ in range(3):
            assert client.get("/signed-in").text.startswith(f"{name}:")
        client.get("/sign-out")
        for _ in range(3):
            assert client.get("/signed-in").status_code == 302


@pytest.mark.parametrize("kept", [True, False])
def test_a_changed_secret_ends_sessions_unless_it_is_kept(build: Build, kept: bool) -> None:
    site = build()
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    former = site.app.secret_key
    site.app.config["SECRET_KEY_FALLBACKS"] = [former] if kept else []
    site.app.secret_key = "x" * 50
    assert shown(site, "/mine", cookie) == ("ada" if kept else "nobody")
    assert is_known(site, "/mine", cookie) is kept
    if kept:
        site.app.config["SECRET_KEY_FALLBACKS"].clear()
        assert shown(site, "/mine", cookie) == "nobody"


def test_without_a_secret_there_are_no_sessions(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    site.app.secret_key = None
    assert [shown(site, "/mine", cookie) for _ in range(3)] == ["nobody"] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("SESSION_COOKIE_NAME", "sid"), ("SESSION_REFRESH_EACH_REQUEST", True)],
)
def test_a_public_page_renews_sessions_by_the_settings_of_now(
    build: Build, name: str, value: Any
) -> None:
    site = build(REFRESH=name == "SESSION_COOKIE_NAME")
    site.view("/public")(lambda: "all: ")
    site.app.config[name] = value
    cookie = cookie_of(site, "ada", "?permanent")
    assert site.passed("/public")
    assert "Set-Cookie" in site.ask("/public", headers={"Cookie": cookie}).headers


@pytest.mark.parametrize(
    ("name", "value"),
    [("SESSION_COOKIE_NAME", "other"), ("PERMANENT_SESSION_LIFETIME", -1)],
)
def test_a_changed_setting_ends_sessions(site: Site, name: str, value: Any) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    site.app.config[name] = value
    for _ in range(3):
        assert shown(site, "/mine", cookie) == "nobody"


def test_a_session_that_each_response_renews_is_flasks(build: Build) -> None:
    site = build(REFRESH=True)
    renewed, plain = cookie_of(site, "ada", "?permanent"), cookie_of(site, "bob")
    assert not is_known(site, "/mine", renewed)
    assert "Set-Cookie" in site.ask("/mine", headers={"Cookie": renewed}).headers
    assert is_known(site, "/mine", plain)
    site.app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert is_known(site, "/mine", renewed)
    site.app.config["SESSION_REFRESH_EACH_REQUEST"] = True
    assert "Set-Cookie" in site.ask("/mine", headers={"Cookie": renewed}).headers


def test_a_session_that_a_view_or_a_hook_writes_is_flasks(build: Build) -> None:
    site = build()
    basket: list[int] = []

    @site.app.before_request
    @site.cache.skip_on_hit
    def fill_basket() -> None:
        if request.path == "/mine":
            session.setdefault("basket", basket)

    cookie = cookie_of(site, "ada")
    assert not is_known(site, "/mine", cookie)


# -- guards --------------------------------------------------------------------------------------


def _delete(user: User) -> None:
    db.session.delete(user)


def _ban(user: User) -> None:
    user.is_active = False


def _change_password(user: User) -> None:
    user.version += 1


def _ban_in_bulk(user: User) -> None:
    db.session.execute(update(User).where(User.name == user.name).values(is_active=False))


@pytest.mark.parametrize("change", [_delete, _ban, _change_password, _ban_in_bulk])
@pytest.mark.parametrize("path", ["/current", "/both"])
def test_what_a_guard_read_of_the_database_is_a_dependency(
    site: Site, change: Callable[[User], None], path: str
) -> None:
    cookies = {name: cookie_of(site, name) for name in ("ada", "bob")}
    for cookie in cookies.values():
        assert is_known(site, path, cookie)
    with site.app.app_context():
        change(db.session.get_one(User, "ada"))
        db.session.commit()
    for _ in range(3):
        assert shown(site, path, cookies["ada"]) == "403 FORBIDDEN"
    assert shown(site, path, cookies["bob"]) == "bob"


def test_a_user_who_comes_back_passes_again(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    for is_active in (True, False, True):
        with site.app.app_context():
            db.session.get_one(User, "ada").is_active = is_active
            db.session.commit()
        wanted = "ada" if is_active else "403 FORBIDDEN"
        assert [shown(site, "/current", cookie) for _ in range(3)] == [wanted] * 3
    assert is_known(site, "/current", cookie)


def test_hooks_that_load_the_user_are_dependencies_too(make_app: MakeApp) -> None:
    app, cache = make_app(SQLALCHEMY_DATABASE_URI="sqlite://")
    db.init_app(app)
    cache.watch(db)
    app.before_request(load_user)
    app.before_request(require_user)
    site = Site(app, cache)
    register(site)
    site.view("/hooked", private=True)(lambda: f"{g.user.name}: ")
    with app.app_context():
        db.create_all()
        db.session.add(User(name="ada"))
        db.session.commit()
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/hooked", cookie)
    assert shown(site, "/hooked", cookie) == "ada"
    assert shown(site, "/hooked", None) == "403 FORBIDDEN"
    with app.app_context():
        db.session.delete(db.session.get_one(User, "ada"))
        db.session.commit()
    assert shown(site, "/hooked", cookie) == "403 FORBIDDEN"


def test_a_page_that_was_filled_without_the_guard_is_flasks(build: Build) -> None:
    """Such as one that a process of the former release has filled, whose guard read no row."""
    former, site = build(), build()
    view = former.app.view_functions["/current"].__wrapped__  # type: ignore[attr-defined]
    former.app.view_functions["/current"] = view
    cookie = cookie_of(site, "ada")
    assert shown(former, "/current", cookie) == "ada"
    assert not is_known(site, "/current", cookie)
    assert site.filled == 0
    with site.app.app_context():
        db.session.delete(db.session.get_one(User, "ada"))
        db.session.commit()
    assert shown(site, "/current", cookie) == "403 FORBIDDEN"


def test_what_a_page_replaces_does_not_lend_it_its_guard(build: Build) -> None:
    """A page that was known, and that a process of the former release fills anew."""
    former, site = build(), build()
    view = former.app.view_functions["/current"].__wrapped__  # type: ignore[attr-defined]
    former.app.view_functions["/current"] = view
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/current", cookie)
    with former.app.app_context():
        former.cache.invalidate_view("/current")
    assert shown(former, "/current", cookie) == "ada"
    assert not is_known(site, "/current", cookie)
    assert (former.filled, site.filled) == (1, 1)
    with site.app.app_context():
        db.session.delete(db.session.get_one(User, "ada"))
        db.session.commit()
    assert shown(site, "/current", cookie) == "403 FORBIDDEN"


def test_a_ban_between_guard_and_fill(build: Build) -> None:
    site = build()
    bans: list[threading.Thread] = []

    def ban() -> None:
        with site.app.app_context():
            db.session.get_one(User, "ada").is_active = False
            db.session.commit()

    def slow() -> str:
        while bans:
            thread = bans.pop()
            thread.start()
            thread.join()
        return "ada: "

    site.app.add_url_rule("/slow", "slow", current(site.cache.cached(60, private=True)(slow)))
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/slow", cookie)
    with site.app.app_context():
        site.cache.invalidate_view("slow")
    bans.append(threading.Thread(target=ban))
    assert shown(site, "/slow", cookie) == "ada"
    assert not bans
    for _ in range(3):
        assert shown(site, "/slow", cookie) == "403 FORBIDDEN"


@pytest.mark.parametrize(
    "name",
    [
        "dispatch_request",
        "make_response",
        "finalize_request",
        "do_teardown_request",
        "do_teardown_appcontext",
        "handle_user_exception",
    ],
)
def test_a_method_of_the_applications_own_is_called(build: Build, name: str) -> None:
    site = build()
    method = getattr(site.app, name)
    setattr(site.app, name, functools.wraps(method)(functools.partial(method)))
    assert not is_known(site, "/mine", cookie_of(site, "ada"))


@pytest.mark.parametrize("value", ["open", ["open"]])
def test_what_a_rule_hands_to_a_guard_is_plain(build: Build, value: Any) -> None:
    site = build()

    site.app.view_functions["/mine"] = only_open(site.app.view_functions["/mine"])
    (rule,) = site.app.url_map.iter_rules("/mine")
    rule.defaults = {"wanted": value}
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie) is isinstance(value, str)


@pytest.mark.parametrize("own", ["data", "method", "skipped method"])
def test_a_response_class_with_methods_of_its_own_is_used(build: Build, own: str) -> None:
    site = build()

    class Plain(Response):
        default_mimetype = "text/plain"

    class Numbered(Plain):
        number = 0

        def get_wsgi_headers(self, environ: Any) -> Any:
            headers = super().get_wsgi_headers(environ)
            Numbered.number += 1
            headers["X-Number"] = f"{Numbered.number}"
            return headers

    if own == "skipped method":
        site.cache.skip_on_hit(Numbered.get_wsgi_headers)
    site.app.response_class = Plain if own == "data" else Numbered
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie) is (own != "method")


def test_globals_of_the_applications_own_are_used(build: Build) -> None:
    site = build()

    class Globals(_AppCtxGlobals):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)

    site.app.before_request(load_user)
    site.app.app_ctx_globals_class = Globals
    assert not is_known(site, "/mine", cookie_of(site, "ada"))


def test_a_hook_without_a_hash_is_run(build: Build) -> None:
    site = build()

    class Hook:
        __hash__ = None  # type: ignore[assignment]
        asked = 0

        def __call__(self) -> None:
            self.asked += 1

    hook = Hook()
    site.app.before_request(hook)
    site.view("/public")(lambda: "all: ")
    for path, wanted in (("/mine", "ada"), ("/public", "all")):
        cookie = cookie_of(site, "ada")
        before = hook.asked
        assert [shown(site, path, cookie) for _ in range(5)] == [wanted] * 5
        assert hook.asked == before + 5


def test_an_abort_of_the_applications_own_may_return(build: Build) -> None:
    site = build()

    class Lenient(Aborter):
        def __call__(self, code: Any, *args: Any, **kwargs: Any) -> Any:
            pass

    site.app.aborter = Lenient()
    assert not is_known(site, "/current", cookie_of(site, "ada"))


def test_a_guard_that_looks_at_the_clock_is_run(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    assert not is_known(site, "/in-time", cookie)
    assert shown(site, "/in-time", cookie) == "ada"


@pytest.mark.parametrize("declared", ["", "skipped", "skipped, and without influence"])
def test_a_hook_that_looks_at_more_is_run(build: Build, declared: str) -> None:
    site = build()

    def refuse() -> None:
        if request.headers.get("X-Banned"):
            abort(403)

    site.app.before_request(site.cache.skip_on_hit(refuse) if declared else refuse)
    if "influence" in declared:
        site.cache.influences_only_through(refuse, reason="it refuses or does nothing")
    cookie = cookie_of(site, "ada")
    assert not is_known(site, "/mine", cookie)
    assert shown(site, "/mine", cookie, **{"X-Banned": "yes"}) == "403 FORBIDDEN"


@pytest.mark.parametrize("reads", [True, False])
def test_a_hook_after_the_view_is_run_unless_it_does_nothing(build: Build, reads: bool) -> None:
    site = build()

    @site.app.after_request
    @site.cache.skip_on_hit
    def keep(response: Any) -> Any:
        if reads:
            response.headers["X-User"] = session.get("user", "")
        return response

    assert is_known(site, "/mine", cookie_of(site, "ada")) is not reads
    answer = site.ask("/mine", headers={"Cookie": cookie_of(site, "bob")})
    assert answer.headers.get("X-User") == ("bob" if reads else None)


@pytest.mark.parametrize("change", ["cookie", "response"])
def test_a_hook_that_does_more_than_it_says_is_run(build: Build, change: str) -> None:
    site = build()

    @site.app.after_request
    @site.cache.skip_on_hit
    def keep(response: Any) -> Any:
        if change == "response":
            return Response(f"{response.get_data(as_text=True)} Bye.")
        response.set_cookie("seen", "yes")
        return response

    cookie = cookie_of(site, "ada")
    assert not is_known(site, "/mine", cookie)
    answer = site.ask("/mine", headers={"Cookie": cookie})
    assert ("Set-Cookie" in answer.headers) is (change == "cookie")
    assert answer.text.endswith("Bye.") is (change == "response")


def test_a_decorator_that_changes_the_response_is_run(build: Build) -> None:
    site = build()
    view = site.app.view_functions["/mine"]

    @functools.wraps(view)
    def greeting() -> Any:
        response = site.app.make_response(view())
        response.headers["X-User"] = session.get("user", "")
        return response

    site.app.view_functions["/mine"] = greeting
    for name in ("ada", "bob"):
        cookie = cookie_of(site, name)
        assert not is_known(site, "/mine", cookie)
        assert site.ask("/mine", headers={"Cookie": cookie}).headers["X-User"] == name


# -- what else goes to Flask ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("POST", {}),
        ("GET", {"headers": {"Authorization": "Bearer x"}}),
        ("GET", {"data": b"body"}),
        ("GET", {"headers": {"Transfer-Encoding": "chunked"}}),
        ("GET", {"query_string": "never=seen"}),
        ("GET", {"headers": {"Host": "other.example"}}),
        ("GET", {"headers": {"Accept": "application/json"}}),
        ("GET", {"base_url": "https://localhost"}),
        ("GET", {"environ_overrides": {"SCRIPT_NAME": "/mounted"}}),
    ],
)
def test_what_is_not_known_for_certain_goes_on_to_flask(
    site: Site, method: str, options: dict[str, Any]
) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    before = site.asked
    headers = {"Cookie": cookie, **options.pop("headers", {})}
    site.ask("/mine", method=method, headers=headers, **options)
    assert site.asked == before + 1


def test_the_page_with_authorization_is_another(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    for _ in range(3):
        site.ask("/mine", headers={"Cookie": cookie, "Authorization": "Bearer x"})
    assert site.filled == 1
    assert is_known(site, "/mine", cookie)
    assert site.filled == 2


def test_each_url_and_language_has_its_page(build: Build) -> None:
    site = build()
    site.view("/greeting", private=True, vary=("Accept-Language",), query=("page",))(
        lambda: f"{session['user']}: {request.headers['Accept-Language']} {request.args['page']}"
    )
    asked = list(itertools.product(("ada", "bob"), ("de", "fr"), ("1", "2")))
    cookies = {name: cookie_of(site, name) for name in ("ada", "bob")}
    for _ in range(3):
        for name, language, page in asked:
            headers = {"Cookie": cookies[name], "Accept-Language": language}
            answer = site.ask(f"/greeting?page={page}", headers=headers)
            assert answer.text == f"{name}: {language} {page}"
    for name, language, page in asked:
        headers = {"Cookie": cookies[name], "Accept-Language": language}
        assert site.passed(f"/greeting?page={page}", headers=headers)


@pytest.mark.parametrize("verify", [0, 1])
def test_hits_are_verified(build: Build, verify: int) -> None:
    site = build(CACHE_VERIFY=verify)
    assert is_known(site, "/mine", cookie_of(site, "ada")) is not bool(verify)


def test_the_kill_switch_and_invalidation_reach_private_pages(site: Site) -> None:
    cookie = cookie_of(site, "ada")
    assert is_known(site, "/mine", cookie)
    filled = site.filled
    with site.app.app_context():
        site.cache.invalidate_view("/mine")
    assert shown(site, "/mine", cookie) == "ada"
    assert site.filled == filled + 1
    assert is_known(site, "/mine", cookie)
    with site.app.app_context():
        site.cache.engine.kill_switch.switch_off()
    before = site.asked
    assert shown(site, "/mine", cookie) == "ada"
    site.cache.engine.kill_switch.switch_on()
    assert site.asked == before + 1


def test_a_named_user_is_asked_for(build: Build) -> None:
    site = build()
    site.view("/named", private=lambda: session.get("user"))(lambda: f"{session['user']}: ")
    for name in ("ada", "bob"):
        cookie = cookie_of(site, name)
        assert not is_known(site, "/named", cookie)
        assert shown(site, "/named", cookie) == name


def test_a_session_interface_that_was_changed_is_asked(build: Build) -> None:
    site = build()
    # Flask's own is one for all applications.
    site.app.session_interface = interface = SecureCookieSessionInterface()
    interface.open_session = interface.open_session  # type: ignore[method-assign]
    assert not is_known(site, "/mine", cookie_of(site, "ada"))


def test_a_session_is_known_in_its_application_alone(build: Build) -> None:
    one, other = build(), build(SECRET_KEY="another" * 8, CACHE_KEY_PREFIX="other")
    cookie = cookie_of(one, "ada")
    assert is_known(one, "/mine", cookie)
    for _ in range(3):
        assert shown(other, "/mine", cookie) == "nobody"
