"""A database that does not answer: bounded waits, a clear 503, and pages within their grace."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask_coherent_cache.testing import free_port, wait_until
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, TimeoutError

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
