"""SQLModel: a base class, an engine, and a subclass of SQLAlchemy's session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import sessionmaker

from flask_coherent_cache import Cache
from flask_coherent_cache._sqlalchemy.outbox import NAME
from visits import NOT_INSTALLED

sqlmodel: Any = pytest.importorskip("sqlmodel", reason=NOT_INSTALLED)
Field, Session, SQLModel = sqlmodel.Field, sqlmodel.Session, sqlmodel.SQLModel
create_engine, select = sqlmodel.create_engine, sqlmodel.select


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    age: int = 1


@pytest.mark.parametrize("source", ["engine", "sessionmaker"])
def test_a_commit_drops_what_was_read(tmp_path: Path, source: str) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    app = Flask("shop")
    cache = Cache(app)
    made = sessionmaker(engine, class_=Session)
    cache.watch(engine if source == "engine" else made, metadata=SQLModel)
    assert NAME in SQLModel.metadata.tables
    SQLModel.metadata.create_all(engine)
    with made() as session:
        session.add_all([Hero(name="a"), Hero(name="b")])
        session.commit()
    fills = []

    @cache.memoize(60, make_name=lambda _: "ages")
    def ages() -> dict[str, int]:
        fills.append(1)
        with made() as session:
            return {hero.name: hero.age for hero in session.exec(select(Hero)).all()}

    @cache.memoize(60, make_name=lambda _: "one")
    def age(number: int) -> int:
        fills.append(1)
        with made() as session:
            return session.get_one(Hero, number).age

    def called(function: Callable[..., Any], *arguments: Any) -> Any:
        with app.app_context():
            return function(*arguments)

    def served() -> tuple[dict[str, int], list[int]]:
        return called(ages), [called(age, 1), called(age, 2)]

    assert [served(), served()] == [({"a": 1, "b": 1}, [1, 1])] * 2
    assert len(fills) == 3
    with app.app_context(), made() as session:
        hero = session.exec(select(Hero).where(Hero.name == "a")).one()
        hero.age = 7
        session.add(hero)
        session.commit()
    assert served() == ({"a": 7, "b": 1}, [7, 1])
    assert len(fills) == 5, "the other row is left"
    engine.dispose()
