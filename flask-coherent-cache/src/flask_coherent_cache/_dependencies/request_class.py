"""The class of the request: each attribute notes the inputs that its value depends on."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from flask import Request
from werkzeug.utils import cached_property

from .dependencies import READS
from .environment import Environment, Headers
from .inputs import BODY, CONTENT_TYPE, COOKIES, METHOD, MOUNT, PATH, QUERY, SCHEME, Input
from .noticed import Noticed
from .readers import is_dispatch
from .snapshots import FOREIGN
from .subclasses import become, foreign_members, named_class, noting, subclass

#: What Werkzeug puts on a request beside the attributes of its class.
_OWN_ATTRIBUTES = frozenset({*vars(Request({})), "_parsed_content_type", "_cached_data"})
#: What a request of Flask's own class can have; more is of the application's class.
_KNOWN_ATTRIBUTES = _OWN_ATTRIBUTES | {READS, *dir(Request)}
#: Plain attributes, which a request has from the start.
_ATTRIBUTES = {
    "method": METHOD,
    "scheme": SCHEME,
    "root_path": MOUNT,
    "path": PATH,
    "url_rule": PATH,
    "view_args": PATH,
    "query_string": QUERY,
    "remote_addr": Input("environment value", "REMOTE_ADDR"),
}
#: Properties that depend on the path alone.
_OF_THE_PATH = ("endpoint", "blueprint", "blueprints")
#: Parsing the body sets all of these at once.
_OF_THE_BODY = frozenset({"stream", "data", "form", "files"})
_METHODS = {
    "_parse_content_type": (CONTENT_TYPE,),
    "get_data": (BODY,),
    "get_json": (BODY, CONTENT_TYPE),
}
#: Where the class keeps the names of values that are computed once, and a request the inputs of
#: each, and whether it was set.
COMPUTED = "_caching_computed"
INPUTS_OF = "_caching_inputs_of_"
_SET = "_caching_set_"


def watch_request(request: Any, noticed: Noticed) -> None:
    """Have a request note from now on what is read of it."""
    state = request.__dict__
    state["environ"] = environ = Environment(state["environ"], noticed)
    state["headers"] = Headers(environ, noticed)
    become(request, request_class)
    for name in state.keys() & getattr(type(request), COMPUTED):
        del state[name]  # Flask asked for the host, to find the rules.
    # What the application's own class made of the environment, or left on the request.
    early = {name: state.pop(name) for name in state.keys() - _KNOWN_ATTRIBUTES}
    state[FOREIGN], noticed.early = early, frozenset(early)


@subclass
def request_class(base: Any) -> dict[str, Any]:
    """Have a request note what is read of it."""
    members: dict[str, Any] = _defaults(base)
    for name, what in _ATTRIBUTES.items():
        members[name] = _attribute(name, what, getattr(base, name, None))
    # One of the application's own may read anything, also for the others.
    if all(getattr(base, name) is getattr(Request, name) for name in _OF_THE_PATH):
        for name in _OF_THE_PATH:
            members[name] = _attribute(name, PATH, compute=_of_unwatched(base, name))
    computed = _computations(base)
    computed["args"] = _by_name(computed["args"], "query parameter", QUERY)
    computed["cookies"] = _by_name(computed["cookies"], "cookie", COOKIES)
    members |= {name: _computed_once(name, compute) for name, compute in computed.items()}
    for name, inputs in _METHODS.items():
        members[name] = noting(getattr(base, name), functools.partial(_note_each, inputs))
    members |= foreign_members(base, _OWN_ATTRIBUTES, lambda self: self.__dict__[READS].noticed)
    return {**members, COMPUTED: frozenset(computed)}


def _note_each(inputs: tuple[Input, ...], request: Any, *_: Any, **__: Any) -> None:
    for what in inputs:
        request.__dict__[READS].noticed.note(what)


def _of_unwatched(base: type, name: str) -> Callable[[dict[str, Any]], Any]:
    """Make a function that computes a property of the state of a request, and notes nothing."""

    def compute(state: dict[str, Any]) -> Any:
        unwatched: Any = object.__new__(base)
        unwatched.__dict__ = state
        return getattr(unwatched, name)

    return compute


def _attribute(
    name: str,
    what: Input,
    default: Any = None,
    compute: Callable[[dict[str, Any]], Any] | None = None,
) -> property:
    """Make an attribute that notes that it is read, except by Flask's dispatch.

    :param compute: computes its value of the request's state, only once after routing.
    """

    def get_attribute(request: Any) -> Any:
        state = request.__dict__
        if not is_dispatch(sys._getframe(1)):
            state[READS].noticed.note(what)
        if compute is None or name in state:
            return state.get(name, default)
        value = compute(state)
        if state.get("url_rule") is not None:
            state[name] = value
        return value

    def set_attribute(request: Any, value: Any) -> None:
        request.__dict__[name] = value

    return property(get_attribute, set_attribute if compute is None else None)


def _computations(base: type) -> dict[str, Callable[[Any], Any]]:
    """Return the functions of the cached properties of a class."""
    computed: dict[str, Callable[[Any], Any]] = {}
    for name in dir(base):
        member = next((vars(kind)[name] for kind in base.__mro__ if name in vars(kind)), None)
        if isinstance(member, cached_property):
            computed[name] = member.fget  # type: ignore[assignment]
        elif isinstance(member, functools.cached_property):
            computed[name] = member.func
    return computed


def _by_name(compute: Callable[[Any], Any], kind: str, whole: Input) -> Callable[[Any], Any]:
    """Have query parameters or cookies note each name that is read, not that they are parsed."""

    def compute_apart(request: Any) -> Any:
        noticed = request.__dict__[READS].noticed
        collecting, noticed.collections = noticed.collections, []
        try:
            with noticed.unnoticed():
                value = compute(request)
        finally:
            noticed.collections = collecting
        become(value, named_class, kind, whole)
        return value

    return compute_apart


def _computed_once(name: str, compute: Callable[[Any], Any]) -> property:
    """Make a cached property: each read of it also reads what it was computed from."""
    inputs, was_set, of_the_body = INPUTS_OF + name, _SET + name, name in _OF_THE_BODY

    def get_value(request: Any) -> Any:
        state = request.__dict__
        noticed = state[READS].noticed
        if of_the_body:
            noticed.note(BODY)
        if name not in state:
            compute_value(state, request)
            return state[name]
        if was_set in state:
            noticed.take(name, state[name])
        for what in state.get(inputs, ()):
            noticed.note(what)
        return state[name]

    def compute_value(state: dict[str, Any], request: Any) -> None:
        noticed = state[READS].noticed
        collected = noticed.collect()
        try:
            state[name] = compute(request)
        finally:
            noticed.end_collecting(collected)
        if not of_the_body:
            state[inputs] = tuple(dict.fromkeys(collected))

    def set_value(request: Any, value: Any) -> None:
        """Set a value, which may be made from anything."""
        state = request.__dict__
        if name == "host":
            # Flask itself sets it, for each copy of a context.
            compute_value(state, request)
        state[name] = value
        state[was_set] = True

    def delete_value(request: Any) -> None:
        del request.__dict__[name]

    return property(get_value, set_value, delete_value, compute.__doc__)


class _Default:
    """An attribute that has a value in the application's class and that hooks can set."""

    def __init__(self, name: str, default: Any) -> None:
        self._name = name
        self._default = default

    def __get__(self, request: Any, owner: Any = None) -> Any:
        if request is None:
            return self._default
        state = request.__dict__
        value = state.get(FOREIGN, {}).get(self._name, self._default)
        state[READS].noticed.take(self._name, value)
        return value

    def __set__(self, request: Any, value: Any) -> None:
        request.__dict__.setdefault(FOREIGN, {})[self._name] = value

    def __delete__(self, request: Any) -> None:
        del request.__dict__[FOREIGN][self._name]


def _defaults(base: Any) -> dict[str, Any]:
    """Make descriptors for the plain attributes of the application's classes of requests."""
    owners = base.__mro__[: base.__mro__.index(Request)] if issubclass(base, Request) else ()
    return {
        name: _Default(name, member)
        for kind in reversed(owners)
        for name, member in vars(kind).items()
        if not name.startswith("__")
        and not hasattr(member, "__get__")
        and name not in vars(Request)
    }
