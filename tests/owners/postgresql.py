"""A PostgreSQL that hangs: bounded waits, a clear 503, and pages within their grace."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from flask_coherent_cache.testing import free_port, wait_until
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

PACKAGE = next((Path(__file__).parents[2] / "src").glob("*/__init__.py")).parent.name
cache, db = (getattr(import_module(f"{PACKAGE}.extensions"), name) for name in ("cache", "db"))


class Postgres:
    """A PostgreSQL of its own, with all its processes in one group."""

    def __init__(self, folder, programs):
        self.folder, self.programs, self.port = folder, programs, free_port()
        self.url = f"postgresql://app@127.0.0.1:{self.port}/postgres"
        # It refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None

    def start(self):
        self.folder.mkdir()
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.folder.parent.chmod(0o711)
        command = ["initdb", "--username=app", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        self.run(*command, "--locale=C", f"--pgdata={self.folder}").wait(60)
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self.process = self.run("postgres", "-D", str(self.folder), *options.split())
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        wait_until(lambda: answers(engine), 30)
        engine.dispose()

    def run(self, program, *arguments):
        with (self.folder.parent / "postgres.log").open("ab") as log:
            return subprocess.Popen(
                [self.programs / program, *arguments],
                user=self.user,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number):
        """Send a signal to each of the server's processes."""
        (first, *_) = (self.folder / "postmaster.pid").read_text().split()
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *children):
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def stop(self):
        self.resume()
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


def answers(engine):
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text("SELECT 1")).scalar())
    except OperationalError:
        return False


@pytest.fixture(scope="module")
def installed():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = shutil.which("postgres") or (str(found[-1]) if found else None)
    if program is None or not Path("/proc/self/task").is_dir():
        pytest.skip("no PostgreSQL on this machine")
    # Not in pytest's folder, which is for its own user alone.
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "data", Path(program).parent)
        postgres.start()
        yield postgres
        postgres.stop()


@pytest.fixture
def postgres(installed):
    yield installed
    installed.resume()


@pytest.fixture
def client(postgres, make_app):
    """Return a browser of an application on PostgreSQL, with pages of its own."""
    app = make_app(DATABASE_URL=postgres.url, DATABASE_TIMEOUT_SECONDS=0.5, CACHE_STRICT=False)

    def query(number):
        return str(db.session.execute(text(f"SELECT {number}")).scalar())

    @app.get("/short")
    @cache.cached(timeout=0.2, grace=300)
    def short():
        return query(42)

    @app.get("/long")
    @cache.cached(timeout=300)
    def long():
        return query(43)

    app.add_url_rule("/api/number", "number", lambda: query(44))
    with app.app_context():
        db.create_all()
        breaker = db.engine.pool.breaker
    yield app.test_client()
    # Else it would tell the next test of what this one did.
    breaker.close()


def is_back(client):
    return client.get("/api/number").status_code == 200


def test_while_it_is_away_pages_within_grace_answer_and_others_say_when_to_ask_again(
    postgres, client, caplog
):
    def is_stale():
        return "detail=stale" in client.get("/short").headers["Cache-Status"]

    assert client.get("/short").text == "42"
    postgres.pause()
    wait_until(is_stale)
    # The first waits as long as DATABASE_TIMEOUT_SECONDS; the others, not at all.
    for _ in range(50):
        refused = client.get("/api/number")
        assert refused.status_code == refused.json["status"] == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Cache-Control"] == "no-store"
        assert "SELECT" not in refused.text
    html = client.get("/long", headers={"Accept": "text/html"})
    assert (html.status_code, html.mimetype) == (503, "text/html")
    assert client.get("/short").text == "42"
    assert is_stale()
    postgres.resume()
    wait_until(lambda: is_back(client))
    # Nothing of the failure was stored.
    assert client.get("/long").text == "43"
    wait_until(lambda: not is_stale())
    said = [record.message for record in caplog.records]
    for words in ("The database is away", "The database is back"):
        assert len([line for line in said if words in line]) == 1


def test_a_view_that_has_its_answer_gives_it(postgres, client):
    @client.application.get("/just-in-time")
    def just_in_time():
        answer = db.session.execute(text("SELECT 45")).scalar()
        postgres.pause()
        return str(answer)

    answered = client.get("/just-in-time")
    assert (answered.status_code, answered.text) == (200, "45")
    # The connection is not handed out again as if it were well.
    assert not is_back(client)
    postgres.resume()
    wait_until(lambda: is_back(client))


def test_a_command_waits_as_long_as_it_takes_and_a_request_does_not(client):
    app = client.application

    def sleep():
        db.session.execute(text("SELECT pg_sleep(0.8)"))
        return "slept"

    app.cli.command("sleep")(sleep)
    app.add_url_rule("/sleep", view_func=sleep)
    assert app.test_cli_runner().invoke(args=["sleep"]).exit_code == 0
    assert client.get("/sleep").status_code == 503


def test_a_new_pool_is_guarded_too(client):
    with client.application.app_context():
        breaker = db.engine.pool.breaker
        db.engine.dispose()
        assert db.engine.pool.breaker is breaker
