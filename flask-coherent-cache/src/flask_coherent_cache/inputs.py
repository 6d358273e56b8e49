"""What a fill may read of the request: only what its key holds."""

import functools
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from flask import Request, current_app, has_request_context, request
from flask.globals import request_ctx
from werkzeug.datastructures import EnvironHeaders, ImmutableMultiDict
from werkzeug.routing import MapAdapter
from werkzeug.utils import cached_property

logger = logging.getLogger(__name__)

#: Headers of a body, with which no page is cached.
_ALWAYS_DECLARED = frozenset({"content-type", "content-length", "transfer-encoding"})
#: What is computed from the body, which can be read once only.
_OF_THE_BODY = frozenset({"stream", "data", "form", "files"})
#: Who iterates over a query reads names that a visitor made up.
_LONGEST_SHOWN = 80
_NAME = "caching.inputs"
_ARGUMENTS = "caching.arguments"
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_reported: set[str] = set()


class UndeclaredInput(RuntimeError):
    """A fill read a part of the request that its key does not hold."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The parts of a request that enter a key.

    :param query: names of query parameters; ``None`` is all of them.
    :param headers: names of request headers, in lower case.
    :param host: whether the host does.
    """

    query: frozenset[str] | None = frozenset()
    headers: frozenset[str] = frozenset()
    host: bool = False

    def query_string(self, raw: bytes) -> str:
        """The declared part of a query string, in the order and the spelling it came in."""
        pairs = raw.decode("latin-1").split("&")
        if self.query is None:
            return "&".join(pairs)
        return "&".join(pair for pair in pairs if _name_of(pair) in self.query)


def _name_of(pair: str) -> str:
    """The name in a pair of a query string, whose bytes beyond ASCII may come unencoded."""
    return unquote_plus(pair.partition("=")[0].encode("latin-1").decode("utf-8", "replace"))


def begin_request(_: str | None, view_args: dict[str, Any] | None) -> None:
    """Remember what a request is like before the application's own steps: the first of them.

    The session's own look at the cookies does not count; arguments can be taken away, as a
    language is that stands in every URL.
    """
    request.__dict__.pop("cookies", None)
    if not request.query_string.isascii():
        # Werkzeug fails to decode what is no UTF-8, unless it is percent-encoded as it has to be.
        request.query_string = _BEYOND_ASCII.sub(_percent_encoded, request.query_string)
    request.environ[_ARGUMENTS] = dict(view_args or {})


