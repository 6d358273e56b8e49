"""What a statement renders, noted by a subclass of the dialect's own compiler.

Walking a statement would miss what compiling adds: the ON clause of ``select(a).join(b)``, loader
criteria, nested joins of the ORM. Everything in the SQL was rendered, so it was noted.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.ext import compiler as extension
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.selectable import TableClause

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
class Notes:
    """What one compilation rendered."""

    #: Each table as often as it was rendered, in FROM or as what is written.
    sources: list[TableClause] = field(default_factory=list)
    selects: int = 0
    #: What may read tables that cannot be named: texts, and names of constructs.
    unknown: dict[str, None] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)  # Their names, in lower case.
    #: Each INSERT, UPDATE and DELETE, and whether it is the outermost statement.
    writes: list[tuple[Any, bool]] = field(default_factory=list)
    raw: bool = False  # Whether the statement is nothing but text.
    custom: bool = False  # Whether the outermost statement is a construct of the application.

    def text(self, text: str, *, in_from: bool = False) -> None:
        """Note text inside a statement."""
        bare = _DISTINCT_FROM.sub(" ", COMMENTS_AND_QUOTES.sub(" ", text))
        self.functions |= called_in(text)
        # A comment can be for the server: ``/*! … */``.
        if in_from or _READING.search(bare) or "/*!" in text:
            self.unknown[text] = None


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
        return super().visit_table(table, asfrom=asfrom, **kwargs)

    def visit_select(self, *args: Any, **kwargs: Any) -> Any:
        self.notes.selects += 1
        return super().visit_select(*args, **kwargs)

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
        self.notes.functions.add(func.name.lower())
        return super().visit_function(func, *args, **kwargs)

    # -- text in a statement, or as one

    def visit_column(self, column: Any, *args: Any, **kwargs: Any) -> Any:
        if column.is_literal:
            self.notes.text(column.name)
        return super().visit_column(column, *args, **kwargs)

    def visit_custom_op_binary(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self.notes.text(operator.opstring)
        return super().visit_custom_op_binary(element, operator, **kwargs)

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self.notes.text(operator.opstring)
        return super().visit_custom_op_unary_operator(element, operator, **kwargs)

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **kwargs: Any) -> Any:
        self.notes.text(operator.opstring)
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

    def _note_text(self, text: str, *, in_from: bool) -> None:
        if not self.stack:
            self.notes.raw = True
        elif not self.notes.raw:
            self.notes.text(text, in_from=in_from)

    def _note_more(self, text: str) -> None:
        """Note text that may continue FROM with another table."""
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
