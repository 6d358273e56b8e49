"""The verdict on a cell, from the design alone: it is computed before the cell runs.

A page depends on all that was read since its request began; a memoized function or a fragment
on what was read while it was filled, and on all where it takes from ``g`` or the like. The key
of a fragment holds the variables that it takes from the template around it.
"""

from dataclasses import dataclass

from isolation.cells import PUT, Cell
from isolation.visitors import CARRIED, NAMES

#: Places that leave what they read in a variable of the template around a fragment.
_AROUND = frozenset({"view", "template", "context_processor", "error_handler"})
CACHED, NOT_CACHED, RAISES = "right and cached", "right, not cached", "raises UndeclaredInput"
PUBLIC, PRIVATE = "public", "private"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a cell must come to.

    :param names: any of them must be named as the reason, in lower case.
    :param outside: what a page must say to caches outside; ``None`` is either.
    """

    kind: str
    names: tuple[str, ...] = ()
    outside: str | None = None


def expected(cell: Cell) -> Verdict:
    """Say what becomes of the two visitors of a cell."""
    if cell.mode == "development" and _is_in_inner_fill(cell):
        return Verdict(RAISES, _names(cell))
    if name := _goes_past(cell):
        return Verdict(NOT_CACHED, (name,), _private(cell))
    if cell.place == "after_this_request":
        return Verdict(NOT_CACHED, ("after_this_request",))
    if not _counts(cell) or (_is_in_key(cell) and not _is_in_inner_fill(cell)):
        return Verdict(CACHED, (), _outside(cell))
    if cell.mode == "development" and _is_read_by_own_code(cell):
        return Verdict(RAISES, _names(cell))
    if _is_in_key(cell):
        return Verdict(CACHED, (), _outside(cell))
    return Verdict(NOT_CACHED, _names(cell), _private(cell))


def _goes_past(cell: Cell) -> str | None:
    """Name what sends a request past the page cache before its page is looked up."""
    if not cell.is_page:
        return None
    if cell.input == "body":
        return "body"
    if cell.input == "authorization" and cell.level == "page" and cell.use != "declared":
        return "authorization"
    if cell.input == "authorization" and cell.place == "wsgi_middleware" and cell.level == "page":
        return "authorization"  # What is declared is what the middleware made of it.
    return None


def _counts(cell: Cell) -> bool:
    """Tell whether what was read may be in what is cached."""
    if cell.place == "after_request" and cell.is_page:
        return False  # It runs on hits, too.
    if cell.use == "aside":
        return False
    return cell.use != "unused" or _counts_unused(cell)


def _counts_unused(cell: Cell) -> bool:
    """Tell whether a read counts that nobody uses, because the cache cannot know it."""
    if cell.input == "contextvar":
        return True  # Nobody can watch who looks at it.
    if cell.place == "wsgi_middleware":
        return False  # What it reads for itself does not count.
    if cell.place == "context_processor":
        # Where it writes to g, the names that it returns are not the only way to the template.
        return cell.input == "g" and cell.level != "fragment"
    return cell.is_page


def _is_in_key(cell: Cell) -> bool:
    if cell.use == "declared":
        # A ContextVar can be read beside the argument.
        return cell.is_page or cell.input != "contextvar"
    if cell.level == "fragment" and cell.place in _AROUND and cell.input not in PUT:
        return True  # The key holds the variables that a fragment takes from its template.
    held = cell.level == "private_page" and cell.input in ("session", "authorization")
    return held and cell.place != "wsgi_middleware"


def _is_in_inner_fill(cell: Cell) -> bool:
    """Tell whether a memoized function or a fragment within reads it, which has its own key."""
    return cell.place in ("memoized", "fragment") and cell.place != cell.level


def _is_read_by_own_code(cell: Cell) -> bool:
    """Tell whether the owner's view, function, fragment or template reads it while it fills.

    What takes a name that a declared hook or a context processor left takes over its reads.
    """
    if cell.place == "wsgi_middleware":
        return cell.input != "contextvar"  # It is read from the environment.
    if cell.place == "context_processor":
        return cell.level != "fragment"
    if cell.place in ("view", "error_handler"):
        return cell.is_page
    if cell.place == "template":
        return cell.level != "fragment"
    inside = cell.place in ("memoized", "fragment")
    return inside or cell.use == "aside_shown" or _is_taken_from_the_path(cell)


def _is_taken_from_the_path(cell: Cell) -> bool:
    """Tell whether a function or a fragment reads the arguments of the URL, which pages hold."""
    by_arguments = cell.place in ("converter", "url_value_preprocessor") and cell.use == "shown"
    return by_arguments and not cell.is_page and cell.input not in PUT


def _names(cell: Cell) -> tuple[str, ...]:
    if cell.place == "wsgi_middleware":
        return (NAMES["contextvar"] if cell.input == "contextvar" else CARRIED,)
    if cell.input in PUT:
        return (NAMES["header"], NAMES[cell.input])
    if _is_taken_from_the_path(cell):
        return (NAMES[cell.input], "path")
    return (NAMES[cell.input],)


def _private(cell: Cell) -> str | None:
    return PRIVATE if cell.is_page else None


def _outside(cell: Cell) -> str | None:
    """Say what a cached page tells caches outside, which hold less in their keys."""
    if not cell.is_page or cell.level == "private_page":
        return _private(cell)
    if cell.use == "declared" and cell.place != "wsgi_middleware":
        by_vary = cell.input in ("header", "query", "g", "contextvar")
        return PUBLIC if by_vary else None if cell.input == "cookie" else PRIVATE
    if cell.place == "wsgi_middleware" and cell.use in ("unused", "aside"):
        return PUBLIC
    # A hit renders no template, so then it reads nothing.
    return None if cell.place == "context_processor" else PRIVATE
