"""What the database means by a name: tables in their schemas, views, triggers, functions.

A table has names for reads and names for writes. A read depends on each of the former, a write
bumps each of the latter, so that two spellings of one table meet.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Dialect, ForeignKeyConstraint, MetaData, String, Table
from sqlalchemy.orm import mapperlib
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.inputs import report_once

#: Default schemas, which are seldom written out.
_UNNAMED = frozenset({None, "public", "main"})
#: Databases in which letter case tells no names apart, of tables on some systems only.
_FOLDING = ("sqlite", "mysql", "mariadb")
_ATTEMPTS = 3
_OBJECTS = {
    "sqlite": """
        WITH found AS ({found})
        SELECT CASE type WHEN 'trigger' THEN 'trigger' ELSE 'view' END, tbl_name, NULL FROM found
        WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'
        UNION ALL SELECT 'collated', tbl_name, NULL FROM found WHERE sql LIKE '%COLLATE%'
        UNION ALL SELECT 'replacing', tbl_name, NULL FROM found
        WHERE sql LIKE '%CONFLICT%REPLACE%'
        UNION ALL SELECT 'generated', tbl_name, x.name FROM found
        JOIN pragma_table_xinfo(tbl_name) x ON x.hidden IN (2, 3) WHERE found.type = 'table'""",
    "postgresql": """
        SELECT 'view', relname, NULL FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('v', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')
        UNION ALL SELECT 'trigger', c.relname, NULL FROM pg_class c
        WHERE EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
        OR EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN')
        UNION ALL SELECT 'part', p.relname, c.relname FROM pg_inherits
        JOIN pg_class p ON p.oid = inhparent JOIN pg_class c ON c.oid = inhrelid
        WHERE p.relkind IN ('r', 'p')
        UNION ALL SELECT 'collated', relname, NULL FROM pg_class c
        JOIN pg_attribute ON attrelid = c.oid JOIN pg_type t ON t.oid = atttypid
        LEFT JOIN pg_collation l ON l.oid = attcollation
        WHERE relkind IN ('r', 'p') AND attnum > 0
        AND (typname IN ('citext', 'bpchar') OR to_jsonb(l) ->> 'collisdeterministic' = 'false')
        UNION ALL SELECT 'generated', relname, attname FROM pg_class c
        JOIN pg_attribute a ON attrelid = c.oid
        WHERE relkind IN ('r', 'p') AND attnum > 0 AND to_jsonb(a) ->> 'attgenerated' <> ''
        UNION ALL SELECT CASE provolatile WHEN 'v' THEN 'volatile' ELSE 'function' END,
        proname, NULL
        FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND provolatile <> 'i'
        AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
    "mysql": """
        SELECT 'view', table_name, NULL FROM information_schema.views
        WHERE table_schema NOT IN ('sys', 'mysql')
        UNION ALL SELECT 'trigger', event_object_table, NULL FROM information_schema.triggers
        WHERE trigger_schema <> 'sys'
        UNION ALL SELECT 'generated', table_name, column_name FROM information_schema.columns
        WHERE table_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema')
        AND (extra LIKE '%GENERATED%' OR extra LIKE '%on update%')
        UNION ALL SELECT CASE sql_data_access WHEN 'READS SQL DATA' THEN 'function'
        ELSE 'volatile' END, routine_name, NULL FROM information_schema.routines
        WHERE routine_type = 'FUNCTION' AND sql_data_access <> 'NO SQL'
        AND routine_schema <> 'sys'""",
}


def _sqlite_masters(cursor: Any, dialect: str) -> str:
    """Return a query for the objects of all databases that a SQLite connection has attached."""
    if dialect != "sqlite":
        return ""
    cursor.execute("PRAGMA database_list")
    names = {"temp", *(row[1] for row in cursor.fetchall())}
    quoted = ['"' + name.replace('"', '""') + '"' for name in sorted(names)]
    return " UNION ALL ".join(f"SELECT * FROM {name}.sqlite_master" for name in quoted)  # noqa: S608


@dataclass(slots=True)
class Resolved:
    """What a statement came to, worked out once; ``None`` until then."""

    reads: Any = None  # The plan of what it depends on.
    writes: set[str] | None = None  # The tags that it bumps, whatever its parameters.
    named: Any = None  # What its parameters name.


