"""A database that does not answer: a bounded wait, then a clear 503 at once."""

import socketserver
import threading
import time
from contextlib import suppress

import pytest
from flask_coherent_cache.testing import wait_until
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from {{cookiecutter.package_name}}.database import is_unavailable
from {{cookiecutter.package_name}}.extensions import db


class Hanging(socketserver.BaseRequestHandler):
    """A PostgreSQL that lets everybody in (AuthenticationOk, ReadyForQuery), and says no more."""

    def handle(self):
        with suppress(OSError):
            self.request.recv(10_000)
            self.request.sendall(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
            while self.request.recv(10_000):
                pass


@pytest.fixture
def hanging_url():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hanging) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        yield f"postgresql://me:hunter2@127.0.0.1:{port}/name?sslmode=disable&gssencmode=disable"
        server.shutdown()


def ask():
    return str(db.session.execute(text("SELECT 42")).scalar())


def test_one_request_waits_for_it_and_the_others_do_not(make_app, hanging_url, caplog):
    app = make_app(DATABASE_URL=hanging_url, DATABASE_TIMEOUT_SECONDS=0.3)
    app.add_url_rule("/api/answer", view_func=ask)
    with app.app_context():
        breaker = db.engine.pool.breaker
    client, began = app.test_client(), time.monotonic()
    for _ in range(20):
        refused = client.get("/api/answer")
        assert refused.status_code == refused.json["status"] == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Cache-Control"] == "no-store"
        assert "SELECT" not in refused.text
    assert 0.3 <= time.monotonic() - began < 20 * 0.3
    wait_until(lambda: "The database is away" in caplog.text)
    assert caplog.text.count("The database is away") == 1
    assert "hunter2" not in caplog.text
    with app.app_context():
        db.engine.dispose()
        assert db.engine.pool.breaker is breaker, "a new pool is guarded, too"
    breaker.close()


def test_a_wrong_statement_is_a_fault_of_the_program(app):
    app.add_url_rule("/wrong", view_func=lambda: db.session.execute(text("SELECT * FROM nothing")))
    app.testing = app.config["PROPAGATE_EXCEPTIONS"] = False
    assert app.test_client().get("/wrong").status_code == 500


@pytest.mark.parametrize(
    ("said", "unavailable"),
    [
        ({"sqlite_errorname": "SQLITE_BUSY"}, True),
        ({"sqlite_errorname": "SQLITE_FULL"}, True),
        ({"sqlite_errorname": "SQLITE_READONLY_DIRECTORY"}, True),
        ({"sqlite_errorname": "SQLITE_ERROR"}, False),
        ({"sqlstate": "53100"}, True),  # disk_full
        ({"sqlstate": "57P03"}, True),  # cannot_connect_now
        ({"sqlstate": "25006"}, True),  # read_only_sql_transaction
        ({"sqlstate": "40P01"}, True),  # deadlock_detected
        ({"sqlstate": "42P01"}, False),  # undefined_table
        ({"sqlstate": "23505"}, False),  # unique_violation
    ],
)
def test_what_a_database_says_of_itself_is_unavailable(said, unavailable):
    original = Exception("said by the server")
    vars(original).update(said)
    assert is_unavailable(DBAPIError("UPDATE", {}, original)) is unavailable
    assert is_unavailable(OperationalError("UPDATE", {}, original)) is unavailable


def test_a_busy_pool_is_unavailable():
    assert is_unavailable(TimeoutError("QueuePool limit"))
    assert not is_unavailable(ValueError("else"))
