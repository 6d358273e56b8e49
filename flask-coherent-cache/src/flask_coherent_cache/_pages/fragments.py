"""Template fragments: ``{% cache timeout, name, vary… %} … {% endcache %}``.

A fragment's key holds its name, what it varies on, and the values of the variables that its body
takes from around it: from the template, and through macros, includes and imports.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import Any

from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME, CacheExtension
from flask_caching.utils import make_template_fragment_key
from jinja2 import Environment, TemplateNotFound, Undefined, nodes
from jinja2.environment import TemplateModule
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.utils import Namespace, missing
from werkzeug.local import LocalProxy

from .._dependencies.dependencies import current_dependencies
from .._dependencies.inputs import report_once
from .._functions.functions import is_strict
from .._keys.classes import UnstableArgument, is_found
from .._keys.encoding import bounded, encoded, stable_text, tells_all
from .._keys.registered_types import RegisteredTypes
from .fragment_names import FOUND, Part, code_generator, gets_context

_REMEDY = (
    "It is not cached: pass plain data, or a row's primary key; give what it shows a name before "
    "it, {% set … %}; make a function a template global."
)
_LONGEST_REASON = 200
#: Marks the contexts that a fragment's body hands on; no template can look it up.
_MARK = "\0fragment"
_NO_VALUES: Mapping[str, Any] = MappingProxyType({})


def stock_key(name: Any, vary_on: list[Any]) -> str:
    """The key by which Flask-Caching's users delete a fragment."""
    key: str = make_template_fragment_key(f"{name}", [f"{value}" for value in vary_on])
    return key


class FragmentExtension(CacheExtension):
    """The ``{% cache %}`` tag, filled once at a time and dropped with what it was built from."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        compiler: Any = environment.code_generator_class
        if getattr(compiler, "finds_names_for", None) == self.identifier:
            return  # Of another cache of the same application.
        environment.code_generator_class = code_generator(compiler, self.identifier)
        environment.context_class = watching_class(environment.context_class)
        if environment.cache is not None:
            environment.cache.clear()  # Whatever was compiled without it.

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the tag; what its body uses is added when the whole template is compiled."""
        block = super().parse(parser)
        if isinstance(block, nodes.CallBlock):
            block.call.node = self.attr("_fragment", lineno=block.lineno)
        return block

    def _cache(
        self, timeout: Any, fragment_name: Any, vary_on: list[Any], caller: Callable[[], str]
    ) -> Any:
        """Answer a template that another version compiled, into a bytecode cache."""
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
        """Render a fragment, from its entry where there is one.

        :param digest: of the body; ``None`` where another compiler than ours compiled it.
        :param values: of the names that the body takes from around it.
        :param part: what else it uses, where it does.
        :param local: the names that are set in the template around it.
        """
        cache = getattr(self.environment, JINJA_CACHE_ATTR_NAME)
        if timeout == "del":
            cache.delete(stock_key(name, vary_on))
            return caller()
        entries = cache.engine
        if entries is None:
            return caller()
        if digest is None:
            return self._cache(timeout, name, vary_on, caller)
        used = Used(self.environment, entries, cache.registered_types)
        try:
            key = f"fragment:{used.called(name, vary_on)}#{digest}"
            used.add_values(values, context)
            if part is not None:
                used.add_body(Part(*part), context, local or {})
        except UnstableArgument as error:
            return _refused(entries, name, f"{error}", caller)
        if not context.eval_ctx.autoescape:
            key += ",unescaped"

        fill = Fill(name, vary_on, used, context, caller, entries)
        return cache.fragment(bounded(f"{key}{used}"), f"{name}", timeout, caller, fill)


def _short(name: Any) -> str:
    """Write a name for the log, which a visitor may have made up."""
    return f"{name}"[:80]


def _reason(why: str) -> str:
    return f"unstable: {why}"[:_LONGEST_REASON]


