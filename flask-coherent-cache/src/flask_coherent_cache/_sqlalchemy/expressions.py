"""What an expression may be computed of, and what WHERE compares columns with."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy.sql import elements, functions, operators, selectable, visitors
from sqlalchemy.sql.schema import Column

#: Functions that are computed of one row; any other may be an aggregate.
SCALAR = frozenset(
    {"lower", "upper", "coalesce", "length", "char_length", "abs", "round", "substr", "substring"}
    | {"trim", "ltrim", "rtrim", "replace", "nullif", "concat", "now", "floor", "ceil"}
    | {"current_timestamp", "current_date"}
)
#: What an expression may consist of that is computed of one row.
_OF_ONE_ROW = (
    *(Column, elements.BindParameter, elements.BinaryExpression, elements.UnaryExpression),
    *(elements.Label, elements.Grouping, elements.Case, elements.Cast, elements.TypeCoerce),
    *(elements.Null, elements.True_, elements.False_, elements.BooleanClauseList),
    *(elements.ClauseList, elements.ExpressionClauseList, elements.TypeClause, elements.Extract),
    *(elements.CollationClause, elements.Tuple, functions.FunctionElement),
)


def _may_aggregate(element: Any) -> bool:
    return isinstance(element, functions.FunctionElement) and element.name.lower() not in SCALAR


def is_of_one_row(expression: Any) -> bool:
    """Tell whether an expression is computed of one row of each table, and of nothing else."""
    return all(
        isinstance(element, _OF_ONE_ROW) and not _may_aggregate(element)
        for element in visitors.iterate(expression)
    )


def aggregates(expression: Any, froms: list[Any]) -> bool:
    """Tell whether an expression may make one row of many, also from within a subquery.

    :param froms: the elements of FROM whose rows these are.
    """
    is_function = isinstance(expression, functions.FunctionElement)
    if isinstance(expression, selectable.FromClause) and not is_function:
        return False
    waiting = [(expression, False)]
    while waiting:
        element, inside = waiting.pop()
        if isinstance(element, elements.Over):
            return True
        if _may_aggregate(element):
            columns = [each for each in visitors.iterate(element) if isinstance(each, Column)]
            if not inside or any(column.table in froms for column in columns):
                return True
        inside = inside or isinstance(element, selectable.SelectBase | selectable.Exists)
        waiting += [(child, inside) for child in element.get_children()]
    return False


class Equality(NamedTuple):
    """What WHERE requires of a column: to be equal to a parameter, or to one of a list.

    :param parameter: its name; ``None``: the column is to be NULL.
    """

    column: Column[Any]
    parameter: str | None
    is_list: bool


def equalities(criteria: Iterable[Any], names: Any) -> Iterator[Equality]:
    """Yield what every row has to fulfil.

    :param names: those of the parameters, ``bind_names`` of what is compiled.
    """
    waiting = list(criteria)
    while waiting:
        part = waiting.pop()
        if isinstance(part, elements.Grouping):
            waiting.append(part.element)
        elif isinstance(part, elements.BooleanClauseList) and part.operator is operators.and_:
            waiting += part.clauses
        elif isinstance(part, elements.BinaryExpression):
            yield from _compared(part, names)


def _compared(part: Any, names: Any) -> Iterator[Equality]:
    left, right, operator = part.left, part.right, part.operator
    if operator is operators.eq and not isinstance(left, Column):
        left, right = right, left
    if not isinstance(left, Column):
        return
    if operator is operators.is_ and isinstance(right, elements.Null):
        yield Equality(left, None, False)
    is_list = operator is operators.in_op
    if isinstance(right, elements.Grouping):
        right = right.element
    if not isinstance(right, elements.BindParameter) or right not in names:
        return
    # A type of the application may send another value than was given.
    plain = type(right.type).__module__.startswith("sqlalchemy.")
    if plain and right.expanding == is_list and (is_list or operator is operators.eq):
        yield Equality(left, names[right], is_list)
