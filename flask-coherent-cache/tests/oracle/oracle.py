"""Random databases, reads and writes; what differs after a write must have been dropped.

After each write everything is computed anew. An entry that was kept and differs is stale. Among the
entries that do not differ, a share must have been kept, or dropping everything would pass.

Usage: python -m oracle DATABASE CASES [SEED]   (DATABASE: sqlite, postgresql or mysql)
"""

import random
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm.exc import StaleDataError

import flask_coherent_cache as caching

from .changes import Changes
from .reads import Dependencies
from .worlds import World, make_world

ENTRIES = 12
WRITES = 12
#: Of the entries that a write does not change, this share must be kept.
KEPT_AT_LEAST = 0.45

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
    """

    cases: int = 0
    differ: int = 0
    dropped: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kept = 1 - (self.dropped - self.differ) / max(1, self.cases - self.differ)
        return (
            f"{self.cases} cases, {self.differ} differ, {self.dropped} dropped, "
            f"{kept:.0%} of the rest kept"
        )

    def check(self) -> None:
        """Refuse a run in which too much was dropped.

        :raises AssertionError: with the figures.
        """
        rest = self.cases - self.differ
        kept = rest - (self.dropped - self.differ)
        assert kept >= KEPT_AT_LEAST * rest, f"too much is dropped: {self}"


def explore(kind: str, url: str, cases: int, seed: int) -> Figures:
    """Run so many cases.

    :param url: the database's.
    :raises Stale: with the entry and the write.
    """
    figures = Figures()
    while figures.cases < cases:
        _world(kind, url, seed, figures)
        seed += 1
    figures.check()
    return figures


def _world(kind: str, url: str, seed: int, figures: Figures) -> None:
    draw = random.Random(seed)
    with application(url) as (app, cache, db), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = make_world(draw, kind, db)
        cache.watch(db)
        try:
            world.create()
            _run(world, app, cache, figures, seed)
        finally:
            _end(world)


@contextmanager
def application(url: str) -> Iterator[tuple[Flask, Any, SQLAlchemy]]:
    app = Flask("oracle")
    app.config.update(
        SECRET_KEY="k" * 40,
        CACHE_STRICT=True,
        CACHE_TYPE="SimpleCache",
        SQLALCHEMY_DATABASE_URI=url,
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


def _run(world: World, app: Flask, cache: Any, figures: Figures, seed: int) -> None:
    filled = []
    entries.clear()
    drawing, changing = Dependencies(world), Changes(world)
    kinds = {}
    for number in range(ENTRIES):
        kinds[number], entries[number] = drawing._any()

    def compute(number: int) -> Any:
        filled.append(number)
        return entries[number](world.db.session)

    memoized = cache.memoize(600, make_name=lambda name: "entry")(compute)

    def ask(number: int) -> Any:
        with app.app_context():
            return memoized(number)

    def truth(number: int) -> Any:
        with app.app_context():
            return entries[number](world.db.session)

    world.db.session.remove()
    before = {number: ask(number) for number in entries}
    for _ in range(WRITES):
        kind, change = changing._any()
        with app.app_context():
            try:
                change(world.db.session)
                world.db.session.commit()
            except (DBAPIError, StaleDataError, SQLAlchemyError, AssertionError):
                world.db.session.rollback()
        filled.clear()
        for number in entries:
            now, asked = truth(number), ask(number)
            figures.cases += 1
            figures.differ += before[number] != now
            figures.dropped += number in filled
            figures.kinds[f"{kinds[number]}"] += number in filled
            if asked != now:
                raise Stale(f"seed {seed}: {kinds[number]} after {kind}: {asked} instead of {now}")
            before[number] = now