def _refused(entries: Any, name: Any, why: str, caller: Callable[[], str]) -> str:
    """Render what cannot be cached.

    :raises UnstableArgument: in development and tests, in words.
    """
    message = f"The fragment {_short(name)}: {why}. {_REMEDY}"
    if is_strict(entries):
        raise UnstableArgument(message)
    lookups = entries.statistics.lookups("fragment", f"{name}")
    entries.refuse(lookups, _reason(why.partition(",")[0]), message)
    with entries.bypass(lookups):
        return caller()


class _UnstableVariable(UnstableArgument):
    """A variable without a stable text, which the message names."""


class Used:
    """The variables that a fragment uses, as the text that joins its key.

    :param rows: tables and identities of the rows among them.
    """

    def __init__(
        self, environment: Environment, entries: Any, registered_types: RegisteredTypes
    ) -> None:
        self._environment = environment
        self._entries = entries
        self._registered_types = registered_types
        self._texts: set[str] = set()
        self._shown: set[str] = set()
        self._seen: set[Any] = set()
        self._numbers: dict[int, int] = {}
        self.names: set[str] = set()
        #: Whether the values are all that there is to them, and lead to nothing else.
        self.is_plain = True
        self.rows: list[tuple[str, str]] = []

    def __str__(self) -> str:
        """The names in clear; the values, which may be personal, as a digest."""
        if not self._texts:
            return ""
        digest = self._entries.sealer.digest(",".join(sorted(self._texts)).encode())
        return f"{{{','.join(sorted(self._shown))}}}{digest}"

    def called(self, name: Any, vary_on: list[Any]) -> str:
        """Write what the fragment is called, and the values that it varies on.

        :raises UnstableArgument: naming the type and the remedy.
        """
        try:
            varied = ",".join([stable_text(value, self._other_text) for value in vary_on])
            return f"{stable_text(name)}({varied})"
        except UnstableArgument as error:
            raise UnstableArgument(f"a part of its name {error}") from None

    def add_values(self, values: Mapping[str, Any], context: Any) -> None:
        """Add the variables that the body uses directly.

        :raises UnstableArgument: naming the variable, its type and the remedy.
        """
        self.names.update(values)
        for name, value in values.items():
            if type(value) is str:
                # The usual case, on the way of every hit.
                self._shown.add(name)
                self._texts.add(f"{name}={value!r}")
            else:
                self.add(name, value, context)

    def add(self, name: str, value: Any, context: Any, *, label: str = "", shown: str = "") -> None:
        """Add a variable's value, if it is not global.

        :param label: tells it from another variable of the same name.
        :param shown: how messages call it.
        :raises UnstableArgument: naming the variable, its type and the remedy.
        """
        self.names.add(name)
        if is_global(self._environment, context, name, value):
            return
        shown = shown or name
        try:
            text = stable_text(value, lambda each: self._other_text(each, shown))
        except _UnstableVariable:
            raise
        except UnstableArgument as error:
            raise _UnstableVariable(f"the variable {shown!r} {error}") from None
        except RecursionError:
            raise _UnstableVariable(f"the variable {shown!r} contains itself") from None
        self.is_plain = self.is_plain and (tells_all(value) or isinstance(value, Undefined | Macro))
        self._shown.add(shown)
        self._texts.add(f"{label or name}={text}")

    def _number(self, thing: Any) -> int:
        """Tell things apart that may look alike: by when they were come upon."""
        return self._numbers.setdefault(id(thing), len(self._numbers))

    def add_body(self, part: Part, context: Any, local: Mapping[str, Any]) -> None:
        """Add what the body uses beside the values of its names.

        :raises UnstableArgument: naming the variable, its type and the remedy.
        """
        try:
            self.add_part(part, context, local)
        except _UnstableVariable:
            raise
        except UnstableArgument as error:
            raise UnstableArgument(f"its body {error}") from None

    def add_part(self, part: Part, context: Any, local: Mapping[str, Any]) -> None:
        """Add what templates, blocks or macros use.

        :raises UnstableArgument: where that cannot be known, in words.
        """
        for refusal in part.refusals:
            raise UnstableArgument(refusal)
        for name in part.names:
            self._look_up(name, context, local)
        for names in part.templates:
            for template in self._templates(names, part.template):
                self._add_compiled(template.root_render_func, context, local)
        if part.has_blocks:
            for blocks in context.blocks.values():
                for block in blocks:
                    self._add_compiled(block, context, local)

    def _templates(self, names: tuple[str, ...], parent: str | None) -> Iterator[Any]:
        for name in names:
            try:
                yield self._environment.get_template(name, parent)
            except TemplateNotFound:
                continue

    def _add_compiled(self, function: Any, context: Any, local: Mapping[str, Any]) -> None:
        """Add the template that a compiled function belongs to, and what it uses."""
        namespace = function.__globals__
        if (id(namespace), id(context)) not in self._seen:
            self._seen.add((id(namespace), id(context)))
            digest, *part = _found(namespace)["template"]
            self._texts.add(f"template:{encoded(namespace['name'], digest)}")
            self.add_part(Part(*part), context, local)

    def _look_up(self, name: str, context: Any, local: Mapping[str, Any]) -> None:
        """Add the values that a name may have: around the fragment, and in the context."""
        value = local.get(name, missing)
        if value is not missing:
            self.add(name, value, context, label=f"local {name}")
        label = f"{name}@{self._number(context)}"
        if name in context:
            self.add(name, context.resolve_or_missing(name), context, label=label)
        else:
            self.add(name, Undefined(name=name), context, label=label)

    def _other_text(self, value: Any, shown: str = "") -> str | None:
        """Write what only templates have; ``None`` for any other type."""
        kind = type(value)
        if kind is LocalProxy:
            return self._proxied_text(value, shown)
        if isinstance(value, Undefined):
            return "undefined"
        if kind is Macro:
            return self._macro_text(value, shown)
        if kind is TemplateModule:
            return self._module_text(value, shown)
        if kind is Namespace:
            return f"namespace({stable_text(value._Namespace__attrs, self._other_text)})"
        if kind in (FunctionType, BuiltinFunctionType) and is_found(value):
            return f"function({value.__module__}.{value.__qualname__})"
        if hasattr(kind, "_sa_class_manager") and hasattr(value, "_sa_instance_state"):
            return self._row_text(value)
        return self._registered_types.text(value, lambda each: self._other_text(each, shown))

    def _proxied_text(self, proxy: Any, shown: str) -> str:
        try:
            value = proxy._get_current_object()
        except RuntimeError:
            raise UnstableArgument("is a proxy of nothing") from None
        return stable_text(value, lambda each: self._other_text(each, shown))

    def _macro_text(self, macro: Any, shown: str) -> str:
        """Write a macro by its source, and add what it takes from where it was defined."""
        function = macro._func
        found = _found(getattr(function, "__globals__", {}))
        # The body of a {% call %} has no name.
        known = found["macros"].get(macro.name, []) if macro.name else [found["template"]]
        if not known:
            raise UnstableArgument(f"is a macro, {macro.name}, of unknown origin")
        number = self._number(macro)
        if macro not in self._seen:
            self._seen.add(macro)
            context, enclosed = _closure(function)
            for variable, value in enclosed.items():
                name = variable.split("_", 2)[2]
                label = f"{number}.{variable}"
                self.add(name, value, context, label=label, shown=f"{shown}.{name}")
            for _, *part in known:
                self._add_macro_part(Part(*part), context, enclosed)
        is_one = macro.name and len(known) == 1
        place = None if is_one else function.__code__.co_firstlineno
        digests = [digest for digest, *_ in known]
        escapes = macro._default_autoescape
        return f"macro({encoded(macro.name, place, number, escapes, *digests)})"

    def _add_macro_part(self, part: Part, context: Any, enclosed: Mapping[str, Any]) -> None:
        known = {variable.split("_", 2)[2] for variable in enclosed}
        part = part._replace(names=tuple(name for name in part.names if name not in known))
        if context is not None:
            self.add_part(part, context, {})
        elif part.names or part.templates or part.has_blocks:
            raise UnstableArgument("is a macro whose variables cannot be known")
        elif part.refusals:
            raise UnstableArgument(part.refusals[0])

    def _module_text(self, module: Any, shown: str) -> str:
        """Write an imported template: the text that it shows, and what it exports."""
        exported = dict(module.__dict__)
        body = "".join(exported.pop("_body_stream"))
        texts = [stable_text(body), stable_text(exported.pop("__name__"))]
        for name, value in exported.items():
            text = stable_text(value, lambda each: self._other_text(each, shown))
            texts.append(f"{name}={text}")
        return f"module({','.join(texts)})"

    def _row_text(self, row: Any) -> str:
        """Write a row by its identity, if it is no more than what the database has.

        :raises UnstableArgument: in words.
        """
        state = row._sa_instance_state
        mapper = state.mapper
        what = f"is a row, {mapper.class_.__name__},"
        if not hasattr(self._entries.before_fetch, "__self__"):
            raise UnstableArgument(f"{what} of whose changes nobody tells: call cache.watch(db)")
        if not state.persistent or state.modified:
            raise UnstableArgument(f"{what} with changes that are not committed")
        columns = {
            attribute.key
            for attribute in mapper.column_attrs
            if all(getattr(column, "table", None) in mapper.tables for column in attribute.columns)
        }
        if others := sorted(set(state.dict) - columns - {"_sa_instance_state"}):
            raise UnstableArgument(f"{what} which holds {others[0]!r} beside its columns")
        from .._sqlalchemy.rows import rows_of  # noqa: PLC0415 - it is there, since a row is

        self.rows += rows_of(state)
        # Nobody is told of a change inside one of these.
        inside = {
            key: value
            for key, value in state.dict.items()
            if isinstance(value, dict | list | set | bytearray)
        }
        name = f"{mapper.class_.__module__}.{mapper.class_.__qualname__}"
        return f"row({encoded(name, *state.key[1:], *([inside] if inside else []))})"


