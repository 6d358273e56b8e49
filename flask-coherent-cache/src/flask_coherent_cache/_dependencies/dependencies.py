"""What one context has read so far: the collector of tags."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from flask import has_app_context, has_request_context
from flask.globals import _cv_app, _cv_request, app_ctx, request_ctx

from .._clock import monotonic
from .._forks import new_lock
from .._statistics.statistics import Tally
from .noticed import Noticed
from .rows import Reading, Rows, add_rows, row_tags

#: Beyond so many readings, those whose rows are known become tags.
_MANY_READINGS = 256

_scopes_lock = new_lock()


@dataclass(slots=True, eq=False)
class Scope:
    """What was read before a fill began; see :class:`Dependencies`."""

    thread: int
    tags: set[str]
    rows: dict[str, Rows]
    readings: dict[Reading, None]
    fresh_until: float | None
    entities: set[Any]


@dataclass(slots=True)
class ContextState:
    """Where a context stands in the time of one cache.

    :param started: the clock's timestamp at the first lookup or query; ``None`` before it.
    :param generation: the store's generation at that time.
    :param filling: the keys whose fills are running, from the outermost inwards.
    :param off: whether it met a cache that is switched off: it bypasses to its end, for what it
        read meanwhile has no timestamp.
    :param lost: whether the store failed it, so that a timestamp would come too late: it asks the
        store nothing any more.
    """

    started: int | None = None
    generation: str = ""
    filling: list[str] = field(default_factory=list)
    off: bool = False
    lost: bool = False

    def switch_off(self) -> None:
        """Have it look nothing up and store nothing any more, because the cache is off."""
        self.off = True

    def follow_state(self, earlier: "ContextState") -> None:
        """Begin no later than an earlier context."""
        self.off = self.off or earlier.off
        self.lost = self.lost or earlier.lost
        if earlier.started is not None and earlier.started < (self.started or earlier.started + 1):
            self.started, self.generation = earlier.started, earlier.generation


@dataclass(slots=True)
class Dependencies(ContextState):
    """What a request (or an application context without one) has read, for all caches.

    It is itself the state for the cache that looks first, nearly always the only one.

    A page's tags are all of these, also those read before its fill began: an object that is already
    in the session's identity map issues no SQL, and still went into the value. A memoized function
    takes them over only where something led back to them.

    :param tags: the names of all that was read.
    :param fresh_until: the earliest soft expiry of the stale entries that were served, in
        seconds since the epoch: what is built on them expires no later.
    :param rows: the rows that were read, by table.
    :param readings: executions whose rows may still turn up, or are not named yet.
    :param uncommitted: whether it may see what is not committed yet.
    :param writing: the transactions of the database whose changes it may see.
    :param bypass: whether it looks nothing up and stores nothing any more: it saw data that is
        not committed.
    :param verifying: whether it computes a hit again, for a comparison: it looks nothing up, stores
        nothing, and counts nothing.
    :param entities: the mapped classes whose objects were got from a session.
    :param tally: what its lookups came to.
    :param noticed: what was read of the request itself.
    :param mount: below which path the application is mounted, which is in URLs that are built.
    :param began: when the first that it read was read at the earliest, by the monotonic clock.
    :param owner: the cache whose state it is.
    :param states: those of other caches.
    :param sessions: of the database, used outside of any context.
    :param scopes: of the fills that are running.
    :param shared: whether threads fill beside each other: until the last fill has ended all of them
        depend on all that is read, for nobody can tell for which one it is.
    """

    tags: set[str] = field(default_factory=set)
    fresh_until: float | None = None
    rows: dict[str, Rows] = field(default_factory=dict)
    readings: dict[Reading, None] = field(default_factory=dict)
    uncommitted: bool = False
    writing: set[Any] = field(default_factory=set)
    bypass: bool = False
    verifying: bool = False
    entities: set[Any] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    noticed: Noticed = field(default_factory=Noticed)
    mount: str = ""
    began: float = field(default_factory=monotonic)
    owner: object = None
    states: dict[object, ContextState] = field(default_factory=dict)
    sessions: list[Any] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    shared: bool = False

    def of(self, owner: object) -> ContextState:
        """Return where it stands in the time of one of the caches."""
        if self.owner is owner:
            return self
        if self.owner is None:
            self.owner = owner
            return self
        return self.states.setdefault(owner, ContextState())

    def read_row(self, table: str, identity: str) -> None:
        """Note a row that was found by its key."""
        add_rows(self.rows, table, {f"{table}:{identity}"}, {table})

    def read(self, reading: Reading) -> None:
        """Note an execution whose rows will turn up."""
        self.readings[reading] = None
        if len(self.readings) > _MANY_READINGS:
            with _scopes_lock:
                for each in [one for one in self.readings if one.is_over]:
                    # The other way round, a thread beside this one could miss it.
                    _add(each, self.tags, self.rows)
                    del self.readings[each]

    def collected(self) -> set[str]:
        """Return all tags: with many rows of a table those that take their place."""
        tags: set[str] = set()
        rows: dict[str, Rows] = {}
        for reading in list(self.readings):
            _add(reading, tags, rows)
        tags |= self.tags
        for table, found in list(self.rows.items()):
            add_rows(rows, table, found.tags, found.instead)
        for table, found in rows.items():
            tags |= row_tags(table, found)
        return tags

    def follow(self, earlier: "Dependencies") -> None:
        """Take over what an earlier context read, and its beginning."""
        self.tags |= earlier.collected()
        self.readings.update({each: None for each in list(earlier.readings) if not each.is_over})
        self.bypass = self.bypass or earlier.bypass
        self.began = min(self.began, earlier.began)
        self.uncommitted = self.uncommitted or earlier.uncommitted
        for transaction in list(earlier.writing):
            transaction.seen_by(self)
        for owner in (earlier.owner, *earlier.states):
            if owner is not None:
                self.of(owner).follow_state(earlier.of(owner))

    # -- fills ---------------------------------------------------------------------------

    def enter(self, *, apart: bool) -> Scope:
        """Begin a fill, which ends with :meth:`leave`; return what was read before it.

        :param apart: whether its tags are collected by themselves.
        """
        with _scopes_lock:
            before = self._scope()
            self.scopes.append(before)
            if apart and not self.shared:
                self.tags, self.rows, self.readings, self.entities = set(), {}, {}, set()
                self.fresh_until = None
        return before

    def settle(self, before: Scope, *, looked_back: bool) -> None:
        """Depend on all that went into a fill, at its end.

        :param looked_back: whether it may be made of what was read before it, too.
        """
        with _scopes_lock:
            if self.scopes[-1] is not before:
                self._share()
            if looked_back:
                # A fill beside it may have set aside what was read before that.
                for scope in self.scopes if self._is_beside_others(before) else [before]:
                    self.inherit(scope)

    def leave(self, before: Scope) -> None:
        """Hand what the fill read outwards."""
        with _scopes_lock:
            if self.scopes[-1] is not before:
                self._share()
            self.scopes.remove(before)
            # A thread beside it may be about to add to what is collected now.
            is_apart = before.tags is not self.tags
            if is_apart and not (self.shared or self._is_beside_others(before)):
                own = self._scope()
                self.tags, self.rows, self.readings = before.tags, before.rows, before.readings
                self.fresh_until, self.entities = before.fresh_until, before.entities
                before = own
            self.inherit(before)
            self.shared = self.shared and bool(self.scopes)

    def inherit(self, before: Scope) -> None:
        """Depend on what was read before, too."""
        if before.tags is self.tags:
            return
        self.readings.update(before.readings)
        self.tags |= before.tags
        for table, found in list(before.rows.items()):
            add_rows(self.rows, table, found.tags, found.instead)
        self.entities |= before.entities
        if before.fresh_until is not None:
            self.fresh_until = min(before.fresh_until, self.fresh_until or before.fresh_until)

    def _scope(self) -> Scope:
        thread = threading.get_ident()
        read = (self.tags, self.rows, self.readings, self.fresh_until, self.entities)
        return Scope(thread, *read)

    def _is_beside_others(self, scope: Scope) -> bool:
        """Tell whether another thread fills, which waits for this one or runs beside it."""
        return any(other.thread != scope.thread for other in self.scopes)

    def _share(self) -> None:
        self.shared = True
        for scope in self.scopes:
            self.inherit(scope)


def _add(reading: Reading, tags: set[str], rows: dict[str, Rows]) -> None:
    own, found = reading.depends_on()
    tags |= own
    for each in found:
        add_rows(rows, *each)


#: Where a request, its environment, and an application context keep the collector.
READS = "caching.reads"
#: Where an application context keeps what the application declared about its hooks and variables.
DECLARATIONS = "caching.declarations"
#: Where the environment of a request holds the endpoint whose page was served before Flask.
SERVED = "caching.served"
#: Where the environment of a request holds that its hit, seen before Flask, is to be verified.
CHOSEN = "caching.chosen_to_verify"
#: Where the environment of the cache's own request, which computes a page again, holds for whom.
RECOMPUTATION = "caching.recomputation"


def tally_of(environ: dict[str, Any]) -> Tally | None:
    """Return what the lookups of a request came to; ``None`` where it did none in Flask."""
    dependencies: Dependencies | None = environ.get(READS)
    return dependencies.tally if dependencies is not None and dependencies.tally.results else None


def begin_dependencies(request: Any, environ: dict[str, Any], dependencies: Dependencies) -> None:
    """Give a request its collector, which WSGI middleware finds in the environment."""
    dependencies.mount = request.__dict__["root_path"]
    request.__dict__[READS] = environ[READS] = dependencies


#: The collector of what runs outside of any context, while a lookup or a fill goes on.
_outside: ContextVar[Dependencies | None] = ContextVar("caching_reads", default=None)


def current_dependencies() -> Dependencies:
    """Return the collector of the request, else of the application context, else a new one.

    A request has its own even where a test keeps an application context open around it. Outside of
    both, it is the one of :func:`own_dependencies`.
    """
    # Asked on every hit: the way by Flask's proxies costs more than the rest of it.
    request_context = _cv_request.get(None)
    if request_context is not None:
        request = request_context.request
        dependencies: Dependencies | None = request.__dict__.get(READS)
        if dependencies is None:
            dependencies = Dependencies()
            begin_dependencies(request, request.__dict__["environ"], dependencies)
        return dependencies
    app_context = _cv_app.get(None)
    if app_context is None:
        return _outside.get() or Dependencies()
    # Not on ``g``, whose every look is noticed.
    kept = app_context.__dict__
    collected: Dependencies | None = kept.get(READS)
    if collected is None:
        noticed = Noticed(kept.get(DECLARATIONS))
        collected = kept[READS] = Dependencies(noticed=noticed)
    return collected


def calls_processors() -> bool:
    """Tell whether context processors are being called; asking begins no collector."""
    if _cv_request.get(None) is not None:
        return current_dependencies().noticed.in_processors
    app_context = _cv_app.get(None)
    collected = _outside.get() if app_context is None else app_context.__dict__.get(READS)
    return collected is not None and collected.noticed.in_processors


def is_collecting() -> bool:
    """Tell whether :func:`current_dependencies` returns the same when it is asked again."""
    return _cv_app.get(None) is not None or _outside.get() is not None


@contextmanager
def own_dependencies() -> Iterator[Dependencies]:
    """Outside of any context, collect for a while; inside, go on with the context's collector.

    Nothing connects two lookups of a script or a thread, so each begins anew.
    """
    dependencies = current_dependencies()
    if is_collecting():
        yield dependencies
        return
    with replaced_dependencies(dependencies):
        yield dependencies


@contextmanager
def replaced_dependencies(dependencies: Dependencies) -> Iterator[None]:
    """Have the current context use another collector for a while."""
    if has_app_context():
        context: Any = app_ctx._get_current_object()  # type: ignore[attr-defined]
        kept = vars(request_ctx.request if has_request_context() else context)
        before, kept[READS] = kept.get(READS), dependencies
        try:
            yield
        finally:
            kept[READS] = before
    else:
        token = _outside.set(dependencies)
        try:
            yield
        finally:
            _outside.reset(token)
