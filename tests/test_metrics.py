"""With the real Prometheus: what it counts is what was sent, and its alerts fire.

On the same stack, the proxy in front.
"""

import itertools
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from baking import ROOT, TEMPLATE, bake
from serving import Answer, free_port
from stacks import PYTHON, Stack, hide_files, needs_engine, request, started

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
    port = free_port(5)
    with (project.path / ".env").open("a") as env:
        env.write(f"PUBLIC_URL=https://localhost:{port + 4}\nPROXY_COUNT=1\n")
    environ = {
        "COMPOSE_PROFILES": "observability,edge",
        "EDGE_HTTP_PORT": str(port + 3),
        "EDGE_HTTPS_PORT": str(port + 4),
        "PROMETHEUS_PORT": str(port),
        "WEB_PORT": f"{port + 1}-{port + 2}",
        "WEB_CONCURRENCY": str(WORKERS),
    }
    stack = Stack(project, name, environ)
    hide_files(stack)
    with started(stack):
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
            assert request(f"{replica}/metrics").status == 401

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


#: What a visitor may say of himself; the proxy knows better.
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "99",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example",
}
#: Run in the place of web: tell which headers came.
ECHO = """
import http.server, json, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = json.dumps({name.lower(): self.headers.get_all(name) for name in self.headers})
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found.encode())
http.server.ThreadingHTTPServer(("", 8000), Echo).serve_forever()
"""


def edge(watched: Watched, path: str, **headers: str) -> Answer:
    """Ask the proxy for a page, whose certificate is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = int(watched.stack.environ["EDGE_HTTPS_PORT"])
    connection = HTTPSConnection("localhost", port, timeout=60, context=context)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
    finally:
        connection.close()


class TestEdge:
    """The proxy in front of the same two replicas; the tests share it, in this order."""

    def test_it_serves_pages_by_https_and_static_files_itself(self, watched: Watched) -> None:
        home = edge(watched, "/products")
        assert home.status == 200
        assert home.headers["Strict-Transport-Security"]
        style = re.findall(r'"(/static/[^"]+\.css)"', home.body)[0]
        own, compressed = edge(watched, style), edge(watched, style, **{"Accept-Encoding": "gzip"})
        assert own.headers["Server"] == "Caddy"
        assert "immutable" in own.headers["Cache-Control"]
        assert compressed.headers["Content-Encoding"] == "gzip"
        for name in ("Content-Security-Policy", "X-Content-Type-Options"):
            assert own.headers.get_all(name) == home.headers.get_all(name)
        # A name with another digest may mean other bytes: the application decides.
        other = re.sub(r"\.[0-9a-f]{8}\.css", ".00000000.css", style)
        assert edge(watched, other).status == 404

    def test_what_is_for_operators_is_not_for_visitors(self, watched: Watched) -> None:
        token = watched.stack.secret("OPS_TOKEN")
        for path in ("/metrics", "/_cache/"):
            assert edge(watched, path).status == 401
            assert edge(watched, path, Authorization=f"Bearer {token}").status == 200

    @pytest.mark.parametrize("part", ["head", "body"])
    def test_half_sent_requests_silence_nobody(self, watched: Watched, part: str) -> None:
        # As many as there are threads: 2 replicas of 4 workers of 4 threads.
        url = f"https://localhost:{watched.stack.environ['EDGE_HTTPS_PORT']}/account/sign-in"
        script = str(ROOT / "benchmarks" / "half_sent.py")
        command = [sys.executable, script, "--count=32", f"--part={part}", url]
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        result = json.loads(told.stdout)
        assert (result["asked"], result["answered"]) == (5, 5)

    def test_it_says_what_it_lacks(self, watched: Watched) -> None:
        for lacking in ("PUBLIC_URL=http://localhost", "PROXY_COUNT=0"):
            run = ("run", "--rm", "-T", "--no-deps", "--env", lacking, "edge")
            refused = watched.stack.compose(*run, check=False)
            assert refused.returncode
            assert lacking.partition("=")[0] in refused.stdout + refused.stderr

    def test_a_visitor_cannot_say_where_he_comes_from(self, watched: Watched) -> None:
        assert edge(watched, "/", Host="evil.example").status == 421
        stack = watched.stack
        stack.compose("stop", "--timeout", "5", "web")
        echo = ("run", "--rm", "--detach", "--no-deps", "--use-aliases", "web", "python")
        stack.compose(*echo, "-c", ECHO)

        def echoes() -> bool:
            return edge(watched, "/").body.startswith("{")

        wait_until(echoes, lambda: edge(watched, "/"))
        found = edge(watched, "/", **FORGED).json
        assert "evil" not in str(found)
        assert "6.6.6.6" not in str(found)
        assert found["x-forwarded-proto"] == ["https"]
        assert found["x-forwarded-host"] == [f"localhost:{stack.environ['EDGE_HTTPS_PORT']}"]
        assert len(found["x-forwarded-for"]) == 1  # type: ignore[arg-type]
        assert found.keys() & {"x-forwarded-port", "x-forwarded-prefix", "forwarded"} == set()

    def test_make_down_takes_down_the_profiles_too(self, watched: Watched) -> None:
        watched.stack.project.run("make", "down", COMPOSE_PROFILES="")
        assert watched.stack.compose("ps", "--all", "--quiet").stdout == ""
