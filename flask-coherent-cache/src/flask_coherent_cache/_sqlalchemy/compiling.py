"""What a statement renders, noted by a subclass of the dialect's own compiler.

Walking a statement would miss what compiling adds: the ON clause of ``select(a).join(b)``, loader
criteria, nested joins of the ORM. Everything in the SQL was rendered, so it was noted.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Dialect, Table
from sqlalchemy.ext import compiler as extension
from sqlalchemy.sql import functions, selectable, visitors
from sqlalchemy.sql.elements import Grouping, Label, TextClause
from sqlalchemy.sql.selectable import TableClause

from .expressions import is_of_one_row

COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
#: The parts of SQL that name nothing.
COMMENTS_AND_QUOTES = re.compile(
    r"""/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*\"""", re.DOTALL
)
#: Text without one of these reads no table, unless it calls a function or is in FROM.
_READING = re.compile(
    r"\b(SELECT|FROM|JOIN|TABLE|USING|INTO|WITH|VALUES|EXECUTE|CALL)\b", re.IGNORECASE
)
_DISTINCT_FROM = re.compile(r"\bIS\s+(NOT\s+)?DISTINCT\s+FROM\b", re.IGNORECASE)
_CALL = re.compile(r"(\w+)\"?\s*\(")


def called_in(sql: str) -> set[str]:
    """Return the names of the functions that SQL calls, in lower case."""
    return {name.lower() for name in _CALL.findall(sql)}


@dataclass(slots=True)
class Role:
    """A table as one element of the outermost SELECT's FROM, by itself or under an alias.

    :param shown: the names of the columns that only the rows themselves show.
    :param deciding: of those that decide which rows there are, or their order.
    :param at: where the result has a column.
    :param nullable: whether an outer join may leave it out.
    """

    table: Table
    shown: set[str] = field(default_factory=set)
    deciding: set[str] = field(default_factory=set)
    at: dict[str, int] = field(default_factory=dict)
    nullable: bool = False


@dataclass(slots=True)
class Notes:
    """What one compilation rendered."""

    #: Each table as often as it was rendered, in FROM or as what is written.
    sources: list[TableClause] = field(default_factory=list)
    #: What may read tables that cannot be named: texts, and names of constructs.
    unknown: dict[str, None] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)  # Their names, in lower case.
    #: Each INSERT, UPDATE and DELETE, and whether it is the outermost statement.
    writes: list[tuple[Any, bool]] = field(default_factory=list)
    raw: bool = False  # Whether the statement is nothing but text.
    custom: bool = False  # Whether the outermost statement is a construct of the application.
    roles: dict[tuple[str, str | None], Role] = field(default_factory=dict)
    #: What is rendered in other SELECTs than the outermost one: tables, and their columns.
    nested: set[TableClause] = field(default_factory=set)
    columns: set[tuple[Table, str]] = field(default_factory=set)
    opaque: bool = False  # Whether it names columns that nobody can see.
    showing: bool = False  # Whether an expression of one row is rendered, to be shown.
    counting: int = 0  # How many calls of count are around what is rendered.

    def text(self, text: str, *, in_from: bool = False) -> None:
        """Note text inside a statement."""
        bare = _DISTINCT_FROM.sub(" ", COMMENTS_AND_QUOTES.sub(" ", text))
        self.functions |= called_in(text)
        # A comment can be for the server: ``/*! … */``.
        if in_from or _READING.search(bare) or "/*!" in text:
            self.unknown[text] = None


_ALIASES = (selectable.Alias, selectable.TableSample, selectable.FromGrouping)


def table_of(from_: Any) -> Any:
    """Return the table that an element of FROM is, or an alias of; ``None`` of anything derived."""
    while isinstance(from_, _ALIASES):
        from_ = from_.element
    return from_ if isinstance(from_, Table) else None


def role_key(from_: Any) -> tuple[str, str | None]:
    """Return what tells a table or an alias from the others of a FROM."""
    table = table_of(from_)
    return table.fullname, None if isinstance(from_, Table) else str(from_.name)


#: Elements of FROM whose columns are rendered where they are derived.
_DERIVED = (
    *(selectable.Subquery, selectable.CTE, selectable.Lateral, selectable.SelectBase),
    *(selectable.TableValuedAlias, selectable.Values, selectable.Alias),
)


#: Any dialect's own, which comes after :class:`Noting`.
_Compiler: Any = object


class Noting(_Compiler):  # type: ignore[misc]
    """Comes before a dialect's own compiler, and notes what that renders."""

    @property
    def notes(self) -> Notes:
        """What was rendered so far; the compiler begins to render in its constructor."""
        found: Notes | None = self.__dict__.get("_notes")
        if found is None:
            found = self.__dict__["_notes"] = Notes()
        return found

    def visit_table(self, table: Any, asfrom: bool = False, **kwargs: Any) -> Any:
        if asfrom or kwargs.get("within_tstring"):
            self.notes.sources.append(table)
            if len(self.stack) != 1 or "compile_state" not in self.stack[0]:
                self.notes.nested.add(table)
        return super().visit_table(table, asfrom=asfrom, **kwargs)

    def visit_insert(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self.notes.sources.append(statement.table)  # The other two render theirs.
        self.notes.writes.append((statement, not self.stack))
        return super().visit_insert(statement, *args, **kwargs)

    def visit_update(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self.notes.writes.append((statement, not self.stack))
        return super().visit_update(statement, *args, **kwargs)

    def visit_delete(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self.notes.writes.append((statement, not self.stack))
        return super().visit_delete(statement, *args, **kwargs)

    def visit_function(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        notes = self.notes
        notes.functions.add(func.name.lower())
        is_count = isinstance(func, functions.count)
        notes.counting += is_count
        try:
            return super().visit_function(func, *args, **kwargs)
        finally:
            notes.counting -= is_count

    # -- columns

    def visit_column(self, column: Any, *args: Any, **kwargs: Any) -> Any:
        notes = self.notes
        if column.is_literal:
            notes.text(column.name)
            # A number in ORDER BY is a position, and "*" is every column.
            harmless = kwargs.get("within_columns_clause") and column.name.isdecimal()
            notes.opaque |= not (harmless or (column.name == "*" and notes.counting))
        else:
            self._note_column(column)
        return super().visit_column(column, *args, **kwargs)

    def _note_column(self, column: Any) -> None:
        notes, table = self.notes, table_of(column.table)
        if table is None:
            notes.opaque |= not isinstance(column.table, _DERIVED)
            return
        # An alias has the keys of its table; a column under a label of its own has base columns.
        own = table.c.get(column.key)
        names = {own.name} if own is not None else {each.name for each in column.base_columns}
        if len(self.stack) != 1:
            notes.columns.update((table, name) for name in names)
            return
        role = notes.roles.setdefault(role_key(column.table), Role(table))
        (role.shown if notes.showing else role.deciding).update(names)

    def _label_select_column(
        self, select: Any, column: Any, populate_result_map: bool, *args: Any, **kwargs: Any
    ) -> Any:
        """Note where the result has a column, and whether it shows no more than one row."""
        notes = self.notes
        of = (select, column, populate_result_map, *args)
        if len(self.stack) != 1 or notes.showing:
            return super()._label_select_column(*of, **kwargs)
        plain: Any = column
        while isinstance(plain, Label | Grouping):
            plain = plain.element
        table = table_of(plain.table) if isinstance(plain, Column) else None
        if table is not None and populate_result_map:
            own = table.c.get(plain.key)
            if own is not None and not plain.type.dialect_impl(self.dialect)._has_column_expression:
                role = notes.roles.setdefault(role_key(plain.table), Role(table))
                role.at.setdefault(own.name, len(self._result_columns))
        notes.showing = is_of_one_row(column)
        try:
            return super()._label_select_column(*of, **kwargs)
        finally:
            notes.showing = False

    def visit_label(self, label: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("render_label_as_label") is label:
            # ORDER BY and GROUP BY render no more than its name.
            for element in visitors.iterate(label.element):  # type: ignore[union-attr]
                if isinstance(element, Column):
                    self._note_column(element)
        return super().visit_label(label, *args, **kwargs)

    def visit_table_valued_column(self, *args: Any, **kwargs: Any) -> Any:
        self.notes.opaque = True
        return super().visit_table_valued_column(*args, **kwargs)

    # -- text in a statement, or as one

    def visit_custom_op_binary(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self._note_operator(operator.opstring)
        return super().visit_custom_op_binary(element, operator, **kwargs)

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self._note_operator(operator.opstring)
        return super().visit_custom_op_unary_operator(element, operator, **kwargs)

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self._note_operator(operator.opstring)
        return super().visit_custom_op_unary_modifier(element, operator, **kwargs)

    def visit_textclause(self, clause: Any, *args: Any, **kwargs: Any) -> Any:
        self._note_text(clause.text, in_from=bool(kwargs.get("asfrom")))
        return super().visit_textclause(clause, *args, **kwargs)

    def visit_tstring(self, element: Any, *args: Any, **kwargs: Any) -> Any:
        self._note_text(str(element), in_from=bool(kwargs.get("asfrom")))
        return super().visit_tstring(element, *args, **kwargs)

    def visit_textual_select(self, select: Any, *args: Any, **kwargs: Any) -> Any:
        self._note_text(str(select.element), in_from=True)
        return super().visit_textual_select(select, *args, **kwargs)

    def _generate_prefixes(self, stmt: Any, prefixes: Any, **kwargs: Any) -> Any:
        for prefix, dialect in prefixes:
            if dialect in (None, "*", self.dialect.name) and isinstance(prefix, TextClause):
                self._note_more(prefix.text)
        return super()._generate_prefixes(stmt, prefixes, **kwargs)

    def get_from_hint_text(self, table: Any, text: Any) -> Any:
        self._note_more(str(text))
        return super().get_from_hint_text(table, text)

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        for text in hint_texts:
            self._note_more(str(text))
        return super().get_statement_hint_text(hint_texts)

    def _note_operator(self, text: str) -> None:
        # A sign, such as "->>", names nothing.
        self.notes.opaque |= re.search(r"\w", text) is not None
        self.notes.text(text)

    def _note_text(self, text: str, *, in_from: bool) -> None:
        self.notes.opaque = True
        if not self.stack:
            self.notes.raw = True
        elif not self.notes.raw:
            self.notes.text(text, in_from=in_from)

    def _note_more(self, text: str) -> None:
        """Note text that may continue FROM with another table."""
        self.notes.opaque = True
        self.notes.text(text, in_from="," in text)


def note_what_is_rendered(dialect: Dialect) -> None:
    """Have a dialect's statements compiled by a subclass of its compiler that notes."""
    base: Any = dialect.statement_compiler
    if not issubclass(base, Noting):
        dialect.statement_compiler = type(f"Noting{base.__name__}", (Noting, base), {})


def _note_constructs() -> None:
    """Note constructs of the application (``@compiles``): what they render is text."""
    dispatcher: Any = extension._dispatcher
    render = dispatcher.__call__

    def noting(self: Any, element: Any, compiler: Any, **kwargs: Any) -> Any:
        if isinstance(compiler, Noting):
            compiler.notes.unknown[type(element).__name__] = None
            compiler.notes.custom |= not compiler.stack
        return render(self, element, compiler, **kwargs)

    dispatcher.__call__ = noting


_note_constructs()
