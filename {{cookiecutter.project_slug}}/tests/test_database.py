"""A database that does not answer: bounded waits, a clear 503, and pages within their grace.

And SQLite's savepoints: what they change is committed and rolled back with the transaction.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_coherent_cache.testing import free_port, wait_until
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from package import load

database = load("database")


class Postgres:
    """A PostgreSQL of its own, with all its processes in one group."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs, self.port = folder, programs, free_port()
        self.url = f"postgresql://app@127.0.0.1:{self.port}/postgres"
        # It refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        self.folder.mkdir()
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.folder.parent.chmod(0o711)
        command = ["initdb", "--username=app", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        self.run(*command, "--locale=C", f"--pgdata={self.folder}").wait(60)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self.process = self.run("postgres", "-D", str(self.folder), *options.split())
        engine = create_engine(database_url(self.url))
        wait_until(lambda: answers(engine), 30)
        engine.dispose()

    def run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder.parent / "postgres.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command is ours
                [self.programs / program, *arguments],
                user=self.user,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal to each of the server's processes."""
        (first, *_) = (self.folder / "postmaster.pid").read_text().split()
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *children):
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None


def database_url(url: str) -> str:
    return str(load("config").database_url(url))


def answers(engine) -> bool:
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text("SELECT 1")).scalar())
    except OperationalError:
        return False


@pytest.fixture(scope="module")
def installed() -> Iterator[Postgres]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = shutil.which("postgres") or (str(found[-1]) if found else None)
    if program is None or not Path("/proc/self/task").is_dir():
        pytest.skip("no PostgreSQL on this machine")
    # Not in pytest's folder, which is for its own user alone.
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "data", Path(program).parent)
        postgres.make()
        postgres.start()
        yield postgres
        postgres.stop()


@pytest.fixture
def postgres(installed: Postgres) -> Iterator[Postgres]:
    if installed.process is None:
        installed.start()
    yield installed
    if installed.process is not None:
        installed.signal(signal.SIGCONT)


@pytest.fixture
def shop(postgres: Postgres, make_app):
    """An application on PostgreSQL, with pages of its own: also where there is no example."""
    app = make_app(DATABASE_URL=postgres.url, DATABASE_TIMEOUT_SECONDS=0.5, CACHE_STRICT=False)
    cache, db = load("extensions").cache, load("extensions").db

    @app.get("/short")
    @cache.cached(timeout=0.2, grace=300)
    def short() -> str:
        return str(db.session.execute(text("SELECT 42")).scalar())

    @app.get("/long")
    @cache.cached(timeout=300)
    def long() -> str:
        return str(db.session.execute(text("SELECT 43")).scalar())

    @app.get("/api/number")
    def number() -> str:
        return str(db.session.execute(text("SELECT 44")).scalar())

    with app.app_context():
        db.create_all()
    return app


@pytest.fixture
def breaker(shop):
    with shop.app_context():
        breaker = load("extensions").db.engine.pool.breaker
    yield breaker
    # Else it would tell the next test of what this one did.
    breaker.close()


def is_stale(client) -> bool:
    return "detail=stale" in client.get("/short").headers["Cache-Status"]


@pytest.mark.parametrize("fault", ["paused", "killed"])
def test_pages_within_grace_answer_and_others_say_when_to_ask_again(postgres, shop, breaker, fault):
    client = shop.test_client()
    assert client.get("/short").text == "42"
    postgres.signal(signal.SIGSTOP) if fault == "paused" else postgres.stop()
    wait_until(lambda: is_stale(client))
    refused = client.get("/api/number")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.json["status"] == 503
    assert "SELECT" not in refused.text
    wait_until(lambda: breaker.is_away)
    html = client.get("/long", headers={"Accept": "text/html"})
    assert (html.status_code, html.mimetype) == (503, "text/html")
    assert client.get("/short").text == "42"
    assert is_stale(client)
    postgres.signal(signal.SIGCONT) if fault == "paused" else postgres.start()
    wait_until(lambda: not breaker.is_open)
    # Nothing of the failure was stored.
    assert client.get("/long").text == "43"
    wait_until(lambda: "; hit" in client.get("/short").headers["Cache-Status"])
    wait_until(lambda: not is_stale(client))


