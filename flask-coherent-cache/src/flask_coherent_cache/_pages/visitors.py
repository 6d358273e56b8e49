"""Which requests a page may answer, and which visitor a private page belongs to."""

import sys
from collections.abc import Mapping
from typing import Any

from flask import current_app
from flask.globals import request_ctx

from .._dependencies.dependencies import current_dependencies
from .._dependencies.environment import raw_environ
from .._dependencies.inputs import AUTHORIZATION, is_session_cookie
from .._dependencies.request_reads import IsolatedCode
from .._keys.classes import UnstableArgument
from .._keys.encoding import stable_text
from .page_visit import PageVisit

_LONGEST_REASON = 100
_NO_BODY = frozenset({None, "", "0"})
_PLAIN_VALUES = frozenset({str, bytes, int, bool, float, type(None)})


def has_body(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request has a body, on which its answer may depend."""
    return environ.get("CONTENT_LENGTH") not in _NO_BODY or "HTTP_TRANSFER_ENCODING" in environ


def reason_to_bypass(visit: PageVisit) -> str | None:
    """Say why a request bypasses the cache, or return ``None`` and name its user."""
    if not visit.is_safe:
        return "method"
    if has_body(visit.environ):
        return "body"
    visit.key_inputs = visit.page_options.key_inputs
    if visit.page_options.private:
        if reason := _name_user(visit):
            return reason
    elif "HTTP_AUTHORIZATION" in visit.environ:
        return visit.refuse(
            "authorization",
            f"{visit.view_name} was requested with the header Authorization: such requests bypass "
            "the cache. For pages of one visitor each say private=True, or name the user with "
            "private=function.",
            about="header Authorization",
        )
    if visit.holds_all_read():
        return _refuse_declared_values(visit)
    return visit.refuse_undeclared(visit.filling()) or _refuse_declared_values(visit)


def _name_user(visit: PageVisit) -> str | None:
    """Name the user of a private page, or say why the request bypasses the cache.

    The key holds the inputs that the name was made from.
    """
    private = visit.page_options.private
    function = private if callable(private) else _visitor
    owner = IsolatedCode("naming the user", naming=True)
    try:
        name = visit.noticed.run(owner, function)
    except UnstableArgument as error:
        return visit.refuse(
            "session",
            f"{visit.view_name} is not cached, because its visitor has no stable name: {error}. "
            "Put plain values into the session, or name the user with private=function.",
            about=f"{error}".partition(",")[0][:_LONGEST_REASON],
        )
    visit.key_inputs |= frozenset(owner.inputs)
    if name is None:
        module, qualname = (getattr(private, f"__{part}__", "") for part in ("module", "qualname"))
        return visit.refuse("anonymous", place=f"{module}.{qualname}")
    visit.user = visit.engine.sealer.digest(_encoded(name))
    return None


def _encoded(name: object) -> bytes:
    return f"{type(name).__name__} {name}".encode("utf-8", "surrogatepass")


def visitor_name(values: dict[str, Any]) -> bytes:
    """Return the name, as it is digested, of a visitor of whom only a session is known."""
    return _encoded(_session_text(values) + "\n")


def _session_text(values: Any) -> str:
    # A session on the server may hold what JSON cannot express.
    return f"{stable_text(dict(values))}"


def _visitor() -> str:
    """Name a visitor by session, ``Authorization``, and Flask-Login's user if there is one."""
    environ = raw_environ(request_ctx.request)
    name: str = _session_text(request_ctx.session)
    name += "\n" + environ.get("HTTP_AUTHORIZATION", "")
    current_dependencies().noticed.note(AUTHORIZATION)
    login = sys.modules.get("flask_login")
    if login is not None and hasattr(current_app, "login_manager"):
        name += f"\n{login.current_user.get_id()!r} {request_ctx.session.get('_fresh')!r}"
    return name


def _refuse_declared_values(visit: PageVisit) -> str | None:
    """Refuse a declared cookie that is a secret, and a declared value that is no plain data."""
    declared = visit.page_options.declared
    for name in filter(is_session_cookie, declared.cookies):
        return visit.refuse(
            f"undeclared: cookie {name}",
            f"{visit.view_name} has {name} in vary_cookies, which says who asks, so its page is "
            "not cached: say private=True, or name the user with private=function.",
        )
    for name in declared.environ:
        kind = type(visit.environ.get(name))
        if kind not in _PLAIN_VALUES:
            return visit.refuse(
                f"undeclared: environment value {name}",
                f"{visit.view_name} has {name} in vary_environ, which is a {kind.__name__} and "
                "not text, so its page is not cached: have the middleware put text there.",
            )
    return None
