"""What raw SQL reads and writes, as far as its text shows."""

import re

from sqlalchemy.sql.selectable import TableClause

from .catalog import Tables
from .compiling import COMMENTS, COMMENTS_AND_QUOTES, called_in
from .statements import Statement, Write

#: What raw SQL begins with where it writes nothing.
_READING = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "SHOW", "SET", "RESET", "PRAGMA", "ANALYZE"}
    | {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "DECLARE", "FETCH", "CLOSE"}
    | {"LOCK", "LISTEN", "UNLISTEN", "NOTIFY", "TABLE", "USE", "DESCRIBE"}
)
_WRITING = re.compile(r"\b(INSERT|(?<!FOR )UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
#: The name of a table, also in its schema and in quotes.
_NAME = r"""((?:(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|\w+)\.)?(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|\w+))"""
_ALIAS = r"(?:\s+(?:AS\s+)?\w+)?"
#: What raw SQL reads, by name.
_SOURCES = re.compile(
    rf"\b(?:FROM|JOIN)(?=[\s(]+(?:ONLY\s+)?({_NAME}{_ALIAS}(?:\s*,\s*{_NAME}{_ALIAS})*))",
    re.IGNORECASE,
)
#: What raw SQL writes, by name.
_TARGET = re.compile(
    r"\b(?:INTO|UPDATE|FROM|TABLE|VIEW)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+|ONLY\s+)?" + _NAME,
    re.IGNORECASE,
)
_ALTERING = re.compile(r"(CREATE|ALTER|DROP|TRUNCATE|RENAME)\b", re.IGNORECASE)
#: What can change tables that it does not name.
_ANYTHING = re.compile(
    r"(CALL|DO|EXEC|EXECUTE|DISCARD|IMPORT)\b"
    r"|(CREATE|ALTER|DROP)\s+(?!(UNIQUE\s+)?INDEX|((GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE)",
    re.IGNORECASE,
)
_MOVING = re.compile(r"search_path|\bSET\s+SCHEMA\b|^\s*(USE|ATTACH|DETACH)\b", re.IGNORECASE)


def raw(sql: str, tables: Tables) -> Statement:
    """Analyse raw SQL, as far as it names tables."""
    does = text_does(sql)
    if not does:
        return Statement(raw=True)
    named = tables.mentioned(sql)
    functions = frozenset(called_in(sql))
    bare = COMMENTS.sub(" ", sql).lstrip(" \t\r\n(")
    if does == "reads":
        known = {table.name.lower() for table in named}
        for found in _SOURCES.findall(bare):
            for source in re.finditer(rf"(?:^|,\s*){_NAME}", found[0]):
                schema, _, name = _unquoted(source[1]).rpartition(".")
                if name.lower() not in known:
                    named.append(TableClause(name, schema=schema or None))
        return Statement(tables=frozenset(named), functions=functions, raw=True)
    parts = [part.lstrip() for part in bare.split(";")]
    alters = any(_ALTERING.match(part) for part in parts)
    named += [table for name in _TARGET.findall(bare) for table in tables.find(_unquoted(name))]
    return Statement(
        writes=tuple(Write(table, "any") for table in dict.fromkeys(named)),
        everything=not named or any(_ANYTHING.match(part) for part in parts),
        functions=functions,
        raw=True,
        alters=alters,
    )


def text_does(sql: str) -> str:
    """Tell whether raw SQL ``"reads"`` or ``"writes"``; the empty text where it does neither."""
    # Some drivers take several statements at once, as in a script.
    parts = COMMENTS_AND_QUOTES.sub(" ", sql).split(";")
    return max(map(_one_does, parts), key=("", "reads", "writes").index)


def _one_does(bare: str) -> str:
    bare = bare.lstrip(" \t\r\n(")
    verb = (re.match(r"\w*", bare) or [""])[0].upper()
    if verb in ("WITH", "EXPLAIN"):
        # EXPLAIN ANALYZE runs what it explains.
        return "writes" if _WRITING.search(bare) else "reads"
    if bare and verb not in _READING:
        return "writes"
    return "reads" if verb in ("SELECT", "TABLE") else ""


def commits(sql: str) -> bool:
    """Tell whether raw SQL commits the transaction that other raw SQL has begun."""
    return re.match(r"(COMMIT|END)\b", COMMENTS.sub(" ", sql).lstrip(), re.IGNORECASE) is not None


def moves_schemas(sql: str, parameters: object) -> bool:
    """Tell whether SQL changes what a table's name means on its connection."""
    by_function = "set_config" in sql and _MOVING.search(str(parameters)) is not None
    return by_function or _MOVING.search(sql) is not None


def _unquoted(name: str) -> str:
    """Return a name as the database has it, which folds letter case without quotes."""
    name = name if re.search(r'["`\[]', name) else name.lower()
    return re.sub(r'["`\[\]]', "", name)
