"""Who is signed in: one number in Flask's signed cookie.

No hook loads the user before every view: it would read the session for every page, and no public
page could be shared. A page that needs the user asks `current_user()`, and says `private=True`.
"""

import functools
import re
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

from flask import abort, g, redirect, request, session, url_for
from flask_wtf.csrf import generate_csrf

from ..extensions import db
from .models import User

P = ParamSpec("P")
R = TypeVar("R")

#: A path of this site: a single slash in front (two, or a backslash, would name another host to
#: browsers), then printable ASCII (they skip tabs and line breaks) without backslashes.
_LOCAL = re.compile(r"/(?!/)[!-\[\]-~]*", re.ASCII)


def sign_in(user: User) -> None:
    """Start a session for a user, with nothing in it that was there before (fixation)."""
    session.clear()
    g.pop("csrf_token", None)
    session["user_id"] = user.id
    # Now and not with the first form, which would set a cookie on a page that could be cached.
    generate_csrf()


def login_required(view: Callable[P, R]) -> Callable[P, R]:
    """Send whoever is not signed in to the sign-in page.

    It stands above `@cache.cached`, so that it decides on a hit too; and it asks the session only,
    so that a hit costs no query, and for a session that Flask has read before, not even Flask.
    """

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if "user_id" not in session:
            _go_and_sign_in()
        return view(*args, **kwargs)

    return guarded


def current_user() -> User:
    """Load who is signed in; whoever was deleted meanwhile has to sign in again."""
    user = db.session.get(User, session["user_id"])
    if user is None:
        session.clear()
        _go_and_sign_in()
    return user


def signed_in_name() -> str | None:
    """Return the name of who is signed in, for modules that know nothing of accounts."""
    user = db.session.get(User, session["user_id"]) if "user_id" in session else None
    return user.name if user is not None else None


def local_path(target: str | None) -> str | None:
    """Return a path that may be redirected to, or `None`: another host could be a trap."""
    return target if target and _LOCAL.fullmatch(target) else None


def _go_and_sign_in() -> NoReturn:
    wanted = request.script_root + request.full_path.rstrip("?") if request.method == "GET" else ""
    abort(redirect(url_for("account.sign_in", next=local_path(wanted))))
