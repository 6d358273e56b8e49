"""The source of a function that runs, and what its names stand for."""

import ast
import builtins
import functools
import inspect
import linecache
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeGuard

_NOT_PLAIN = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_PLAIN_TYPES = (str, bytes, int, float, bool, type(None))


class Unproven(Exception):
    """The source does not show what a function does."""


def is_plain(value: object) -> bool:
    """Tell whether a value is data that nobody can change."""
    if type(value) in (tuple, frozenset):
        return all(type(each) in _PLAIN_TYPES for each in value)  # type: ignore[attr-defined]
    return type(value) in _PLAIN_TYPES


class Source:
    """The source of a function.

    :raises Unproven: if the source is not there, and for coroutines, generators and the like.
    """

    def __init__(self, function: Any) -> None:
        if type(function) is not FunctionType or function.__code__.co_flags & _NOT_PLAIN:
            raise Unproven
        self.code: CodeType = function.__code__
        self.tree, self._rebound = _definition(self.code.co_filename, self.code)
        self.locals = {*self.code.co_varnames, *self.code.co_cellvars}
        cells = function.__closure__ or ()
        self.closure = dict(zip(self.code.co_freevars, cells, strict=True))
        self._globals: dict[str, Any] = function.__globals__
        names = inspect.getargs(self.code)
        self.parameters = [*names.args, *filter(None, (names.varargs, names.varkw))]
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        if not all(map(is_plain, defaults)):
            raise Unproven

    def find(self, node: ast.expr) -> Any:
        """Return the object that a name of a module, or of an outer function, stands for.

        :raises Unproven: for any other expression.
        """
        match node:
            case ast.Name(id=name) if not (
                name in self.locals or name in self._rebound or name.startswith("__")
            ):
                if name in self.closure:
                    return self.closure[name].cell_contents
                if name in self._globals:
                    return self._globals[name]
                if hasattr(builtins, name):
                    return getattr(builtins, name)
            case ast.Attribute(value=ast.Name() as owner, attr=name):
                module = self.find(owner)
                if type(module) is ModuleType and name in vars(module):
                    return vars(module)[name]
        raise Unproven

    def find_or_none(self, node: ast.expr) -> Any:
        """Return the same, and ``None`` for any other expression."""
        try:
            return self.find(node)
        except Unproven:
            return None


@functools.lru_cache(256)
def _definition(filename: str, code: CodeType) -> tuple[ast.FunctionDef, frozenset[str]]:
    """Return the source of what runs, and all names that a function in its file may rebind."""
    text = "".join(linecache.getlines(filename))
    # The file may have changed since it was imported.
    if code not in _codes_in(compile(text, filename, "exec", dont_inherit=True)):
        raise Unproven
    nodes = list(ast.walk(ast.parse(text)))
    found = [
        node
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and node.name == code.co_name
        and code.co_firstlineno == min(each.lineno for each in [*node.decorator_list, node])  # type: ignore[attr-defined]
    ]
    if len(found) != 1:
        raise Unproven
    rebound = {
        name for node in nodes if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names
    }
    # What a function around it assigns, it may assign again while it goes on.
    for outer in nodes:
        if isinstance(outer, _FUNCTIONS) and outer is not found[0]:
            inside = list(ast.walk(outer))
            if found[0] in inside:
                rebound |= {node.id for node in inside if _is_stored(node)}
    return found[0], frozenset(rebound)


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)
