"""The keys of fragments: what a body uses from around it, as text."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

from jinja2 import Environment, TemplateNotFound, Undefined
from jinja2.environment import TemplateModule
from jinja2.runtime import Macro
from jinja2.utils import Namespace, missing
from werkzeug.local import LocalProxy

from .._keys.classes import UnstableArgument, is_found
from .._keys.encoding import encoded, stable_text, tells_all
from .._keys.registered_types import RegisteredTypes
from .fragment_compiler import FOUND, Part
from .templates import is_global


class _UnstableVariable(UnstableArgument):
    """A variable without a stable text, which the message names."""


class FragmentKey:
    """The variables that a fragment uses, and the text of them that joins its key.

    What has no stable text raises :class:`UnstableArgument`, which names it, its type and the
    remedy.

    :param names: the names of them all, also of those that are global.
    :param is_plain: whether the values lead to nothing that is not in the key.
    :param rows: tables and identities of the rows among them.
    """

    def __init__(
        self, environment: Environment, engine: Any, registered_types: RegisteredTypes
    ) -> None:
        self._environment = environment
        self._engine = engine
        self._registered_types = registered_types
        self._texts: set[str] = set()
        self._shown: set[str] = set()
        self._seen: set[Any] = set()
        self._numbers: dict[int, int] = {}
        self.names: set[str] = set()
        self.is_plain = True
        self.rows: list[tuple[str, str]] = []

    def __str__(self) -> str:
        """The names in clear; the values, which may be personal, as a digest."""
        if not self._texts:
            return ""
        digest = self._engine.sealer.digest(",".join(sorted(self._texts)).encode())
        return f"{{{','.join(sorted(self._shown))}}}{digest}"

    @property
    def has_values(self) -> bool:
        """Whether it holds more than the fragment's name."""
        return bool(self._texts)

    def called(self, name: Any, vary_on: list[Any]) -> str:
        """Write the name of the fragment, and the values that it varies on."""
        if not vary_on and type(name) is str:
            return f"{name!r}()"
        try:
            varied = ",".join([stable_text(value, self._other_text) for value in vary_on])
            return f"{stable_text(name)}({varied})"
        except UnstableArgument as error:
            raise UnstableArgument(f"a part of its name {error}") from None

    def add_values(self, values: Mapping[str, Any], context: Any) -> None:
        """Add the variables that the body uses directly."""
        self.names.update(values)
        for name, value in values.items():
            if type(value) is str:
                # The usual case, on the way of every hit.
                self._shown.add(name)
                self._texts.add(f"{name}={value!r}")
            elif not is_global(self._environment, context, name, value):
                self._add(name, value, context)

    def add_body(self, part: Part, context: Any, local: Mapping[str, Any]) -> None:
        """Add what the body uses beside the values of its names."""
        try:
            self._add_part(part, context, local)
        except _UnstableVariable:
            raise
        except UnstableArgument as error:
            raise UnstableArgument(f"its body {error}") from None

    def _add(self, name: str, value: Any, context: Any, label: str = "", shown: str = "") -> None:
        """Add a variable's value, if it is not global.

        :param label: tells it from another variable of the same name.
        :param shown: how messages call it.
        """
        self.names.add(name)
        if is_global(self._environment, context, name, value):
            return
        shown = shown or name
        try:
            text = self._text(value, shown)
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
        """Tell things apart that may look alike, by the order in which they were met."""
        return self._numbers.setdefault(id(thing), len(self._numbers))

    # -- parts of templates ----------------------------------------------------------------

    def _add_part(self, part: Part, context: Any, local: Mapping[str, Any]) -> None:
        """Add what templates, blocks or macros use."""
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
            self._add_part(Part(*part), context, local)

    def _look_up(self, name: str, context: Any, local: Mapping[str, Any]) -> None:
        """Add the values that a name may have: around the fragment, and in the context."""
        value = local.get(name, missing)
        if value is not missing:
            self._add(name, value, context, f"local {name}")
        value = context.resolve_or_missing(name) if name in context else Undefined(name=name)
        self._add(name, value, context, f"{name}@{self._number(context)}")

    # -- values that only templates have -----------------------------------------------------

    def _text(self, value: Any, shown: str) -> str:
        return stable_text(value, partial(self._other_text, shown=shown))

    def _other_text(self, value: Any, shown: str = "") -> str | None:
        """Write what only templates have; ``None`` for any other type."""
        kind = type(value)
        if kind is LocalProxy:
            try:
                return self._text(value._get_current_object(), shown)
            except RuntimeError:
                raise UnstableArgument("is a proxy of nothing") from None
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
        return self._registered_types.text(value, partial(self._other_text, shown=shown))

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
                name = _source_name(variable)
                self._add(name, value, context, f"{number}.{variable}", f"{shown}.{name}")
            for _, *part in known:
                self._add_macro_part(Part(*part), context, enclosed)
        is_one = macro.name and len(known) == 1
        place = None if is_one else function.__code__.co_firstlineno
        digests = [digest for digest, *_ in known]
        escapes = macro._default_autoescape
        return f"macro({encoded(macro.name, place, number, escapes, *digests)})"

    def _add_macro_part(self, part: Part, context: Any, enclosed: Mapping[str, Any]) -> None:
        known = set(map(_source_name, enclosed))
        part = part._replace(names=tuple(name for name in part.names if name not in known))
        if context is None and (part.names or part.templates or part.has_blocks):
            raise UnstableArgument("is a macro whose variables cannot be known")
        self._add_part(part, context, {})

    def _module_text(self, module: Any, shown: str) -> str:
        """Write an imported template: the text that it shows, and what it exports."""
        exported = dict(module.__dict__)
        body = "".join(exported.pop("_body_stream"))
        texts = [stable_text(body), stable_text(exported.pop("__name__"))]
        texts += [f"{name}={self._text(value, shown)}" for name, value in exported.items()]
        return f"module({','.join(texts)})"

    def _row_text(self, row: Any) -> str:
        """Write a row by its identity, if it is no more than what the database has."""
        state = row._sa_instance_state
        mapper = state.mapper
        what = f"is a row, {mapper.class_.__name__},"
        if not hasattr(self._engine.before_fetch, "__self__"):
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
        # Changes inside one of these are not noticed.
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


def _source_name(variable: str) -> str:
    """The name of a compiled variable in its template: ``l_1_user`` is ``user`` in a loop."""
    return variable.split("_", 2)[2]


def _closure(function: Any) -> tuple[Any, dict[str, Any]]:
    """Return the context in which a macro was defined, and the compiled variables around it."""
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
