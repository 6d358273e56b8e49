"""Hits that are computed again: is an entry what its computation returns now?

The cache checks itself. A share of the hits, ``CACHE_VERIFY``, is computed a second time without
the cache, before the answer leaves. Where the two differ, something went into the entry that its
tags and its key do not hold: the entry is dropped, counted, and named in the log.
"""

import contextvars
import io
import logging
import pickle
import random
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flask import current_app
from flask.globals import request_ctx
from werkzeug.test import run_wsgi_app

from ._dependencies.dependencies import (
    RECOMPUTATION,
    Dependencies,
    current_dependencies,
    replaced_dependencies,
)
from ._dependencies.inputs import Input
from ._dependencies.watching import raw_environ
from ._engine.entry import Entry
from ._functions.values import decode, encode
from ._options import MayDiffer
from ._pages.pages import NOT_COMPARED, Page
from ._statistics.statistics import Lookups

if TYPE_CHECKING:
    from ._engine.engine import CacheEngine

logger = logging.getLogger(__name__)

_NO_PART = ("HTTP_RANGE", "HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH")
_OF_A_CONTEXT = ("caching.", "flask.", "werkzeug.")
#: Found missing, an entry is stale even though such a response would not be stored.
_GONE = frozenset({404, 410})


@dataclass(slots=True)
class Recomputation:
    """What the cache's own request for a page is to find out.

    :param key: of the entry; what has another key is another page.
    :param page: what the view returned; ``None`` where that cannot be compared.
    :param inputs: what it read of the request.
    """

    key: str
    page: Page | None = None
    inputs: Iterable[Input] = ()

    def returned(self, key: str, status: int, page: Page | None, inputs: Iterable[Input]) -> None:
        """Take what the view returned.

        :param page: ``None`` where it must not be stored.
        """
        if key != self.key:
            return
        self.inputs = tuple(inputs)
        self.page = Page(status, (), b"") if page is None and status in _GONE else page


class Verifier:
    """Computes hits again and compares.

    :param share: of the hits, from 0 to 1.
    """

    def __init__(self, entries: "CacheEngine", share: float) -> None:
        self._entries = entries
        self._share = share

    def chooses(self) -> bool:
        """Draw whether a hit is to be computed again."""
        return random.random() < self._share  # noqa: S311 - a sample

    def check_value(
        self,
        key: str,
        entry: Entry,
        compute: Callable[[], Any],
        lookups: Lookups,
        may_differ: MayDiffer,
    ) -> None:
        """Call a function again beside a hit, and compare what it returns with the entry.

        Nothing that it raises reaches the caller, and what it reads counts for nobody else.
        """
        if may_differ is True:
            return
        reads = current_dependencies()
        # What the context read before the entry was begun may be older than the entry.
        if reads.uncommitted or (reads.of(self._entries).started or 0) < (entry.started or 0):
            self._count("set aside", lookups)
            return
        inputs: dict[Input, str] = {}
        try:
            found = _called_apart(reads, compute, inputs)
            where = _difference(entry.value, found, may_differ)
        except Exception:
            self._count("set aside", lookups)
            return
        self._conclude(key, entry, lookups, where, inputs)

    def check_page(self, key: str, entry: Entry, lookups: Lookups, may_differ: MayDiffer) -> None:
        """Answer the current request again without the cache, and compare the page.

        It is answered in another thread, so that it shares no context and no session.
        """
        if may_differ is True:
            return
        wanted = Recomputation(key)
        where: str | None = None
        try:
            _answer_again(_environ_again(raw_environ(request_ctx.request)), wanted)
            if wanted.page is not None:
                where = _page_difference(Page.decode(entry.value), wanted.page, may_differ)
        except Exception:
            wanted.page = None
        if wanted.page is None:
            self._count("set aside", lookups)
        else:
            self._conclude(key, entry, lookups, where, wanted.inputs)

    def _conclude(
        self,
        key: str,
        entry: Entry,
        lookups: Lookups,
        where: str | None,
        inputs: Iterable[Input],
    ) -> None:
        """Count a comparison, which only says something if the entry is valid until its end.

        :param where: the first difference; ``None`` where there is none.
        """
        if not self._entries.still_holds(key, entry):
            self._count("set aside", lookups)
            return
        self._count("compared", lookups)
        if where is None:
            return
        self._count("different", lookups)
        self._entries.delete([key])
        logger.warning(
            "CACHE_VERIFY: the %s %s differs from what is computed now, at %s. Its entry was "
            "dropped. Key: %s. Tags: %s. Read of the request: %s. Either something that it "
            "depends on is neither in its key nor a tag, or it differs each time: then say so with "
            "may_differ=….",
            lookups.level,
            lookups.name,
            where,
            ascii(key),
            ascii(", ".join(entry.tags)),
            ascii(", ".join(sorted(map(str, inputs))) or "nothing"),
        )

    def _count(
        self, outcome: Literal["compared", "set aside", "different"], lookups: Lookups
    ) -> None:
        self._entries.statistics.verified_hit(outcome, lookups)


