"""What raw SQL does, as far as a glance at its text can tell."""

import re

from .catalog import Tables
from .compiling import COMMENTS, COMMENTS_AND_QUOTES
from .statements import Statement, Write

#: What raw SQL begins with where it writes nothing.
_READING = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "SHOW", "SET", "RESET", "PRAGMA", "ANALYZE"}
    | {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "DECLARE", "FETCH", "CLOSE"}
    | {"LOCK", "LISTEN", "UNLISTEN", "NOTIFY", "TABLE", "USE", "DESCRIBE"}
)
_WRITING = re.compile(r"\b(INSERT|(?<!FOR )UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
#: What raw SQL writes, by name.
_TARGET = re.compile(
    r"\b(?:INTO|UPDATE|FROM|TABLE|VIEW)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+|ONLY\s+)?"
    r"""((?:["`\[]?\w+["`\]]?\.)?["`\[]?\w+["`\]]?)""",
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
    """Tell what raw SQL reads and writes, as far as it names tables that are known."""
    does = text_does(sql)
    if not does:
        return Statement(raw=True)
    named = tables.mentioned(sql)
    if does == "reads":
        return Statement(tables=frozenset(named), raw=True)
    bare = COMMENTS.sub(" ", sql).lstrip(" \t\r\n(")
    alters = _ALTERING.match(bare) is not None
    named += [table for name in _TARGET.findall(bare) for table in tables.find(_unquoted(name))]
    return Statement(
        writes=tuple(Write(table, "any") for table in dict.fromkeys(named)),
        everything=not named or _ANYTHING.match(bare) is not None,
        raw=True,
        alters=alters,
    )


def text_does(sql: str) -> str:
    """Tell whether raw SQL ``"reads"`` or ``"writes"``; the empty text where it does neither."""
    bare = COMMENTS_AND_QUOTES.sub(" ", sql).lstrip(" \t\r\n(")
    verb = (re.match(r"\w*", bare) or [""])[0].upper()
    if (verb not in _READING and verb != "WITH") or (verb == "WITH" and _WRITING.search(bare)):
        return "writes"
    return "reads" if verb in ("SELECT", "WITH") else ""


def moves_schemas(sql: str, parameters: object) -> bool:
    """Tell whether SQL changes what a table's name means on its connection."""
    by_function = "set_config" in sql and _MOVING.search(str(parameters)) is not None
    return by_function or _MOVING.search(sql) is not None


def _unquoted(name: str) -> str:
    return re.sub(r'["`\[\]]', "", name)
