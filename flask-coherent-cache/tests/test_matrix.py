"""Ten shapes of a class, ten ways to write it, ten to read it, on each database: none is stale.

A cell is a shape, a write, a read and a database. It fills what is memoized, writes in a session or
on a connection of its own, and compares what is served then with a computation of an engine that
nobody watches. Each read is of the thing's own tables, and once more of its labels, which lie in a
table between. The short suite has a sample of the cells, the long one all of them.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.dialects import postgresql as on_postgresql
from sqlalchemy.dialects import sqlite as on_sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, joinedload

from flask_coherent_cache import Cache
from flask_coherent_cache._sqlalchemy.watcher import Watcher
from matrix_shapes import SHAPES, Shape

Read = Callable[[Session, Shape], Any]

# -- reads: of the thing, and of its labels


def _rows(session: Session, statement: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in session.execute(statement)), key=repr)


def _get(session: Session, shape: Shape) -> Any:
    thing = session.get(shape.R, shape.key)
    return thing and thing.value


def _labels_of_get(session: Session, shape: Shape) -> Any:
    thing = session.get(shape.R, shape.key)
    return thing and sorted(label.text for label in thing.labels)


def _unique(session: Session, shape: Shape) -> Any:
    thing = session.scalar(select(shape.R).where(shape.R.slug == "a"))
    return thing and thing.value


def _labels_of_unique(session: Session, shape: Shape) -> Any:
    # SQLAlchemy's eager loads by a second SELECT warn of a class on a join.
    eager = joinedload(shape.R.labels)
    statement = select(shape.R).where(shape.R.slug == "a").options(eager)
    thing = session.scalars(statement).unique().one_or_none()
    return thing and sorted(label.text for label in thing.labels)


def _filter(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.R.slug).where(shape.R.value < 4))


def _labels_of_filter(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.R.slug).where(shape.R.labels.any(text="new")))


def _labelled_things(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.R.slug).where(shape.R.labels.any()))


def _join(session: Session, shape: Shape) -> Any:
    group = shape.group.alias()
    joined = select(shape.R.slug, shape.R.value, group).join(group, group.c.id == shape.R.group_id)
    return _rows(session, joined)


def _labels_of_join(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.R.slug, shape.Label.text).join(shape.R.labels))


def _aggregate(session: Session, shape: Shape) -> Any:
    return _rows(session, select(func.sum(shape.R.value)))


def _labels_of_aggregate(session: Session, shape: Shape) -> Any:
    return _rows(session, select(func.count(shape.labelled().c.label_id)))


def _subquery(session: Session, shape: Shape) -> Any:
    ones = select(shape.R.group_id).where(shape.R.value == 1)
    return _rows(session, select(shape.group.c.id).where(shape.group.c.id.in_(ones)))


def _labels_of_subquery(session: Session, shape: Shape) -> Any:
    used = select(shape.labelled().c.label_id)
    return _rows(session, select(shape.Label.text).where(shape.Label.id.in_(used)))


def _cte(session: Session, shape: Shape) -> Any:
    small = select(shape.R.value.label("value")).where(shape.R.value < 4).cte()
    return _rows(session, select(func.sum(small.c.value)))


def _labels_of_cte(session: Session, shape: Shape) -> Any:
    used = select(shape.labelled().c.label_id).cte()
    return _rows(session, select(func.count(used.c.label_id)))


def _window(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.R.slug, func.sum(shape.R.value).over()))


def _labels_of_window(session: Session, shape: Shape) -> Any:
    used = shape.labelled().c.label_id
    return _rows(session, select(used, func.count(used).over()))


def _column_property(session: Session, shape: Shape) -> Any:
    return session.get_one(shape.Board, 1).total


def _labels_of_column_property(session: Session, shape: Shape) -> Any:
    return session.get_one(shape.Board, 1).labelled


def _embedded_text(session: Session, shape: Shape) -> Any:
    exists = text(f"EXISTS (SELECT 1 FROM {shape.value.name} WHERE value = 1)")  # noqa: S608
    declared = {"cache_reads": [shape.value.name]}
    return _rows(session, select(shape.Board.text).where(exists).execution_options(**declared))


def _labels_of_embedded_text(session: Session, shape: Shape) -> Any:
    name = shape.labelled().name
    many = text(f"1 = (SELECT count(*) FROM {name})")  # noqa: S608
    declared = {"cache_reads": [name]}
    return _rows(session, select(shape.Board.text).where(many).execution_options(**declared))


READS: dict[str, tuple[Read, ...]] = {
    "get": (_get, _labels_of_get),
    "unique key": (_unique, _labels_of_unique),
    "filter": (_filter, _labels_of_filter, _labelled_things),
    "join": (_join, _labels_of_join),
    "aggregate": (_aggregate, _labels_of_aggregate),
    "subquery": (_subquery, _labels_of_subquery),
    "CTE": (_cte, _labels_of_cte),
    "window": (_window, _labels_of_window),
    "column property": (_column_property, _labels_of_column_property),
    "embedded text": (_embedded_text, _labels_of_embedded_text),
}

# -- writes


def _unit_of_work(engine: Engine, shape: Shape) -> None:
    with Session(engine) as session:
        session.get_one(shape.W, shape.key).value = 9
        session.commit()


def _bulk(engine: Engine, shape: Shape) -> None:
    with Session(engine) as session:
        if shape.name == "on a join":
            # An UPDATE takes no join.
            session.bulk_update_mappings(shape.W, [{"id": 1, "value": 9}])
        else:
            session.execute(update(shape.W).where(shape.W.value == 1).values(value=9))
        session.commit()


def _core(engine: Engine, shape: Shape) -> None:
    with engine.begin() as connection:
        table = shape.value
        connection.execute(update(table).where(table.c.value == 1).values(value=9))


def _upsert(engine: Engine, shape: Shape) -> None:
    table = shape.value
    dialect = on_sqlite if engine.dialect.name == "sqlite" else on_postgresql
    with engine.begin() as connection:
        row = connection.execute(select(table).where(table.c.value == 1)).mappings().one()
        adding = dialect.insert(table).values(**row)
        key = list(table.primary_key)
        connection.execute(adding.on_conflict_do_update(index_elements=key, set_={"value": 9}))


def _returning(engine: Engine, shape: Shape) -> None:
    table = shape.value
    with Session(engine) as session:
        changing = update(table).where(table.c.value == 1).values(value=9)
        assert session.execute(changing.returning(*table.primary_key)).all()
        session.commit()


def _many_to_many(engine: Engine, shape: Shape) -> None:
    with Session(engine) as session:
        thing, label = session.get_one(shape.W, shape.key), session.get_one(shape.Label, 2)
        thing.labels.append(label)
        session.commit()


def _group_of(shape: Shape) -> int:
    return 4 if shape.name == "self referencing" else 1


def _cascade_in_orm(engine: Engine, shape: Shape) -> None:
    with Session(engine) as session:
        session.delete(session.get_one(shape.Group, _group_of(shape)))
        session.commit()


def _cascade_in_database(engine: Engine, shape: Shape) -> None:
    with engine.begin() as connection:
        connection.execute(delete(shape.group).where(shape.group.c.id == _group_of(shape)))


def _ddl(engine: Engine, shape: Shape) -> None:
    with engine.begin() as connection:
        shape.drop(connection)
        shape.create(connection)


def _trigger(engine: Engine, shape: Shape) -> None:
    with engine.begin() as connection:
        connection.execute(insert(shape.inbox).values(id=1))


WRITES: dict[str, Callable[[Engine, Shape], None]] = {
    "unit of work": _unit_of_work,
    "bulk": _bulk,
    "core": _core,
    "upsert": _upsert,
    "RETURNING": _returning,
    "many-to-many": _many_to_many,
    "cascade in ORM": _cascade_in_orm,
    "cascade in database": _cascade_in_database,
    "DDL": _ddl,
    "trigger": _trigger,
}

# -- cells

DATABASES = ("SQLite", "PostgreSQL")


class Cells:
    """One shape on one database: an engine that a cache watches, and one that nobody does."""

    def __init__(self, shape: Shape, url: str, cache: Any, app: Flask) -> None:
        self.shape, self.cache, self.app = shape, cache, app
        self.engine, self.plain = create_engine(url), create_engine(url)
        if self.engine.dialect.name == "sqlite":
            for engine in (self.engine, self.plain):
                event.listen(engine, "connect", _prepare_sqlite)
        self.fills = 0
        with self.plain.begin() as connection:
            shape.create(connection)
            shape.create_trigger(connection)
        self.memoized = {
            function: self._memoized(function) for reads in READS.values() for function in reads
        }
        self.bystander = self._memoized(_bystander)

    def watch(self) -> None:
        self.cache.watch(self.engine, metadata=self.shape.metadatas)

    def _memoized(self, function: Read) -> Callable[[], Any]:
        name = f"{self.shape.name} {function.__name__}"

        def fill() -> Any:
            self.fills += 1
            return self._outcome(function, self.engine)

        memoized = self.cache.memoize(600, make_name=lambda _: name)(fill)

        def call() -> Any:
            with self.app.app_context():
                return memoized()

        return call

    def _outcome(self, function: Read, engine: Engine) -> Any:
        with Session(engine) as session:
            try:
                return function(session, self.shape)
            except DBAPIError as error:
                return type(error).__name__

    def fresh(self, function: Read) -> Any:
        with self.app.app_context():
            return self._outcome(function, self.plain)

    def try_(self, write: str, reads: list[str]) -> tuple[list[str], list[str]]:
        """Return the cells of a write that are stale, and those whose result did not change."""
        with self.plain.begin() as connection:
            self.shape.fill(connection)
        with self.app.app_context():
            self.cache.clear()
        functions = [function for read in reads for function in READS[read]]
        before = {function: self.memoized[function]() for function in functions}
        self.bystander()
        self.fills = 0
        again = {function: self.memoized[function]() for function in functions}
        assert (again, self.fills) == (before, 0), "what was filled is no hit"
        with self.app.app_context():
            WRITES[write](self.engine, self.shape)
        stale, idle = [], []
        for read in reads:
            after = {function: self.fresh(function) for function in READS[read]}
            served = {function: self.memoized[function]() for function in READS[read]}
            name = f"{self.shape.name} / {write} / {read} / {self.engine.dialect.name}"
            if served != after:
                stale.append(name)
            if all(before[function] == after[function] for function in READS[read]):
                idle.append(name)
        self.fills = 0
        self.bystander()
        if self.fills:
            stale.append(f"{self.shape.name} / {write}: what it does not touch is dropped")
        return stale, idle

    def close(self) -> None:
        self.engine.dispose()
        self.plain.dispose()


def _bystander(session: Session, shape: Shape) -> Any:
    return _rows(session, select(shape.bystander.c.text))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def app() -> Flask:
    app = Flask("matrix")
    app.testing = True
    return app


@pytest.fixture
def make_cells(
    app: Flask, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Cells]]:
    made: list[Cells] = []

    def make(name: str, database: str) -> Cells:
        url = f"sqlite:///{tmp_path}/shop.sqlite3"
        if database == "PostgreSQL":
            url = request.getfixturevalue("postgresql_url")
        shape = Shape(f"{name}", SHAPES[name], f"t{len(all_shapes)}")
        all_shapes.append(shape)
        cells = Cells(shape, url, Cache(app), app)
        made.append(cells)
        return cells

    yield make
    for cells in made:
        cells.close()


#: Each has tables of its own.
all_shapes: list[Shape] = []


def check(cells: Cells, writes: Iterable[str]) -> None:
    stale, idle = [], []
    for write in writes:
        found, unchanged = cells.try_(write, list(READS))
        stale += found
        idle += unchanged
    assert not stale, "\n".join(["stale:", *stale])
    # No cell is left out, and each of them tells something.
    assert not idle, "\n".join(["the write changes nothing that is read:", *idle])


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_of_the_cells(make_cells: Any, shape: str, database: str) -> None:
    cells = make_cells(shape, database)
    cells.watch()
    # Another part of the writes for each shape and database, the same one in each run.
    check(cells, random.Random(f"{shape} {database}").sample(list(WRITES), 3))


@pytest.mark.long
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_cells(make_cells: Any, shape: str, database: str) -> None:
    cells = make_cells(shape, database)
    cells.watch()
    check(cells, WRITES)


def test_without_a_watch_cells_are_stale(make_cells: Any) -> None:
    cells = make_cells("plain", "SQLite")
    for write in WRITES:
        assert len(cells.try_(write, list(READS))[0]) == len(READS), write


def test_a_rule_that_drops_everything_fails(
    make_cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = make_cells("plain", "SQLite")
    cells.watch()
    monkeypatch.setattr(Watcher, "settle", lambda self, tags, token: self.clear())
    stale, _ = cells.try_("unit of work", ["get"])
    assert stale == ["plain / unit of work: what it does not touch is dropped"]