def _percent_encoded(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(byte[0])


def routed_arguments() -> dict[str, Any]:
    """The arguments in the request's URL."""
    arguments: dict[str, Any] = request.environ.get(_ARGUMENTS, {})
    return arguments


def has_read_cookies() -> bool:
    """Tell whether the cookies were looked at since the request began."""
    return "cookies" in request.__dict__


@dataclass(slots=True)
class Inputs:
    """What one fill reads of the request.

    :param name: the function or view that is filling.
    :param remedy: what its owner can do about an undeclared input.
    :param strict: raise :class:`UndeclaredInput`, else remember it in ``undeclared``.
    :param session_read: whether the fill looked at the session, which counts as reading it.
    """

    name: str
    declared: Declared
    remedy: str
    strict: bool = False
    undeclared: set[tuple[str, str]] = field(default_factory=set)
    session_read: bool = False
    session_written: bool = False

    def read(self, kind: str, name: str) -> None:
        """Check one input by its kind (``query parameter``, ``header``) and name."""
        if kind == "header":
            lower = name.lower()
            known = lower in self.declared.headers or lower in _ALWAYS_DECLARED
            known = known or (lower == "host" and self.declared.host)
        else:
            known = self.declared.query is None or name in self.declared.query
        if known:
            return
        self.undeclared.add((kind, name))
        shown = name[:_LONGEST_SHOWN]
        message = f"{self.name} read the {kind} {shown!r}, which its key does not hold: " + (
            self.remedy.format(name=shown, option="query" if kind != "header" else "vary")
        )
        if self.strict:
            raise UndeclaredInput(message)
        report_once(message + " It is not cached.")


def report_once(message: str) -> None:
    """Log a warning the first time that it is given in this process."""
    if message not in _reported and len(_reported) < 1000:
        _reported.add(message)
        logger.warning(message)


@contextmanager
def watched(name: str, declared: Declared, remedy: str) -> Iterator[Inputs]:
    """Watch what is read of the request while a fill runs; without a request there is nothing."""
    strict = current_app.config.get("CACHE_STRICT", current_app.debug or current_app.testing)
    inputs = Inputs(name, declared, remedy, strict)
    if not has_request_context():
        yield inputs
        return
    outer: Inputs | None = request.environ.get(_NAME)
    # The session proxy would count as a look at the session.
    session = request_ctx._session
    accessed, modified = (session.accessed, session.modified) if session else (False, False)
    if session is not None:
        session.accessed = session.modified = False
    request.environ[_NAME] = inputs
    try:
        with _replaced(request_ctx.request, inputs):
            yield inputs
    finally:
        request.environ[_NAME] = outer
        if session is not None:
            inputs.session_read, inputs.session_written = session.accessed, session.modified
            session.accessed = accessed or session.accessed
            session.modified = modified or session.modified
    for kind, undeclared in inputs.undeclared:
        if outer is not None:
            outer.read(kind, undeclared)
        elif undeclared.lower() == "cookie":
            request.cookies  # noqa: B018 - the view that may come next sees that they were read


@contextmanager
def _replaced(watched_request: Request, inputs: Inputs) -> Iterator[None]:
    """Put watching collections in the place of the request's own, and what derives from them."""
    state = watched_request.__dict__
    kept = {name: state[name] for name in ("headers", "query_string")}
    derived = {name: state.pop(name) for name in _derived_names(watched_request)}
    declared_query = inputs.declared.query_string(watched_request.query_string)
    state["headers"] = _WatchedHeaders(watched_request.environ, inputs)
    state["args"] = _WatchedArgs(watched_request.args.items(multi=True), inputs)
    state["query_string"] = declared_query.encode("latin-1")
    adapter = request_ctx.url_adapter
    if adapter is not None and not inputs.declared.host:
        request_ctx.url_adapter = _WatchedAdapter(adapter, inputs)
    try:
        yield
    finally:
        request_ctx.url_adapter = adapter
        for name in _derived_names(watched_request):
            del state[name]
        state.update(kept)
        state.update(derived)


def _derived_names(watched_request: Request) -> list[str]:
    return [
        name
        for name in watched_request.__dict__
        if name not in _OF_THE_BODY
        and isinstance(getattr(type(watched_request), name, None), cached_property)
    ]


class _WatchedAdapter(MapAdapter):
    """Builds URLs; one with the host in it reads the host."""

    def __init__(self, adapter: MapAdapter, inputs: Inputs) -> None:
        self.__dict__.update(adapter.__dict__)
        self._inputs = inputs

    def build(self, *args: Any, **kwargs: Any) -> str:
        if kwargs.get("force_external"):
            self._inputs.read("header", "host")
        return super().build(*args, **kwargs)


class _WatchedHeaders(EnvironHeaders):
    def __init__(self, environ: dict[str, Any], inputs: Inputs) -> None:
        super().__init__(environ)
        self._inputs = inputs

    def __getitem__(self, key: Any) -> Any:
        self._inputs.read("header", str(key))
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        self._inputs.read("header", str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None, type: Any = None) -> Any:  # type: ignore[override]
        self._inputs.read("header", key)
        return super().get(key, default, type)

    def getlist(self, key: str, type: Any = None) -> Any:
        self._inputs.read("header", key)
        return EnvironHeaders(self.environ).getlist(key, type)

    def __iter__(self) -> Any:
        for name, value in super().__iter__():
            self._inputs.read("header", name)
            yield name, value


class _WatchedArgs(ImmutableMultiDict[str, str]):
    def __init__(self, pairs: Iterable[tuple[str, str]], inputs: Inputs) -> None:
        super().__init__(list(pairs))
        self._inputs = inputs

    def __getitem__(self, key: str) -> str:
        self._inputs.read("query parameter", key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._inputs.read("query parameter", str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None, type: Any = None) -> Any:  # type: ignore[override]
        self._inputs.read("query parameter", key)
        return super().get(key, default, type)

    def getlist(self, key: str, type: Any = None) -> Any:
        self._inputs.read("query parameter", key)
        return super().getlist(key, type)

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self._inputs.read("query parameter", key)
            yield key


def _reads_all(name: str) -> Callable[..., Any]:
    method = getattr(ImmutableMultiDict, name)

    @functools.wraps(method)
    def read_all(self: _WatchedArgs, *args: Any, **kwargs: Any) -> Any:
        deque(iter(self), maxlen=0)
        return method(self, *args, **kwargs)

    return read_all


for _name in ("__len__", "keys", "items", "lists", "values", "listvalues", "to_dict"):
    setattr(_WatchedArgs, _name, _reads_all(_name))
