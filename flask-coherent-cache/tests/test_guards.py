"""Guards: which of them a hit may leave out, because their source shows all that they look at."""

import enum
import functools
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import flask
import pytest
from flask import abort, current_app, flash, g, redirect, request, session, url_for
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import Enum, PickleType, String, TypeDecorator, event, func, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    mapped_column,
    reconstructor,
)
from sqlalchemy.orm import (
    with_loader_criteria as criteria,
)

import test_guards  # itself, as a module
from flask_coherent_cache._pages.guards import are_proven


class Base(DeclarativeBase):
    """What the models are built on."""


class Late(Session):
    """A session that gets nothing at times."""

    def get(self, *args: Any, **options: Any) -> Any:
        """Look at the clock."""
        return super().get(*args, **options) if time.time() % 2 > 1 else None


db, unwatched = SQLAlchemy(model_class=Base), SQLAlchemy()
late, filtered = SQLAlchemy(session_options={"class_": Late}), SQLAlchemy()


@event.listens_for(filtered.session, "do_orm_execute")
def leave_out(state: Any) -> None:
    until = criteria(User, User.until > time.time())
    state.statement = state.statement.options(until)


View = Callable[..., Any]
log = logging.getLogger(__name__)
KEY = "user"
closed = False


class User(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who can sign in."""

    id: Mapped[int] = mapped_column(primary_key=True)
    is_active: Mapped[bool]
    version: Mapped[int]
    until: Mapped[float]
    age = column_property(func.now())

    @property
    def is_late(self) -> bool:
        """Whether it is past its time."""
        return time.time() > self.until

    @hybrid_property
    def is_young(self) -> bool:
        """Whether it is not."""
        return self.until > time.time()


class Clocked(TypeDecorator[bool]):
    """Whether it is past a time."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: str | None, _: object) -> bool:
        """Look at the clock."""
        return time.time() > float(value or 0)


class Role(enum.Enum):
    """What somebody may do at times."""

    ADMIN = 1

    def __bool__(self) -> bool:
        return time.time() % 2 > 1


class Typed(db.Model):  # type: ignore[name-defined,misc]
    """Somebody with columns that are more than plain data."""

    id: Mapped[int] = mapped_column(primary_key=True)
    is_late: Mapped[bool] = mapped_column(Clocked)
    settings: Mapped[Any] = mapped_column(PickleType)
    role: Mapped[Role] = mapped_column(Enum(Role))


class Rebuilt(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who is changed when loaded."""

    id: Mapped[int] = mapped_column(primary_key=True)
    is_late: Mapped[bool]

    @reconstructor
    def look(self) -> None:
        """Look at the clock."""
        self.is_late = time.time() > 1


class Listened(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who is changed when loaded anew."""

    id: Mapped[int] = mapped_column(primary_key=True)
    is_late: Mapped[bool]


@event.listens_for(Listened, "refresh")
def look_at_refresh(row: Listened, *_: object) -> None:
    row.is_late = time.time() > 1


class Present(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who is there until a time."""

    __table__ = select(User.__table__).where(User.__table__.c.until > func.now()).subquery()
    __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012 - as SQLAlchemy has it


class Odd(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who is there at times."""

    id: Mapped[int] = mapped_column(primary_key=True)

    def __bool__(self) -> bool:
        return time.time() % 2 > 1


class Person(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who may be an employee."""

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    is_here: Mapped[bool]
    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012 - as SQLAlchemy has it


class Employee(Person):
    """Somebody who is here at times."""

    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012

    @property
    def is_here(self) -> bool:  # type: ignore[override]
        """Whether it is time to be here."""
        return time.time() % 2 > 1


def view() -> str:
    return "page"


def sign_in() -> None:
    log.info("somebody came at %s", time.time())
    flash("Sign in.")
    abort(redirect(url_for("sign_in", next=request.full_path)))


def is_signed_in() -> bool:
    return "user" in session


def is_open() -> bool:
    return time.time() < session["until"]


def has(name: str) -> bool:
    if name == "nobody":
        return False
    return name in session


def current_user() -> Any:
    if "user" not in session:
        return None
    return db.session.get(User, session["user"])


def now_as_text() -> str:
    if "user" in session:
        return f"{time.time()}"
    return str(len(session))


def abort_later() -> Any:
    yield 1
    abort(401)


def maybe_abort() -> None:
    if time.time() > 1:
        return
    abort(401)


def is_rebound() -> bool:
    return "user" in session


def end() -> None:
    abort(401)


def rebind() -> None:
    global is_rebound, end  # noqa: PLW0603 - meant
    is_rebound = end = is_open  # type: ignore[assignment]


# -- decorators that show all that they look at ----------------------------------------------


def by_session(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        """Let who has signed in pass."""
        if "user" not in session:
            sign_in()
        return inner(*args, **kwargs)

    return guarded


def by_response(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(**kwargs: Any) -> Any:
        if session.get("user") is None:
            session["wanted"] = request.full_path
            return redirect(url_for("sign_in"))
        if not session["user"]:
            return "Nobody.", 403
        if session.get("banned", False):
            raise RuntimeError(f"at {time.time()}")
        return inner(**kwargs)

    return guarded


def by_branch(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(*args: Any) -> Any:
        if session and (is_signed_in() and has("user")):
            return inner(*args)
        return flask.abort(403)

    return guarded


def by_row(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(name: str = "all") -> Any:
        user = db.session.get(User, session.get("user"))
        if user is None or not user.is_active or user.version != session["version"]:
            abort(401)
        if name not in ("all", "some") or int(session["level"]) < 3:
            abort(404)
        g.user = user
        return inner(name)

    return guarded


def by_function(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        user = current_user()
        if not user:
            return flask.render_template("denied.html", now=time.time())
        return inner(*args, **kwargs)

    return guarded


def by_role(*roles: str) -> Callable[[View], View]:
    def decorate(inner: View) -> View:
        @functools.wraps(inner)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if session.get("role") not in roles:
                abort(403, description=f"Only for {roles}.")
            return inner(*args, **kwargs)

        return guarded

    return decorate


def by_url(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if request.path == "/admin" and kwargs["slug"] != session["slug"]:
            abort(403)
        return inner(*args, **kwargs)

    return guarded


def by_g(inner: View) -> View:
    @functools.wraps(inner)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if g.user is None or not g.get("user") or not g.user.is_active:
            abort(401)
        return inner(*args, **kwargs)

    return guarded


def load_user() -> None:
    g.user = db.session.get(User, session["user"]) if "user" in session else None


def load_user_in_branches() -> Any:
    user_id = session.get("user")
    if user_id is None:
        g.user = None
    else:
        g.user = db.session.get(User, user_id)
    return None


def require_user() -> Any:
    if "user" not in session and request.endpoint != "sign_in":
        return redirect(url_for("sign_in"))
    return None


@pytest.mark.parametrize(
    "decorate",
    [by_session, by_response, by_branch, by_row, by_function, by_role("a", "b"), by_url],
)
def test_a_decorator_that_looks_at_the_session_the_url_and_watched_rows_may_be_left_out(
    decorate: Callable[[View], View],
) -> None:
    assert are_proven((), decorate(view), view, watches)
    assert are_proven((), by_session(decorate(view)), view, watches)


@pytest.mark.parametrize("hook", [load_user, load_user_in_branches])
def test_what_hooks_put_on_g_is_known(hook: View) -> None:
    assert are_proven((hook, require_user), by_g(view), view, watches)
    assert not are_proven((), by_g(view), view, watches)


# -- those that do not -----------------------------------------------------------------------


def with_clock(inner: View) -> View:
    def guarded() -> Any:
        if time.time() > session["until"]:
            abort(401)
        return inner()

    return guarded


def with_clock_in_a_function(inner: View) -> View:
    def guarded() -> Any:
        if not is_open():
            abort(401)
        return inner()

    return guarded


def with_clock_and_view_inside(inner: View) -> View:
    def guarded() -> Any:
        if "user" in session:
            if time.time() > session["until"]:
                return inner()
            abort(401)
        raise RuntimeError

    return guarded


def with_view_in_a_response(inner: View) -> View:
    def guarded() -> Any:
        if time.time() > session["until"]:
            return flask.make_response(inner())
        return inner()

    return guarded


def with_another_status(inner: View) -> View:
    def guarded() -> Any:
        if "user" in session:
            return flask.make_response(inner(), 201)
        return inner()

    return guarded


def with_clock_on_the_way_to_a_response(inner: View) -> View:
    def guarded() -> Any:
        if "until" in session:
            if time.time() < session["until"]:
                return flask.make_response(inner())
            abort(401)
        return inner()

    return guarded


def with_clock_as_text(inner: View) -> View:
    def guarded() -> Any:
        if now_as_text() > session["until"]:
            abort(401)
        return inner()

    return guarded


def with_function_inside(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:

            def abort(_: int) -> None:
                pass

            abort(401)
        return inner()

    return guarded


def with_attribute(inner: View) -> View:
    def guarded() -> Any:
        log.level = 10
        return inner()

    return guarded


def with_an_end(inner: View) -> View:
    def guarded() -> Any:  # noqa: RET503 - meant
        if "user" in session:
            return inner()

    return guarded


def with_lazy_abort(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:
            abort_later()
        return inner()

    return guarded


def with_rows_compared(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(User, session["user"]) == session["other"]:
            abort(401)
        return inner()

    return guarded


def with_global_assignment(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:
            global closed  # noqa: PLW0603 - meant
            abort(401)
        closed = bool(session["user"])
        return inner()

    return guarded


def with_changed_response(inner: View) -> View:
    def guarded() -> Any:
        response = flask.make_response(inner())
        response.headers["X-User"] = session["user"]
        return response

    return guarded


def with_header(inner: View) -> View:
    def guarded() -> Any:
        if request.headers.get("X-Secret") != "open":
            abort(401)
        return inner()

    return guarded


def with_method(inner: View) -> View:
    def guarded() -> Any:
        if request.method == "HEAD":
            abort(401)
        return inner()

    return guarded


def with_global(inner: View) -> View:
    def guarded() -> Any:
        if closed:
            abort(503)
        return inner()

    return guarded


def with_global_name(inner: View) -> View:
    def guarded() -> Any:
        if KEY not in session:
            abort(503)
        return inner()

    return guarded


def with_setting(inner: View) -> View:
    def guarded() -> Any:
        if current_app.config["CLOSED"]:
            abort(503)
        return inner()

    return guarded


def with_chance(inner: View) -> View:
    def guarded() -> Any:
        if random.random() < 0.5:
            abort(503)
        return inner()

    return guarded


def with_log(inner: View) -> View:
    def guarded() -> Any:
        log.info("%s came", session["user"])
        return inner()

    return guarded


def with_write(inner: View) -> View:
    def guarded() -> Any:
        session["seen"] = True
        return inner()

    return guarded


def with_commit(inner: View) -> View:
    def guarded() -> Any:
        db.session.commit()
        return inner()

    return guarded


def with_pop(inner: View) -> View:
    def guarded() -> Any:
        if session.pop("once", None) is None:
            abort(401)
        return inner()

    return guarded


def with_file(inner: View) -> View:
    def guarded() -> Any:
        with open("/etc/hostname") as file:
            if file.read() == session["host"]:
                abort(401)
        return inner()

    return guarded


def with_catch(inner: View) -> View:
    def guarded() -> Any:
        try:
            return inner()
        except RuntimeError:
            return "sorry"

    return guarded


def with_swallowed_abort(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:
            with suppress(Exception):
                abort(401)
        return inner()

    return guarded


def with_abort_at_times(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:
            maybe_abort()
        return inner()

    return guarded


def with_property(inner: View) -> View:
    def guarded() -> Any:
        user = db.session.get(User, session["user"])
        if user.is_late:
            abort(401)
        return inner()

    return guarded


def with_hybrid(inner: View) -> View:
    def guarded() -> Any:
        user = db.session.get(User, session["user"])
        if not user.is_young:
            abort(401)
        return inner()

    return guarded


def with_computed_column(inner: View) -> View:
    def guarded() -> Any:
        user = db.session.get(User, session["user"])
        if user.age:
            abort(401)
        return inner()

    return guarded


def with_odd_truth(inner: View) -> View:
    def guarded() -> Any:
        if not db.session.get(Odd, session["user"]):
            abort(401)
        return inner()

    return guarded


def with_type_of_its_own(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Typed, session["user"]).is_late:
            abort(401)
        return inner()

    return guarded


def with_pickled_column(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Typed, session["user"]).settings.get("is_late"):
            abort(401)
        return inner()

    return guarded


def with_enumeration(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Typed, session["user"]).role:
            abort(401)
        return inner()

    return guarded


def with_reconstructor(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Rebuilt, session["user"]).is_late:
            abort(401)
        return inner()

    return guarded


def with_listener(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Listened, session["user"]).is_late:
            abort(401)
        return inner()

    return guarded


def with_query_mapped(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(Present, session["user"]) is None:
            abort(401)
        return inner()

    return guarded


def with_rebound_function(inner: View) -> View:
    def guarded() -> Any:
        if is_rebound():
            abort(401)
        return inner()

    return guarded


def with_rebound_end(inner: View) -> View:
    def guarded() -> Any:
        if "user" not in session:
            end()
        return inner()

    return guarded


def with_function_of_a_module(inner: View) -> View:
    def guarded() -> Any:
        if not test_guards.is_signed_in():
            abort(401)
        return inner()

    return guarded


def with_subclasses(inner: View) -> View:
    def guarded() -> Any:
        person = db.session.get(Person, session["user"])
        if not person.is_here:
            abort(401)
        return inner()

    return guarded


def with_unwatched_database(inner: View) -> View:
    def guarded() -> Any:
        if unwatched.session.get(User, session["user"]) is None:
            abort(401)
        return inner()

    return guarded


def with_session_of_its_own(inner: View) -> View:
    def guarded() -> Any:
        if late.session.get(User, session["user"]) is None:
            abort(401)
        return inner()

    return guarded


def with_filter(inner: View) -> View:
    def guarded() -> Any:
        if filtered.session.get(User, session["user"]) is None:
            abort(401)
        return inner()

    return guarded


def with_options(inner: View) -> View:
    def guarded() -> Any:
        if db.session.get(User, session["user"], populate_existing=True) is None:
            abort(401)
        return inner()

    return guarded


def with_shadowed_name(inner: View) -> View:
    def guarded() -> Any:
        abort = print
        if "user" not in session:
            abort(401)
        return inner()

    return guarded


def with_counter(inner: View) -> View:
    count = 0

    def guarded() -> Any:
        nonlocal count
        count += 1
        if count > 3:
            abort(429)
        return inner()

    return guarded


def with_counted_outside(inner: View) -> View:
    is_closed = False

    def close() -> None:
        nonlocal is_closed
        is_closed = True

    def guarded() -> Any:
        if is_closed:
            abort(429)
        return inner()

    close()
    return guarded


def with_closed_from_outside(inner: View) -> View:
    is_shut = False

    def guarded() -> Any:
        if is_shut:
            abort(429)
        return inner()

    # Such as a main program, whose guards run before it goes on here.
    for is_shut in (False, True):  # noqa: B007 - meant
        pass
    return guarded


def with_list(inner: View) -> View:
    allowed = ["ada"]

    def guarded() -> Any:
        if session["user"] not in allowed:
            abort(429)
        return inner()

    return guarded


def with_default(inner: View) -> View:
    def guarded(allowed: Any = ["ada"]) -> Any:  # noqa: B006 - meant
        if session["user"] not in allowed:
            abort(429)
        return inner()

    return guarded


def with_other_arguments(inner: View) -> View:
    def guarded() -> Any:
        return inner(now=time.time())

    return guarded


def with_another_view(inner: View) -> View:
    def guarded() -> Any:
        if "user" in session:
            return current_user()
        return inner()

    return guarded


def with_nothing(inner: View) -> View:
    def guarded() -> Any:
        if "user" in session:
            return inner()
        return None

    return guarded


def with_lambda(inner: View) -> View:
    return lambda: inner() if time.time() > 1 else abort(401)


def with_partial(inner: View) -> View:
    return functools.partial(inner)


def with_generator(inner: View) -> View:
    def guarded() -> Any:
        yield inner()

    return guarded


def with_itself(inner: View) -> View:
    def guarded() -> Any:
        return guarded()

    return guarded


def with_g_of_others(inner: View) -> View:
    def guarded() -> Any:
        if not g.is_open:
            abort(401)
        return inner()

    return guarded


def with_walrus(inner: View) -> View:
    def guarded() -> Any:
        if (now := time.time()) > session["until"] or now < 1:
            abort(401)
        return inner()

    return guarded


def with_format(inner: View) -> View:
    def guarded() -> Any:
        if f"{time.time()}" > session["until"]:
            abort(401)
        return inner()

    return guarded


WITHOUT_PROOF = [each for name, each in sorted(globals().items()) if name.startswith("with_")]


@pytest.mark.parametrize("decorate", WITHOUT_PROOF, ids=lambda each: each.__name__)
def test_any_other_decorator_is_run(decorate: Callable[[View], View]) -> None:
    assert not are_proven((), decorate(view), view, watches)
    assert not are_proven((), by_session(decorate(view)), view, watches)
    assert not are_proven((), decorate(by_session(view)), view, watches)


def look_at_the_clock() -> None:
    if time.time() > session["until"]:
        abort(401)


def answer_at_times() -> Any:
    if "user" in session:
        return maybe_abort()
    return None


def count_requests() -> None:
    g.count = len(log.handlers)


def answer_with_nothing_at_times() -> Any:
    if time.time() > 1:
        return None
    return "no"


def put_header_on_g() -> None:
    g.user = request.headers.get("X-User")


async def wait() -> None:
    pass


@pytest.mark.parametrize(
    "hook",
    [
        look_at_the_clock,
        answer_at_times,
        answer_with_nothing_at_times,
        count_requests,
        put_header_on_g,
        wait,
        functools.partial(load_user),
        print,
        User,
    ],
)
def test_any_other_hook_is_run(hook: Any) -> None:
    assert are_proven((load_user,), view, view, watches)
    assert not are_proven((load_user, hook), view, view, watches)


def test_a_function_whose_source_has_changed_is_run(tmp_path: Any) -> None:
    """What is in the file has to be what runs."""
    file = tmp_path / "guard.py"
    text = "from flask import abort, session\n\ndef guard():\n    if {}:\n        abort(401)\n"
    names: dict[str, Any] = {"time": time}
    exec(compile(text.format("time.time() > 1"), str(file), "exec"), names)  # noqa: S102
    file.write_text(text.format("'user' in session"))
    assert not are_proven((names["guard"],), view, view, watches)
    exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102
    assert are_proven((names["guard"],), view, view, watches)


def watches(database: object) -> bool:
    return any(database is each for each in (db, late, filtered))
