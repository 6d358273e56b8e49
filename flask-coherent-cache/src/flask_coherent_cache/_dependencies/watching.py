"""Watching a request: its class, its environment, ``g`` and the contexts note what is read of them.

Werkzeug builds its request from the server's own environment; from then on everything that looks at
the request goes through classes made here, which are subclasses of the application's own.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from types import FrameType
from typing import Any, TypeVar, cast

from flask import Flask, Request, current_app
from flask.globals import app_ctx
from werkzeug.datastructures import EnvironHeaders
from werkzeug.routing import MapAdapter
from werkzeug.utils import cached_property

from .._pages.view_layers import sorts_query
from .declarations import BUILT_IN, Declarations
from .dependencies import (
    READS,
    RECOMPUTATION,
    Dependencies,
    begin_dependencies,
    current_dependencies,
)
from .inputs import (
    BODY,
    CONTENT_TYPE,
    COOKIES,
    ENVIRONMENT,
    HEADERS,
    HOST,
    METHOD,
    MOUNT,
    PAGE_PARTS,
    PATH,
    QUERY,
    SCHEME,
    SESSION,
    Input,
    environment_input,
    header_input,
    report_once,
    sorted_query,
)
from .noticed import FOREIGN, MISSING, Noticed, Owner, unknown_variables

F = TypeVar("F", bound=Callable[..., Any])
_READS_OF = "_caching_reads_of_"
_SET = "_caching_set_"
#: Where a hook of ours keeps the one that it stands for.
HOOK = "_caching_hook"
_ARGUMENTS = "_caching_arguments"
#: What is computed of a query, beside what watching it tells.
_OF_THE_QUERY = frozenset({"args", "values", "url", "full_path"})
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
#: What Werkzeug puts on a request beside the attributes of its class.
_OWN_ATTRIBUTES = frozenset({*vars(Request({})), "_parsed_content_type", "_cached_data"})
#: Plain attributes, which a request has from its beginning.
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
#: What the body becomes is put on the request by one for the others.
_OF_THE_BODY = frozenset({"stream", "data", "form", "files"})


def made_once(make: F) -> F:
    """Keep what a function makes of a class, as ``lru_cache`` does, and its type."""
    return cast(F, lru_cache(maxsize=64)(make))


def watch(app: Flask, declarations: Declarations, skipped: set[Callable[..., Any]]) -> None:
    """Watch every request of an application from the moment its context is made.

    :param skipped: hooks that are said to do nothing for a hit; one that reads request data is
        taken out.
    """
    make_request_context, make_app_context = app.request_context, app.app_context
    ensure_sync, update_template_context = app.ensure_sync, app.update_template_context
    preprocess_request = app.preprocess_request

    @functools.wraps(make_request_context)
    def request_context(environ: dict[str, Any]) -> Any:
        context = make_request_context(environ)
        _watch_request(app, context, declarations)
        return context

    @functools.wraps(make_app_context)
    def app_context() -> Any:
        context = make_app_context()
        _set_class(context.g, _globals_class(type(context.g)))
        _set_class(context, _app_context_class(type(context)))
        return context

    @functools.wraps(ensure_sync)
    def run_apart(function: Callable[..., Any]) -> Callable[..., Any]:
        noticed = current_dependencies().noticed
        declaration = declarations.of(function)
        if declaration is None and not noticed.in_processors:
            if function in skipped:
                return functools.partial(_run_skipped, skipped, function, ensure_sync(function))
            return ensure_sync(function)
        owner = Owner(_subject(function), declaration)
        return functools.partial(noticed.run, owner, ensure_sync(function))

    @functools.wraps(update_template_context)
    def note_names(context: dict[str, Any]) -> None:
        noticed = current_dependencies().noticed
        before, noticed.in_processors = noticed.in_processors, True
        try:
            update_template_context(context)
        finally:
            noticed.in_processors = before

    @functools.wraps(preprocess_request)
    def preprocess() -> Any:
        for functions in app.url_value_preprocessors.values():
            _run_each_apart(functions, run_apart, declarations, skipped)
        return preprocess_request()

    app.request_context = request_context  # type: ignore[method-assign]
    app.preprocess_request = preprocess  # type: ignore[method-assign]
    app.app_context = app_context  # type: ignore[method-assign]
    app.ensure_sync = run_apart  # type: ignore[method-assign, assignment]
    app.update_template_context = note_names  # type: ignore[method-assign]


def _watch_request(app: Flask, context: Any, declarations: Declarations) -> None:
    request = context.request
    state = request.__dict__
    environ = state["environ"]
    noticed = Noticed(declarations)
    begin_dependencies(
        request, environ, Dependencies(noticed=noticed, verifying=RECOMPUTATION in environ)
    )
    opening = type(app.session_interface).open_session
    noticed.session_is_known = (opening.__module__, opening.__qualname__) in BUILT_IN
    _encode_query(request)
    state["environ"] = watched = _Environment(environ, noticed)
    state["headers"] = _Headers(watched, noticed)
    watched_class = _request_class(type(request))
    for name in _kept_names(watched_class):
        state.pop(name, None)  # Flask asked for the host, to find the rules.
    # What the owner's own class made of the environment, or left on the request, before this.
    early = {name: state.pop(name) for name in list(state) if not _is_of_flask(name)}
    state[FOREIGN], noticed.early = early, frozenset(early)
    _set_class(request, watched_class)
    _set_class(context, _context_class(type(context)))
    if context.url_adapter is not None:
        _set_class(context.url_adapter, _adapter_class(type(context.url_adapter)))
    for variable in unknown_variables(declarations):
        # Whoever set it around Flask may have it from the request, and nobody sees who reads it.
        noticed.count(Input("context variable", variable.name), "")


def _is_of_flask(name: str) -> bool:
    return name in _OWN_ATTRIBUTES or name == READS or hasattr(Request, name)


def _run_each_apart(
    functions: list[Any],
    run_apart: Callable[..., Any],
    declarations: Declarations,
    skipped: set[Callable[..., Any]],
) -> None:
    """Have declared preprocessors of URL values run apart, which Flask does not ask about."""
    for place, function in enumerate(functions):
        if declarations.of(function) is not None or function in skipped:
            functions[place] = _run_as(function, run_apart)


def _run_as(function: Callable[..., Any], run_apart: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def preprocessor(*args: Any) -> Any:
        return run_apart(function)(*args)

    setattr(preprocessor, HOOK, function)
    return preprocessor


def _end_collecting(noticed: Noticed, collected: list[Input]) -> None:
    # By identity: two empty lists are equal.
    noticed.collecting = [each for each in noticed.collecting if each is not collected]


def _run_skipped(
    skipped: set[Callable[..., Any]], hook: Callable[..., Any], run: Callable[..., Any], *args: Any
) -> Any:
    noticed = current_dependencies().noticed
    collected: list[Input] = []
    noticed.collecting.append(collected)
    try:
        return run(*args)
    finally:
        _end_collecting(noticed, collected)
        read = next((what for what in collected if what not in PAGE_PARTS), None)
        if read is not None:
            # Of other views it may do what it likes: it was said of cached pages.
            noticed.on_page.append(functools.partial(_skip_no_more, skipped, hook, read))


def _skip_no_more(skipped: set[Callable[..., Any]], hook: Callable[..., Any], what: Input) -> None:
    skipped.discard(hook)
    report_once(
        f"cache.skip_on_hit: {_subject(hook)} read the {what}, so it is not skipped, and pages are "
        "not served before Flask. Do not read request data in it for a GET, or declare it with "
        "cache.influences_only_through(…)."
    )


def encode_queries(app: Flask) -> None:
    """Let an application that caches nothing read a query as one that caches does."""
    make_request_context = app.request_context

    @functools.wraps(make_request_context)
    def request_context(environ: dict[str, Any]) -> Any:
        context = make_request_context(environ)
        _encode_query(context.request)
        return context

    app.request_context = request_context  # type: ignore[method-assign]


def _encode_query(request: Any) -> None:
    """Encode the bytes of a query that are not ASCII, as a URL must have them (RFC 3986, 2.1).

    Werkzeug fails to decode those that are no UTF-8.
    """
    state = request.__dict__
    if not state["query_string"].isascii():
        state["query_string"] = _BEYOND_ASCII.sub(_percent_encoded, state["query_string"])


def _sort_query(request: Any) -> None:
    """Let a cached view, and the hooks before it, see the query as the key of its page has it."""
    state = request.__dict__
    # Not by its property, which would count the path as read.
    rule = state.get("url_rule")
    view = current_app.view_functions.get(rule.endpoint) if rule else None
    if state["method"] not in ("GET", "HEAD") or not sorts_query(view, state["method"]):
        return
    query = state["query_string"].decode("latin-1")
    in_order = sorted_query(query)
    if query == in_order:
        return
    state["query_string"] = in_order.encode("latin-1")
    state["environ"].changed["QUERY_STRING"] = in_order
    for name in _kept_names(type(request)):
        # A session may have been opened by it.
        inputs = state.get(_READS_OF + name, ())
        if name in _OF_THE_QUERY or any(what.kind.startswith("query") for what in inputs):
            state.pop(name, None)


def _set_class(instance: Any, made: type) -> None:
    # Not by its own ``__setattr__``, which for ``g`` would make a name of it.
    object.__setattr__(instance, "__class__", made)


def _subject(function: Any) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}".lstrip(".")


def _percent_encoded(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(byte[0])


def raw_environ(request: Any) -> dict[str, Any]:
    """Return a request's environment as the server made it: for the cache's own looks."""
    environ: dict[str, Any] = request.__dict__["environ"]
    return environ.raw if type(environ) is _Environment else environ


def routed_arguments(request: Any) -> dict[str, Any]:
    """Return the arguments in a request's URL, as they were before any hook."""
    arguments: dict[str, Any] = request.__dict__.get(_ARGUMENTS, {})
    return arguments


