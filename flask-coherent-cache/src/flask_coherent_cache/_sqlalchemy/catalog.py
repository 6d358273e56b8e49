"""What the database means by a name: tables in their schemas, views, triggers, functions.

A table has names to read it by and names to write it by. Whoever reads one carries a tag of each
of the first, whoever writes one bumps each of the second, so that two spellings of one table meet.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Dialect, ForeignKeyConstraint, MetaData, String, Table
from sqlalchemy.orm import mapperlib
from sqlalchemy.sql.selectable import TableClause

from .._dependencies.inputs import report_once

#: What a read of unknown extent depends on: each write bumps it.
DATABASE = "database:*"
#: Schemas that nobody names.
_UNNAMED = frozenset({None, "public", "main"})
_ATTEMPTS = 3
_OBJECTS = {
    "sqlite": """
        WITH found AS ({found})
        SELECT CASE type WHEN 'trigger' THEN 'trigger' ELSE 'view' END, tbl_name, NULL FROM found
        WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'
        UNION ALL SELECT 'collated', tbl_name, NULL FROM found WHERE sql LIKE '%COLLATE%'
        UNION ALL SELECT 'replacing', tbl_name, NULL FROM found
        WHERE sql LIKE '%CONFLICT%REPLACE%'""",
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
        UNION ALL SELECT CASE sql_data_access WHEN 'READS SQL DATA' THEN 'function'
        ELSE 'volatile' END, routine_name, NULL FROM information_schema.routines
        WHERE routine_type = 'FUNCTION' AND sql_data_access <> 'NO SQL'
        AND routine_schema <> 'sys'""",
}


def _sqlite_masters(cursor: Any, dialect: str) -> str:
    """Return what lists the objects of all databases that a connection of SQLite has attached."""
    if dialect != "sqlite":
        return ""
    cursor.execute("PRAGMA database_list")
    names = {"temp", *(row[1] for row in cursor.fetchall())}
    quoted = ['"' + name.replace('"', '""') + '"' for name in sorted(names)]
    return " UNION ALL ".join(f"SELECT * FROM {name}.sqlite_master" for name in quoted)  # noqa: S608


