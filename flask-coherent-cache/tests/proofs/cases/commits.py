"""Commits that go wrong, snapshots that are old, servers that come back as their older selves."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

import another_process
from databases import Proxy, RestartableRedis
from flask_coherent_cache.testing import wait_until
from shops import Item, Shop, db, open_shop

#: For how long a commit may leave its tags in doubt, here.
DOUBT_SECONDS = 2


@contextmanager
def another(shop: Shop, url: str, act: str) -> Iterator[subprocess.Popen[str]]:
    """Run the shop in a process of its own."""
    settings = {key: value for key, value in shop.app.config.items() if key.startswith("CACHE_")}
    told = {"name": shop.name, "settings": settings, "url": url, "act": act}
    argument = json.dumps({**told, "doubt_seconds": DOUBT_SECONDS}, default=str)
    command = [sys.executable, another_process.__file__, argument]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process


def in_thread(function: Callable[..., Any], *arguments: Any) -> None:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


def judge(name: str, right: bool) -> None:
    """Assert that it is right here, and wrong on stock, where one drops by hand after COMMIT."""
    assert right is (name == "ours")


@pytest.fixture
def postgresql_shop(
    name: str, redis_settings: dict[str, Any], postgresql_url: str
) -> Iterator[Shop]:
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "REPEATABLE READ"}}
    with open_shop(name, redis_settings, postgresql_url, **options) as shop:
        yield shop


@pytest.fixture
def ours(postgresql_shop: Shop, name: str) -> Shop:
    if name == "stock":
        pytest.skip("Flask-Caching does not know of transactions")
    return postgresql_shop


# -- snapshots and sessions --------------------------------------------------------------------


def test_a_snapshot_older_than_the_fill(postgresql_shop: Shop) -> None:
    """Under REPEATABLE READ a fill sees what was so at the transaction's first statement."""
    shop = postgresql_shop
    with shop.app.app_context():
        assert db.session.get_one(Item, 2).price == 1
        in_thread(shop.write, 7)
        assert shop.memoized(1) == 1
    judge(shop.name, shop.price() == 7)


def test_a_snapshot_older_than_the_fill_of_another_session(ours: Shop) -> None:
    with ours.app.app_context(), Session(db.engine) as session:
        memoized = ours.cache.memoize(60, make_name=lambda name: "own session")(
            lambda: session.get_one(Item, 1).price
        )
        session.get_one(Item, 2)
        in_thread(ours.write, 7)
        assert memoized() == 1
    with ours.app.app_context(), Session(db.engine) as session:
        assert memoized() == 7


def test_flushed_read_and_rolled_back(postgresql_shop: Shop) -> None:
    shop = postgresql_shop
    with shop.app.app_context():
        db.session.get_one(Item, 1).price = 7
        db.session.flush()
        assert shop.memoized(1) == 7
        db.session.rollback()
    judge(shop.name, shop.price() == 1)


def test_the_commit_of_one_session_leaves_another_uncommitted(ours: Shop) -> None:
    with ours.app.app_context():
        db.session.get_one(Item, 1).price = 7
        db.session.flush()
        with Session(db.engine) as second:
            second.get_one(Item, 2).price = 8
            second.commit()
        assert ours.memoized(1) == 7
        assert ours.memoized(2) == 1, "the first session's snapshot is older"
        db.session.rollback()
    assert (ours.price(1), ours.price(2)) == (1, 8)


def test_a_commit_within_a_fill(ours: Shop) -> None:
    """A fill that writes and commits by a session of its own is not valid before its own write."""

    def visited() -> int:
        with Session(db.engine) as session:
            session.get_one(Item, 1).price += 1
            session.commit()
            return session.get_one(Item, 1).price

    memoized = ours.cache.memoize(60, make_name=lambda name: "visited")(visited)
    for _ in range(3):
        with ours.app.app_context():
            assert memoized() == ours.stored_price()


@pytest.mark.parametrize("outer", ["commit", "rollback"])
@pytest.mark.parametrize("inner", ["commit", "rollback"])
def test_savepoints(ours: Shop, inner: str, outer: str) -> None:
    assert ours.price() == 1
    with ours.app.app_context():
        db.session.get_one(Item, 2).price = 8
        savepoint = db.session.begin_nested()
        db.session.get_one(Item, 1).price = 7
        db.session.flush()
        ours.memoized(1)
        getattr(savepoint, inner)()
        ours.memoized(1)
        getattr(db.session, outer)()
        ours.memoized(1)
    assert (ours.price(1), ours.price(2)) == (ours.stored_price(1), ours.stored_price(2))


