"""No count is lost when a worker of Gunicorn ends."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask_coherent_cache.testing import free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]

PROJECT = Path(__file__).parents[2]
(PACKAGE,) = (path.parent.name for path in (PROJECT / "src").glob("*/__init__.py"))


def samples(text: str) -> dict[str, dict[Labels, float]]:
    """Read Prometheus' text format: the values of each series by its name and its labels."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**values: str) -> Labels:
    return tuple(sorted(values.items()))


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
        "PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "METRICS_PORT": str(metrics_port),
        "WEB_CONCURRENCY": "2",
        # Machines ask for health and metrics without the prefix, visitors with it.
        "SCRIPT_NAME": "/shop",
        "TMPDIR": str(tmp_path),
    }
    environ.pop("PORT", None)
    # The workers begin with what the master has imported, which is quicker.
    command = [sys.executable, "-m", "gunicorn", "--preload", f"{PACKAGE}:create_app()"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=log, stderr=log)
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
        assert server.ask("/shop/metrics", server.port)[0] == 200
        assert server.ask("/metrics", server.port)[0] == 404
        assert server.ask("/healthz", server.metrics_port)[0] == 404