def test_while_it_is_away_nobody_waits_for_it(postgres, shop, breaker):
    client = shop.test_client()
    postgres.signal(signal.SIGSTOP)
    assert client.get("/api/number").status_code == 503
    wait_until(lambda: breaker.is_away)
    with shop.app_context():
        engine = load("extensions").db.engine
    connects = engine.pool.checkedout()
    for _ in range(50):
        assert client.get("/api/number").status_code == 503
    assert engine.pool.checkedout() == connects


def test_the_log_says_it_once(postgres, shop, breaker, caplog):
    client = shop.test_client()
    postgres.stop()
    for _ in range(20):
        client.get("/api/number")
    wait_until(lambda: breaker.is_away)
    for _ in range(20):
        client.get("/api/number")
    postgres.start()
    wait_until(lambda: not breaker.is_open)
    words = [record.message for record in caplog.records if "database" in record.message.lower()]
    assert len([line for line in words if "is away" in line]) == 1
    assert len([line for line in words if "is back" in line]) == 1


def test_a_command_waits_as_long_as_it_takes(shop):
    @shop.cli.command("sleep")
    def sleep() -> None:
        load("extensions").db.session.execute(text("SELECT pg_sleep(1)"))

    assert shop.test_cli_runner().invoke(args=["sleep"]).exit_code == 0


def test_a_request_does_not(shop):
    @shop.get("/sleep")
    def sleep() -> str:
        load("extensions").db.session.execute(text("SELECT pg_sleep(20)"))
        return "slept"

    assert shop.test_client().get("/sleep").status_code == 503


@pytest.mark.parametrize("fault", ["paused", "killed"])
def test_a_view_that_has_its_answer_gives_it(postgres, shop, breaker, fault):
    @shop.get("/just-in-time")
    def just_in_time() -> str:
        answer = load("extensions").db.session.execute(text("SELECT 45")).scalar()
        postgres.signal(signal.SIGSTOP) if fault == "paused" else postgres.stop()
        return str(answer)

    answered = shop.test_client().get("/just-in-time")
    assert (answered.status_code, answered.text) == (200, "45")
    # The connection is not handed out again as if it were well.
    assert shop.test_client().get("/api/number").status_code == 503
    postgres.signal(signal.SIGCONT) if fault == "paused" else postgres.start()
    wait_until(lambda: shop.test_client().get("/api/number").status_code == 200)


def test_a_new_pool_is_guarded_too(shop, breaker):
    with shop.app_context():
        engine = load("extensions").db.engine
        engine.dispose()
        assert engine.pool.breaker is breaker


def test_a_wrong_statement_is_a_fault_of_the_program(app):
    @app.get("/wrong")
    def wrong() -> str:
        load("extensions").db.session.execute(text("SELECT * FROM nothing"))
        return "never"

    app.testing = app.config["PROPAGATE_EXCEPTIONS"] = False
    assert app.test_client().get("/wrong").status_code == 500


def test_a_busy_pool_and_a_busy_file_are_unavailable():
    assert database.is_unavailable(TimeoutError("QueuePool limit"))
    busy = Exception("database is locked")
    busy.sqlite_errorname = "SQLITE_BUSY"
    assert database.is_unavailable(OperationalError("SELECT 1", {}, busy))
    busy.sqlite_errorname = "SQLITE_ERROR"
    assert not database.is_unavailable(OperationalError("SELECT 1", {}, busy))
    assert not database.is_unavailable(ValueError("else"))


