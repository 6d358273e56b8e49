"""Which hooks reach pages only through known names, so that what they read need not count."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a hook, or an extension's function, can influence of a page.

    :param subject: what it is about, in words.
    :param g: the names on ``g`` by which it reaches pages.
    :param reason: why that is so.
    """

    subject: str
    g: frozenset[str]
    reason: str


def _known(subject: str, reason: str, *g: str) -> Declaration:
    return Declaration(subject, frozenset(g), reason)


_SESSION_OPENING = _known(
    "opening the session", "it reaches pages by the session only, which counts where it is read"
)

_CONDITIONS = _known(
    "evaluating conditions and ranges",
    "what they change is the status, and 206, 304 and 412 are never stored",
)

_FORM = _known("parsing a form", "without a body the form is empty, whatever its type")

#: Functions of Flask, Werkzeug and of extensions, by module and qualified name.
BUILT_IN: dict[tuple[str, str], Declaration] = {
    ("flask.sessions", "SecureCookieSessionInterface.open_session"): _SESSION_OPENING,
    ("flask_session.base", "ServerSideSessionInterface.open_session"): _SESSION_OPENING,
    ("werkzeug.wrappers.request", "Request._load_form_data"): _FORM,
    ("werkzeug.wrappers.response", "Response.make_conditional"): _CONDITIONS,
    ("flask_login.login_manager", "LoginManager._load_user"): _known(
        "Flask-Login's look for the user", "it leaves the user on g and nothing else", "_login_user"
    ),
}

#: Context variables that say nothing of a visitor: Flask's, this package's, and those of tracing.
KNOWN_VARIABLES = frozenset(
    {"flask.app_ctx", "flask.request_ctx", "caching_flushing", "decimal_context"}
    | {"current_context", "current_span", "current_scope", "isolation_scope", "global_scope"}
)


class Declarations:
    """The declarations of one cache: those that are built in, and its owner's."""

    def __init__(self) -> None:
        self.of_hooks: dict[Callable[..., Any], Declaration] = {}
        self.variables: dict[ContextVar[Any], str] = {}

    def add(self, subject: Any, g: str | Iterable[str], reason: str) -> None:
        """Declare a hook or a context variable.

        :raises ValueError: without a reason, and for names with a context variable.
        :raises TypeError: for what is neither a hook nor a context variable.
        """
        names = frozenset((g,) if isinstance(g, str) else g)
        if not reason.strip():
            raise ValueError("influences_only_through: say why, with reason='…'.")
        if isinstance(subject, ContextVar):
            if names:
                raise ValueError("influences_only_through: a context variable takes no g=….")
            self.variables[subject] = reason
        elif callable(subject):
            name = getattr(subject, "__qualname__", repr(subject))
            module = getattr(subject, "__module__", "")
            self.of_hooks[subject] = Declaration(f"{module}.{name}".lstrip("."), names, reason)
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
        if not self.of_hooks:
            return None
        try:
            return self.of_hooks.get(hook)
        except TypeError:
            return None  # A callable object without a hash.

    def rows(self) -> list[tuple[str, str, str]]:
        """List all declarations: the subject, what it reaches pages through, the reason."""
        known = [*dict.fromkeys(BUILT_IN.values()), *self.of_hooks.values()]
        listed = [(d.subject, ", ".join(f"g.{n}" for n in sorted(d.g)), d.reason) for d in known]
        variables = self.variables.items()
        return listed + [(f"context variable {v.name}", "", reason) for v, reason in variables]
