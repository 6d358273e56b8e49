"""Which code reads an input of a request, found by the frames on the stack."""

import sys
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

from flask import Flask

from .declarations import BUILT_IN

_OWN = __name__.partition(".")[0]
_OWN_MODULES = f"{_OWN}."
#: Packages that are never the reader, only on the way to it.
_LIBRARIES = frozenset({_OWN, "blinker", "flask", "itsdangerous", "jinja2", "werkzeug"})
_ON_THE_WAY = sys.stdlib_module_names | _LIBRARIES
#: Modules with known functions.
_KNOWN = frozenset(module for module, _ in BUILT_IN)


class Reader(NamedTuple):
    """Who read an input.

    :param place: file, line and function; empty where only Flask itself looked.
    :param boundary: the known function of an extension in which the read was made, by its module
        and qualified name.
    :param is_foreign: whether other code than the extension's was called in between.
    """

    place: str = ""
    boundary: tuple[str, str] | None = None
    is_foreign: bool = False


def find_reader(last: CodeType) -> Reader:
    """Find who reads, by the frames from the innermost outwards.

    :param last: no reader is beyond its frame, nor beyond Flask's own.
    """
    frame: FrameType | None = sys._getframe(2)
    place, packages = "", set()
    while frame is not None:
        code = frame.f_code
        if code is last or code is _WSGI_APP or code is _CALL:
            break
        module: str = frame.f_globals.get("__name__") or ""
        package, may_read, is_known = _kind_of(module)
        if may_read:
            template = frame.f_globals.get("__jinja_template__")
            place = place or _place(frame, template)
            packages.add("" if template is not None else package)
        if is_known and (module, code.co_qualname) in BUILT_IN:
            return Reader(place, (module, code.co_qualname), bool(packages - {package}))
        frame = frame.f_back
    return Reader(place)


@lru_cache(maxsize=1024)
def _kind_of(module: str) -> tuple[str, bool, bool]:
    """Return a module's package, whether it may be a reader, and whether it has known functions."""
    package = module.partition(".")[0]
    return package, package not in _ON_THE_WAY, module in _KNOWN


def _place(frame: FrameType, template: Any) -> str:
    if template is not None:
        return (
            f"{template.name or 'a template'}:{template.get_corresponding_lineno(frame.f_lineno)}"
        )
    name = "/".join(frame.f_code.co_filename.replace("\\", "/").rsplit("/", 2)[-2:])
    return f"{name}:{frame.f_lineno} ({frame.f_code.co_name})"


#: Outside of these are WSGI middleware and the server.
_WSGI_APP, _CALL = Flask.wsgi_app.__code__, Flask.__call__.__code__


def is_dispatch(frame: FrameType) -> bool:
    """Tell whether Flask itself reads, to find hooks and view, and not to build a URL."""
    module = frame.f_globals.get("__name__") or ""
    if module in _DISPATCH:
        # url_for always asks for the blueprint, and uses it for an endpoint with a leading dot.
        return frame.f_code.co_name != "url_for" or frame.f_locals.get("endpoint", ".")[:1] != "."
    return module.startswith(_OWN_MODULES)


#: Modules that dispatch requests.
_DISPATCH = frozenset({"flask.app", "flask.ctx", "flask.sansio.app", "flask.views"})