def test_a_full_disk_and_a_file_that_only_reads_are_unavailable(tmp_path):
    path = tmp_path / "shop.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(OperationalError) as raised:
            connection.execute(text("CREATE TABLE shelf (name)"))
    assert database.is_unavailable(raised.value)
    engine.dispose()  # The bound is its connection's.
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE shelf (name)"))
    engine.dispose()
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    with engine.connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("INSERT INTO shelf VALUES (1)"))
    assert database.is_unavailable(raised.value)
    engine.dispose()


@pytest.mark.parametrize(
    ("state", "unavailable"),
    [
        ("53100", True),  # disk_full
        ("53300", True),  # too_many_connections
        ("57P03", True),  # cannot_connect_now
        ("58030", True),  # io_error
        ("25006", True),  # read_only_sql_transaction
        ("40P01", True),  # deadlock_detected
        ("42P01", False),  # undefined_table
        ("23505", False),  # unique_violation
        ("22001", False),  # string_data_right_truncation
    ],
)
def test_what_postgresql_says_of_itself_is_unavailable(state, unavailable):
    original = Exception("said by the server")
    original.sqlstate = state
    assert database.is_unavailable(DBAPIError("UPDATE", {}, original)) is unavailable
    assert database.is_unavailable(OperationalError("UPDATE", {}, original)) is unavailable


# -- SQLite's savepoints -----------------------------------------------------------------------


class Base(DeclarativeBase):
    """The base of a model of the tests' own, which no migration of the project sees."""


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(default=1)


class Things:
    """Two things of price 1, in the database and through the cache."""

    def __init__(self, app: Flask) -> None:
        self.app, self.db = app, load("extensions").db
        cache = load("extensions").cache
        with app.app_context():
            Base.metadata.create_all(self.db.engine)
            self.db.session.add_all([Thing(id=1), Thing(id=2)])
            self.db.session.commit()
        self.cached = cache.memoize(60, make_name=lambda _: "price of a thing")(self.price)

    def price(self, number: int) -> int:
        return int(self.db.session.get_one(Thing, number).price)

    def set_price(self, price: int, number: int = 1) -> None:
        self.db.session.get_one(Thing, number).price = price
        self.db.session.flush()

    def set_price_in_savepoint(self, price: int, number: int = 1) -> None:
        with self.db.session.begin_nested():
            self.set_price(price, number)

    def seen(self) -> tuple[list[int], list[int]]:
        """What somebody else sees now, in the database and through the cache."""
        answers: list[list[int]] = []

        def look(read: Callable[[int], int]) -> None:
            with self.app.app_context():
                answers.append([read(1), read(2)])

        for read in (self.price, self.cached):
            in_threads(lambda read=read: look(read))
        stored, cached = answers
        return stored, cached


