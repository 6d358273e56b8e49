"""The contexts and what they carry: ``g``, the session, and the adapter that builds URLs."""

import sys
from types import CodeType, FunctionType
from typing import Any

from flask import current_app
from flask.ctx import _AppCtxGlobals
from flask.globals import app_ctx
from flask.sessions import SessionMixin

from .dependencies import current_dependencies
from .inputs import HOST, MOUNT, SCHEME, SESSION, Input
from .queries import sort_query
from .snapshots import MISSING
from .subclasses import (
    become,
    foreign_members,
    members_of,
    named_members,
    noting,
    noting_members,
    subclass,
)

#: Where a request keeps the arguments in its URL, as they were before any hook.
_ARGUMENTS = "_caching_arguments"


def routed_arguments(request: Any) -> dict[str, Any]:
    """Return the arguments in a request's URL, as they were before any hook."""
    arguments: dict[str, Any] = request.__dict__.get(_ARGUMENTS, {})
    return arguments


def watch_app_context(context: Any) -> None:
    """Have an application context and its ``g`` note what is taken from them."""
    become(context.g, globals_class)
    become(context, app_context_class)


def watch_request_context(context: Any) -> None:
    """Have a request context note what is taken from it, and that the session is read."""
    become(context, request_context_class)
    _watch_adapter(context)


def _context_members(base: Any) -> dict[str, Any]:
    """Have a context note which foreign attributes are taken from it."""
    makers = [vars(kind)["__init__"] for kind in base.__mro__[:-1] if "__init__" in vars(kind)]
    own = frozenset(name for make in makers for name in make.__code__.co_names)
    return foreign_members(base, own, lambda _: current_dependencies().noticed)


app_context_class = subclass(_context_members)


@subclass
def request_context_class(base: Any) -> dict[str, Any]:
    """Have a request context watch the session it opens, and sort the query after routing."""

    def session(self: Any) -> Any:
        opened = base.session.fget(self)
        if isinstance(opened, dict):
            if not hasattr(type(opened), _IS_WATCHED):
                become(opened, session_class)
        else:
            current_dependencies().noticed.note(SESSION)
        return opened

    def match_request(self: Any) -> None:
        base.match_request(self)
        state = self.request.__dict__
        # A hook may remove arguments, such as a language in every URL.
        state[_ARGUMENTS] = dict(state.get("view_args") or {})
        if state["query_string"]:
            sort_query(self.request)

    def copy(self: Any) -> Any:
        """Copy the context, for a thread or a greenlet."""
        copied = base.copy(self)
        _watch_adapter(copied)
        return copied

    members = {"session": property(session), "match_request": match_request, "copy": copy}
    return _context_members(base) | members


# -- the session -------------------------------------------------------------------------------

_IS_WATCHED = "_caching_is_watched"
_OF_EVERY_SESSION = frozenset({"modified", "accessed", "on_update", "new"})


@subclass
def session_class(base: Any) -> dict[str, Any]:
    """Have a session note each name, such as ``user_id``, and each attribute of its own."""
    # Properties and the like, which may look past the methods that note a name.
    computed = {
        name
        for name, it in members_of(base).items()
        if hasattr(it, "__get__") and not callable(it) and not isinstance(it, classmethod)
        if not name.startswith("__") and name not in vars(SessionMixin)
    }

    def get_attribute(self: Any, name: str) -> Any:
        if name in computed:
            current_dependencies().noticed.note(SESSION)
        # What a server-side session has beside its values, such as its id.
        elif name not in _OF_EVERY_SESSION and name in object.__getattribute__(self, "__dict__"):
            current_dependencies().noticed.note(Input("session", name))
        return object.__getattribute__(self, name)

    members = named_members(base, "session", SESSION)
    return {**members, "__getattribute__": get_attribute, _IS_WATCHED: True}


# -- g -----------------------------------------------------------------------------------------


def _codes(base: type, *names: str) -> set[CodeType]:
    """Return the code of methods that a class and its bases define."""
    methods = (vars(kind).get(name) for kind in base.__mro__ for name in names)
    return {method.__code__ for method in methods if isinstance(method, FunctionType)}


#: How one name is taken from ``g``; what Flask's own methods take is their first argument.
_TAKING = ("get", "pop", "setdefault", "__contains__", "__getattr__")
_TAKING_CODES = _codes(_AppCtxGlobals, *_TAKING)


@subclass
def globals_class(base: Any) -> dict[str, Any]:
    """Have ``g`` note each name that is taken."""
    writing = _codes(base, "__setattr__", "__delattr__")
    others = [
        name for name in _TAKING if getattr(base, name, None) is not vars(_AppCtxGlobals).get(name)
    ]

    def take(self: Any, name: str, *_: Any, **__: Any) -> None:
        if app_ctx and app_ctx.g is self:
            state = object.__getattribute__(self, "__dict__")
            current_dependencies().noticed.take(name, state.get(name, MISSING))

    def get_attribute(self: Any, name: str) -> Any:
        if name == "__dict__":
            frame = sys._getframe(1)
            # Not by whoever called it: a subclass may, by any method of its own.
            if frame.f_code in _TAKING_CODES:
                take(self, frame.f_locals[frame.f_code.co_varnames[1]])
            elif frame.f_code not in writing:
                take(self, "")
        elif not name.startswith("__") and not is_method(self, name):
            take(self, name)
        return object.__getattribute__(self, name)

    def is_method(self: Any, name: str) -> bool:
        """Tell a method or a property from a name, for which a class may have a default."""
        found = hasattr(getattr(base, name, None), "__get__")
        return found and name not in object.__getattribute__(self, "__dict__")

    return {**noting_members(base, others, take), "__getattribute__": get_attribute}


# -- URLs --------------------------------------------------------------------------------------


def _watch_adapter(context: Any) -> None:
    if context.url_adapter is not None:
        become(context.url_adapter, adapter_class)


@subclass
def adapter_class(base: Any) -> dict[str, Any]:
    """Have a URL adapter note which parts of the request go into a URL that it builds."""

    def note_parts(self: Any, *_: Any, **options: Any) -> None:
        noticed = current_dependencies().noticed
        noticed.note(MOUNT)
        by_host = self.map.host_matching or current_app.subdomain_matching
        if options.get("force_external") or by_host:
            noticed.note(HOST)
            noticed.note(SCHEME)

    return {"build": noting(base.build, note_parts)}
