"""The WSGI environment and the headers, as the request's own code sees them."""

from collections.abc import Callable, MutableMapping
from typing import Any

from werkzeug.datastructures import EnvironHeaders

from .inputs import COOKIES, ENVIRONMENT, HEADERS, environment_input, header_input
from .noticed import Noticed
from .snapshots import MISSING
from .subclasses import reading_methods


class Environment(dict[str, Any]):
    """A dictionary that is empty itself, and reads and writes the server's (PEP 3333).

    Code that bypasses its methods finds nothing.
    """

    __slots__ = ("_noticed", "changed", "raw")

    def __init__(self, raw: dict[str, Any], noticed: Noticed) -> None:
        super().__init__()
        self.raw = raw
        #: What the request's code reads instead of the server's values.
        self.changed: dict[str, Any] = {}
        self._noticed = noticed

    def _note(self, key: Any) -> dict[str, Any]:
        what = environment_input(key) if isinstance(key, str) else None
        if what is not None:
            self._noticed.note(what)
        return self.changed if key in self.changed else self.raw

    def _all(self) -> dict[str, Any]:
        """Note that the whole is read, and return it."""
        self._noticed.note(ENVIRONMENT)
        return self.raw | self.changed

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

    def pop(self, key: Any, *default: Any) -> Any:
        value = self.get(key, MISSING)
        if value is MISSING:
            return self.raw.pop(key, *default)
        del self[key]
        return value

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __reduce_ex__(self, _: Any) -> Any:
        return dict, (self._all(),)


def _reading(name: str) -> Callable[..., Any]:
    """Make a method that reads the whole environment as it reads a dictionary."""

    def method(self: Environment, *args: Any) -> Any:
        plain = (arg._all() if isinstance(arg, Environment) else arg for arg in args)
        return getattr(self._all(), name)(*plain)

    return method


for _name in ("popitem", "setdefault", "clear", "update"):
    setattr(Environment, _name, getattr(MutableMapping, _name))
for _name in reading_methods(dict) - vars(Environment).keys():
    setattr(Environment, _name, _reading(_name))


class Headers(EnvironHeaders):
    """Headers of the watched environment, which note each name that is read."""

    environ: Environment

    def __init__(self, environ: Environment, noticed: Noticed) -> None:
        super().__init__(environ)
        self._noticed = noticed

    def __iter__(self) -> Any:
        self._noticed.note(HEADERS)
        return iter(EnvironHeaders(self.environ.raw))

    def getlist(self, key: str, type: Any = None) -> Any:
        what = header_input(key)
        self._noticed.note(what)
        if what is COOKIES and type is None:  # Every session asks for them.
            cookies = self.environ.raw.get("HTTP_COOKIE")
            return [] if cookies is None else [cookies]
        return EnvironHeaders(self.environ.raw).getlist(key, type)


def raw_environ(request: Any) -> dict[str, Any]:
    """Return a request's environment as the server made it, to read it without noting that."""
    environ: dict[str, Any] = request.__dict__["environ"]
    return environ.raw if type(environ) is Environment else environ
