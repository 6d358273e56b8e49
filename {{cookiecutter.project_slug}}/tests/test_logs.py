"""Logs: request ids, access lines, and both forms."""

import json
import logging
import re
from collections.abc import Iterator

import pytest
from flask_coherent_cache.testing import redis_server, wait_until

from package import load, name

logs = load("logs")


@pytest.fixture(autouse=True)
def _restored_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _no_request() -> None:
    """Forget the id of a request that another test has made."""
    logs._request_id.set(None)


@pytest.fixture
def access(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [r for r in caplog.records if r.name == f"{name()}.access"]


@pytest.mark.parametrize("sane", ["a", "3f2b-11.C_d", "x" * 64])
def test_a_sane_request_id_is_echoed(client, sane):
    response = client.get("/healthz", headers={"X-Request-ID": sane})
    assert response.headers.getlist("X-Request-ID") == [sane]


@pytest.mark.parametrize("odd", ["", "x" * 65, "a b", 'a"b', "a\tb", "é", "a,b", "${jndi:x}"])
def test_any_other_request_id_is_replaced(client, odd):
    response = client.get("/healthz", headers={"X-Request-ID": odd})
    assert re.fullmatch("[0-9a-f]{16}", response.headers["X-Request-ID"])


def test_requests_have_ids_of_their_own(client):
    first, second = client.get("/healthz"), client.get("/healthz")
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_a_request_has_one_access_line(client, access):
    client.get("/nowhere?token=hidden", headers={"X-Request-ID": "abc"})
    (record,) = access()
    assert (record.method, record.path, record.status) == ("GET", "/nowhere", 404)
    assert record.ms >= 0
    assert record.cache_status is None
    assert re.fullmatch(r"GET /nowhere 404 in [0-9.]+ ms", record.getMessage())


def test_the_line_says_what_the_cache_did(make_app, access):
    app = make_app()

    @app.get("/told")
    def told():
        return "", 200, {"Cache-Status": "page-cache; hit; ttl=9"}

    app.test_client().get("/told")
    (record,) = access()
    assert record.cache_status == "page-cache; hit; ttl=9"
    assert record.getMessage().endswith("(page-cache; hit; ttl=9)")


@pytest.fixture
def looking(make_app):
    """Make an application with a view that looks twice, and a cached page."""

    def make(**settings):
        app = make_app(**settings)
        cache = load("extensions").cache

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

        return app

    return make


def test_the_line_counts_the_requests_lookups(looking, access):
    client = looking().test_client()
    for path in ("/two", "/page", "/page", "/nowhere"):
        client.get(path)
    client.post("/page")
    assert [(record.endpoint, record.cache) for record in access()] == [
        ("two", {"miss": 1, "hit": 1}),
        ("page", {"miss": 2}),
        ("page", {"hit": 1}),
        (None, {}),
        (None, {}),
    ]
    assert re.search(r" ms, cache: 1 hit, 1 miss$", access()[0].getMessage())
    assert re.search(r" ms, cache: 2 miss \(page-cache; fwd=miss", access()[1].getMessage())


def test_a_page_that_goes_past_the_cache_is_counted_so(looking, access):
    looking().test_client().get("/page", headers={"Authorization": "Bearer x"})
    (record,) = access()
    assert record.cache == {"miss": 1, "bypass": 1}


def test_a_page_served_before_flask_is_one_hit(looking, access, tmp_path):
    with redis_server(tmp_path) as port:
        if port is None:
            pytest.skip("no Redis and no Valkey on this machine")
        url = f"redis://127.0.0.1:{port}/0"
        # A hit that is computed again is one of Flask's.
        app = looking(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url, CACHE_VERIFY=0)
        asked = []
        # Flask itself, beneath the middleware, is asked no more in the end.
        dispatch = app.full_dispatch_request
        app.full_dispatch_request = lambda *given: asked.append(1) or dispatch(*given)
        client = app.test_client()

        def is_served_before():
            before = len(asked)
            client.get("/page")
            return len(asked) == before

        wait_until(is_served_before)
        record = access()[-1]
        assert (record.endpoint, record.cache) == ("page", {"hit": 1})
        assert record.getMessage().startswith("GET /page 200 in ")
        assert ", cache: 1 hit (page-cache; hit" in record.getMessage()
        with app.app_context():
            load("extensions").cache.engine.close()


def test_health_checks_are_quiet_unless_they_fail(client, access, monkeypatch):
    client.get("/healthz")
    client.get("/readyz")
    assert access() == []
    client.post("/healthz")
    assert len(access()) == 1


def test_an_exception_that_nothing_handles_has_its_line(make_app, access):
    app = make_app()

    @app.get("/broken")
    def broken():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        app.test_client().get("/broken")
    (record,) = access()
    assert record.status == 500
    assert logs.request_id() is None


def test_the_line_comes_when_the_response_has_been_sent(make_app, access):
    app = make_app()

    @app.get("/stream")
    def stream():
        return iter([b"one", b"two"])

    response = app.test_client().get("/stream", buffered=False)
    assert access() == []
    response.close()
    assert len(access()) == 1


def test_a_path_cannot_forge_a_line(make_app, capsys):
    app = make_app()
    app.test_client().get("/x%0aERROR forged%1b[31m")
    app.logger.warning("said\nERROR forged \x1b[31m \u2028")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "/x%0AERROR%20forged%1B%5B31m" in lines[0]
    assert r"said\nERROR forged \x1b[31m \u2028" in lines[1]


def test_lines_carry_the_request_id(make_app, capsys):
    app = make_app()
    app.test_client().get("/nowhere", headers={"X-Request-ID": "abc"})
    app.logger.info("outside")
    inside, outside = capsys.readouterr().err.splitlines()
    assert "[abc]" in inside
    assert "[-]" in outside


def test_json_is_one_object_a_line(make_app, capsys):
    app = make_app(LOG_FORMAT="json")
    app.test_client().get("/nowhere", headers={"X-Request-ID": "abc"})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        app.logger.exception("said\n")
    request, failure = map(json.loads, capsys.readouterr().err.splitlines())
    assert request["level"] == "INFO"
    assert request["logger"] == f"{name()}.access"
    assert request["request_id"] == "abc"
    assert (request["method"], request["path"], request["status"]) == ("GET", "/nowhere", 404)
    assert (request["cache"], request["endpoint"]) == ({}, None)
    assert request["time"].endswith(("Z", "+00:00"))
    assert "two\nlines" in failure["exc_info"]


def test_a_second_application_adds_no_second_handler(make_app):
    make_app()
    make_app()
    own = [h for h in logging.getLogger().handlers if h.get_name() == logs.HANDLER]
    assert len(own) == 1


def test_the_development_servers_own_access_line_is_dropped(app, caplog):
    server = logging.getLogger("werkzeug")
    server.warning('127.0.0.1 - - [now] "%s" %s %s\n', "GET / HTTP/1.1", 200, "-")
    server.warning("\x1b[33mPress CTRL+C to quit\x1b[0m")
    assert [r.getMessage() for r in caplog.records] == ["Press CTRL+C to quit"]
