"""With the real Prometheus: what it counts is what was sent, and its alerts fire."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from baking import ROOT, TEMPLATE, bake
from serving import free_port
from stacks import PYTHON, Stack, needs_engine, request, started

PROMETHEUS = "prom/prometheus:v3"
RULES = TEMPLATE / "deploy" / "prometheus" / "alerts.yml"
WORKERS = 4

#: Run in a container of web: kill each worker, one after the other, and say which files are left.
KILL_WORKERS = """
import os, pathlib, signal, time
def workers():
    return set(pathlib.Path("/proc/1/task/1/children").read_text().split())
for worker in sorted(known := workers()):
    os.kill(int(worker), signal.SIGKILL)
    while not workers() - known:
        time.sleep(0.05)
    known |= workers()
(folder,) = pathlib.Path("/dev/shm").glob("metrics-*")
print(*sorted(path.name for path in folder.iterdir()))
"""
SCRAPE = """
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:9100/metrics").read().decode())
"""

pytestmark = [needs_engine, pytest.mark.docker]


def promtool(*arguments: str, folder: Path | None = None, sent: str | None = None) -> str:
    """Run promtool, on files of a folder or on a text; return what it says."""
    # As root, to read what only the user of these tests may.
    mount = ("--user=0", f"--volume={folder}:/rules:ro", "--workdir=/rules") if folder else ()
    run = ("docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=promtool")
    result = subprocess.run(
        [*run, *mount, PROMETHEUS, *arguments],
        input=sent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_each_alert_fires_by_what_it_is_for_and_not_before(tmp_path: Path) -> None:
    for path in (RULES, ROOT / "tests" / "alerts" / "cases.yml"):
        shutil.copy(path, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "cases.yml", folder=tmp_path)


@dataclass(frozen=True)
class Watched:
    """A stack with Prometheus."""

    stack: Stack
    address: str

    def query(self, expression: str) -> dict[str, float]:
        """Return the values that Prometheus has now, by the labels of their series."""
        answer = request(f"{self.address}/api/v1/query?query={quote(expression)}")
        assert answer.status == 200, answer.body
        found = json.loads(answer.body)["data"]["result"]
        return {
            ",".join(value for _, value in sorted(series["metric"].items())): float(
                series["value"][1]
            )
            for series in found
        }

    def wait(self, expression: str, expected: dict[str, float]) -> None:
        """Wait until Prometheus has these values."""
        wait_until(lambda: self.query(expression) == expected, lambda: self.query(expression))


def wait_until(
    condition: Callable[[], bool], found: Callable[[], object], seconds: float = 60
) -> None:
    """Wait for a condition; if it does not come, say what there is instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, found()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start a stack that is looked at every second, and whose alerts are as impatient."""
    name = f"fct-watched-{os.getpid()}"
    project = bake(
        tmp_path_factory.mktemp("watched"),
        project_slug=name,
        package_name="shop",
        python_version=PYTHON,
        database="sqlite",
    )
    folder = project.path / "deploy" / "prometheus"
    config = folder / "prometheus.yml"
    config.write_text(config.read_text().replace("interval: 15s", "interval: 1s"))
    rules = folder / "alerts.yml"
    rules.write_text(rules.read_text().replace("for: 1m", "for: 2s"))
    port = free_port(3)
    environ = {
        "COMPOSE_PROFILES": "observability",
        "PROMETHEUS_PORT": str(port),
        "WEB_PORT": f"{port + 1}-{port + 2}",
        "WEB_CONCURRENCY": str(WORKERS),
    }
    with started(Stack(project, name, environ)) as stack:
        yield Watched(stack, f"http://127.0.0.1:{port}")


class TestWatched:
    """One stack with two replicas of four workers; the tests share it, in this order."""

    def test_prometheus_takes_its_settings_and_rules(self, watched: Watched) -> None:
        said = watched.stack.compose(
            *("exec", "-T", "prometheus", "promtool", "check", "config"),
            "/etc/prometheus/prometheus.yml",
        ).stdout
        assert "rules found" in said
        assert "FAILED" not in said

    def test_it_runs_as_hardened_as_the_others(self, watched: Watched) -> None:
        (container,) = watched.stack.containers("prometheus")
        host = container["HostConfig"]
        assert isinstance(host, dict)
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] > 0
        ports = [ports for ports in host["PortBindings"].values() if ports]
        assert [port["HostIp"] for (port,) in ports] == ["127.0.0.1"]
        user = watched.stack.compose("exec", "-T", "prometheus", "id", "-u").stdout.strip()
        assert user != "0"

    def test_counters_equal_the_load_whatever_becomes_of_idle_workers(
        self, watched: Watched
    ) -> None:
        watched.wait('count(up{job="web"} == 1)', {"": 2})
        replicas = watched.stack.replicas
        load = ["/products"] * 60 + ["/"] * 30 + ["/made-up"] * 10
        sent = {"/products": 0, "/": 0, "/made-up": 0}
        answered = 'sum by (route, status) (http_requests_total{route!~"ops.*"})'
        looked_up = 'sum by (name) (cache_lookups_total{level="page"})'

        def send() -> None:
            requests = [replica + path for replica, path in itertools.product(replicas, load)]
            with ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(lambda url: request(url).status, requests))
            assert set(statuses) == {200, 404}
            for path in sent:
                sent[path] += 2 * load.count(path)

        def is_counted() -> None:
            watched.wait(
                answered,
                {
                    "catalog.products,200": sent["/products"],
                    "catalog.home,200": sent["/"],
                    "none,404": sent["/made-up"],
                },
            )
            assert watched.query(looked_up) == {
                "catalog.products": sent["/products"],
                "catalog.home": sent["/"],
            }
            seconds = 'sum by (route) (http_request_seconds_count{route="catalog.products"})'
            assert watched.query(seconds) == {"catalog.products": sent["/products"]}

        send()
        is_counted()
        for index in (1, 2):
            left = watched.stack.compose(
                *("exec", "-T", "--index", str(index), "web", "python", "-c", KILL_WORKERS)
            ).stdout.split()
            assert {"counter_ended.db", "histogram_ended.db"} <= set(left)
        # More than it takes to look at them once.
        looks = "sum(count_over_time(up[10m]))"
        before = watched.query(looks)[""]
        wait_until(lambda: watched.query(looks)[""] > before + 6, lambda: watched.query(looks))
        is_counted()
        send()
        is_counted()
        assert watched.query("sum(resets(http_requests_total[10m]))") == {"": 0}
        assert watched.query("sum(resets(cache_lookups_total[10m]))") == {"": 0}

    def test_the_metrics_are_well_named_and_not_public(self, watched: Watched) -> None:
        scraped = watched.stack.compose("exec", "-T", "web", "python", "-c", SCRAPE).stdout
        assert "cache_lookups_total{" in scraped
        assert promtool("check", "metrics", sent=scraped) == ""
        for replica in watched.stack.replicas:
            answer = request(f"{replica}/metrics", token=watched.stack.secret("OPS_TOKEN"))
            assert answer.status == 404

    def test_an_alert_fires_when_the_cache_server_is_stopped_and_ends_after(
        self, watched: Watched
    ) -> None:
        firing = 'sum(ALERTS{alertname="CacheBreakerOpen", alertstate="firing"})'
        assert watched.query("ALERTS") == {}
        watched.stack.compose("stop", "cache")

        def fires() -> bool:
            for replica in watched.stack.replicas:
                assert request(f"{replica}/products?page=2").status == 200
            return watched.query(firing) == {"": 2}

        wait_until(fires, lambda: watched.query("ALERTS"))
        watched.stack.compose("start", "cache")
        watched.wait(firing, {})
