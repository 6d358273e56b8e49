"""Guards: code above a private page that lets visitors pass, and need not run again on a hit.

A guard is a decorator above ``@cache.cached(private=True)``, or a ``before_request`` hook. Before
Flask, a hit does not run it. So what it decides has to follow from what the hit checks all the
same: the session and the URL, which are in the key, and rows of watched databases, whose tags the
entry carries. A look at the request is noticed, and a query is, too. Nobody notices a look at the
clock, a file or a global variable, or an effect such as a line in the log.

So the source decides. A guard is skipped only if all that it does, and the functions that it calls,
up to the call of the view, is known here to look at nothing else and to change nothing but ``g``.
What it does with a visitor whom it turns away does not matter: no page is served then. A page
with any other guard is served through Flask.
"""

import ast
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, Literal

import flask
import werkzeug.exceptions
import werkzeug.utils

from .guard_values import NONE, PLAIN, Kind, Values, merged
from .sources import Source, Unproven, is_plain

_ABORTS = (flask.abort, werkzeug.exceptions.abort)
#: What makes a response of its own.
_RESPONSES = (
    flask.jsonify, flask.make_response, flask.redirect, flask.render_template,
    werkzeug.utils.redirect,
)  # fmt: skip
_DEEPEST, _MOST_GUARDS = 5, 10

Role = Literal["guard", "hook", "helper"]


def are_proven(
    hooks: Iterable[Any], outer: Any, view: Any, is_watched: Callable[[object], bool]
) -> bool:
    """Tell whether hooks and the decorators above a view look at nothing that a hit misses.

    :param hooks: ``before_request`` hooks, in their order.
    :param outer: what Flask calls for the view.
    :param is_watched: tells whether the cache watches a database.
    """
    proof = _Proof(view, is_watched)
    try:
        for hook in hooks:
            proof.read(hook, (), "hook")
        for _ in range(_MOST_GUARDS):
            if outer is view:
                return True
            outer = proof.read(outer, None, "guard").inner
    except Exception:
        return False  # What cannot be read is not proven.
    return False


class _Proof:
    """What is known of the guards of one view.

    :ivar on_g: the kinds of what they put on ``g``.
    """

    def __init__(self, view: Any, is_watched: Callable[[object], bool]) -> None:
        self.view, self.is_watched = view, is_watched
        self.on_g: dict[str, Kind] = {}
        self._depth = 0

    def read(self, function: Any, arguments: Sequence[Kind] | None, role: Role) -> "_Function":
        """Read a function's source.

        :param arguments: their kinds; ``None`` are those that Flask calls the view with.
        :raises Unproven: if it does anything that is not known.
        """
        if self._depth == _DEEPEST:
            raise Unproven
        self._depth += 1
        source = Source(function)
        names = source.parameters
        if arguments is None:
            arguments = [PLAIN] * len(names)
        elif not len(arguments) == len(names) == source.code.co_argcount:
            raise Unproven
        read = _Function(self, source, dict(zip(names, arguments, strict=True)), role)
        read.finish()
        self._depth -= 1
        return read

    def returned(self, function: Any, arguments: list[Kind]) -> Kind | None:
        """Return the kind of what another function returns."""
        return self.read(function, arguments, "helper").returned


class _Function:
    """A function that is read statement by statement.

    :ivar inner: of a guard, what it calls for a visitor who may pass.
    :ivar returned: of another function, the kind of what it returns.
    """

    def __init__(
        self, proof: _Proof, source: Source, arguments: dict[str, Kind], role: Role
    ) -> None:
        self._proof, self._source, self._role = proof, source, role
        self._values = Values(source, arguments, proof.on_g, proof.is_watched, proof.returned)
        self.inner: Any = None
        self.returned: Kind | None = None

    def finish(self) -> None:
        """Read the body to its end."""
        falls_off = self._block(self._source.tree.body)
        if self._role == "guard" and (falls_off or self.inner is None):
            raise Unproven
        if self._role == "helper" and falls_off:
            self.returned = merged(self.returned, NONE)

    def _block(self, statements: Iterable[ast.stmt]) -> bool:
        """Read statements; tell whether what comes after them may run."""
        return all(map(self._statement, statements))

    def _statement(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return True
            case ast.If(test=test, body=body, orelse=orelse):
                self._values.kind(test)
                goes_on = [self._branch(body), self._branch(orelse)]
                return any(goes_on)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._values.assign(name, value)
                return True
            case ast.Assign(targets=[ast.Attribute(value=owner, attr=name)], value=value):
                if self._source.find_or_none(owner) is not flask.g:
                    raise Unproven
                self._values.put_on_g(name, value)
                return True
            case ast.Return(value=value) if not self._turns_away([statement]):
                self._return(value)
                return False
        if not self._turns_away([statement]):
            raise Unproven
        return False

    def _branch(self, statements: Sequence[ast.stmt]) -> bool:
        return not self._turns_away(statements) and self._block(statements)

    def _return(self, value: ast.expr | None) -> None:
        """Read how a function lets a visitor pass, or what it returns to another."""
        is_none = value is None or (isinstance(value, ast.Constant) and value.value is None)
        if self._role == "helper":
            kind = NONE if value is None else self._values.kind(value)
            self.returned = merged(self.returned, kind)
        elif self._role == "guard" and isinstance(value, ast.Call):
            inner = self._source.find(value.func)
            if self.inner not in (None, inner) or type(inner) is not FunctionType:
                raise Unproven
            given = [each.value if isinstance(each, ast.Starred) else each for each in value.args]
            self._values.require_plain(*given, *(each.value for each in value.keywords))
            self.inner = inner
        elif self._role != "hook" or not is_none:
            raise Unproven

    # -- visitors who are turned away ----------------------------------------------------

    def _turns_away(self, statements: Sequence[ast.stmt]) -> bool:
        """Tell whether statements end the request without the view, whatever else they do."""
        nodes = [node for statement in statements for node in ast.walk(statement)]
        return (
            self._ends(statements)
            and not any(map(self._leads_on, nodes))
            and all(self._answers(node.value) for node in nodes if isinstance(node, ast.Return))
        )

    def _ends(self, statements: Sequence[ast.stmt]) -> bool:
        match statements[-1] if statements else None:
            case ast.Raise() | ast.Return():
                return True
            case ast.Expr(value=ast.Call(func=function)):
                return self._never_returns(self._source.find_or_none(function))
            case ast.If(body=body, orelse=orelse):
                return self._ends(body) and self._ends(orelse)
        return False

    def _leads_on(self, node: ast.AST) -> bool:
        """Tell whether it names what the guard is around."""
        if not isinstance(node, ast.Name):
            return False
        found = self._source.find_or_none(node)
        return found is self._proof.view or (
            node.id in self._source.closure and not is_plain(found)
        )

    def _never_returns(self, function: Any) -> bool:
        if any(function is each for each in _ABORTS):
            return True
        try:
            source = Source(function)
        except Unproven:
            return False
        # As a helper it can only raise.
        called = _Function(self._proof, source, {}, "helper")
        return called._turns_away(source.tree.body)

    def _answers(self, value: ast.expr | None) -> bool:
        """Tell whether a returned value is a response."""
        match value if self._role != "helper" else None:
            case ast.Constant(value=str() | bytes()) | ast.JoinedStr():
                return True
            case ast.Tuple(elts=[first, *_]):
                return self._answers(first)
            case ast.Call(func=function):
                found = self._source.find_or_none(function)
                return any(found is each for each in (*_RESPONSES, *_ABORTS))
        return False
