"""Guesses of a password at one moment are counted, all of them, whatever becomes of the cache."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = next((Path(__file__).parents[2] / "src").glob("*/__init__.py")).parent.name
throttle, views = (import_module(f"{PACKAGE}.account.{name}") for name in ("throttle", "views"))

FORM = {"name": "Ada", "password": "wrong"}
AWAY = {
    "SECRET_KEY": "k" * 40,
    "CACHE_TYPE": "RedisCache",
    "CACHE_REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.mark.parametrize("settings", [{}, {"CACHE_TYPE": "NullCache"}, AWAY])
def test_guesses_at_one_moment_are_counted_all(make_app, monkeypatch, settings):
    throttle._counted.clear()
    app = make_app(**settings)
    start = threading.Barrier(30)
    # Nothing is counted between the look and the note, where a password takes its time.
    monkeypatch.setattr(views, "_authenticated", lambda *_: time.sleep(0.01))

    def guess(_):
        client = app.test_client()
        start.wait(30)
        return client.post("/account/sign-in", data=FORM).status_code

    with ThreadPoolExecutor(30) as pool:
        assert Counter(pool.map(guess, range(30))) == {422: 10, 429: 20}
