"""Logs: request ids, access lines, and both forms."""

import json
import logging
import re

import pytest

from {{cookiecutter.package_name}} import logs
from {{cookiecutter.package_name}}.extensions import cache


@pytest.fixture(autouse=True)
def _as_before():
    """Leave the root logger as it was, and forget the id of another test's request."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs._request_id.set(None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def access(caplog):
    """The access lines so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record for record in caplog.records if record.name.endswith(".access")]


@pytest.mark.parametrize("sane", ["a", "3f2b-11.C_d", "x" * 64])
def test_a_sane_request_id_is_echoed(client, sane):
    answer = client.get("/healthz", headers={"X-Request-ID": sane})
    assert answer.headers["X-Request-ID"] == sane


@pytest.mark.parametrize("odd", ["", "x" * 65, "a b", 'a"b', "a\tb", "é", "a,b", "${jndi:x}"])
def test_any_other_request_id_is_replaced(client, odd):
    answer = client.get("/healthz", headers={"X-Request-ID": odd})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_a_request_has_one_access_line(client, access):
    client.get("/nowhere?token=hidden")
    (record,) = access()
    assert (record.method, record.path, record.status) == ("GET", "/nowhere", 404)
    assert record.ms >= 0
    assert re.fullmatch(r"GET /nowhere 404 in [0-9.]+ ms", record.getMessage())


def test_the_line_says_what_the_cache_did(app, client, access):
    @cache.memoize(60)
    def value(number):
        return number

    @app.get("/two")
    def two():
        return f"{value(1) + value(1)}"

    @app.get("/page")
    @cache.cached(60)
    def page():
        return f"{value(2)}"

    for path in ("/two", "/page", "/page"):
        client.get(path)
    assert [(record.endpoint, record.cache) for record in access()] == [
        ("two", {"miss": 1, "hit": 1}),
        ("page", {"miss": 2}),
        ("page", {"hit": 1}),
    ]
    assert re.search(r" ms, cache: 1 hit, 1 miss$", access()[0].getMessage())
    assert re.search(r" ms, cache: 2 miss \(page-cache; fwd=miss", access()[1].getMessage())


def test_health_checks_are_quiet_unless_they_fail(client, access):
    client.get("/healthz")
    client.get("/readyz")
    assert access() == []
    client.post("/healthz")
    assert len(access()) == 1


def test_an_exception_that_nothing_handles_has_its_line(app, client, access):
    app.add_url_rule("/broken", view_func=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client.get("/broken")
    (record,) = access()
    assert record.status == 500
    assert logs.request_id() is None


def test_without_the_line_there_is_still_an_id(make_app, access):
    client = make_app(APP_ENV="development", LOG_LEVEL="WARNING").test_client()
    logging.getLogger().setLevel("WARNING")
    assert client.get("/nowhere").headers["X-Request-ID"]
    assert access() == []


def test_the_line_comes_when_the_response_has_been_sent(app, client, access):
    app.add_url_rule("/stream", view_func=lambda: iter([b"one", b"two"]))
    response = client.get("/stream", buffered=False)
    assert access() == []
    response.close()
    assert len(access()) == 1


def test_a_visitor_cannot_forge_a_line(make_app, capsys):
    app = make_app()
    app.test_client().get("/x%0aERROR forged%1b[31m", headers={"X-Request-ID": "abc"})
    app.logger.warning("said\nERROR forged \x1b[31m \u2028")
    inside, outside = capsys.readouterr().err.splitlines()
    assert "[abc] " in inside
    assert "/x%0AERROR%20forged%1B%5B31m" in inside
    assert "[-] " in outside
    assert r"said\nERROR forged \x1b[31m \u2028" in outside


def test_json_is_one_object_a_line(make_app, capsys):
    make_app()
    app = make_app(LOG_FORMAT="json")  # it takes the place of the former's handler
    client, given = app.test_client(), {"X-Request-ID": "abc"}
    client.get("/n%C3%A9%22", headers=given)
    # Without the handlers of pytest, the line is written by hand.
    logging.getLogger().handlers = logging.getLogger().handlers[-1:]
    client.get("/n%C3%A9%22", headers=given)
    app.logger.error("said\n", exc_info=ValueError("two\nlines"))
    request, by_hand, failure = map(json.loads, lines := capsys.readouterr().err.splitlines())
    assert request | {"level": "INFO", "logger": f"{app.name}.access", "status": 404} == request
    assert request | {"path": "/n%C3%A9%22", "request_id": "abc", "cache": {}} == request
    assert request["time"].endswith(("Z", "+00:00"))
    assert lines[1] == json.dumps({name: by_hand[name] for name in request})
    assert {name for name in request if request[name] != by_hand[name]} <= {"message", "ms", "time"}
    assert "two\nlines" in failure["exc_info"]


def test_the_development_servers_own_access_line_is_dropped(app, caplog):
    server = logging.getLogger("werkzeug")
    server.warning('127.0.0.1 - - [now] "%s" %s %s\n', "GET / HTTP/1.1", 200, "-")
    server.warning("\x1b[33mPress CTRL+C to quit\x1b[0m")
    assert [r.getMessage() for r in caplog.records] == ["Press CTRL+C to quit"]
