"""Template fragments: ``{% cache timeout, name, vary… %} … {% endcache %}``.

A fragment's key holds its name, what it varies on, and the values of the variables that its body
takes from around it: from the template, and through macros, includes and imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME, CacheExtension
from flask_caching.utils import make_template_fragment_key, normalize_timeout
from jinja2 import Environment

from .._dependencies.dependencies import current_dependencies
from .._dependencies.inputs import report_once
from .._engine.engine import key_tag
from .._functions.functions import CachedCall, copied_value, is_strict
from .._keys.classes import UnstableArgument
from .._keys.encoding import bounded
from .._options import Options
from .._statistics.statistics import Lookups
from .fragment_compiler import Part, code_generator
from .fragment_keys import FragmentKey
from .templates import are_global, noting_lookups, watch_lookups

_REMEDY = (
    "It is not cached: pass plain data, or a row's primary key; give what it shows a name before "
    "it, {% set … %}; make a function a template global."
)
_LONGEST_REASON = 200
_LONGEST_NAME = 80
_MOST_KEYS = 256


def stock_key(name: Any, vary_on: list[Any]) -> str:
    """The key by which Flask-Caching's users delete a fragment."""
    key: str = make_template_fragment_key(f"{name}", [f"{value}" for value in vary_on])
    return key


class FragmentExtension(CacheExtension):
    """The ``{% cache %}`` tag: one fill at a time, invalid with what it was built from."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        #: Keys that hold no value, by the fragment's name and digest, and whether it escapes.
        self._constant_keys: dict[tuple[str, str, bool] | None, tuple[FragmentKey, str]] = {}
        compiler: Any = environment.code_generator_class
        if getattr(compiler, "finds_names_for", None) == self.identifier:
            return  # Another cache of the same application did this.
        environment.code_generator_class = code_generator(compiler, self.identifier)
        watch_lookups(environment)
        if environment.cache is not None:
            environment.cache.clear()  # Templates that were compiled without it.

    def _cache(
        self, timeout: Any, fragment_name: Any, vary_on: list[Any], *_: Any, **by: Any
    ) -> Any:
        """Answer what another compiler compiled, or another version into a bytecode cache."""
        cache = getattr(self.environment, JINJA_CACHE_ATTR_NAME)
        if timeout == "del":
            cache.delete(stock_key(fragment_name, vary_on))
        elif cache.engine is not None:
            report_once(
                f"The fragment {_short(fragment_name)} is not cached: clear Jinja's bytecode cache."
            )
        return by["caller"]()

    #: What 0.5 compiled calls this.
    _fragment = _cache

    def _look_up(
        self,
        timeout: Any,
        name: Any,
        vary_on: list[Any],
        digest: str,
        values: Mapping[str, Any],
        context: Any,
        part: tuple[Any, ...] | None,
        local: Mapping[str, Any] | None,
    ) -> Any:
        """Return a fragment's text, or what renders it when it is called with its body.

        :param digest: of the body.
        :param values: the values of the names that the body takes from around it.
        :param part: what else it uses, if anything.
        :param local: the names that are set in the template around it.
        """
        cache = getattr(self.environment, JINJA_CACHE_ATTR_NAME)
        if timeout == "del":
            cache.delete(stock_key(name, vary_on))
            return _rendered
        engine = cache.engine
        if engine is None:
            return _rendered
        place, escapes = None, context.eval_ctx.autoescape
        if part is None and not vary_on and type(name) is str:
            place = name, digest, escapes
        known = self._constant_keys.get(place)
        if known is None or not are_global(self.environment, context, values):
            known = FragmentKey(self.environment, engine, cache._registered_types), ""
        key, named = known
        lookups = engine.statistics.lookups("fragment", f"{name}")
        given = (cache, engine, name, vary_on, key, context, lookups)
        try:
            if not named:
                named = f"fragment:{key.called(name, vary_on)}#{digest}"
                named += "" if escapes else ",unescaped"
                key.add_values(values, context)
                if part is not None:
                    key.add_body(Part(*part), context, local or {})
                named = bounded(f"{named}{key}")
                self._keep(place, key, named)
        except UnstableArgument as error:
            what = f"The fragment {_short(name)}: {error}."
            FragmentFill(*given).refuse(f"{error}".partition(",")[0], what)
            return partial(_bypassed, engine, lookups)
        dependencies = current_dependencies()
        own_key = cache._own(named, dependencies.mount)
        verify = engine.verifier is not None and engine.verifier.chooses()
        if not verify:
            for text in copied_value(engine, own_key, lookups, dependencies):
                return text
        tags = (key_tag(cache._own(named)),) if dependencies.mount else ()
        return partial(FragmentFill(*given).fetched, own_key, timeout, tags, verify)

    def _keep(self, place: tuple[str, str, bool] | None, key: FragmentKey, named: str) -> None:
        """Keep a key for the next hit, if it holds nothing that may differ by then."""
        if place is not None and not key.has_values and len(self._constant_keys) < _MOST_KEYS:
            self._constant_keys[place] = key, named


def _rendered(caller: Callable[[], str]) -> str:
    return caller()


def _bypassed(engine: Any, lookups: Lookups, caller: Callable[[], str]) -> str:
    with engine.bypass(lookups):
        return caller()


def _short(name: Any) -> str:
    """Write a name for the log; a visitor may have made it up."""
    return f"{name}"[:_LONGEST_NAME]


@dataclass(slots=True, eq=False)
class FragmentFill:
    """Renders a fragment's body, and notes whether it used more than its key holds.

    :param lookups: where the fragment is counted.
    :param unknown: the names that it used all the same.
    """

    cache: Any
    engine: Any
    name: Any
    vary_on: list[Any]
    key: FragmentKey
    context: Any
    lookups: Lookups
    unknown: set[str] = field(default_factory=set)

    def fetched(
        self, key: str, timeout: Any, tags: tuple[str, ...], verify: bool, caller: Callable[[], str]
    ) -> Any:
        """Answer from the store, or render the body and store it."""
        passes, config = (lambda _: not self.unknown), self.engine.config
        name = f"The fragment {self.name}"
        options = Options(name, None, None, None, passes, (), None, 0.0)
        cached = CachedCall(
            self.engine,
            key,
            partial(self._filled, caller),
            options.policy(normalize_timeout(timeout), config, *tags),
            options,
            self.lookups,
            in_background=False,
            alone=self.key.is_plain,
            verify=verify,
        )
        return cached.value()[0]

    def _filled(self, caller: Callable[[], str]) -> str:
        """Render the body.

        :raises UnstableArgument: in development and tests, for a name that the key does not hold.
        """
        dependencies, own = current_dependencies(), self.cache._own
        # To delete one of these keys drops the fragment: by its name, and by what it varies on.
        stock_keys = {stock_key(self.name, []), stock_key(self.name, self.vary_on)}
        dependencies.tags.update(key_tag(own(each)) for each in stock_keys)
        for table, identity in self.key.rows:
            dependencies.read_row(table, identity)
        with noting_lookups(self.context, self.key.names, self.unknown):
            text = caller()
        if self.unknown:
            names = ", ".join(sorted(self.unknown))
            what = f"The fragment {_short(self.name)} used {names}, which its key does not hold."
            self.refuse(names, what)
        return text

    def refuse(self, reason: str, message: str) -> None:
        """Note that the fragment is not cached, and why.

        :raises UnstableArgument: in development and tests.
        """
        message = f"{message} {_REMEDY}"
        if is_strict(self.engine):
            raise UnstableArgument(message)
        self.engine.refuse(self.lookups, f"unstable: {reason}"[:_LONGEST_REASON], message)