def test_a_commit_in_two_phases(ours: Shop) -> None:
    assert ours.price() == 1
    with ours.app.app_context():
        db.engine.dispose()  # a new connection knows of no earlier transaction
    with ours.app.app_context(), sessionmaker(db.engine, twophase=True)() as session:
        session.get_one(Item, 1).price = 7
        session.commit()
    assert ours.price() == 7


def test_a_connection_that_commits_by_itself(ours: Shop) -> None:
    assert ours.price() == 1
    with ours.app.app_context():
        engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(Item.__table__.update().values(price=7))
            in_thread(lambda: judge(ours.name, ours.price() == 7))
    assert ours.price() == 7


def test_raw_sql_that_is_rolled_back(ours: Shop) -> None:
    """It names no rows, but it is known to have written: nothing is stored before its end."""
    with ours.app.app_context():
        db.session.execute(text("UPDATE item SET price = 7"))
        assert ours.memoized(1) == 7
        db.session.rollback()
    assert ours.price() == 1


def test_a_row_that_is_locked(ours: Shop) -> None:
    locked = select(Item.price).where(Item.id == 1).with_for_update()
    memoized = ours.cache.memoize(60, make_name=lambda name: "locked")(
        lambda: db.session.scalar(locked)
    )
    for price in (7, 8):
        ours.write(price)
        for _ in range(2):
            with ours.app.app_context():
                assert memoized() == price


# -- COMMIT ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ours", "stock"])
def test_the_answer_to_commit_is_lost(
    name: str, redis_settings: dict[str, Any], postgresql_url: str
) -> None:
    """The server commits, and the connection is cut before its answer arrives."""
    direct = make_url(postgresql_url)
    proxy = Proxy(direct.port or 0)
    url = direct.set(port=proxy.port, query={"sslmode": "disable", "gssencmode": "disable"})
    with open_shop(name, redis_settings, url.render_as_string()) as shop:
        assert shop.price() == 1
        proxy.armed = True
        with pytest.raises(OperationalError):
            shop.write(7)
        assert proxy.cuts == 1
        assert shop.stored_price() == 7
        judge(name, shop.price() == 7)
    proxy.close()


@pytest.mark.parametrize("name", ["ours", "stock"])
def test_killed_between_commit_and_invalidation(
    name: str, redis_settings: dict[str, Any], database_url: str
) -> None:
    with open_shop(name, redis_settings, database_url) as shop:
        assert shop.price() == 1
        with another(shop, database_url, "write") as writer:
            assert writer.wait(60) == -signal.SIGKILL
        assert shop.stored_price() == 7
        judge(name, shop.price() == 7)


def test_killed_and_nobody_asks_while_it_is_in_doubt(
    redis_settings: dict[str, Any], database_url: str
) -> None:
    """When the time of doubt is over, entries from before the commit do not come back to life."""
    with open_shop("ours", redis_settings, database_url) as shop:
        both = shop.cache.memoize(600, make_name=lambda name: "both")(
            lambda: shop.memoized(1) + shop.memoized(2)
        )
        with shop.app.app_context():
            assert both() == 2
        with another(shop, database_url, "write") as writer:
            assert writer.wait(60) == -signal.SIGKILL

        def is_hit() -> bool:
            before = shop.calls[1]
            assert shop.price() == 7
            return shop.calls[1] == before

        wait_until(is_hit, 20)
        with shop.app.app_context():
            assert both() == 8


# -- a server that came back as its older self -------------------------------------------------


@pytest.mark.parametrize("name", ["ours", "stock"])
def test_the_server_restarted_from_an_old_snapshot(
    name: str, tmp_path: Path, database_url: str
) -> None:
    """Neither a process that was connected nor a new one serves what had been dropped."""
    with RestartableRedis(tmp_path) as server:
        if server is None:
            pytest.skip("there is no redis-server and no valkey-server on PATH")
        settings = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": server.url}
        with open_shop(name, settings, database_url) as shop:
            assert [shop.price(number) for number in (1, 2, 3, 4)] == [1] * 4
            server.save()
            for number in (1, 2, 3, 4):
                shop.write(7, number)
            server.restart()
            with another(shop, database_url, "read") as new:
                told, _ = new.communicate(timeout=60)
            judge(name, json.loads(told) == [7] * 4)
            judge(name, [shop.price(number) for number in (1, 2, 3, 4)] == [7] * 4)
