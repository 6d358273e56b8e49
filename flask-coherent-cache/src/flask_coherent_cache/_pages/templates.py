"""Templates: a context that notes which names a template, or a fragment in it, looks up.

A context processor's reads count if a template uses a name that it returned. A fragment whose fill
looks up a name from outside that is not in its key is not stored.
"""

import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, Template
from jinja2.runtime import Context, new_context
from jinja2.utils import missing
from werkzeug.local import LocalProxy

from .._dependencies.dependencies import current_dependencies
from .fragment_compiler import gets_context

#: Marks the contexts that a fragment's body hands on; no template can look it up.
_MARK = "\0fragment"


@dataclass(slots=True, eq=False)
class _Fill:
    """A running fill of a fragment.

    :param known: the names in its key.
    :param unknown: gets those that it looked up all the same.
    """

    known: set[str]
    unknown: set[str]
    outer: "_Fill | None"


_current_fill: ContextVar[_Fill | None] = ContextVar("caching_fragment", default=None)


@contextmanager
def noting_lookups(context: Any, known: set[str], unknown: set[str]) -> Iterator[None]:
    """Note the names from outside that a fragment's fill looks up.

    :param known: the names in its key.
    :param unknown: gets the others.
    """
    marked = context.vars.get(_MARK)
    token = _current_fill.set(_Fill(known, unknown, _current_fill.get()))
    context.vars[_MARK] = True
    try:
        yield
    finally:
        _current_fill.reset(token)
        if marked is None:
            # Two threads may share the context of an imported template.
            context.vars.pop(_MARK, None)


def watch_lookups(environment: Environment) -> None:
    """Have an environment's contexts note what is looked up, once."""
    base: Any = environment.context_class
    if not hasattr(base, "made_in"):
        environment.context_class = _watched_class(base)
        if environment.template_class is Template:
            environment.template_class = _QuickTemplate


class _QuickTemplate(Template):
    """A template that begins quickly, and pays for the context that notes.

    Jinja copies the global names one by one from a ``ChainMap``, in Python, twice: that takes
    longer than to render what is short.
    """

    def new_context(
        self,
        vars: dict[str, Any] | None = None,
        shared: bool = False,
        locals: Mapping[str, Any] | None = None,
    ) -> Context:
        names: Any = self.globals
        if type(names) is ChainMap:
            first, *others = reversed(names.maps)
            names = dict(first)
            for known in others:
                names.update(known)
        made: Any = new_context(
            self.environment, self.name, self.blocks, vars, shared, names, locals
        )
        made.template_globals = self.globals
        return made  # type: ignore[no-any-return]


def _watched_class(base: Any) -> type[Context]:
    # They are called for every variable of every template.
    initialise, resolve, fill_of = base.__init__, base.resolve_or_missing, _current_fill.get

    class WatchedContext(base):  # type: ignore[misc]
        made_in: _Fill | None = None

        def __init__(
            self, environment: Any, parent: Any, name: Any, blocks: Any, globals: Any = None
        ) -> None:
            initialise(self, environment, parent, name, blocks, globals)
            self.template_globals = globals
            self.made_in = fill_of()
            self._noticed = current_dependencies().noticed

        def resolve_or_missing(self, key: str) -> Any:
            value = resolve(self, key)
            if self._noticed.processors:
                if value is missing:
                    self._noticed.used_unknown()
                else:
                    self._noticed.used(key, value)
            fill = fill_of()
            if fill is not None and not is_global(self.environment, self, key, value):
                _note(self, fill, key, key)
            return value

        def get_all(self) -> dict[str, Any]:
            # A template hands all names on to one that it includes, whose own look-ups count.
            if "__jinja_template__" not in sys._getframe(1).f_globals:
                self._noticed.used_all()
            names: dict[str, Any] = super().get_all()
            return names

        def call(self, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            fill = fill_of()
            if fill is not None and gets_context(obj):
                name = getattr(obj, "__name__", type(obj).__name__)
                _note(self, fill, None, f"all variables (by {name})")
            return super().call(obj, *args, **kwargs)

    WatchedContext.__name__ = base.__name__
    return WatchedContext


def _note(context: Any, fill: _Fill | None, key: str | None, shown: str) -> None:
    """Note a name that came from outside of a fill whose key does not hold it."""
    if _has_globals_only(context):
        return
    inside = False
    while fill is not None:
        inside = inside or context.made_in is fill
        # A template that is rendered apart gets its variables from the body, and sets its own.
        is_own = inside and (_MARK not in context.parent or key in context.vars)
        if not is_own and (key is None or key not in fill.known):
            fill.unknown.add(shown)
        fill = fill.outer


def _has_globals_only(context: Any) -> bool:
    """Tell whether a context belongs to a template that was imported without one."""
    names, parent = context.template_globals, context.parent
    return (
        names is not None
        and parent.keys() == names.keys()
        and all(value is names[name] for name, value in parent.items())
    )


def is_global(environment: Environment, context: Any, name: str, value: Any) -> bool:
    """Tell whether a name means the same in every template."""
    names = getattr(context, "template_globals", None)
    # As a ``ChainMap`` looks it up, which takes longer to do so.
    for each in names.maps if type(names) is ChainMap else (names or environment.globals,):
        if name in each:
            known = each[name]
            break
    else:
        return False
    if known is value:
        return True
    if type(known) is not LocalProxy:
        return False
    try:
        # Flask hands templates the request itself, whose reads are noticed as its proxy's are.
        return known._get_current_object() is value
    except RuntimeError:
        return False


def are_global(environment: Environment, context: Any, values: Mapping[str, Any]) -> bool:
    """Tell whether all names mean the same in every template."""
    for name, value in values.items():  # noqa: SIM110 - a generator takes twice as long
        if not is_global(environment, context, name, value):
            return False
    return True
