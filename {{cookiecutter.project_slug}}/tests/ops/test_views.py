"""Health: the process, the database, the cache."""

import pytest
from sqlalchemy.exc import OperationalError

from package import load

views = load("ops.views")


def test_healthz_touches_nothing(client, monkeypatch):
    monkeypatch.setattr(views, "db", None)
    monkeypatch.setattr(views, "cache", None)
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"


def test_readyz_names_the_components(client):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["status"] == "ok"
    assert {name: part["status"] for name, part in response.json["components"].items()} == {
        "database": "ok",
        "cache": "ok",
    }


def test_without_a_database_it_is_not_ready(client, monkeypatch, caplog):
    def fail():
        raise OperationalError("SELECT 1", {}, Exception("password=hunter2"))

    monkeypatch.setattr(views, "_ask_database", fail)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json["status"] == "unavailable"
    assert response.json["components"]["database"]["status"] == "unavailable"
    assert "hunter2" not in response.text
    assert "The database does not answer" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://127.0.0.1:1/0"},
        {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": "127.0.0.1:1"},
    ],
    ids=["redis", "memcached"],
)
def test_without_a_cache_it_is_degraded_and_ready(make_app, settings):
    response = make_app(**settings).test_client().get("/readyz")
    assert response.status_code == 200
    assert response.json["status"] == "degraded"
    assert response.json["components"]["cache"]["status"] == "degraded"


def test_a_cache_that_is_switched_off_is_not_missed(make_app):
    response = make_app(CACHE_TYPE="NullCache").test_client().get("/readyz")
    assert response.json["status"] == "ok"
    assert response.json["components"]["cache"]["status"] == "off"


def test_to_be_asked_again_and_again_leaves_nothing_more(app, client, cache):
    client.get("/readyz")
    with app.app_context():
        items = cache.engine.store._items
    before = set(items)
    for _ in range(5):
        assert client.get("/readyz").json["status"] == "ok"
    assert set(items) == before
