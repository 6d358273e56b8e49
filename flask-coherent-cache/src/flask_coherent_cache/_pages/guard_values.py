"""The values that a guard looks at: expressions made of the session, the URL and watched rows."""

import ast
import functools
import inspect
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import flask

from .sources import Source, Unproven, is_plain

#: What is known of a value: a row, by its mapped class, or one of the following.
Kind = str | type
#: ``EITHER`` can only be asked whether it is there, as a row can.
NONE, PLAIN, EITHER = "None", "plain", "either"
#: Builtin functions that look at nothing but plain data.
_PURE = (bool, int, len, str)
#: What of a request follows from its URL.
_OF_THE_URL = ("blueprint", "endpoint", "path")
#: With one of these a row decides by itself whether it is true.
_OWN_WAYS = frozenset({"__bool__", "__len__", "__getattribute__"})
_OUR_PACKAGE = __name__.partition(".")[0]
#: Types of columns of SQLAlchemy itself, whose values are plain data.
_PLAIN_COLUMNS = frozenset({bool, int, float, str, bytes, date, datetime, Decimal, UUID})


class Values:
    """The expressions of one function.

    :param arguments: the kinds of its arguments, by name.
    :param on_g: the kinds of what guards put on ``g``.
    :param is_watched: tells whether the cache watches a database.
    :param call: returns the kind of what another function returns for arguments of these kinds.
    """

    def __init__(
        self,
        source: Source,
        arguments: dict[str, Kind],
        on_g: dict[str, Kind],
        is_watched: Callable[[object], bool],
        call: Callable[[Any, list[Kind]], Kind | None],
    ) -> None:
        self._source, self._is_watched, self._call_function = source, is_watched, call
        self._variables, self._on_g = dict(arguments), on_g

    def assign(self, name: str, value: ast.expr) -> None:
        """Read an assignment to a variable."""
        if name not in self._source.code.co_varnames:
            raise Unproven
        self._variables[name] = merged(self._variables.get(name), self.kind(value))

    def put_on_g(self, name: str, value: ast.expr) -> None:
        """Read an assignment to a name on ``g``."""
        self._on_g[name] = merged(self._on_g.get(name), self.kind(value))

    def require_plain(self, *nodes: ast.expr) -> None:
        """Read expressions whose values have to be plain data.

        :raises Unproven: if one may be anything else.
        """
        if any(self.kind(node) not in (NONE, PLAIN) for node in nodes):
            raise Unproven

    def kind(self, node: ast.expr) -> Kind:
        """Read an expression, and return the kind of its value.

        :raises Unproven: if it may look at anything else.
        """
        match node:
            case ast.Constant(value=value):
                return NONE if value is None else PLAIN
            case ast.Name(id=name):
                return self._name(name, node)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                self.require_plain(*parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.kind(operand)
            case ast.BoolOp(values=parts):
                return _all_merged(map(self.kind, parts))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.kind(test)
                return merged(self.kind(body), self.kind(orelse))
            case ast.Compare(left=left, ops=ops, comparators=others):
                if all(isinstance(each, ast.Is | ast.IsNot) for each in ops):
                    _all_merged(map(self.kind, (left, *others)))
                else:
                    self.require_plain(left, *others)
            case ast.Subscript(value=owner, slice=index):
                self.require_plain(owner, index)
            case ast.Attribute(value=owner, attr=name):
                return self._attribute(owner, name)
            case ast.Call(args=args, keywords=[]):
                return self._call(node.func, args)
            case _:
                raise Unproven
        return PLAIN

    def _name(self, name: str, node: ast.expr) -> Kind:
        if name in self._variables:
            return self._variables[name]
        found = self._source.find(node)
        # A global variable can change, even if its value cannot.
        if found is flask.session or (name in self._source.closure and is_plain(found)):
            return PLAIN
        raise Unproven

    def _attribute(self, owner: ast.expr, name: str) -> Kind:
        found = self._source.find_or_none(owner)
        if found is flask.g and name in self._on_g:
            return self._on_g[name]
        if found is flask.request and name in _OF_THE_URL:
            return PLAIN
        if found is None and _has_column(self.kind(owner), name):
            return PLAIN
        raise Unproven

    def _call(self, function: ast.expr, args: list[ast.expr]) -> Kind:
        if isinstance(function, ast.Attribute) and function.attr == "get" and args:
            return self._get(function.value, *args)
        found = self._source.find(function)
        if any(found is each for each in _PURE):
            self.require_plain(*args)
            return PLAIN
        if isinstance(function, ast.Attribute):
            raise Unproven  # Another module can bind its name to another function.
        returned = self._call_function(found, [self.kind(arg) for arg in args])
        if returned is None:
            raise Unproven
        return returned

    def _get(self, owner: ast.expr, *args: ast.expr) -> Kind:
        """Read a call of ``get``: of a row, of a name on ``g``, or in plain data."""
        name = args[0].value if isinstance(args[0], ast.Constant) else None
        if self._source.find_or_none(owner) is flask.g and name in self._on_g:
            return _all_merged([self._on_g[str(name)], *map(self.kind, args[1:]), NONE])
        if self._is_database_session(owner) and len(args) == 2:
            self.require_plain(args[1])
            return _row_of(self._source.find(args[0]))
        self.require_plain(owner, *args)
        return PLAIN

    def _is_database_session(self, node: ast.expr) -> bool:
        """Tell whether it is the session of a watched extension, or a watched scoped session."""
        if isinstance(node, ast.Attribute) and node.attr == "session":
            node = node.value
        found = self._source.find_or_none(node)
        return found is not None and self._is_watched(found) and _gets_rows_as_they_are(found)


def merged(one: Kind | None, other: Kind) -> Kind:
    """Return the kind of a value that has one of two kinds; ``None`` is no kind at all."""
    if one in (None, NONE, other):
        return other
    return one if one is not None and other == NONE else EITHER


def _all_merged(kinds: Iterable[Kind]) -> Kind:
    return functools.reduce(merged, kinds)


def _gets_rows_as_they_are(database: Any) -> bool:
    """Tell whether nothing of the application's own has a say in what its session gets."""
    session: Any = getattr(database, "session", database)
    if hasattr(session, "session_factory"):
        session = session.session_factory()  # Listeners are known to a session only.
    has_own_get = not type(session).get.__module__.startswith("sqlalchemy.")
    return not (has_own_get or session.dispatch.do_orm_execute)


def _row_of(model: Any) -> Kind:
    if not isinstance(model, type) or not hasattr(model, "__mapper__"):
        raise Unproven
    mapper, events = model.__mapper__, model.__mapper__.class_manager.dispatch
    own = {name for kind in model.__mro__[:-1] for name in vars(kind)}
    # A row may be of a subclass, which has properties in place of columns; what a class is mapped
    # to may be any query; and what is called when a row is loaded may change it.
    if (
        own & _OWN_WAYS
        or model.__subclasses__()
        or [*mapper.tables] != [mapper.persist_selectable]
        or not all(map(_is_ours, (*events.load, *events.refresh)))
    ):
        raise Unproven
    return model


def _is_ours(listener: Any) -> bool:
    return str(getattr(listener, "__module__", "")).startswith(f"{_OUR_PACKAGE}.")


def _has_column(kind: Kind, name: str) -> bool:
    """Tell whether a row's attribute is a column of its table with plain data, and not computed."""
    mapper = getattr(kind, "__mapper__", None)
    if mapper is None or name not in mapper.columns:
        return False
    is_mapped = type(inspect.getattr_static(kind, name)).__module__.startswith("sqlalchemy.orm")
    column = mapper.columns[name]
    return (
        is_mapped
        and mapper.persist_selectable.c.contains_column(column)
        and type(column.type).__module__.startswith("sqlalchemy.")
        and column.type.python_type in _PLAIN_COLUMNS
    )
