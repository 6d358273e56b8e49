"""The names of what an entry depends on: a table, its rows, its columns, values of a column.

| tag | bumped by |
| --- | --- |
| ``product`` | any write to the table |
| ``product!`` | a write of unknown extent, and ``cache.invalidate("product")`` |
| ``product+``, ``product-`` | a row that came, one that went |
| ``product.price`` | an UPDATE that sets the column |
| ``product:42``, ``product:*`` | an UPDATE or DELETE of the row; of rows that it does not name |
| ``product[shelf_id=7]`` | a row that came with the value, or got it |
| ``product[shelf_id=*]`` | one that came with, or got, a value that is not known |

An entry with ``product!`` depends on parts of the table, each with a tag of its own.
"""

import re
from collections.abc import Container, Iterable

#: Every write to a watched database bumps it: of what is built on reads of unknown extent.
DATABASE = "database:*"
#: The name of NULL in tags of values.
NULL = "NULL"
_VALUE = re.compile(r"(?P<table>.+)\[(?P<column>.+)=(?P<value>[^]]*)\]")
_OWN = {
    "key": "the deletion of one entry",
    "fn": "the deletion of a memoized function's entries",
    "view": "the invalidation of a view's pages",
    "cache": "the clearing of another cache of the application",
}


def whole(tags: Iterable[str]) -> set[str]:
    """Return the tags that are bumped to drop what was built from any part of some tables.

    A tag with a colon is not the name of a table.
    """
    found = set(tags)
    tables = [tag for tag in found if ":" not in tag]
    return found.union(*((f"{table}!", f"{table}:*") for table in tables))


def describe(tag: str, beside: Container[str] = ()) -> str:
    """Say in words which change drops an entry with a tag.

    :param beside: the entry's tags, by which a column is told from a table in a schema.

    ::

        describe("product.price")  # "any change of product.price"
    """
    if tag == DATABASE:
        return "any write to the database"
    if found := _VALUE.fullmatch(tag):
        return _describe_value(**found.groupdict())
    kind, colon, rest = tag.partition(":")
    if colon and kind in _OWN:
        return _OWN[kind]
    if colon:
        if rest == "*":
            return f"a change of {kind} rows that the statement does not name"
        return f"a change or the end of the {kind} row {rest}"
    name, last = tag[:-1], tag[-1:]
    if last in "+-!" and name:
        return {
            "+": f"any new {name} row",
            "-": f"the end of any {name} row",
            "!": f'a write to {name} of unknown extent, or cache.invalidate("{name}")',
        }[last]
    table, dot, _ = tag.rpartition(".")
    if dot and (not beside or f"{table}!" in beside):
        return f"any change of {tag}"
    return f'any write to {tag}, or cache.invalidate("{tag}")'


def _describe_value(table: str, column: str, value: str) -> str:
    if value == "*":
        return f"a {table} row whose {column} is set to a value that is not known"
    if value.startswith("#"):
        return f"a {table} row that comes with, or gets, a {column} like the one that was asked for"
    return f"a {table} row that comes with, or gets, the {column} {value}"
