"""The compiler that finds which names a part of a template takes from around it.

Jinja's own compiler knows which names are looked up in the context. What is found is written into
the compiled template, so that it is never older than the template, in a bytecode cache, too.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame, find_undeclared
from jinja2.idtracking import VAR_LOAD_RESOLVE
from jinja2.utils import _PassArg

#: The variable of a compiled template that holds what was found; its number is the format.
FOUND = "fragment_names_1"
#: Jinja's filters that call others by name, with the position of that name.
_CALLING_FILTERS = {"map": 0, "select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
_OF_CALLS = frozenset({"caller", "kwargs", "varargs"})
_OF_BLOCKS = ("self", "super")
_REFERRING: tuple[type[nodes.Node], ...] = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
)
_GETTING_ALL: tuple[type[nodes.Node], ...] = (
    nodes.ContextReference,
    nodes.DerivedContextReference,
    nodes.OverlayScope,
)


class Part(NamedTuple):
    """What a template, or a part of it, uses.

    :param names: the names that it looks up in its context.
    :param templates: for each template that gets the context, its name and the alternatives.
    :param refusals: why it cannot be known what else it uses.
    :param has_blocks: whether it renders blocks, which other templates may have replaced.
    :param template: the name of the template that it stands in.
    """

    names: tuple[str, ...]
    templates: tuple[tuple[str, ...], ...]
    refusals: tuple[str, ...]
    has_blocks: bool
    template: str | None


class _Tracker(CodeGenerator):
    """Compiles only to learn which names are resolved."""

    def __init__(self, environment: Environment, name: str | None, filename: str | None) -> None:
        # The optimizer would change the nodes before they are compiled.
        super().__init__(environment, name, filename, optimized=False)
        self.resolved: set[str] = set()

    def write(self, x: str) -> None:
        """Write nothing."""

    def enter_frame(self, frame: Frame) -> None:
        super().enter_frame(frame)
        loads = frame.symbols.loads.values()
        self.resolved.update(name for action, name in loads if action == VAR_LOAD_RESOLVE)


def part_of(
    environment: Environment, name: str | None, filename: str | None, body: Sequence[nodes.Node]
) -> Part:
    """Find what nodes use and do not define themselves."""
    root = nodes.Template(list(body), lineno=1)
    root.set_environment(environment)
    tracker = _Tracker(environment, name, filename)
    tracker.visit(root)
    templates, refusals = [], list(_refused_filters(environment, root))
    for names in _referred(root):
        if names is None:
            refusals.append("includes a template whose name is known at run time only")
        else:
            templates.append(names)
    if any(root.find(kind) for kind in _GETTING_ALL):
        refusals.append("has a tag that gets all variables")
    for node in root.find_all(nodes.NSRef):
        if node.name in tracker.resolved:
            refusals.append(f"sets {node.name}.{node.attr}, which would not happen on a hit")
    return Part(
        names=tuple(sorted(tracker.resolved - {*_OF_BLOCKS})),
        templates=tuple(templates),
        refusals=tuple(refusals),
        has_blocks=root.find(nodes.Block) is not None or bool(find_undeclared(body, _OF_BLOCKS)),
        template=name,
    )


def _referred(root: nodes.Template) -> Iterator[tuple[str, ...] | None]:
    """Yield the names of each template that gets the context; ``None`` if they are computed."""
    for node in root.find_all(_REFERRING):
        if not isinstance(node, nodes.Extends) and not node.with_context:  # type: ignore[attr-defined]
            continue  # It gets the globals alone.
        named: Any = node.template  # type: ignore[attr-defined]
        items: list[Any] = named.items if isinstance(named, nodes.Tuple | nodes.List) else [named]
        if not all(isinstance(item, nodes.Const) for item in items):
            yield None
            continue
        values: list[Any] = [item.value for item in items]
        if len(values) == 1 and isinstance(values[0], tuple | list):
            values = list(values[0])
        yield tuple(values) if all(isinstance(value, str) for value in values) else None


def _refused_filters(environment: Environment, root: nodes.Template) -> Iterator[str]:
    kinds: dict[Any, Any] = {nodes.Filter: environment.filters, nodes.Test: environment.tests}
    for node in root.find_all((nodes.Filter, nodes.Test)):
        for name in _called(node):
            if name is None:
                yield f"calls a filter by {node.name}(…), whose name is known at run time only"
                continue
            if any(gets_context(known.get(name)) for known in kinds.values()):
                yield f"calls {name!r}, which gets all variables: the filter must not need them"


def _called(node: Any) -> Iterator[str | None]:
    yield node.name
    position = _CALLING_FILTERS.get(node.name)
    if position is None or not isinstance(node, nodes.Filter):
        return
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        yield None
    elif len(node.args) > position:
        named = node.args[position]
        yield named.value if isinstance(named, nodes.Const) else None


def gets_context(function: Any) -> bool:
    """Tell whether a function gets the whole context, and is neither Jinja's nor Flask's own."""
    if function is None:
        return False
    if _PassArg.from_obj(function) is not _PassArg.context:
        call = getattr(function, "__call__", None)  # noqa: B004 - as Jinja asks
        if call is None or _PassArg.from_obj(call) is not _PassArg.context:
            return False
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] not in ("jinja2", "flask")


def digest_of(environment: Environment, body: Iterable[nodes.Node], part: Part) -> str:
    """Tell two bodies apart, also in two versions of one template."""
    escapes = nodes.EvalContext(environment, part.template).autoescape
    # What a relative name means depends on the template that it stands in.
    root = nodes.Template(list(body))
    where = part.template if any(root.find(kind) for kind in _REFERRING) else None
    text = f"{where!r} {escapes} {root.body!r}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def code_generator(base: type[CodeGenerator], identifier: str) -> type[CodeGenerator]:
    """Make a subclass of an environment's compiler that first finds what each part uses.

    :param identifier: the extension whose calls are fragments.
    """

    class FindingCodeGenerator(base):  # type: ignore[misc, valid-type]
        finds_names_for = identifier

        def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
            macros: dict[str, list[Any]] = {}
            for macro in node.find_all(nodes.Macro):
                digest, part = self._analyse([macro])
                macros.setdefault(macro.name, []).append((digest, *part))
            digest, part = self._analyse(node.body)
            found = {"template": (digest, *part), "macros": macros}
            blocks = [
                block for block in node.find_all(nodes.CallBlock) if _is_fragment(block, identifier)
            ]
            fragments = [(block, *self._analyse(block.body)) for block in blocks]
            for block, digest, part in fragments:
                _hand_over(block, digest, part, self.environment)
            super().visit_Template(node, frame)
            self.writeline(f"{FOUND} = {found!r}")

        def visit_CallBlock(self, node: nodes.CallBlock, frame: Frame) -> None:
            if not _is_fragment(node, identifier):
                super().visit_CallBlock(node, frame)
                return
            found = self.temporary_identifier()
            self.writeline(f"{found} = environment.extensions[{identifier!r}]._look_up(", node)
            for argument in node.call.args:
                self.visit(argument, frame)
                self.write(", ")
            self.write(")")
            # A hit does not even make what would render the body.
            self.writeline(f"if callable({found}):")
            self.indent()
            body_frame, macro = self.macro_body(node, frame)
            # An asynchronous environment renders the body later, so the cache stores none of it.
            begin, end = ("await auto_await(", ")") if self.environment.is_async else ("", "")
            self.writeline(f"{found} = {begin}{found}(")
            self.macro_def(macro, body_frame)
            self.write(f"){end}")
            self.outdent()
            self.start_write(frame, node)
            self.write(found)
            self.end_write(frame)

        def visit_ContextReference(self, node: nodes.ContextReference, frame: Frame) -> None:
            if getattr(node, "locals_only", False):
                self.write(self.dump_local_context(frame))
            else:
                super().visit_ContextReference(node, frame)

        def _analyse(self, body: Sequence[nodes.Node]) -> tuple[str, Part]:
            part = part_of(self.environment, self.name, self.filename, body)
            return digest_of(self.environment, body, part), part

    FindingCodeGenerator.__name__ = base.__name__
    return FindingCodeGenerator


def _is_fragment(block: nodes.CallBlock, identifier: str) -> bool:
    called = block.call.node
    return isinstance(called, nodes.ExtensionAttribute) and called.identifier == identifier


def _hand_over(block: nodes.CallBlock, digest: str, part: Part, environment: Environment) -> None:
    """Have the template pass what a fragment's body uses, with its values, to the extension."""
    names = [name for name in part.names if name not in _OF_CALLS]
    pairs = [nodes.Pair(nodes.Const(name), nodes.Name(name, "load")) for name in names]
    rest = part.templates or part.refusals or part.has_blocks
    local: nodes.Expr = nodes.Const(None)
    if rest:
        local = nodes.ContextReference()
        local.locals_only = True  # type: ignore[attr-defined]
    more: list[nodes.Expr] = [
        nodes.Const(digest),
        nodes.Dict(pairs),
        nodes.ContextReference(),
        nodes.Const((*part._replace(names=()),) if rest else None),
        local,
    ]
    for node in more:
        node.set_lineno(block.lineno)
        node.set_environment(environment)
    block.call.args.extend(more)
