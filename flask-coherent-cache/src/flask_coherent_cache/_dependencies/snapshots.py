"""Snapshots of what a hook can write to, compared before and after it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from typing import Any

from flask import has_app_context, has_request_context
from flask.globals import app_ctx, request_ctx

from .._functions.coroutines import is_of_asgiref
from .declarations import KNOWN_VARIABLES, Declarations

#: Where a request or a context keeps foreign attributes.
FOREIGN = "_caching_foreign"
#: Places where a hook may write its declared names.
_NAMED = ("g.{}", "request.{}")


class Missing:
    """The type of the stand-in for a missing value."""


MISSING = Missing()
#: Types of values that nobody can change.
PLAIN = (str, bytes, int, float, bool, type(None), Missing)

Unnoticed = Callable[[], AbstractContextManager[None]]


class Snapshot:
    """All that code can write to, as it is now."""

    __slots__ = ("context", "modified", "places", "session", "unnoticed")

    def __init__(self, unnoticed: Unnoticed) -> None:
        self.unnoticed = unnoticed
        self.context = copy_context()
        #: The values in each place, by the format of a name in messages.
        self.places: dict[str, dict[str, Any]] = {"g.{}": dict(g_state())}
        self.modified = False
        self.session: dict[str, Any] = {}
        if not has_request_context():
            return
        state = request_ctx.request.__dict__
        foreign = dict(state.get(FOREIGN, ()))
        contexts: tuple[Any, ...] = (app_ctx, request_ctx)
        for context in contexts:
            foreign.update(vars(context._get_current_object()).get(FOREIGN, ()))
        # Copying what is watched would note all of it.
        environ = getattr(state["environ"], "raw", state["environ"])
        self.places["request.{}"] = foreign
        self.places["environ[{!r}]"] = dict(environ)
        self.places["view_args[{!r}]"] = _copied(state.get("view_args") or {}, unnoticed)
        session = request_ctx._session
        if session is not None:
            self.modified = bool(session.modified)
            self.session = _copied(session, unnoticed)

    def written(self, names: frozenset[str], declarations: Declarations | None) -> list[str]:
        """Name what was written since, except some names on ``g`` and the request."""
        now = Snapshot(self.unnoticed)
        written = [
            words.format(name)
            for words, values in now.places.items()
            for name in _changed(self.places.get(words, {}), values)
            if words not in _NAMED or name not in names
        ]
        if now.modified and not self.modified and not self._is_same_session(now):
            written.append("the session")
        return written + [
            f"the context variable {variable.name}"
            for variable in unknown_variables(declarations)
            if self.context.get(variable) is not now.context[variable]
        ]

    def _is_same_session(self, now: "Snapshot") -> bool:
        """Tell whether the session was written without a change."""
        plain = all(isinstance(value, PLAIN) for value in self.session.values())
        return plain and self.session == now.session


def _copied(mapping: Any, unnoticed: Unnoticed) -> dict[str, Any]:
    """Copy a mapping that may be watched, without noting a look at all of it."""
    if isinstance(mapping, dict):
        # `dict(mapping)` and `dict.copy` call the methods of a subclass that has its own.
        return dict(dict.items(mapping))
    with unnoticed():
        return dict(mapping)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        name
        for name in {**before, **now}
        if before.get(name, MISSING) is not now.get(name, MISSING)
        and not name.startswith("caching.")
    ]


def g_state() -> dict[str, Any]:
    """Return what is on ``g``, without noting it."""
    if not has_app_context():
        return {}
    state: dict[str, Any] = object.__getattribute__(app_ctx.g, "__dict__")
    return state


def unknown_variables(declarations: Declarations | None) -> list[ContextVar[Any]]:
    """List the context variables that are set, and may hold anything that was read."""
    declared = declarations.variables if declarations is not None else {}
    return [
        variable
        for variable, value in copy_context().items()
        if value is not None
        and variable.name not in KNOWN_VARIABLES
        and not variable.name.startswith(("caching_", "structlog_"))
        and variable not in declared
        and not is_of_asgiref(variable)
    ]
