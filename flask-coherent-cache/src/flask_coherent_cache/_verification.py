"""Hits that are computed again, to prove that entries are what their computations return now.

A share of the hits, ``CACHE_VERIFY``, is computed a second time without the cache, before the
answer leaves. If the two differ, the entry depends on something that neither its tags nor its key
hold: it is dropped, counted, and named in the log.
"""

import contextvars
import io
import logging
import pickle
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import current_app
from flask.globals import request_ctx
from werkzeug.test import run_wsgi_app

from ._dependencies.dependencies import (
    RECOMPUTATION,
    Dependencies,
    current_dependencies,
    replaced_dependencies,
)
from ._dependencies.environment import raw_environ
from ._dependencies.inputs import Input
from ._engine.entry import Entry
from ._functions.values import decode, encode
from ._options import MayDiffer
from ._pages.pages import NOT_COMPARED, Page
from ._statistics.statistics import Lookups

if TYPE_CHECKING:
    from ._engine.engine import CacheEngine

logger = logging.getLogger(__name__)

_NO_PART = ("HTTP_RANGE", "HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH")
_LEFT_OUT = ("caching.", "flask.", "werkzeug.", "HTTP_IF_")
#: Found missing, an entry is stale even though such a response would not be stored.
_GONE = frozenset({404, 410})


@dataclass(slots=True)
class Recomputation:
    """What the cache's own request for a page is to find out.

    :param key: of the entry; what has another key is another page.
    :param page: what the view returned; ``None`` if that cannot be compared.
    :param inputs: what it read of the request.
    """

    key: str
    page: Page | None = None
    inputs: Iterable[Input] = ()

    def returned(self, key: str, status: int, page: Page | None, inputs: Iterable[Input]) -> None:
        """Take what the view returned; ``page`` is ``None`` if it must not be stored."""
        if key == self.key:
            self.inputs = tuple(inputs)
            self.page = Page(status, (), b"") if page is None and status in _GONE else page


class Verifier:
    """Computes hits again and compares.

    :param share: of the hits, from 0 to 1.
    """

    def __init__(self, engine: "CacheEngine", share: float) -> None:
        self._engine = engine
        self._share = share
        self._put_off: deque[bool] = deque()

    def chooses(self) -> bool:
        """Draw whether a hit is to be computed again."""
        try:
            return self._put_off.pop()
        except IndexError:
            return random.random() < self._share  # noqa: S311 - a sample

    def put_off(self) -> None:
        """Choose the next hit in place of one that was chosen and goes another way."""
        self._put_off.append(True)

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
        dependencies, inputs = current_dependencies(), dict[Input, str]()

        def difference() -> str | None:
            # What the context read before the entry was begun may be older than the entry.
            started = dependencies.of(self._engine).started or 0
            if dependencies.uncommitted or started < (entry.started or 0):
                raise _Incomparable
            found = _called_apart(dependencies, compute, inputs)
            return _value_difference(entry.value, found, may_differ)

        if may_differ is not True:
            self._check(key, entry, lookups, difference, lambda: inputs)

    def check_page(self, key: str, entry: Entry, lookups: Lookups, may_differ: MayDiffer) -> None:
        """Answer the current request again without the cache, and compare the page.

        It is answered in another thread, so that it shares no context and no session.
        """
        wanted = Recomputation(key)

        def difference() -> str | None:
            _answer_again(_environ_again(raw_environ(request_ctx.request)), wanted)
            if wanted.page is None:
                raise _Incomparable
            return _page_difference(Page.decode(entry.value), wanted.page, may_differ)

        if may_differ is not True:
            self._check(key, entry, lookups, difference, lambda: wanted.inputs)

    def _check(
        self,
        key: str,
        entry: Entry,
        lookups: Lookups,
        difference: Callable[[], str | None],
        inputs: Callable[[], Iterable[Input]],
    ) -> None:
        """Compare, count, and drop an entry that differs.

        :param difference: computes where they differ first, if they do.
        :param inputs: what was read of the request meanwhile.
        """
        statistics = self._engine.statistics
        try:
            where = difference()
        except Exception:
            statistics.verified_hit("set aside", lookups)
            return
        # A comparison only says something if the entry is valid until its end.
        if not self._engine.still_holds(key, entry):
            statistics.verified_hit("set aside", lookups)
            return
        statistics.verified_hit("compared", lookups)
        if where is None:
            return
        statistics.verified_hit("different", lookups)
        self._engine.delete([key])
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
            ascii(", ".join(sorted(map(str, inputs()))) or "nothing"),
        )


class _Incomparable(Exception):
    """What was computed cannot be compared with the entry."""


# -- functions -------------------------------------------------------------------------------


def _called_apart(
    dependencies: Dependencies, compute: Callable[[], Any], inputs: dict[Input, str]
) -> bytes:
    """Call a function apart from the context, and encode what it returns.

    :param inputs: gets what it reads of the request.
    """
    own = Dependencies(
        started=dependencies.started,
        generation=dependencies.generation,
        mount=dependencies.mount,
        noticed=dependencies.noticed,
        verifying=True,
        owner=dependencies.owner,
    )
    try:
        with replaced_dependencies(own):
            return own.noticed.run_apart(lambda: encode(compute()), inputs)
    finally:
        # The session now holds these objects, and gives them to what comes later without SQL.
        if own.entities or own.uncommitted or own.bypass:
            dependencies.follow(own)
            dependencies.entities |= own.entities


def _value_difference(known: bytes, found: bytes, may_differ: MayDiffer) -> str | None:
    """Say where two encoded values differ; ``None`` if they are equal.

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
    """Encode a value without saying which of its parts are one object.

    :raises ValueError: for a value that contains itself.
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
    """Write the environment that the application got as a GET, without conditions and a body."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_LEFT_OUT) and name not in _NO_PART
    }
    again = {"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
    return {"wsgi.errors": sys.stderr} | kept | again


def _answer_again(environ: dict[str, Any], wanted: Recomputation) -> None:
    """Have the application answer a request in a thread that knows nothing of this one."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    environ[RECOMPUTATION] = wanted
    answer = partial(run_wsgi_app, type(app).wsgi_app.__get__(app), environ, buffered=True)
    with ThreadPoolExecutor(1, "cache-verify") as pool:
        # Some builds of Python have a thread begin with a copy of this one's context.
        error = pool.submit(contextvars.Context().run, answer).exception()
    # Also what is no Exception, such as a SystemExit, ends that answer and not this one.
    if error is not None:
        raise _Incomparable from error


def _page_difference(known: Page, found: Page, may_differ: MayDiffer) -> str | None:
    """Say where two pages differ; ``None`` if they are equal."""
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
        headers.setdefault(name.lower(), []).append(value)
    return {name: values for name, values in headers.items() if name not in NOT_COMPARED}
