"""Health: the process, the database, the cache."""

import pytest

from {{cookiecutter.package_name}}.ops import views

NOWHERE = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://127.0.0.1:1/0"}


def test_healthz_touches_nothing(client, monkeypatch):
    monkeypatch.setattr(views, "db", None)
    monkeypatch.setattr(views, "cache", None)
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("settings", "status", "cache"),
    [
        ({}, "ok", "ok"),
        ({"CACHE_TYPE": "NullCache"}, "ok", "off"),
        (NOWHERE, "degraded", "degraded"),
    ],
    ids=["with a cache", "switched off", "without a server"],
)
def test_readyz_names_the_components(make_app, settings, status, cache):
    response = make_app(**settings).test_client().get("/readyz")
    assert (response.status_code, response.json["status"]) == (200, status)
    assert response.headers["Cache-Control"] == "no-store"
    components = {name: part["status"] for name, part in response.json["components"].items()}
    assert components == {"database": "ok", "cache": cache}


def test_without_a_database_it_is_not_ready(make_app, caplog):
    url = "postgresql://me:hunter2@127.0.0.1:1/name"
    response = make_app(DATABASE_URL=url).test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json["status"] == "unavailable"
    assert response.json["components"]["database"]["status"] == "unavailable"
    assert "The database does not answer" in caplog.text
    assert "hunter2" not in response.text + caplog.text