class Tables:
    """The tables of an engine's database, as far as a process knows of them."""

    def __init__(self, dialect: Dialect, metadatas: Iterable[MetaData]) -> None:
        self._dialect = dialect
        self.dialect_name = dialect.name
        self._given = metadatas
        self._met: WeakSet[MetaData] = WeakSet()
        self._read: set[str] = set()
        #: Names of views, of tables with triggers, and of functions; none where not asked yet.
        self._objects: dict[str, set[str]] | None = None
        self._parts: dict[str, set[str]] = {}
        self._attempts = 0
        #: What statements read, until the database's objects change.
        self.resolved: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        #: The names of the tables of lookups; none where no row of it can be depended on.
        self.looked_up: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()
        self._written: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
        self._counted: object = None

    # ------------------------------------------------------------------------------ names

    def names(
        self, table: TableClause, translate: Mapping[Any, Any] | None, *, written: bool = False
    ) -> set[str]:
        """Return the names to read a table by, or those to write it by.

        :param translate: the ``schema_translate_map`` of an execution.
        """
        if isinstance(table, Table):
            self._met.add(table.metadata)
        mapped = translate if getattr(table, "_use_schema_map", False) else None
        schema: Any = table.schema if mapped is None else mapped.get(table.schema, table.schema)
        found = self._names(schema, table.name, written=written)
        # As it is spelled, for whoever names it by hand.
        found |= {table.fullname} if not mapped else set()
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
        folds = self._dialect.name in ("sqlite", "mysql", "mariadb")
        if name is not None and (folds or getattr(name, "quote", None) is False):
            return name.lower()
        return None if name is None else str(name)

    def every_name(self) -> set[str]:
        """Return the name of each table that this process knows of."""
        known = [self.names(table, None, written=True) for table in self._tables()]
        return self._read.union(*known)

    def find(self, name: object) -> list[TableClause]:
        """Return the tables that a declaration names: by a text, a table, or a mapped class."""
        table = getattr(name, "__table__", name)
        if isinstance(table, TableClause):
            return [table]
        schema, _, bare = str(name).rpartition(".")
        wanted = self._names(schema or None, bare, written=True)
        found = [t for t in self._tables() if not wanted.isdisjoint(self.names(t, None))]
        return [*found] or [TableClause(bare, schema=schema or None)]

    def declared(self, table: TableClause, what: str) -> list[TableClause] | None:
        """Return what a table's ``info`` says that it ``"reads"`` or ``"writes"``, if it does.

        It may be declared where the table is mapped another time.
        """
        own = getattr(table, "info", {})
        if what in own:
            return [each for name in own[what] for each in self.find(name)]
        names = self.names(table, None)
        for other in self._tables():
            if what in other.info and not names.isdisjoint(self.names(other, None)):
                return [each for name in other.info[what] for each in self.find(name)]
        return None

    def mentioned(self, sql: str) -> list[TableClause]:
        """Return the known tables whose names are in a text."""
        sql = sql.lower()
        words = set(re.findall(r"\w+", sql))
        tables = [(table, table.name.lower()) for table in self._tables()]
        # A name in quotes can have spaces.
        return [
            table
            for table, name in tables
            if name in words or (re.search(r"\W", name) and name in sql)
        ]

    def _tables(self) -> Iterator[Table]:
        for metadata in self._metadatas():
            yield from list(metadata.tables.values())

    def _metadatas(self) -> set[MetaData]:
        mapped = [registry.metadata for registry in mapperlib._all_registries()]
        return {*self._given, *mapped, *self._met}

    def written(self) -> WeakKeyDictionary[Any, frozenset[str]]:
        """Keep what statements write, until a table or an object of the database is added."""
        counted = {(id(metadata), len(metadata.tables)) for metadata in self._metadatas()}
        if counted != self._counted:
            self._written.clear()
            self._counted = counted
        return self._written

    # ------------------------------------------------------------------------ foreign keys

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

    # --------------------------------------------------------------- what the database has

    def learn(self, connection: Any) -> None:
        """Ask the database for its views, triggers and functions, where it was not asked yet.

        :param connection: SQLAlchemy's.
        """
        if self._objects is not None:
            return
        objects: dict[str, set[str]] = {}
        parts: dict[str, set[str]] = {}
        name = "mysql" if self._dialect.name == "mariadb" else self._dialect.name
        if name not in _OBJECTS:
            self._objects = objects
            return
        cursor = connection.connection.cursor()
        try:
            cursor.execute(_OBJECTS[name].format(found=_sqlite_masters(cursor, name)))
            for kind, bare, part in cursor.fetchall():
                if kind == "part":
                    for one, other in ((bare, part), (part, bare)):
                        parts.setdefault(one.lower(), set()).add(other)
                else:
                    objects.setdefault(kind, set()).add(bare.lower())
            self._objects, self._parts = objects, parts
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
        self.resolved.clear()
        self.looked_up.clear()
        self._written.clear()

    def is_a(self, kind: str, name: str) -> bool:
        """Tell whether the database has a view, or a table with triggers, of a name."""
        return name.lower() in (self._objects or {}).get(kind, ())

    def has_many_spellings(self, table: Table) -> bool:
        """Tell whether the database may find a row by another spelling of its key."""
        texts = any(isinstance(column.type, String) for column in table.primary_key)
        return texts and self.is_a("collated", table.name)

    def is_function(self, name: str) -> bool:
        """Tell whether a function is the application's own, and may read tables."""
        return self.is_a("function", name) or self.is_a("volatile", name)

    def parts(self, table: TableClause) -> set[str]:
        """Return the names of a table's partitions, or of the table that it is a partition of."""
        return self._parts.get(table.name.lower(), set())