class Tables:
    """The tables of an engine's database, as far as a process knows them."""

    def __init__(self, dialect: Dialect, metadatas: Iterable[MetaData]) -> None:
        self._dialect = dialect
        self.dialect_name = dialect.name
        self._given = metadatas
        self._met: WeakSet[MetaData] = WeakSet()
        self._read: set[str] = set()
        #: Names of views, of tables with triggers, and of functions; ``None`` until they are known.
        self._objects: dict[str, set[str]] | None = None
        self._parts: dict[str, set[str]] = {}
        #: Columns that the database computes, of tables and by names in lower case.
        self._generated: dict[str, set[str]] = {}
        #: Whether reads are to depend on parts of tables.
        self.narrow = True
        self._attempts = 0
        self._resolved: WeakKeyDictionary[Any, Resolved] = WeakKeyDictionary()
        self._counted: object = None

    # -- what statements came to

    def resolved(self, statement: Any) -> Resolved:
        """Return what is known of a statement, until the database's objects change."""
        found = self._resolved.get(statement)
        if found is None:
            found = self._resolved[statement] = Resolved()
        return found

    def refresh_writes(self) -> None:
        """Forget what statements write if a table was defined since: it may refer to theirs."""
        counted = {(id(metadata), len(metadata.tables)) for metadata in self._metadatas()}
        if counted != self._counted:
            self._counted = counted
            for known in list(self._resolved.values()):
                known.writes = None

    # -- names

    def names(
        self, table: TableClause, translate: Mapping[Any, Any] | None, *, written: bool = False
    ) -> set[str]:
        """Return the names of a table for reads, or those for writes.

        :param translate: the ``schema_translate_map`` of an execution.
        """
        if isinstance(table, Table):
            self._met.add(table.metadata)
        mapped = translate if getattr(table, "_use_schema_map", False) else None
        schema: Any = table.schema if mapped is None else mapped.get(table.schema, table.schema)
        found = self._names(schema, table.name, written=written)
        if not mapped:
            found.add(table.fullname)  # As it is spelled where it is named by hand.
        if not written:
            self._read |= found
        return found

    def _names(self, schema: str | None, name: str, *, written: bool) -> set[str]:
        schema, name = self._folded(schema), self._folded(name) or ""
        default = self._folded(self._dialect.default_schema_name)
        if schema is None or schema == default:
            # Another engine may name what is this one's default.
            return {name} if default in _UNNAMED else {name, f"{default}.{name}"}
        if schema in _UNNAMED:
            return {name, f"{schema}.{name}"}
        # It can be written without its schema, by another engine or after SET search_path.
        return {f"{schema}.{name}"} if written else {f"{schema}.{name}", name}

    def _folded(self, name: str | None) -> str | None:
        """Fold letter case where the database does; MySQL does on some systems."""
        folds = self._dialect.name in _FOLDING
        if name is not None and (folds or getattr(name, "quote", None) is False):
            return name.lower()
        return None if name is None else str(name)

    def every_name(self) -> set[str]:
        """Return the name of each table that this process knows."""
        known = [self.names(table, None, written=True) for table in self._tables()]
        return self._read.union(*known)

    def find(self, name: object) -> list[TableClause]:
        """Return the tables that a declaration names: by a text, a table, or a mapped class."""
        table = getattr(name, "__table__", name)
        if isinstance(table, TableClause):
            return [table]
        schema, _, bare = str(name).rpartition(".")
        wanted = self._names(schema or None, bare, written=True)
        return [*self._named(wanted)] or [TableClause(bare, schema=schema or None)]

    def declared(self, table: TableClause, what: str) -> list[TableClause] | None:
        """Return what a table's ``info`` says that it ``"reads"`` or ``"writes"``, if it does.

        It may be declared where the table is mapped another time.
        """
        others = self._named(self.names(table, None))
        for info in (getattr(each, "info", {}) for each in chain([table], others)):
            if what in info:
                return [each for name in info[what] for each in self.find(name)]
        return None

    def mentioned(self, sql: str) -> list[TableClause]:
        """Return the known tables whose names are in a text."""
        sql = sql.lower()
        words = set(re.findall(r"\w+", sql))
        # A name in quotes can have spaces.
        return [
            table
            for table in self._tables()
            if (name := table.name.lower()) in words or (re.search(r"\W", name) and name in sql)
        ]

    def referring(
        self, names: set[str], translate: Mapping[Any, Any] | None
    ) -> Iterator[ForeignKeyConstraint]:
        """Yield the foreign keys of all known tables that refer to a table."""
        for table in self._tables():
            for key in table.foreign_key_constraints:
                schema, _, name = key.elements[0].target_fullname.rpartition(".")[0].rpartition(".")
                target: Any = schema or None
                if translate:
                    target = translate.get(target, target)
                if not names.isdisjoint(self._names(target, name, written=False)):
                    yield key

    # -- parts of a table

    def can_name_rows(self, table: Table) -> bool:
        """Tell whether the rows of a table are its own, and no other table's."""
        return not (
            self.parts(table)
            or self.is_a("view", table.name)
            or self.declared(table, "reads") is not None
        )

    def narrow_if(self, narrow: bool) -> None:
        """Have reads depend on parts of tables, or on whole ones."""
        if narrow is not self.narrow:
            self.narrow = narrow
            self._resolved.clear()

    @property
    def knows_objects(self) -> bool:
        """Whether the database has told of its triggers and computed columns."""
        return bool(self._objects)

    def folded_column(self, name: str) -> str:
        """Return the name of a column as all spellings of it have it."""
        return name.lower() if self._dialect.name in _FOLDING else str(name)

    def generated(self, table: Table, names: set[str]) -> set[str]:
        """Return the columns that the database computes when others of the row are set."""
        found = set(self._generated.get(table.name.lower(), ()))
        for each in {table, *self._named(names)}:
            found |= {c.name for c in each.c if c.computed is not None or c.server_onupdate}
        return set(map(self.folded_column, found))

    def _named(self, names: set[str]) -> Iterator[Table]:
        return (t for t in self._tables() if not names.isdisjoint(self.names(t, None)))

    def _tables(self) -> Iterator[Table]:
        for metadata in self._metadatas():
            yield from list(metadata.tables.values())

    def _metadatas(self) -> set[MetaData]:
        mapped = [registry.metadata for registry in mapperlib._all_registries()]
        return {*self._given, *mapped, *self._met}

    # -- what the database has

    def learn(self, connection: Any) -> None:
        """Ask the database for its views, triggers and functions, unless they are known.

        :param connection: SQLAlchemy's.
        """
        if self._objects is not None:
            return
        name = "mysql" if self._dialect.name == "mariadb" else self._dialect.name
        if name not in _OBJECTS:
            self._objects = {}
            return
        objects: dict[str, set[str]] = {}
        parts: dict[str, set[str]] = {}
        generated: dict[str, set[str]] = {}
        cursor = connection.connection.cursor()
        try:
            cursor.execute(_OBJECTS[name].format(found=_sqlite_masters(cursor, name)))
            for kind, bare, part in cursor.fetchall():
                if kind == "part":
                    parts.setdefault(bare.lower(), set()).add(part)
                    parts.setdefault(part.lower(), set()).add(bare)
                elif kind == "generated":
                    generated.setdefault(bare.lower(), set()).add(part)
                else:
                    objects.setdefault(kind, set()).add(bare.lower())
            objects["known"] = set()
            self._objects, self._parts, self._generated = objects, parts, generated
        except self._dialect.loaded_dbapi.Error as error:
            # In a transaction that has failed nothing can be asked; the next one may answer.
            self._attempts += 1
            self._objects = None if self._attempts < _ATTEMPTS else {}
            report_once(f"The cache could not ask the database for its views and triggers: {error}")
        finally:
            cursor.close()

    def forget(self) -> None:
        """Ask again: views, triggers and functions have changed."""
        self._objects = None
        self._resolved.clear()

    def is_a(self, kind: str, name: str) -> bool:
        """Tell whether the database has a view, a table with triggers, or a function of a name."""
        return name.lower() in (self._objects or {}).get(kind, ())

    def is_function(self, name: str) -> bool:
        """Tell whether a function is the application's own, and may read tables."""
        return self.is_a("function", name) or self.is_a("volatile", name)

    def has_many_spellings(self, table: Table) -> bool:
        """Tell whether the database may find a row by another spelling of its key."""
        texts = any(isinstance(column.type, String) for column in table.primary_key)
        return texts and self.is_a("collated", table.name)

    def parts(self, table: TableClause) -> set[str]:
        """Return the names of a table's partitions, or of the table that it is a partition of."""
        return self._parts.get(table.name.lower(), set())