# -- functions -------------------------------------------------------------------------------


def _called_apart(
    reads: Dependencies, compute: Callable[[], Any], inputs: dict[Input, str]
) -> bytes:
    """Call a function as if nobody was being answered, and encode what it returns.

    :param inputs: gets what it reads of the request.
    """
    own = Dependencies(
        started=reads.started,
        generation=reads.generation,
        mount=reads.mount,
        noticed=reads.noticed,
        verifying=True,
        owner=reads.owner,
    )
    try:
        with replaced_dependencies(own):
            return reads.noticed.run_apart(lambda: encode(compute()), inputs)
    finally:
        # The session now holds these objects, and gives them to what comes later without SQL.
        if own.entities or own.uncommitted or own.bypass:
            reads.follow(own)
            reads.entities |= own.entities


def _difference(known: bytes, found: bytes, may_differ: MayDiffer) -> str | None:
    """Say where two encoded values differ; ``None`` where they are equal.

    Equal values may have other bytes: an order of a set, a string that occurs twice.
    """
    if known == found:
        return None
    one, other = decode(known), decode(found)
    if callable(may_differ):
        one, other = may_differ(one), may_differ(other)
        known, found = encode(one), encode(other)
    if known == found or _are_equal(one, other) or _plainly(one) == _plainly(other):
        return None
    return f"byte {_first_difference(known, found)} of the encoded value"


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False  # Such as arrays, which compare element by element.


def _plainly(value: Any) -> bytes:
    """Encode a value without a word about which of its parts are one object.

    :raises ValueError: for what holds itself.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


# -- pages -----------------------------------------------------------------------------------


def _environ_again(environ: dict[str, Any]) -> dict[str, Any]:
    """Write the environment of the same request as a GET, without conditions and a body.

    It is what the application got, so middleware that changed it is not to run again.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith((*_OF_A_CONTEXT, "HTTP_IF_")) and name not in _NO_PART
    }
    return {
        **kept,
        "REQUEST_METHOD": "GET",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": environ.get("wsgi.errors", sys.stderr),
    }


def _answer_again(environ: dict[str, Any], wanted: Recomputation) -> None:
    """Have the application answer a request in a thread that knows nothing of this one.

    :raises Exception: whatever the application raises.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    environ[RECOMPUTATION] = wanted
    raised: list[Exception] = []

    def answer() -> None:
        try:
            run_wsgi_app(type(app).wsgi_app.__get__(app), environ, buffered=True)
        except Exception as error:
            raised.append(error)

    # Some builds of Python have a thread begin with a copy of this one's context.
    thread = threading.Thread(target=contextvars.Context().run, args=(answer,), name="cache-verify")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _page_difference(known: Page, found: Page, may_differ: MayDiffer) -> str | None:
    """Say where two pages differ; ``None`` where they are equal."""
    if known.status != found.status:
        return "the status"
    ours, theirs = _compared_headers(known), _compared_headers(found)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            return f"the header {name.title()}"
    one, other = known.representation(False).body, found.representation(False).body
    if callable(may_differ) and one != other:
        one, other = may_differ(one), may_differ(other)
    return None if one == other else f"byte {_first_difference(one, other)} of the body"


def _compared_headers(page: Page) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in page.headers:
        if name.lower() not in NOT_COMPARED:
            headers.setdefault(name.lower(), []).append(value)
    return headers