# -- the environment and the headers ---------------------------------------------------------


class _Environment(dict[str, Any]):
    """The WSGI environment: a dictionary that holds nothing itself, and asks the server's own.

    Who writes to it writes to the server's (PEP 3333). Whoever goes past its methods finds nothing.
    """

    __slots__ = ("_noticed", "changed", "raw")

    def __init__(self, raw: dict[str, Any], noticed: Noticed) -> None:
        super().__init__()
        self.raw = raw
        #: What the request's own code finds in the place of the server's values.
        self.changed: dict[str, Any] = {}
        self._noticed = noticed

    def _note(self, key: Any) -> dict[str, Any]:
        what = environment_input(key) if isinstance(key, str) else None
        if what is not None:
            self._noticed.note(what)
        return self.changed if key in self.changed else self.raw

    def _note_all(self) -> dict[str, Any]:
        self._noticed.note(ENVIRONMENT)
        return self.raw | self.changed if self.changed else self.raw

    def __getitem__(self, key: Any) -> Any:
        return self._note(key)[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._note(key).get(key, default)

    def __contains__(self, key: Any) -> bool:
        return key in self._note(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.changed.pop(key, None)
        self.raw[key] = value

    def __delitem__(self, key: Any) -> None:
        self.changed.pop(key, None)
        del self.raw[key]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return self._note(key).setdefault(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        value = self._note(key).get(key, MISSING)
        self.changed.pop(key, None)
        return self.raw.pop(key, *default) if value is MISSING else (self.raw.pop(key), value)[1]

    def popitem(self) -> Any:
        self._note_all()
        return self.raw.popitem()

    def clear(self) -> None:
        self.changed.clear()
        self.raw.clear()

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return {**self._note_all(), **other}

    def __ror__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return {**other, **self._note_all()}

    def __eq__(self, other: object) -> bool:
        return self._note_all() == other

    def __ne__(self, other: object) -> bool:
        return self._note_all() != other

    __hash__ = None

    def copy(self) -> dict[str, Any]:
        return dict(self._note_all())

    def __iter__(self) -> Iterator[str]:
        return iter(self._note_all())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._note_all())

    def __len__(self) -> int:
        return len(self._note_all())

    def keys(self) -> Any:
        return self._note_all().keys()

    def values(self) -> Any:
        return self._note_all().values()

    def items(self) -> Any:
        return self._note_all().items()

    def __repr__(self) -> str:
        return repr(self._note_all())

    def __reduce_ex__(self, _: Any) -> Any:
        return dict, (dict(self._note_all()),)


class _Headers(EnvironHeaders):
    """Headers over the watched environment, which notes each that is asked for."""

    def __init__(self, environ: dict[str, Any], noticed: Noticed) -> None:
        super().__init__(environ)
        self._noticed = noticed

    def __iter__(self) -> Any:
        self._noticed.note(HEADERS)
        return EnvironHeaders(self.environ.raw).__iter__()  # type: ignore[attr-defined]

    def __len__(self) -> int:
        self._noticed.note(HEADERS)
        return len(EnvironHeaders(self.environ.raw))  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        self._noticed.note(HEADERS)
        return super().__eq__(other)

    __hash__ = None

    def getlist(self, key: str, type: Any = None) -> Any:
        self._noticed.note(header_input(key))
        return EnvironHeaders(self.environ.raw).getlist(key, type)  # type: ignore[attr-defined]

    def get_all(self, name: str) -> Any:
        return self.getlist(name)


# -- collections of named values ---------------------------------------------------------------

_ONE = ("__getitem__", "get", "getlist", "__contains__", "pop", "poplist", "setdefault")
_ALL = (
    "__iter__", "__len__", "__eq__", "__or__", "__repr__", "__reduce_ex__", "keys", "values",
    "items", "lists", "listvalues", "to_dict", "copy", "deepcopy", "popitem", "popitemlist",
)  # fmt: skip


@made_once
def _named_class(base: Any, kind: str, all_of_it: Input) -> type:
    """Make a subclass of a dictionary class that notes each name, or all of it."""

    def noting_one(method: Any) -> Any:
        @functools.wraps(method)
        def wrapper(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            current_dependencies().noticed.note(Input(kind, str(key)))
            return method(self, key, *args, **kwargs)

        return wrapper

    def noting_all(method: Any) -> Any:
        @functools.wraps(method)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            current_dependencies().noticed.note(all_of_it)
            return method(self, *args, **kwargs)

        return wrapper

    methods = {name: noting_one(getattr(base, name)) for name in _ONE if hasattr(base, name)}
    methods |= {name: noting_all(getattr(base, name)) for name in _ALL if hasattr(base, name)}
    return type(
        base.__name__, (base,), {**methods, "__hash__": None, "__module__": base.__module__}
    )


# -- the request -------------------------------------------------------------------------------


class _Attribute:
    """A plain attribute of a request that notes that it is read, but by Flask's dispatch."""

    def __init__(self, name: str, what: Input, default: Any) -> None:
        self._name = name
        self._what = what
        self._default = default

    def __get__(self, request: Any, owner: Any = None) -> Any:
        if request is None:
            return self
        state = request.__dict__
        if not _is_dispatch(sys._getframe(1)):
            state[READS].noticed.note(self._what)
        return state.get(self._name, self._default)

    def __set__(self, request: Any, value: Any) -> None:
        request.__dict__[self._name] = value


class _Derived:
    """A property of a request that says no more than what another input does."""

    def __init__(self, name: str, member: property, what: Input) -> None:
        self._kept = f"_caching_{name}"
        self._get = member.fget
        self._what = what

    def __get__(self, request: Any, owner: Any = None) -> Any:
        if request is None:
            return self
        state = request.__dict__
        noticed = state[READS].noticed
        if not _is_dispatch(sys._getframe(1)):
            noticed.note(self._what)
        if self._kept in state:
            return state[self._kept]
        with noticed.unnoticed():
            value = self._get(request)  # type: ignore[misc]
        if state.get("url_rule") is not None:
            # Flask asks for it a dozen times.
            state[self._kept] = value
        return value

    def __set__(self, request: Any, value: Any) -> None:
        raise AttributeError("It is computed from the URL.")


def _is_dispatch(frame: FrameType) -> bool:
    """Tell whether Flask looks by itself, to find hooks and view; a URL is built for a page."""
    module = frame.f_globals.get("__name__") or ""
    if module not in _DISPATCH and module.partition(".")[0] != _OWN:
        return False
    # It asks for the blueprint always, and uses it only for an endpoint that begins with a dot.
    return frame.f_code.co_name != "url_for" or frame.f_locals.get("endpoint", ".")[:1] != "."


#: Modules that ask for the view; the cache asks for nobody.
_DISPATCH = frozenset({"flask.app", "flask.ctx", "flask.sansio.app", "flask.views"})
_OWN = __name__.partition(".")[0]


class _Kept:
    """A value that Werkzeug computes once: who reads it later reads what it was computed from."""

    def __init__(self, name: str, compute: Callable[[Any], Any]) -> None:
        self._name = name
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, request: Any, owner: Any = None) -> Any:
        if request is None:
            return self
        state = request.__dict__
        noticed = state[READS].noticed
        if self._name in _OF_THE_BODY:
            noticed.note(BODY)
        if self._name in state:
            if _SET + self._name in state:
                noticed.take(self._name, state[self._name])
            for what in state.get(_READS_OF + self._name, ()):
                noticed.note(what)
            return state[self._name]
        self._collect(request)
        return state[self._name]

    def _collect(self, request: Any) -> None:
        """Compute the value, and keep what that reads."""
        state = request.__dict__
        noticed = state[READS].noticed
        collected: list[Input] = []
        noticed.collecting.append(collected)
        try:
            value = self._compute(request)
        finally:
            _end_collecting(noticed, collected)
        state[self._name] = value
        if self._name not in _OF_THE_BODY:
            state[_READS_OF + self._name] = tuple(dict.fromkeys(collected))

    def __set__(self, request: Any, value: Any) -> None:
        """Set a value that was made of what it would be computed from, or of anything else."""
        state = request.__dict__
        if self._name == "host":
            # Flask itself sets it, for each copy of a context.
            self._collect(request)
        state[self._name] = value
        state[_SET + self._name] = True

    def __delete__(self, request: Any) -> None:
        del request.__dict__[self._name]


class _Named(_Kept):
    """Query parameters or cookies, each of which is an input by itself."""

    def __init__(self, name: str, kind: str, all_of_it: Input, compute: Any) -> None:
        super().__init__(name, compute)
        self._kind = kind
        self._all = all_of_it

    def __get__(self, request: Any, owner: Any = None) -> Any:
        if request is None:
            return self
        state = request.__dict__
        if self._name not in state:
            noticed = state[READS].noticed
            collecting, noticed.collecting = noticed.collecting, []
            try:
                with noticed.unnoticed():
                    value = self._compute(request)
            finally:
                noticed.collecting = collecting
            _set_class(value, _named_class(type(value), self._kind, self._all))
            state[self._name] = value
        return state[self._name]


def _foreign_members(
    base: Any, own: frozenset[str], noticed_of: Callable[[Any], Noticed]
) -> dict[str, Any]:
    """Make methods that keep by itself what others hang on an object, and note that it is taken.

    :param own: names of attributes that are its own.
    """
    get_missing = getattr(base, "__getattr__", None)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if name in own or hasattr(type(self), name):
            base.__setattr__(self, name, value)
        else:
            self.__dict__.setdefault(FOREIGN, {})[name] = value

    def get_attribute(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        foreign = self.__dict__.get(FOREIGN, {})
        noticed_of(self).take(name, foreign.get(name, MISSING))
        if name in foreign:
            return foreign[name]
        if get_missing is not None:
            return get_missing(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def delete_attribute(self: Any, name: str) -> None:
        if name in self.__dict__.get(FOREIGN, ()):
            del self.__dict__[FOREIGN][name]
        else:
            base.__delattr__(self, name)

    return {
        "__setattr__": set_attribute,
        "__getattr__": get_attribute,
        "__delattr__": delete_attribute,
    }


class _Hung:
    """An attribute that an owner's class of requests has a value for, and hooks set another."""

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


def _hung_members(base: Any) -> dict[str, Any]:
    """Make descriptors of the plain attributes that an owner's classes of requests have."""
    owners = base.__mro__[: base.__mro__.index(Request)] if issubclass(base, Request) else ()
    return {
        name: _Hung(name, member)
        for kind in reversed(owners)
        for name, member in vars(kind).items()
        if not name.startswith("__")
        and not hasattr(member, "__get__")
        and name not in vars(Request)
    }


@made_once
def _request_class(base: Any) -> type[Request]:
    """Make a subclass of an application's request class that notes what is read of it."""
    members: dict[str, Any] = _hung_members(base) | {
        name: _Attribute(name, what, getattr(base, name, None))
        for name, what in _ATTRIBUTES.items()
    }
    for name in ("endpoint", "blueprint", "blueprints"):
        members[name] = _Derived(name, getattr(base, name), PATH)
    for name in dir(base):
        member = _static(base, name)
        if isinstance(member, cached_property | functools.cached_property):
            compute: Any = getattr(member, "func", None) or member.fget  # type: ignore[union-attr]
            members[name] = _Kept(name, compute)
    for name, kind, all_of_it in (
        ("args", "query parameter", QUERY),
        ("cookies", "cookie", COOKIES),
    ):
        members[name] = _Named(name, kind, all_of_it, members[name]._compute)
    noting: dict[str, tuple[Input, ...]] = {
        "_parse_content_type": (CONTENT_TYPE,),
        "get_data": (BODY,),
        "get_json": (BODY, CONTENT_TYPE),
    }
    for name, inputs in noting.items():
        members[name] = _noting(getattr(base, name), inputs)
    members |= _foreign_members(base, _OWN_ATTRIBUTES, lambda self: self.__dict__[READS].noticed)
    return type(base.__name__, (base,), {**members, "__module__": base.__module__})


@made_once
def _kept_names(watched_class: Any) -> tuple[str, ...]:
    return tuple(n for n, member in vars(watched_class).items() if isinstance(member, _Kept))


def _static(base: type, name: str) -> Any:
    return next((vars(kind)[name] for kind in base.__mro__ if name in vars(kind)), None)


def _noting(method: Any, inputs: tuple[Input, ...]) -> Any:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        for what in inputs:
            self.__dict__[READS].noticed.note(what)
        return method(self, *args, **kwargs)

    return wrapper


# -- contexts, g and URLs ------------------------------------------------------------------------


def _context_members(base: Any) -> dict[str, Any]:
    """Make methods that note that something is taken which hangs on a context."""
    makers = [vars(kind)["__init__"] for kind in base.__mro__[:-1] if "__init__" in vars(kind)]
    own = frozenset(name for make in makers for name in make.__code__.co_names)
    return _foreign_members(base, own, lambda _: current_dependencies().noticed)


@made_once
def _app_context_class(base: Any) -> type:
    """Make a subclass of an application context's class that notes what is taken from it."""
    return type(base.__name__, (base,), {**_context_members(base), "__module__": base.__module__})


@made_once
def _context_class(base: Any) -> type:
    """Make a subclass of a request context's class that notes a look at the session."""

    def session(self: Any) -> Any:
        opened = base.session.fget(self)
        if isinstance(opened, dict):
            if not hasattr(type(opened), _IS_NAMED):
                _set_class(opened, _session_class(type(opened)))
        else:
            current_dependencies().noticed.note(SESSION)
        return opened

    def match_request(self: Any) -> None:
        base.match_request(self)
        state = self.request.__dict__
        # A hook may take arguments away, as a language is that stands in every URL.
        state[_ARGUMENTS] = dict(state.get("view_args") or {})
        if state["query_string"]:
            _sort_query(self.request)

    def copy(self: Any) -> Any:
        """Copy the context, for a thread or a greenlet."""
        copied = base.copy(self)
        if copied.url_adapter is not None:
            _set_class(copied.url_adapter, _adapter_class(type(copied.url_adapter)))
        return copied

    members = _context_members(base)
    members |= {"session": property(session), "match_request": match_request, "copy": copy}
    return type(base.__name__, (base,), {**members, "__module__": base.__module__})


@made_once
def _session_class(base: Any) -> type:
    """Make a subclass of a session's class that notes each name, such as ``user_id``."""
    named = _named_class(base, "session", SESSION)

    def get_attribute(self: Any, name: str) -> Any:
        # What a server-side session has beside its values, such as its id.
        if name not in _OF_EVERY_SESSION and name in object.__getattribute__(self, "__dict__"):
            current_dependencies().noticed.note(Input("session", name))
        return object.__getattribute__(self, name)

    members = {"__getattribute__": get_attribute, "__module__": base.__module__, _IS_NAMED: True}
    return type(base.__name__, (named,), members)


_IS_NAMED = "_caching_is_named"
_OF_EVERY_SESSION = frozenset({"modified", "accessed", "on_update", "new"})


@made_once
def _globals_class(base: Any) -> type:
    """Make a subclass of the class of ``g`` that notes each name that is taken."""

    def take(self: Any, name: str) -> None:
        if app_ctx and app_ctx.g is self:
            state = object.__getattribute__(self, "__dict__")
            current_dependencies().noticed.take(name, state.get(name, MISSING))

    def get_attribute(self: Any, name: str) -> Any:
        if name == "__dict__":
            if not _inside.get():
                take(self, "")
        elif not name.startswith("__") and not hasattr(base, name):
            take(self, name)
        return object.__getattribute__(self, name)

    def through(method_name: str, *, takes: bool) -> Any:
        method = getattr(base, method_name)

        @functools.wraps(method)
        def wrapper(self: Any, name: str, *args: Any) -> Any:
            if takes:
                take(self, name)
            token = _inside.set(True)
            try:
                return method(self, name, *args)
            finally:
                _inside.reset(token)

        return wrapper

    members: dict[str, Any] = {name: through(name, takes=True) for name in _TAKING}
    members |= {name: through(name, takes=False) for name in ("__setattr__", "__delattr__")}
    members |= {"__getattribute__": get_attribute, "__module__": base.__module__}
    return type(base.__name__, (base,), members)


#: How one name is taken from ``g``.
_TAKING = ("get", "pop", "setdefault", "__contains__", "__getattr__")
#: Whether one of these is under way, which all look into the ``__dict__``.
_inside: ContextVar[bool] = ContextVar("caching_inside_g", default=False)


@made_once
def _adapter_class(base: Any) -> type[MapAdapter]:
    """Make a subclass of a URL adapter's class that notes what of the request is in a URL."""

    def build(self: Any, *args: Any, **kwargs: Any) -> str:
        noticed = current_dependencies().noticed
        noticed.note(MOUNT)
        by_host = self.map.host_matching or current_app.subdomain_matching
        if kwargs.get("force_external") or by_host:
            noticed.note(HOST)
            noticed.note(SCHEME)
        url: str = base.build(self, *args, **kwargs)
        return url

    return type(base.__name__, (base,), {"build": build, "__module__": base.__module__})
