"""The generated project's shop as it is served: its database, its servers, and who writes to it."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from client import Answer, request_of
from stage import Stage, accepts
from starting import package

TOKEN = "t" * 40
PRODUCT = 40


class Shop:
    """The project's own application, with the goods of its demo."""

    def __init__(self, stage: Stage, name: str = "shop", **settings: str) -> None:
        """Make its database.

        :param settings: of all its processes.
        """
        self.stage = stage
        self.settings = {
            "FLASK_APP": package(stage.project),
            "DATABASE_URL": f"sqlite:///{stage.folder}/{name}.db",
            "API_TOKEN": TOKEN,
            "LOG_LEVEL": "INFO",
            **settings,
        }
        prepare = str(stage.project / "deploy/prepare_database.py")
        with stage.running(prepare, **self.settings, CACHE_TYPE="NullCache") as process:
            if process.wait(120):
                sys.exit("benchmark: the shop's database could not be made")

    def serve(self, **settings: str) -> int:
        """Serve it as in production; return the port."""
        stage, port = self.stage, self.stage.servers.free_port()
        config = str(stage.project / "gunicorn.conf.py")
        application = f"{package(stage.project)}:create_app()"
        more = {**self.settings, "GUNICORN_BIND": f"127.0.0.1:{port}", **settings}
        running = stage.running("-m", "gunicorn", "--config", config, application, **more)
        process = stage.stack.enter_context(running)
        stage.servers.wait_until(lambda: process.poll() is not None or accepts(port), 30)
        return int(port)

    def path(self, port: int) -> str:
        """Return the path of the page of the product that changes."""
        answer = Answer(port, request_of(f"/api/products/{PRODUCT}"))
        return f"/products/{json.loads(answer.body)['slug']}"


class Writer(threading.Thread):
    """Changes a product's stock through the API, so many times a second, until the block ends."""

    def __init__(self, port: int, rate: float) -> None:
        """Connect; a rate of 0 writes nothing."""
        super().__init__()
        self.rate, self.written = rate, 0
        self.over = threading.Event()
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> "Writer":
        self.write()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        self.join()
        self.connection.close()

    def run(self) -> None:
        """Write; whoever is late catches up."""
        due = time.perf_counter()
        while self.rate and not self.over.wait(max(0.0, due - time.perf_counter())):
            self.write()
            due += 1 / self.rate

    def write(self) -> None:
        """Write once. The page's size stays the same."""
        self.written += 1
        body = json.dumps({"stock": 100 + self.written % 900})
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self.connection.request("PATCH", f"/api/products/{PRODUCT}", body, headers)
        answer = self.connection.getresponse()
        if answer.read() and answer.status != http.client.OK:
            raise SystemExit(f"benchmark: a write was answered by {answer.status}")


@contextmanager
def alone(project: Path) -> Iterator[Stage]:
    """Set up a stage for one program."""
    import tempfile  # noqa: PLC0415
    from contextlib import ExitStack  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Stage(project, Path(folder), stack)
