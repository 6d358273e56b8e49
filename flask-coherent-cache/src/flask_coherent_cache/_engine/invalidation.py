"""Invalidation: tags are marked in doubt, and bumped to the clock's next timestamp."""

import logging
import secrets
from collections.abc import Callable, Iterable
from functools import partial

import click
from flask import has_request_context, request

from .._stores import StoreError
from .base import EngineBase
from .outbox import SETTLING_SECONDS, Outbox

logger = logging.getLogger(__name__)


class Invalidator:
    """Makes entries invalid, in this cache and in the application's others."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine
        self.outbox = Outbox(
            engine,
            lambda tags: self._bump(tags, origin="note", lag=engine.replica_lag),
            self._end_generation,
        )

    def invalidate(self, tags: Iterable[str], token: str = "", lag: float = 0) -> None:
        """Make every entry that carries one of the tags invalid, before returning.

        If the store is away it is done later, but before this process trusts it again. The
        application's other caches follow: until the last one has, the tags are in doubt in all.

        :param token: of the doubt that it settles; see :meth:`mark`.
        :param lag: the seconds in which the old value may be read again, as by a replica: until
            they are over, nothing that carries a tag is valid.
        """
        bumped = frozenset(tags)
        if bumped and self._engine.peers:
            token = token or self.mark(bumped) or ""
        if bumped:
            self._invalidate_everywhere(bumped, token, lag)

    def mark(self, tags: Iterable[str]) -> str | None:
        """Put tags in doubt before a COMMIT; returns the token that settles them.

        ``None`` if the store does not take it: then the transaction has to note the tags.
        """
        token, marked = secrets.token_hex(8), sorted(set(tags))
        taken = [each._mark(marked, token) for each in self._everywhere()]
        return token if all(taken) else None

    def clear(self) -> None:
        """Make every entry invalid, at the same cost however many there are."""
        built_from_here = frozenset(self._engine.source_tags)
        token = self.mark(built_from_here) if built_from_here else None
        self._drop(None, partial(self._end_generation, current_origin()))
        if built_from_here:
            self._invalidate_everywhere(built_from_here, token or "")

    def _everywhere(self) -> list["Invalidator"]:
        return [self, *(peer.invalidator for peer in self._engine.peers)]

    def _invalidate_everywhere(self, tags: frozenset[str], token: str, lag: float = 0) -> None:
        for each in self._everywhere():
            each._drop(tags, partial(each._bump, tags, token, current_origin(), lag))

    def _drop(self, tags: frozenset[str] | None, operation: Callable[[], object]) -> None:
        """Have the store do it, and neither a copy here nor the fallback bring anything back."""
        near, fallback = self._engine.near, self._engine.fallback
        fallback.drop(tags)
        self.outbox.deliver(operation)
        if near is not None:
            near.forget(tags)
        fallback.drop(tags)
        for listener in self._engine.listeners:
            try:
                listener(tags)
            except Exception:
                logger.exception("%r failed to follow an invalidation.", listener)

    def _bump(self, tags: Iterable[str], token: str = "", origin: str = "", lag: float = 0) -> None:
        store, generations = self._engine.store, self._engine.generations
        names = self._engine.tag_keys(sorted(tags))
        if self.outbox.is_late:
            # Who looked since its writer returned may wait for what was begun before, and must not
            # take it.
            store.put(self._engine.late_key, b"", self._engine.wait_seconds + 1)
        if lag:
            # Nobody settles this doubt: whoever meets it when it is overdue bumps the tag again.
            store.mark(names, secrets.token_hex(8), lag)
        timestamp = store.invalidate(generations.clock, names, token)
        if timestamp is None:
            generations.start()
            timestamp = store.invalidate(generations.clock, names, token)
        if timestamp == 0:
            self._engine.count("store: full")
        self._engine.statistics.bumped(tags, timestamp, origin)

    def _mark(self, tags: list[str], token: str) -> bool:
        store = self._engine.store
        for _ in range(2):
            try:
                store.mark(self._engine.tag_keys(tags), token)
            except StoreError as error:
                self._engine.failed(error)
                store.breaker.wait_until_settled(SETTLING_SECONDS)
            else:
                return True
        return False

    def _end_generation(self, origin: str = "") -> None:
        self._engine.generations.end()
        self._engine.statistics.cleared(origin)


def current_origin() -> str:
    """Name the request or the command that is under way, by what no visitor can choose."""
    if has_request_context():
        return f"{request.method} {request.endpoint or ''}".rstrip()
    command = click.get_current_context(silent=True)
    return command.command_path if command is not None else ""
