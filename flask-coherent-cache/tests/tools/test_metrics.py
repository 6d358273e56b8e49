"""Metrics: what they say, and that no count is lost when a process ends."""

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from application import cache as the_cache
from flask_coherent_cache._tools import requests
from flask_coherent_cache._tools.ticker import Ticker
from flask_coherent_cache.gunicorn import keep_counts
from flask_coherent_cache.testing import redis_server, wait_until
from flask_coherent_cache.tools import Metrics

MakeApp = Callable[..., Flask]
Labels = tuple[tuple[str, str], ...]


def samples(text: str) -> dict[str, dict[Labels, float]]:
    """Read Prometheus' text format: the values of each series by its name and its labels."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def scrape(app: Flask) -> dict[str, dict[Labels, float]]:
    with app.app_context():
        return samples(Metrics(the_cache).exposition()[0].decode())


def labels(**values: str) -> Labels:
    return tuple(sorted(values.items()))


def add_pages(app: Flask, cache: Any) -> None:
    @app.get("/cached")
    @cache.cached(60)
    def cached() -> str:
        cache.tag("weather:berlin")
        return "a page"

    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError


@pytest.fixture
def counted(app: Flask, cache: Any) -> FlaskClient:
    add_pages(app, cache)
    return app.test_client()


# -- what they say -----------------------------------------------------------------------


def test_lookups_and_requests_are_counted(app: Flask, counted: FlaskClient) -> None:
    for _ in range(3):
        counted.get("/cached")
    counted.get("/made-up")
    found = scrape(app)
    lookups = found["cache_lookups_total"]
    assert lookups[labels(level="page", name="cached", result="miss")] == 1
    assert lookups[labels(level="page", name="cached", result="hit")] == 2
    assert lookups[labels(level="page", name="cached", result="error")] == 0
    assert found["cache_fill_seconds_count"][labels(level="page", name="cached")] == 1
    assert found["cache_stored_bytes_total"][labels(level="page", name="cached")] > 6
    assert found["cache_leases_total"][labels(outcome="taken")] == 1
    assert found["cache_breaker_open"] == {(): 0}
    assert found["http_requests_total"][labels(route="cached", status="200")] == 3
    assert found["http_requests_total"][labels(route="none", status="404")] == 1
    assert found["http_request_seconds_count"][labels(route="cached")] == 3
    assert found["app_build_info"] == {labels(release=app.config["RELEASE"]): 1}


def test_a_second_look_counts_nothing_twice(app: Flask, counted: FlaskClient) -> None:
    for _ in range(2):
        counted.get("/cached")
        before, after = scrape(app), scrape(app)
        assert before["cache_lookups_total"] == after["cache_lookups_total"]
        assert before["http_request_seconds_bucket"] == after["http_request_seconds_bucket"]
    assert after["http_requests_total"][labels(route="cached", status="200")] == 2


def test_a_view_that_fails_is_a_500(app: Flask, counted: FlaskClient) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert counted.get("/broken").status_code == 500
    assert scrape(app)["http_requests_total"] == {labels(route="broken", status="500"): 1}


def test_what_was_invalidated_is_counted_by_family(
    app: Flask, counted: FlaskClient, cache: Any
) -> None:
    odd = 'odd"\n\udc80' + "x" * 200
    with app.app_context():
        cache.invalidate("weather:berlin", "weather:paris")
        cache.engine.statistics.bumped([odd], None, "")
        cache.clear()
    found = scrape(app)
    invalidations = found["cache_invalidations_total"]
    assert invalidations[labels(family="weather")] == 2
    (family,) = (dict(key)["family"] for key in invalidations if "odd" in dict(key)["family"])
    assert family.startswith('odd"\n\\udc80x')
    assert len(family) < 120
    assert found["cache_clears_total"] == {(): 1}


def test_what_went_wrong_is_counted(make_app: MakeApp, cache: Any) -> None:
    app = make_app(CACHE_TYPE="RedisCache", CACHE_REDIS_URL="redis://127.0.0.1:1/0")
    add_pages(app, cache)
    app.test_client().get("/cached")
    found = scrape(app)
    assert found["cache_errors_total"][labels(kind="store: unreachable")] >= 1
    assert found["cache_store_seconds_count"][()] >= 1
    assert found["cache_breaker_open"] == {(): 1}


def test_hits_that_were_computed_again_are_counted(make_app: MakeApp, cache: Any) -> None:
    app = make_app(CACHE_VERIFY=1)
    numbers = iter(range(3))
    number = cache.memoize(60, make_name=lambda name: "number")(lambda: next(numbers))
    with app.app_context():
        number()
        number()
    found = scrape(app)["cache_verified_total"]
    assert found == {labels(outcome="compared"): 1, labels(outcome="different"): 1}


def test_entries_that_made_room_are_counted(make_app: MakeApp, cache: Any) -> None:
    app = make_app(CACHE_THRESHOLD=10)
    with app.app_context():
        for number in range(30):
            cache.set(f"key{number}", number)
        assert scrape(app)["cache_evictions_total"][labels(where="store")] > 0


def test_without_a_cache_there_are_requests(make_app: MakeApp) -> None:
    app = make_app(CACHE_TYPE="NullCache")
    app.test_client().get("/healthz")
    assert scrape(app)["http_requests_total"] == {labels(route="health", status="200"): 1}


def test_pages_that_are_served_before_flask_are_requests(
    make_app: MakeApp, cache: Any, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as port:
        if port is None:
            pytest.skip("there is no Redis and no Valkey on this machine")
        app = make_app(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/0")
        add_pages(app, cache)
        client = app.test_client()
        asked = itertools.count(1)
        with app.app_context():
            lookups = cache.engine.statistics.lookups("page", "cached")
        wait_until(lambda: next(asked) and client.get("/cached").text and lookups.served)
        sent = next(asked) - 1
        etag = client.get("/cached").headers["ETag"]
        assert client.get("/cached", headers={"If-None-Match": etag}).status_code == 304
        found = scrape(app)
        with app.app_context():
            cache.engine.close()
    assert found["http_requests_total"][labels(route="cached", status="200")] == sent + 1
    assert found["http_requests_total"][labels(route="cached", status="304")] == 1
    assert found["http_request_seconds_count"][labels(route="cached")] == sent + 2
    assert sum(found["cache_lookups_total"].values()) == sent + 2
    assert found["cache_near_entries"] == {(): 1}
    assert found["cache_near_bytes"][()] > 0
    counted, _ = app.extensions["coherent_cache_requests"]
    assert counted.total("computed")[0] == 1
    hits, seconds = counted.total("hit")
    assert hits == sent + 1
    assert 0 < seconds < 60


def test_what_is_made_up_makes_no_series(app: Flask, counted: FlaskClient) -> None:
    for number in range(20):
        counted.get(f"/made-up-{number}?{number}")
        counted.get("/cached", headers={"Host": f"host-{number}"})
    found = scrape(app)
    assert set(found["http_requests_total"]) == {
        labels(route="none", status="404"),
        labels(route="cached", status="200"),
    }
    counts = requests.Requests(None)
    for number in range(5000):
        counts.count(requests.Answered(f"route{number}", "200", "other"), 0.1)
    assert len(counts.all()) <= 1003
    assert counts.total("other")[0] == 5000


# -- how they are handed on --------------------------------------------------------------


def test_a_ticker_calls_what_is_due(caplog: pytest.LogCaptureFixture) -> None:
    ticker = Ticker()
    called: list[str] = []
    fails = iter([True, True, False])

    def fail_twice() -> None:
        if next(fails, False):
            raise RuntimeError("not now")
        called.append("failing")

    ticker.every(0, fail_twice)
    ticker.every(0, lambda: called.append("sound"))
    ticker.every(3600, lambda: called.append("late"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert ticker.run_due() <= 3600
    assert called == ["sound", "sound", "failing", "sound"]
    assert [record.exc_text for record in caplog.records if "not now" in str(record.exc_info)]
    assert len(caplog.records) == 1


def test_the_first_request_starts_the_ticker_and_no_other(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    class Thread:
        def __init__(self, *, name: str, **_: Any) -> None:
            self.name = name

        def start(self) -> None:
            started.append(self.name)

    monkeypatch.setattr("flask_coherent_cache._tools.ticker.threading.Thread", Thread)
    ticker = Ticker()
    ticker.every(3600, lambda: None)
    app.wsgi_app = requests.CountRequests(  # type: ignore[method-assign]
        app.wsgi_app, requests.Requests(None), ticker
    )
    for _ in range(3):
        client.get("/healthz")
    assert started == ["ticker"]


WRITE = """
import sys
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
registry = CollectorRegistry()
counter = Counter("shots_total", "Shots.", ["by"], registry=registry)
counter.labels(sys.argv[1]).inc(float(sys.argv[2]))
counter.labels("all").inc(float(sys.argv[2]))
Histogram("flight_seconds", "Flights.", registry=registry, buckets=[1, 2]).observe(1.5)
Gauge("aloft", "In the air.", registry=registry, multiprocess_mode="livesum").set(1)
import os
print(os.getpid())
"""
READ = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def run_program(program: str, folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_the_counts_of_processes_that_ended_stay(tmp_path: Path) -> None:
    for by, count in (("a", "2"), ("b", "3"), ("a", "4")):
        keep_counts(tmp_path, int(run_program(WRITE, tmp_path, by, count)))
    assert {path.name for path in tmp_path.iterdir()} == {
        "counter_ended.db", "histogram_ended.db", "lock",
    }  # fmt: skip
    found = samples(run_program(READ, tmp_path))
    assert found["shots_total"] == {
        labels(by="a"): 6,
        labels(by="b"): 3,
        labels(by="all"): 9,
    }
    assert found["flight_seconds_bucket"] == {
        labels(le="1.0"): 0,
        labels(le="2.0"): 3,
        labels(le="+Inf"): 3,
    }
    assert found["flight_seconds_sum"] == {(): 4.5}
    assert "aloft" not in found


def test_what_is_no_file_of_counts_does_not_stay_either(tmp_path: Path) -> None:
    keep_counts(tmp_path, int(run_program(WRITE, tmp_path, "a", "2")))
    # As a process leaves them that is killed between opening a file and making room in it.
    left = ("counter_7.db", "histogram_7.db", "gauge_livemax_7.db")
    for file in left:
        (tmp_path / file).write_bytes(b"")
    lost = keep_counts(tmp_path, 7)
    assert [told.partition(":")[0] for told in lost] == ["counter_7.db", "histogram_7.db"]
    assert not any((tmp_path / file).exists() for file in left)
    assert samples(run_program(READ, tmp_path))["shots_total"][labels(by="a")] == 2


def test_processes_that_ended_leave_a_bounded_number_of_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache.gunicorn.MOST_SERIES", 3)
    for by in ("a", "b", "c", "a"):
        assert not keep_counts(tmp_path, int(run_program(WRITE, tmp_path, by, "2")))
    shots = samples(run_program(READ, tmp_path))["shots_total"]
    assert shots == {labels(by="all"): 8, labels(by="a"): 4, labels(by="b"): 2}
