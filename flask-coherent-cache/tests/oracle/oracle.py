"""Random databases, reads and writes; what differs after a write must have been dropped.

After each write everything is computed anew. An entry that was kept and differs is stale. Among the
entries that do not differ, a share must have been kept, or dropping everything would pass.
"""

import os
import random
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.exc import SQLAlchemyError

import flask_coherent_cache as caching
from flask_coherent_cache._dependencies import rows
from flask_coherent_cache._sqlalchemy import plans

from .changes import Changes
from .mapping import make_world
from .reads import Reads
from .worlds import World

ENTRIES = 16
WRITES = 14
#: Of the entries that a write does not change, this share must be kept: whole tables keep 60%.
KEPT_AT_LEAST = 0.65

MANY_ROWS = rows.MANY_ROWS
#: Whether what the database refuses is shown.
DEBUG = "ORACLE_DEBUG" in os.environ

#: What the memoized function computes.
entries: dict[int, Any] = {}


class Stale(AssertionError):
    """An entry was kept although it differs."""


@dataclass
class Figures:
    """What a run came to.

    :param cases: pairs of a write and an entry.
    :param differ: those whose entry differs after the write.
    :param dropped: those whose entry was dropped.
    :param refused: writes that the database refused.
    """

    cases: int = 0
    differ: int = 0
    dropped: int = 0
    writes: int = 0
    refused: int = 0
    #: By kind of read: how often it was dropped, and how often it had to be.
    kinds: Counter[str] = field(default_factory=Counter)
    needed: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> float:
        """The share that was kept of the entries that a write did not change."""
        return 1 - (self.dropped - self.differ) / max(1, self.cases - self.differ)

    @property
    def precision(self) -> float:
        """The share of the drops that were needed."""
        return self.differ / max(1, self.dropped)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.differ} differ, {self.dropped} dropped "
            f"({self.precision:.1%} needed), {self.kept:.0%} of the rest kept, "
            f"{self.refused} of {self.writes} writes refused"
        )

    def check(self) -> None:
        """Refuse a run in which too much was dropped.

        :raises AssertionError: with the figures.
        """
        assert self.kept >= KEPT_AT_LEAST, f"too much is dropped: {self}"


@dataclass(frozen=True)
class Run:
    """What is drawn, and how it is cached.

    :param reads: the names of the only kinds of reads; all where there are none.
    :param changes: the same of changes.
    :param settings: of the cache.
    """

    kind: str
    url: str
    reads: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def explore(run: Run, cases: int, seed: int) -> Figures:
    """Run so many cases.

    :raises Stale: with the entry and the write.
    """
    figures = Figures()
    while figures.cases < cases:
        _world(run, seed, figures)
        seed += 1
    return figures


def _world(run: Run, seed: int, figures: Figures) -> None:
    draw = random.Random(seed)
    bound = draw.choice([2, 5, MANY_ROWS, MANY_ROWS])
    with application(run) as (app, cache, db), _many_rows(bound), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = make_world(draw, run.kind, db)
        cache.watch(db)
        try:
            world.create()
            _Round(run, world, app, cache, figures, seed).run()
        finally:
            _end(world)


@contextmanager
def _many_rows(bound: int) -> Iterator[None]:
    """Have so many rows of a table be many: few tables here have as many as an application's."""
    with mock.patch.object(rows, "MANY_ROWS", bound), mock.patch.object(plans, "MANY_ROWS", bound):
        yield


@contextmanager
def application(run: Run) -> Iterator[tuple[Flask, Any, SQLAlchemy]]:
    app = Flask("oracle")
    app.config.update(
        SECRET_KEY="k" * 40,
        CACHE_STRICT=True,
        CACHE_TYPE="SimpleCache",
        SQLALCHEMY_DATABASE_URI=run.url,
        **run.settings,
    )
    cache: Any = caching.Cache(app)
    db = SQLAlchemy(metadata=MetaData())
    db.init_app(app)
    with app.app_context():
        engine = db.engine
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
        yield app, cache, db
        db.session.remove()
        engine.dispose()
        cache.engine.close()
        # What is gone is not to be known to whoever comes next.
        db.Model.registry.dispose()
        db.metadata.clear()


def _end(world: World) -> None:
    db = world.db
    db.session.rollback()
    with db.engine.begin() as connection:
        if world.kind == "postgresql":
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        elif world.kind == "mysql":
            connection.exec_driver_sql("DROP DATABASE test")
            connection.exec_driver_sql("CREATE DATABASE test")
    world.again.dispose()


class _Round:
    """The entries of one world, and the writes after which they are compared."""

    def __init__(
        self, run: Run, world: World, app: Flask, cache: Any, figures: Figures, seed: int
    ) -> None:
        self.app, self.session, self.figures, self.seed = app, world.db.session, figures, seed
        self.reads, self.changes = Reads(world, run.reads), Changes(world, run.changes)
        self.filled: list[int] = []
        self.kinds: dict[int, str] = {}
        self.memoized = cache.memoize(600, make_name=lambda name: "entry")(self.compute)

    def compute(self, number: int) -> Any:
        self.filled.append(number)
        return entries[number](self.session)

    def ask(self, number: int) -> Any:
        with self.app.app_context():
            if self.seed % 8 == 5:
                # A fill may find in the session what its context has read before.
                entries.get(number - 1, lambda _: None)(self.session)
            return self.memoized(number)

    def truth(self, number: int) -> Any:
        with self.app.app_context():
            return entries[number](self.session)

    def run(self) -> None:
        entries.clear()
        self.session.remove()
        before = {}
        for number in range(ENTRIES):
            before[number] = self.fill(number)
        for _ in range(WRITES):
            kind = self.write()
            self.filled.clear()
            for number in entries:
                before[number] = self.compare(number, before[number], kind)

    def fill(self, number: int) -> Any:
        """Draw an entry, until the database knows how to compute it."""
        while True:
            self.kinds[number], entries[number] = self.reads._any()
            try:
                return self.ask(number)
            except SQLAlchemyError:
                if DEBUG:
                    traceback.print_exc()

    def write(self) -> str:
        self.figures.writes += 1
        kinds, changes = self.changes._several()
        with self.app.app_context():
            try:
                for change in changes:
                    change(self.session)
                self.session.commit()
            except (SQLAlchemyError, AssertionError):
                self.figures.refused += 1
                if DEBUG:
                    traceback.print_exc()
                self.session.rollback()
        return kinds

    def compare(self, number: int, before: Any, write: str) -> Any:
        now, asked = self.truth(number), self.ask(number)
        figures, kind = self.figures, self.kinds[number]
        figures.cases += 1
        figures.differ += before != now
        figures.dropped += number in self.filled
        figures.kinds[kind] += number in self.filled
        figures.needed[kind] += before != now
        if asked != now:
            raise Stale(f"seed {self.seed}: {kind} after {write}: {asked} instead of {now}")
        return now