def _found(namespace: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] | None = namespace.get(FOUND)
    if found is None:
        raise UnstableArgument(
            "uses a template that another version compiled: clear Jinja's bytecode cache"
        )
    return found


def _closure(function: Any) -> tuple[Any, dict[str, Any]]:
    """Return the context in which a macro was defined, and what it encloses, as Jinja names it.

    The variable ``user`` of the template itself is ``l_0_user``, of a loop in it ``l_1_user``.
    """
    context, enclosed = None, {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            value = missing
        if name == "context":
            context = value
        elif name == "resolve":
            context = value.__self__
        elif name.startswith("l_"):
            enclosed[name] = Undefined(name=name) if value is missing else value
    return context, enclosed


def is_global(environment: Environment, context: Any, name: str, value: Any) -> bool:
    """Tell whether a name means what it does in every template."""
    names = getattr(context, "template_globals", None) or environment.globals
    if name not in names:
        return False
    known = names[name]
    if known is value:
        return True
    if type(known) is not LocalProxy:
        return False
    try:
        # Flask hands templates the request itself, whose reads are noticed as its proxy's are.
        return known._get_current_object() is value
    except RuntimeError:
        return False


# -- the watch over what is looked up during a fill ----------------------------------------------


class Fill:
    """Renders a fragment's body, and tells whether it used no more than its key holds."""

    def __init__(
        self,
        name: Any,
        vary_on: list[Any],
        used: Used,
        context: Any,
        caller: Callable[[], str],
        entries: Any,
    ) -> None:
        self._entries = entries
        self._name = name
        self._vary_on = vary_on
        self._used = used
        self._context = context
        self._caller = caller
        self.unknown: set[str] = set()

    @property
    def stands_alone(self) -> bool:
        """Tell whether the key holds all that the body is given."""
        return self._used.is_plain

    def dropped_by(self) -> set[str]:
        """Return the keys whose deletion drops the fragment: by name, and by what it varies on."""
        return {stock_key(self._name, []), stock_key(self._name, self._vary_on)}

    def __call__(self) -> str:
        """Render the body.

        :raises UnstableArgument: in development and tests, for a name that the key does not hold.
        """
        reads = current_dependencies()
        for table, identity in self._used.rows:
            reads.read_row(table, identity)
        with _watched(self._context, self._used.names, self.unknown):
            text = self._caller()
        if self.unknown:
            names = ", ".join(sorted(self.unknown))
            message = (
                f"The fragment {_short(self._name)} used {names}, which its key does not hold."
            )
            if is_strict(self._entries):
                raise UnstableArgument(f"{message} {_REMEDY}")
            lookups = self._entries.statistics.lookups("fragment", f"{self._name}")
            self._entries.refuse(lookups, _reason(names), f"{message} {_REMEDY}")
        return text

    def is_complete(self, _: Any) -> bool:
        """Tell whether what was rendered depends on the key alone."""
        return not self.unknown


class _Watch:
    """What one fill may look up."""

    __slots__ = ("known", "outer", "unknown")

    def __init__(self, known: set[str], unknown: set[str], outer: "_Watch | None") -> None:
        self.known = known
        self.unknown = unknown
        self.outer = outer


_watch: ContextVar[_Watch | None] = ContextVar("caching_fragment", default=None)


@contextmanager
def _watched(context: Any, known: set[str], unknown: set[str]) -> Iterator[None]:
    marked = context.vars.get(_MARK)
    token = _watch.set(_Watch(known, unknown, _watch.get()))
    context.vars[_MARK] = True
    try:
        yield
    finally:
        _watch.reset(token)
        if marked is None:
            # Two threads may share the context of an imported template.
            context.vars.pop(_MARK, None)


def watching_class(base: type[Context]) -> type[Context]:
    """Make a subclass of an environment's context class that fills of fragments watch."""

    # They are called for every variable of every template.
    initialise: Any = base.__init__
    resolve, watch_of = base.resolve_or_missing, _watch.get

    class WatchedContext(base):  # type: ignore[misc, valid-type]
        def __init__(
            self, environment: Any, parent: Any, name: Any, blocks: Any, globals: Any = None
        ) -> None:
            initialise(self, environment, parent, name, blocks, globals)
            self.template_globals = globals
            self.made_in = watch_of()

        def resolve_or_missing(self, key: str) -> Any:
            value = resolve(self, key)
            watch = watch_of()
            if watch is not None and not is_global(self.environment, self, key, value):
                _note(self, watch, key, key)
            return value

        def call(self, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            watch = watch_of()
            if watch is not None and gets_context(obj):
                name = getattr(obj, "__name__", type(obj).__name__)
                _note(self, watch, None, f"all variables (by {name})")
            return super().call(obj, *args, **kwargs)

    WatchedContext.__name__ = base.__name__
    return WatchedContext


def _note(context: Any, watch: _Watch | None, key: str | None, shown: str) -> None:
    """Note a name that came from outside of a fill whose key does not hold it."""
    if _has_globals_only(context):
        return
    inside = False
    while watch is not None:
        inside = inside or context.made_in is watch
        # What is rendered apart gets its variables from what is filled, and sets its own.
        is_own = inside and (_MARK not in context.parent or key in context.vars)
        if not is_own and (key is None or key not in watch.known):
            watch.unknown.add(shown)
        watch = watch.outer


def _has_globals_only(context: Any) -> bool:
    """Tell whether a context is of a template that was imported without one."""
    names, parent = context.template_globals, context.parent
    return (
        names is not None
        and parent.keys() == names.keys()
        and all(value is names[name] for name, value in parent.items())
    )
