"""Declarations: hooks that reach pages only through known names, so that their reads can wait."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a hook, or an extension's function, can influence of a page.

    :param subject: its name in messages.
    :param g: the names through which it reaches pages: on ``g``, or for an extension also on the
        request or its context.
    :param reason: why that is so.
    :param counts: whether its reads count all the same, unless a key is made from one of the names.
    :param refuses: whether it can refuse a request: a fill that calls it depends on its reads.
    :param resources: names on ``g`` of objects without data of the request, such as a connection.
    """

    subject: str
    g: frozenset[str]
    reason: str
    counts: bool = False
    refuses: bool = False
    resources: frozenset[str] = frozenset()


def _known(
    subject: str, reason: str, *g: str, counts: bool = False, refuses: bool = False
) -> Declaration:
    return Declaration(subject, frozenset(g), reason, counts, refuses)


#: Known only where it is the session interface's own.
SESSION_OPENING = _known(
    "opening the session", "it reaches pages by the session only, which counts where it is read"
)

_CREDENTIALS = _known(
    "Flask-HTTPAuth's look for credentials",
    "who was let in is on g; its callbacks are the owner's, so that it counts for all",
    "flask_httpauth_user",
    counts=True,
)

_LIMITS = _known(
    "Flask-Limiter's check",
    "it refuses a request or leaves the limits on the context",
    "_limiter_request_context",
    refuses=True,
)

#: Functions of Flask, Werkzeug and of extensions, by module and qualified name.
BUILT_IN: dict[tuple[str, str], Declaration] = {
    ("flask.ctx", "RequestContext.copy"): _known(
        "copying the request's context",
        "the copy shows what the request shows, where that is read",
    ),
    ("flask.sessions", "SecureCookieSessionInterface.open_session"): SESSION_OPENING,
    ("flask_session.base", "ServerSideSessionInterface.open_session"): SESSION_OPENING,
    ("werkzeug.wrappers.request", "Request._load_form_data"): _known(
        "parsing a form", "without a body the form is empty, whatever its type"
    ),
    ("werkzeug.wrappers.response", "Response.make_conditional"): _known(
        "evaluating conditions and ranges",
        "what they change is the status, and 206, 304 and 412 are never stored",
    ),
    ("flask_login.login_manager", "LoginManager._load_user"): _known(
        "Flask-Login's look for the user", "it leaves the user on g and nothing else", "_login_user"
    ),
    ("flask_httpauth", "HTTPAuth.get_auth"): _CREDENTIALS,
    ("flask_httpauth", "HTTPBasicAuth.get_auth"): _CREDENTIALS,
    ("flask_jwt_extended.view_decorators", "_decode_jwt_from_request"): _known(
        "Flask-JWT-Extended's look for a token",
        "what it found is on g; its callbacks are the owner's, so that it counts for all",
        "_jwt_extended_jwt",
        "_jwt_extended_jwt_user",
        counts=True,
    ),
    ("flask_limiter._extension", "Limiter._check_request_limit"): _LIMITS,
    ("flask_talisman.talisman", "Talisman._set_hsts_headers"): _known(
        "Flask-Talisman's header for HTTPS", "browsers ignore it over HTTP (RFC 6797, 8.1)"
    ),
}

#: Hooks of extensions, by module and qualified name. They run isolated, as declared ones do, so
#: that what a callback of the application writes elsewhere is found.
BUILT_IN_HOOKS: dict[tuple[str, str], Declaration] = {
    ("flask_debugtoolbar", "DebugToolbarExtension.process_request"): _known(
        "Flask-DebugToolbar's start", "it changes bodies after they were stored", "debug_toolbar"
    ),
    ("flask_limiter._extension", "Limiter._check_request_limit"): _LIMITS,
    ("flask_principal", "Principal._on_before_request"): _known(
        "Flask-Principal's identity", "it leaves the identity on g and nothing else", "identity"
    ),
    ("flask_talisman.talisman", "Talisman._force_https"): _known(
        "Flask-Talisman's redirect to HTTPS", "it answers by itself or does nothing"
    ),
    ("flask_talisman.talisman", "Talisman._make_nonce"): _known(
        "Flask-Talisman's nonce", "it leaves the nonce on the request", "csp_nonce"
    ),
}

#: Names on ``g`` of objects without data of the request: the sessions of Flask-SQLAlchemy-Lite.
RESOURCES = frozenset({"_sqlalchemy_sessions", "_sqlalchemy_async_sessions"})

#: Context processors that return the same names for every visitor: a missing name is not theirs.
FIXED_PROCESSORS = frozenset({"flask_login.utils._user_context_processor"})

#: Context variables without data of a visitor: Flask's and those of tracing.
KNOWN_VARIABLES = frozenset(
    {"flask.app_ctx", "flask.request_ctx", "decimal_context"}
    | {"debug_toolbars"}  # Flask-DebugToolbar changes bodies after all that is stored.
    | {"current_context", "current_span", "current_scope", "isolation_scope", "global_scope"}
)


def name_of(function: Any) -> str:
    """Return the name of a callable for messages."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}".lstrip(".")


def _names(given: str | Iterable[str]) -> frozenset[str]:
    return frozenset((given,) if isinstance(given, str) else given)


class Declarations:
    """The declarations of one cache, beside those that are built in."""

    def __init__(self) -> None:
        self.of_hooks: dict[Callable[..., Any], Declaration] = {}
        self.variables: dict[ContextVar[Any], str] = {}

    def add(
        self,
        subject: Any,
        g: str | Iterable[str],
        reason: str,
        resources: str | Iterable[str] = (),
    ) -> None:
        """Declare a hook or a context variable.

        :raises ValueError: without a reason, and for names with a context variable.
        :raises TypeError: for what is neither a hook nor a context variable.
        """
        names, opened = _names(g), _names(resources)
        if not reason.strip():
            raise ValueError("influences_only_through: say why, with reason='…'.")
        if isinstance(subject, ContextVar):
            if names or opened:
                raise ValueError("influences_only_through: a context variable takes no g=….")
            self.variables[subject] = reason
        elif callable(subject):
            self.of_hooks[subject] = Declaration(name_of(subject), names, reason, resources=opened)
        else:
            raise TypeError(
                f"influences_only_through: {subject!r} is neither a hook nor a context variable."
            )

    def take_over(self, other: "Declarations") -> None:
        """Add the declarations of another cache of the same application."""
        self.of_hooks |= other.of_hooks
        self.variables |= other.variables

    def of(self, hook: Any) -> Declaration | None:
        """Return the declaration of a hook, if there is one."""
        try:
            found = self.of_hooks.get(hook)
        except TypeError:
            found = None  # A callable object without a hash.
        if found is None and (qualified := getattr(hook, "__qualname__", None)):
            found = BUILT_IN_HOOKS.get((getattr(hook, "__module__", ""), qualified))
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """List all declarations: subject, names, reason."""
        built_in = dict.fromkeys([*BUILT_IN.values(), *BUILT_IN_HOOKS.values()])
        known = [*built_in, *self.of_hooks.values()]
        listed = [(d.subject, ", ".join(f"g.{n}" for n in sorted(d.g)), d.reason) for d in known]
        variables = self.variables.items()
        return listed + [(f"context variable {v.name}", "", reason) for v, reason in variables]
