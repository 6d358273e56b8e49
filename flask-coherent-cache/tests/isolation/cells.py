"""The cells of the table: where an input is read, what is read, what is cached, how it is used."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

#: Where it is read, in the order in which a request passes.
PLACES = (
    "wsgi_middleware",
    "converter",
    "signal",
    "url_value_preprocessor",
    "before_request",
    "before_app_request",
    "decorator",
    "view",
    "memoized",
    "fragment",
    "template",
    "context_processor",
    "error_handler",
    "after_request",
    "after_this_request",
)
#: What is read. For ``g`` and ``contextvar`` the place reads a header and puts it there.
INPUTS = (
    "header",
    "cookie",
    "query",
    "session",
    "authorization",
    "remote_addr",
    "remote_user",
    "environ",
    "g",
    "contextvar",
    "body",
)
#: What is cached.
LEVELS = ("page", "private_page", "memoized", "fragment")
#: What becomes of what was read:
#:
#: - ``shown``: it is in the answer.
#: - ``declared``: it is in the answer and in the key.
#: - ``unused``: it was read, and nobody uses it.
#: - ``aside``: a hook read it and puts it on ``g``, as was declared; nobody looks there.
#: - ``aside_shown``: the same, and it is in the answer.
USES = ("shown", "declared", "unused", "aside", "aside_shown")
STORES = ("SimpleCache", "RedisCache", "MemcachedCache")
MODES = ("development", "production")

PAGES = frozenset({"page", "private_page"})
#: Hooks that ``influences_only_through`` is tried with.
DECLARABLE = frozenset({"url_value_preprocessor", "before_request", "before_app_request"})
#: What puts an input somewhere instead of reading it there.
PUT = frozenset({"g", "contextvar"})
RESPONSE_HOOKS = frozenset({"after_request", "after_this_request"})
#: Of so many cells in the process, and on a server, the short run has one.
_SAMPLE_IN_PROCESS = 5
_SAMPLE = 31


@dataclass(frozen=True, slots=True)
class Cell:
    """One application and two visitors who differ in one input alone."""

    place: str
    input: str
    level: str
    use: str
    store: str = "SimpleCache"
    mode: str = "production"

    def __str__(self) -> str:
        parts = (self.place, self.input, self.level, self.use, self.store, self.mode)
        return "-".join(parts)

    @property
    def is_page(self) -> bool:
        """Tell whether a whole page is cached."""
        return self.level in PAGES


def skipped(cell: Cell) -> str | None:
    """Say why there is no such cell; ``None`` where there is."""
    return _without_place(cell) or _without_use(cell)


def _without_place(cell: Cell) -> str | None:
    if cell.place == "wsgi_middleware" and cell.input in ("session", "g"):
        return "WSGI middleware has neither a session nor g"
    if cell.place in ("fragment", "template") and cell.input in PUT:
        return "a template puts nothing on g or into a ContextVar"
    if cell.place in RESPONSE_HOOKS and cell.level == "fragment":
        return "nothing is rendered after the view"
    return None


def _without_use(cell: Cell) -> str | None:
    if cell.use == "unused" and cell.place in ("memoized", "fragment", "template"):
        return "what they read is part of what they make"
    if cell.use == "declared":
        return _undeclarable(cell)
    if cell.use in ("aside", "aside_shown"):
        return _without_declared_hook(cell)
    return None


def _undeclarable(cell: Cell) -> str | None:
    if not cell.is_page:
        return "it is read inside, where no argument holds it" if _reads_inside(cell) else None
    if cell.input == "body":
        return "nothing declares the body of a GET"
    if cell.level == "private_page" and cell.input in ("session", "authorization"):
        return "private=True declares them, and they are shown"
    if cell.place == "wsgi_middleware" and cell.input == "contextvar":
        return "nothing declares the value of a ContextVar"
    return None


def _reads_inside(cell: Cell) -> bool:
    """Tell whether the place is a part of the memoized function or of the fragment."""
    inside = {"memoized", "fragment"}
    if cell.level == "memoized":
        inside |= {"template", "context_processor", "after_this_request"}
    return cell.place in inside


def _without_declared_hook(cell: Cell) -> str | None:
    if cell.place == "wsgi_middleware" and cell.input == "contextvar":
        return "that declaration would be false" if cell.use == "aside_shown" else None
    if cell.place not in DECLARABLE:
        return "no hook to declare"
    if cell.input == "contextvar":
        return "a declared hook writes to g, not into a ContextVar"
    return None


def _combinations() -> Iterator[Cell]:
    for place, read, level, use in product(PLACES, INPUTS, LEVELS, USES):
        yield Cell(place, read, level, use)


#: The cells, whatever the store and the mode.
CELLS = [cell for cell in _combinations() if skipped(cell) is None]
#: How many cells there are not, by the reason.
SKIPPED = Counter(reason for cell in _combinations() if (reason := skipped(cell)))


def all_cells() -> Iterator[tuple[Cell, bool]]:
    """Yield each cell with each store and mode, and whether it is in the short run."""
    for number, (store, mode, cell) in enumerate(product(STORES, MODES, CELLS)):
        whole = Cell(cell.place, cell.input, cell.level, cell.use, store, mode)
        every = _SAMPLE_IN_PROCESS if store == "SimpleCache" else _SAMPLE
        yield whole, number % every == 0
