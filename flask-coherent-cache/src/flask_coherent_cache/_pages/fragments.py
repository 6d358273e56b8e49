"""Template fragments: ``{% cache timeout, name, vary… %} … {% endcache %}``.

A fragment's key holds its name, what it varies on, and the values of the variables that its body
takes from around it: from the template, and through macros, includes and imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME, CacheExtension
from flask_caching.utils import make_template_fragment_key
from jinja2 import Environment, nodes
from jinja2.parser import Parser

from .._dependencies.dependencies import current_dependencies
from .._dependencies.inputs import report_once
from .._functions.functions import is_strict
from .._keys.classes import UnstableArgument
from .._keys.encoding import bounded
from .fragment_compiler import Part, code_generator
from .fragment_keys import FragmentKey
from .templates import noting_lookups, watch_lookups

_REMEDY = (
    "It is not cached: pass plain data, or a row's primary key; give what it shows a name before "
    "it, {% set … %}; make a function a template global."
)
_LONGEST_REASON = 200
_LONGEST_NAME = 80
_NO_VALUES: Mapping[str, Any] = MappingProxyType({})


def stock_key(name: Any, vary_on: list[Any]) -> str:
    """The key by which Flask-Caching's users delete a fragment."""
    key: str = make_template_fragment_key(f"{name}", [f"{value}" for value in vary_on])
    return key


class FragmentExtension(CacheExtension):
    """The ``{% cache %}`` tag: one fill at a time, invalid with what it was built from."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        compiler: Any = environment.code_generator_class
        if getattr(compiler, "finds_names_for", None) == self.identifier:
            return  # Another cache of the same application did this.
        environment.code_generator_class = code_generator(compiler, self.identifier)
        watch_lookups(environment)
        if environment.cache is not None:
            environment.cache.clear()  # Templates that were compiled without it.

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the tag; what its body uses is added when the whole template is compiled."""
        block = super().parse(parser)
        if isinstance(block, nodes.CallBlock):
            block.call.node = self.attr("_fragment", lineno=block.lineno)
        return block

    def _cache(
        self, timeout: Any, fragment_name: Any, vary_on: list[Any], caller: Callable[[], str]
    ) -> Any:
        """Answer a template in a bytecode cache that another version compiled."""
        report_once(
            f"The fragment {_short(fragment_name)} is not cached: clear Jinja's bytecode cache."
        )
        return caller()

    def _fragment(
        self,
        timeout: Any,
        name: Any,
        vary_on: list[Any],
        digest: str | None = None,
        values: Mapping[str, Any] = _NO_VALUES,
        context: Any = None,
        part: tuple[Any, ...] | None = None,
        local: Mapping[str, Any] | None = None,
        *,
        caller: Callable[[], str],
    ) -> Any:
        """Render a fragment, from its entry if there is one.

        :param digest: of the body; ``None`` if another compiler compiled it.
        :param values: the values of the names that the body takes from around it.
        :param part: what else it uses, if anything.
        :param local: the names that are set in the template around it.
        """
        cache = getattr(self.environment, JINJA_CACHE_ATTR_NAME)
        if timeout == "del":
            cache.delete(stock_key(name, vary_on))
            return caller()
        engine = cache.engine
        if engine is None:
            return caller()
        if digest is None:
            return self._cache(timeout, name, vary_on, caller)
        key = FragmentKey(self.environment, engine, cache._registered_types)
        fill = FragmentFill(name, vary_on, key, context, caller, engine)
        try:
            named = f"fragment:{key.called(name, vary_on)}#{digest}"
            key.add_values(values, context)
            if part is not None:
                key.add_body(Part(*part), context, local or {})
        except UnstableArgument as error:
            fill.refuse(f"{error}".partition(",")[0], f"The fragment {_short(name)}: {error}.")
            with engine.bypass(fill.lookups):
                return caller()
        if not context.eval_ctx.autoescape:
            named += ",unescaped"
        return cache._fragment(bounded(f"{named}{key}"), f"{name}", timeout, caller, fill)


def _short(name: Any) -> str:
    """Write a name for the log; a visitor may have made it up."""
    return f"{name}"[:_LONGEST_NAME]


@dataclass(slots=True, eq=False)
class FragmentFill:
    """Renders a fragment's body, and tells whether it used no more than its key holds.

    :param unknown: the names that it used all the same.
    """

    name: Any
    vary_on: list[Any]
    key: FragmentKey
    context: Any
    caller: Callable[[], str]
    engine: Any
    unknown: set[str] = field(default_factory=set)

    @property
    def stands_alone(self) -> bool:
        """Tell whether the key holds all that the body is given."""
        return self.key.is_plain

    @property
    def lookups(self) -> Any:
        """Where the fragment is counted."""
        return self.engine.statistics.lookups("fragment", f"{self.name}")

    def dropped_by(self) -> set[str]:
        """Return the keys whose deletion drops the fragment: by name, and by what it varies on."""
        return {stock_key(self.name, []), stock_key(self.name, self.vary_on)}

    def __call__(self) -> str:
        """Render the body.

        :raises UnstableArgument: in development and tests, for a name that the key does not hold.
        """
        dependencies = current_dependencies()
        for table, identity in self.key.rows:
            dependencies.read_row(table, identity)
        with noting_lookups(self.context, self.key.names, self.unknown):
            text = self.caller()
        if self.unknown:
            names = ", ".join(sorted(self.unknown))
            what = f"The fragment {_short(self.name)} used {names}, which its key does not hold."
            self.refuse(names, what)
        return text

    def is_complete(self, _: Any) -> bool:
        """Tell whether what was rendered depends on the key alone."""
        return not self.unknown

    def refuse(self, reason: str, message: str) -> None:
        """Note that the fragment is not cached, and why.

        :raises UnstableArgument: in development and tests.
        """
        message = f"{message} {_REMEDY}"
        if is_strict(self.engine):
            raise UnstableArgument(message)
        self.engine.refuse(self.lookups, f"unstable: {reason}"[:_LONGEST_REASON], message)
