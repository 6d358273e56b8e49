"""A visit to a cached view, and what ``cached`` was told about the view."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .._dependencies.fillings import Filling, Kind
from .._dependencies.inputs import Declared, Input
from .._dependencies.noticed import Noticed
from .._engine.engine import CacheEngine
from .._functions.functions import refuse_undeclared
from .._options import Options
from .._statistics.statistics import Lookups
from ..negotiation import accepts_gzip
from .pages import Page

#: Where the environment tells the page middleware which page answered the request: its key, the
#: headers in the key, where its lookups are counted, the user in the key of a private page, and the
#: tags that the page has to carry. Only if the page stands alone.
ANSWERED = "caching.answered_with"


@dataclass(slots=True)
class PageOptions:
    """What ``cached`` was told about a view, beside the options of functions.

    :param private: ``True``: an entry per session; or a callable that names the user.
    :param custom_key: replaces the path in the key, and with ``whole_key`` the query, too.
    :param key_inputs: the inputs that it was made from.
    :param cache_control: what caches in front may do, if the view does not say it.
    :param gives_value: whether something other than Flask called the view, and gets its value.
    :param stands_alone: tells whether such a page depends on its key alone, and no code of the
        application runs around its view.
    """

    declared: Declared
    private: bool | Callable[[], object]
    not_found_timeout: int | None
    custom_key: str | None
    key_inputs: frozenset[Input]
    whole_key: bool
    hit_indication: bool
    cache_control: str
    gives_value: bool
    stands_alone: Callable[[], bool]

    @property
    def knows_visitor(self) -> bool:
        """Tell whether the key holds what only the visitor's own request can say."""
        declared = self.declared
        return bool(self.private or self.key_inputs or declared.cookies or declared.environ)


@dataclass(slots=True)
class PageVisit:
    """A request to a cached view, and the key of the page that answers it.

    :param call: calls the view.
    :param environ: the environment of the request, whose reads are not noticed.
    :param endpoint: of the view.
    :param tags: names what its page belongs to.
    :param key_inputs: the inputs in the key beside the declared ones.
    :param user: a digest of the name of a private page's user.
    :param page: what the view's response became, if this request filled the page.
    :param is_own_response: whether nobody but this request has the response of its fill.
    """

    engine: CacheEngine
    call: Callable[[], Any]
    options: Options
    page_options: PageOptions
    lookups: Lookups
    noticed: Noticed
    environ: dict[str, Any]
    endpoint: str
    tags: Callable[[], Iterable[str]]
    key_inputs: frozenset[Input] = frozenset()
    user: str = ""
    key: str = ""
    page: Page | None = None
    is_own_response: bool = False

    @property
    def view_name(self) -> str:
        """What messages call the view."""
        return f"The view {self.endpoint}"

    @property
    def is_safe(self) -> bool:
        """Tell whether a page may answer its method."""
        return self.environ["REQUEST_METHOD"] in ("GET", "HEAD")

    @property
    def accepts_gzip(self) -> bool:
        """Tell whether the client prefers a compressed page."""
        return accepts_gzip(self.environ.get("HTTP_ACCEPT_ENCODING", ""))

    def holds_all_read(self) -> bool:
        """Tell whether its key holds all that counts of what was read before the view."""
        declared, key_inputs = self.page_options.declared, self.key_inputs
        counted = self.noticed.counted
        return all(declared.holds(what) or what in key_inputs for what in counted)

    def filling(self) -> Filling:
        """Make what notes the reads of a fill."""
        kind: Kind = "page of a user" if callable(self.page_options.private) else "page"
        return Filling(self.view_name, self.page_options.declared, kind, self.key_inputs)

    def refuse(self, reason: str, message: str = "", *, about: str = "", place: str = "") -> str:
        """Note that no page is stored, and return the reason; see :meth:`CacheEngine.refuse`.

        :param about: what it is about in detail, which ``Cache-Status`` does not say.
        """
        self.engine.refuse(self.lookups, f"{reason}: {about}" if about else reason, message, place)
        return reason

    def refuse_undeclared(self, filling: Filling) -> str | None:
        """Refuse a fill that depends on an input outside its key; return the reason."""
        return refuse_undeclared(self.engine, filling, self.noticed, self.lookups)
