"""Metrics: who gets them, what they say, and that no count is lost when a process ends."""

import http.client
import itertools
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from package import SOURCES, load, name
from servers import free_port, redis_server, wait_until

MakeApp = Callable[..., Flask]
Labels = tuple[tuple[str, str], ...]

TOKEN = "t" * 40
PROJECT = SOURCES.parent
requests = load("ops.requests")


def samples(text: str) -> dict[str, dict[Labels, float]]:
    """Read Prometheus' text format: the values of each series by its name and its labels."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def scrape(app: Flask) -> dict[str, dict[Labels, float]]:
    return samples(load("ops.metrics").exposition(app)[0].decode())


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


# -- who gets them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "authorization", "status"),
    [
        ({"OPS_TOKEN": TOKEN}, f"Bearer {TOKEN}", 200),
        ({"OPS_TOKEN": TOKEN}, "Bearer wrong", 401),
        ({"OPS_TOKEN": TOKEN}, None, 401),
        ({}, None, 404),
        ({}, "Bearer ", 404),
        ({"APP_ENV": "development"}, None, 200),
        ({"OPS_TOKEN": TOKEN, "METRICS_PORT": 9100}, f"Bearer {TOKEN}", 404),
        ({"APP_ENV": "development", "METRICS_PORT": 9100}, None, 404),
    ],
)
def test_they_are_not_for_everybody(
    make_app: MakeApp, settings: dict[str, Any], authorization: str | None, status: int
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    response = make_app(**settings).test_client().get("/metrics", headers=headers)
    assert response.status_code == status
    assert (response.headers.get("WWW-Authenticate") is not None) == (status == 401)
    assert ("http_requests_total" in response.text) == (status == 200)
    if status != 404:
        assert response.headers["Cache-Control"] == "no-store"


def test_a_host_header_is_no_port_of_its_own(make_app: MakeApp) -> None:
    client = make_app(METRICS_PORT=9100).test_client()
    assert client.get("/metrics", headers={"Host": "localhost:9100"}).status_code == 404
    response = client.get("/metrics", environ_overrides={"SERVER_PORT": "9100"})
    assert response.status_code == 404


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
        cache.entries.statistics.raised([odd], None, "")
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


def test_entries_that_made_room_are_counted(make_app: MakeApp, cache: Any) -> None:
    app = make_app(CACHE_THRESHOLD=10)
    with app.app_context():
        for number in range(30):
            cache.set(f"key{number}", number)
        assert scrape(app)["cache_evictions_total"][labels(where="store")] > 0


def test_without_a_cache_there_are_requests(make_app: MakeApp) -> None:
    app = make_app(CACHE_TYPE="NullCache")
    app.test_client().get("/healthz")
    assert scrape(app)["http_requests_total"] == {labels(route="ops.health", status="200"): 1}


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
            lookups = cache.entries.statistics.lookups("page", "cached")
        wait_until(lambda: next(asked) and client.get("/cached").text and lookups.served)
        sent = next(asked) - 1
        etag = client.get("/cached").headers["ETag"]
        assert client.get("/cached", headers={"If-None-Match": etag}).status_code == 304
        found = scrape(app)
        with app.app_context():
            cache.entries.close()
    assert found["http_requests_total"][labels(route="cached", status="200")] == sent + 1
    assert found["http_requests_total"][labels(route="cached", status="304")] == 1
    assert found["http_request_seconds_count"][labels(route="cached")] == sent + 2
    assert sum(found["cache_lookups_total"].values()) == sent + 2
    assert found["cache_near_entries"] == {(): 1}
    assert found["cache_near_bytes"][()] > 0
    totals = app.extensions["coherent_cache_requests"].totals()
    assert (totals["computed"].count, totals["hit"].count) == (1, sent + 1)
    assert 0 < totals["hit"].seconds < 60


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
    assert counts.totals()["other"].count == 5000


# -- how they are handed on --------------------------------------------------------------


def test_a_ticker_calls_what_is_due(caplog: pytest.LogCaptureFixture) -> None:
    ticker = load("ops.ticker").Ticker()
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


def test_the_first_request_starts_the_ticker_and_no_other(app: Flask, client: FlaskClient) -> None:
    started: list[str] = []
    app.wsgi_app = requests.CountRequests(  # type: ignore[method-assign]
        app.wsgi_app, requests.Requests(None), lambda: started.append("ticker")
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
    return subprocess.run(  # noqa: S603 - ours
        command, env=environ, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_the_counts_of_processes_that_ended_stay(tmp_path: Path) -> None:
    keep_counts = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["keep_counts"]
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
    keep_counts = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["keep_counts"]
    keep_counts(tmp_path, int(run_program(WRITE, tmp_path, "a", "2")))
    # As a process leaves them that is killed between opening a file and making room in it.
    left = ("counter_7.db", "histogram_7.db", "gauge_livemax_7.db")
    for file in left:
        (tmp_path / file).write_bytes(b"")
    lost = keep_counts(tmp_path, 7)
    assert [told.partition(":")[0] for told in lost] == ["counter_7.db", "histogram_7.db"]
    assert not any((tmp_path / file).exists() for file in left)
    assert samples(run_program(READ, tmp_path))["shots_total"][labels(by="a")] == 2


def test_processes_that_ended_leave_a_bounded_number_of_series(tmp_path: Path) -> None:
    settings = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))
    settings["add_counts"].__globals__["MOST_SERIES"] = 3
    for by in ("a", "b", "c", "a"):
        assert not settings["keep_counts"](tmp_path, int(run_program(WRITE, tmp_path, by, "2")))
    shots = samples(run_program(READ, tmp_path))["shots_total"]
    assert shots == {labels(by="all"): 8, labels(by="a"): 4, labels(by="b"): 2}


class Served:
    """The application, served by Gunicorn, with metrics on a port of their own."""

    def __init__(self, pid: int, port: int, metrics_port: int) -> None:
        self.pid, self.port, self.metrics_port = pid, port, metrics_port

    def ask(self, path: str, port: int) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def is_up(self) -> bool:
        try:
            return self.ask("/metrics", self.metrics_port)[0] == 200
        except OSError:
            return False

    def healthy(self) -> float:
        """Return how many answers of /healthz are counted."""
        found = samples(self.ask("/metrics", self.metrics_port)[1])
        series = found.get("http_requests_total", {})
        return series.get(labels(route="ops.health", status="200"), 0)

    def folder(self) -> Path:
        """Return where the workers keep their metrics, which they have in their memory, too."""
        maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in self.workers())
        return Path(re.findall(r"/\S+/metrics-[^/]+(?=/counter_)", maps)[0])

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]


@contextmanager
def served(tmp_path: Path) -> Iterator[Served]:
    port, metrics_port = free_port(), free_port()
    environ = {
        **os.environ,
        "APP_ENV": "development",
        "CACHE_TYPE": "NullCache",
        "DATABASE_URL": f"sqlite:///{tmp_path}/app.db",
        "PYTHONPATH": str(SOURCES),
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "METRICS_PORT": str(metrics_port),
        "WEB_CONCURRENCY": "2",
        "TMPDIR": str(tmp_path),
    }
    environ.pop("PORT", None)
    # The workers begin with what the master has imported, which is quicker.
    command = [sys.executable, "-m", "gunicorn", "--preload", f"{name()}:create_app()"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - ours
            command, cwd=PROJECT, env=environ, stdout=log, stderr=log
        )
    running = Served(process.pid, port, metrics_port)
    try:
        wait_until(lambda: process.poll() is not None or running.is_up(), 60)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield running
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc for the workers")
def test_gunicorn_counts_for_all_of_its_workers_whatever_becomes_of_them(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        for _ in range(40):
            assert server.ask("/healthz", server.port)[0] == 200
        wait_until(lambda: server.healthy() == 40)
        folder = server.folder()
        for number in (signal.SIGKILL, signal.SIGTERM):
            before = server.workers()
            os.kill(before[0], number)
            wait_until(lambda known=before: not set(server.workers()) <= set(known))
            assert server.healthy() == 40
            wait_until(lambda pid=before[0]: not (folder / f"counter_{pid}.db").exists())
        assert server.ask("/healthz", server.port)[0] == 200
        wait_until(lambda: server.healthy() == 41)
        assert server.ask("/metrics", server.port)[0] == 404
        assert server.ask("/healthz", server.metrics_port)[0] == 404