def in_threads(*functions: Callable[[], Any]) -> list[BaseException]:
    """Run each function in a thread of its own, and return what they raised."""
    raised: list[BaseException] = []

    def run(function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.fixture
def things(app: Flask) -> Things:
    return Things(app)


def both(first: int, second: int = 1) -> tuple[list[int], list[int]]:
    return [first, second], [first, second]


@pytest.mark.parametrize("order", ["cached before", "cached in between"])
def test_a_released_savepoint_is_rolled_back_with_its_transaction(things: Things, order: str):
    if order == "cached before":
        assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price_in_savepoint(7)
        assert things.cached(1) == 7
        assert things.seen() == both(1)
        things.db.session.rollback()
        assert things.price(1) == 1
    assert things.seen() == both(1)


@pytest.mark.parametrize("order", ["cached before", "cached in between"])
def test_a_released_savepoint_is_committed_with_its_transaction(things: Things, order: str):
    if order == "cached before":
        assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price_in_savepoint(7)
        assert things.seen() == both(1)
        things.db.session.commit()
        assert things.seen() == both(7)
    assert things.seen() == both(7)


def test_a_savepoint_that_is_rolled_back_leaves_the_transaction(things: Things):
    with things.app.app_context():
        savepoint = things.db.session.begin_nested()
        things.set_price(7)
        savepoint.rollback()
        things.set_price(8, 2)
        assert things.seen() == both(1)
        things.db.session.commit()
    assert things.seen() == both(1, 8)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_savepoints_within_savepoints(things: Things, end: str):
    session = things.db.session
    assert things.seen() == both(1)
    with things.app.app_context():
        with session.begin_nested():
            things.set_price_in_savepoint(7)
            inner = session.begin_nested()
            things.set_price(8, 2)
            inner.rollback()
            assert things.seen() == both(1)
        assert things.seen() == both(1)
        getattr(session, end)()
    assert things.seen() == both(7 if end == "commit" else 1)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_savepoint_after_a_write(things: Things, end: str):
    assert things.seen() == both(1)
    with things.app.app_context():
        things.set_price(7)
        things.set_price_in_savepoint(8, 2)
        assert things.seen() == both(1)
        getattr(things.db.session, end)()
    assert things.seen() == (both(7, 8) if end == "commit" else both(1))


@pytest.mark.parametrize("first", ["set_price", "set_price_in_savepoint"])
@pytest.mark.parametrize("second", ["set_price", "set_price_in_savepoint"])
def test_writers_that_read_first_wait_for_each_other(things: Things, first: str, second: str):
    have_read = threading.Barrier(2, timeout=30)

    def write(change: str, number: int) -> None:
        with things.app.app_context():
            assert things.price(number) == 1
            have_read.wait()
            getattr(things, change)(7, number)
            things.db.session.commit()

    assert in_threads(lambda: write(first, 1), lambda: write(second, 2)) == []
    assert things.seen() == both(7, 7)


@pytest.mark.parametrize("other", ["set_price", "set_price_in_savepoint"])
def test_a_savepoint_that_reads_first_has_the_lock_already(things: Things, other: str):
    has_committed = threading.Event()

    def write() -> None:
        with things.app.app_context():
            getattr(things, other)(8, 2)
            things.db.session.commit()
            has_committed.set()

    def read_and_write() -> None:
        with things.app.app_context():
            with things.db.session.begin_nested():
                assert things.price(1) == 1
                writer = threading.Thread(target=lambda: raised.extend(in_threads(write)))
                writer.start()
                # Without the lock the other one commits now, and the change below fails.
                has_committed.wait(0.5)
                things.set_price(7)
            things.db.session.commit()
        writer.join()

    raised: list[BaseException] = []
    assert in_threads(read_and_write) == raised == []
    assert things.seen() == both(7, 8)


def test_a_savepoint_that_cannot_have_the_lock_says_that_the_file_is_busy(make_app):
    options = {"connect_args": {"timeout": 0}}
    things = Things(make_app(SQLALCHEMY_ENGINE_OPTIONS=options))
    session = things.db.session
    with things.app.app_context():
        things.set_price(7)

        def write() -> None:
            with things.app.app_context():
                with pytest.raises(OperationalError) as raised:
                    things.set_price_in_savepoint(8)
                assert database.is_unavailable(raised.value)
                session.rollback()
                assert things.price(1) == 1

        assert in_threads(write) == []
        session.rollback()
        things.set_price_in_savepoint(8)
        session.commit()
    assert things.seen() == both(8)


AUTOCOMMIT = {"level": {"isolation_level": "AUTOCOMMIT"}}
if sys.version_info >= (3, 12):
    AUTOCOMMIT["attribute"] = {"connect_args": {"autocommit": True}}


@pytest.mark.parametrize("name", AUTOCOMMIT)
def test_a_connection_that_commits_by_itself_commits_at_the_release(make_app, name: str):
    things = Things(make_app(SQLALCHEMY_ENGINE_OPTIONS=AUTOCOMMIT[name]))
    assert things.seen() == both(1)
    with things.app.app_context(), things.db.engine.connect() as connection:
        with connection.begin_nested():
            connection.execute(update(Thing).where(Thing.id == 1).values(price=7))
            assert things.seen() == both(1)
        assert things.seen() == both(7)
    assert things.seen() == both(7)
