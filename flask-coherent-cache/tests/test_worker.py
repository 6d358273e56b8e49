"""Gunicorn's worker whose loop answers pages: as `gthread` does, only sooner."""

import http.client
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from flask_coherent_cache._gunicorn import relied_on
from flask_coherent_cache.gunicorn import Worker
from flask_coherent_cache.testing import free_port, redis_server, wait_until
from odd_requests import ODD_REQUESTS

TESTS = Path(__file__).parent
OURS = "flask_coherent_cache.gunicorn.Worker"
GET = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
#: What differs from one response to the next.
VARYING = re.compile(rb"(?m)^(Date|Age|X-Answered-By): .*\r\n|; ttl=\d+|; hit|; fwd=[^\r]*")

CACHED = re.compile(rb"; (?:hit|fwd=\w+)")


class Served:
    """A gunicorn with one process."""

    def __init__(self, folder: Path, redis_port: int, worker: str, *options: str, **environ: str):
        self.folder, self.port, self.log = folder, free_port(), folder / "log"
        self.command = [
            *(sys.executable, "-m", "gunicorn", "served_pages:make()", "--worker-class", worker),
            *("--bind", f"127.0.0.1:{self.port}", "--threads", "2", "--no-control-socket"),
            *("--keep-alive", "30", "--graceful-timeout", "20", *options),
        ]
        path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
        self.environ = os.environ | {
            "PYTHONPATH": path,
            "PYTHONHASHSEED": "0",  # the order of the methods in Allow
            "SERVED_FOLDER": str(folder),
            "SERVED_PREFIX": folder.name,
            "SERVED_REDIS": f"redis://127.0.0.1:{redis_port}/0",
            **environ,
        }

    @contextmanager
    def running(self) -> Iterator["Served"]:
        with self.log.open("wb") as log:
            process = self.process = subprocess.Popen(
                self.command, env=self.environ, cwd=self.folder, stdout=log, stderr=log
            )
        try:
            wait_until(lambda: process.poll() is not None or self.answers())
            assert process.poll() is None, self.log.read_text()
            # A page of the near cache is served before Flask from the third request on.
            wait_until(lambda: b"X-Answered-By" in self.ask(GET) and self.is_warm())
            yield self
        finally:
            process.terminate()
            process.wait(60)

    def answers(self) -> bool:
        try:
            return b" 200 " in self.ask(GET)
        except OSError:
            return False

    def is_warm(self) -> bool:
        return all(b"; hit" in self.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                   for path in (b"/page", b"/large"))  # fmt: skip

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def ask(self, *pieces: bytes, first: bytes = b"") -> bytes:
        """Send pieces, say that this is all, and return all that comes until the end.

        :param first: a request whose response is read before that.
        """
        with self.connect() as connection:
            if first:
                Client(connection).ask(first)
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    break  # The server has had enough.
                if len(pieces) > 1:
                    time.sleep(0.01)  # Another piece is another packet.
            return received(connection)

    def pid(self) -> bytes:
        return self.ask(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n").rpartition(b"\r\n")[2]


def received(connection: socket.socket) -> bytes:
    found = b""
    try:
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            found += data
    except OSError:
        pass
    return found


class Client:
    """A connection that asks again and again."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def ask(self, request: bytes = GET) -> http.client.HTTPResponse:
        self.connection.sendall(request)
        response = http.client.HTTPResponse(self.connection)
        response.begin()
        response.read()
        return response


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        if port is None:
            pytest.skip("there is no Redis and no Valkey on this machine")
        yield port


@pytest.fixture(scope="module")
def both(redis_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Served(tmp_path_factory.mktemp("served"), redis_port, worker).running()
            )
            for worker in ("gthread", OURS)
        ]


@pytest.fixture
def serve(redis_port: int, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda *options, **environ: stack.enter_context(
            Served(tmp_path, redis_port, OURS, *options, **environ).running()
        )


def answered_by(response: bytes) -> list[bytes]:
    return re.findall(rb"X-Answered-By: (\w+)", response)


# -- as gthread ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [b"", GET], ids=["new", "kept"])
@pytest.mark.parametrize("path", [b"/page", b"/plain"], ids=["page", "plain"])
@pytest.mark.parametrize("name", ODD_REQUESTS)
def test_an_odd_request_is_answered_as_by_gthread(
    both: list[Served], name: str, path: bytes, first: bytes
) -> None:
    etag = re.search(rb'ETag: "([^"]+)"', both[0].ask(GET))
    assert etag
    pieces = [
        piece.replace(b"PATH", path).replace(b"ETAG", etag[1]) for piece in ODD_REQUESTS[name]
    ]
    found: list[bytes] = []

    def are_cached_alike() -> bool:
        # A store that is late is a miss or a bypass, whose headers stand in another order.
        found[:] = (served.ask(*pieces, first=first) for served in both)
        theirs, ours = (CACHED.findall(response) for response in found)
        return ours == theirs

    for _ in range(2):  # Some of them ask for a page of their own.
        wait_until(are_cached_alike)
        theirs, ours = (VARYING.sub(b"", response) for response in found)
        assert ours == theirs


def test_the_loop_answers_pages_and_nothing_else(both: list[Served]) -> None:
    theirs, ours = both
    plain = GET.replace(b"/page", b"/plain")
    assert answered_by(theirs.ask(GET)) == [b"thread"]
    for first in (b"", GET, plain):
        assert answered_by(ours.ask(GET, first=first)) == [b"loop"]
        assert answered_by(ours.ask(plain, first=first)) == [b"thread"]


@pytest.mark.parametrize("path", [b"/page", b"/plain"])
def test_requests_that_come_together_wait_for_nothing_more(both: list[Served], path: bytes) -> None:
    with both[1].connect() as connection:
        connection.sendall(GET.replace(b"/page", path) * 3)
        found = b""
        while found.count(b"HTTP/1.1 200") < 3:
            data = connection.recv(65536)
            assert data
            found += data


def test_a_client_that_reads_slowly_stops_nobody(both: list[Served]) -> None:
    served = both[1]
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", served.port))
        slow.sendall(GET.replace(b"/page", b"/large"))
        assert slow.recv(1)
        for _ in range(10):
            assert answered_by(served.ask(GET)) == [b"loop"]
        response = received(slow)
    assert response.endswith(bytes(range(256)).hex().encode())
    assert len(response.partition(b"\r\n\r\n")[2]) == 512 * 16_000


def test_a_client_that_goes_away_harms_nobody(both: list[Served]) -> None:
    served = both[1]
    for _ in range(20):
        with served.connect() as client:
            client.sendall(GET.replace(b"/page", b"/large"))
    assert answered_by(served.ask(GET)) == [b"loop"]


def test_clients_that_never_close_are_left_while_others_end(both: list[Served]) -> None:
    served, closing = both[1], GET[:-2] + b"Connection: close\r\n\r\n"
    with ExitStack() as stack:
        first = stack.enter_context(served.connect())
        first.sendall(closing)

        def is_left() -> bool:
            # Each is another one that does not close, so that one of them has always just begun.
            time.sleep(0.5)
            stack.enter_context(served.connect()).sendall(closing)
            try:
                first.sendall(b"a")  # What a closed connection refuses.
            except OSError:
                return True
            return False

        wait_until(is_left)


# -- with slow requests ----------------------------------------------------------------------


def test_pages_are_answered_while_all_threads_are_held(serve: Any, tmp_path: Path) -> None:
    served = serve()
    with ExitStack() as stack:
        *slow, kept = (stack.enter_context(served.connect()) for _ in range(5))
        Client(kept).ask()
        for connection in slow:
            connection.sendall(GET.replace(b"/page", b"/slow"))
        wait_until(lambda: len(list(tmp_path.glob("slow-*"))) == 2)
        for _ in range(20):
            assert answered_by(served.ask(GET)) == [b"loop"]
            assert Client(kept).ask().getheader("X-Answered-By") == "loop"
        (tmp_path / "release").touch()
        for connection in slow:
            assert received(connection).endswith(b"slow")


# -- when the process ends -------------------------------------------------------------------


class Load(threading.Thread):
    """Asks again and again over a kept connection, and connects anew when it was told to."""

    def __init__(self, served: Served, again: bool = True) -> None:
        super().__init__()
        self.served, self.again, self.stop = served, again, False
        self.count, self.error = 0, ""
        #: How many requests had been answered each time that the server ended the connection.
        self.closed: list[int] = []
        self.start()

    def run(self) -> None:
        try:
            while not self.stop:
                with self.served.connect() as connection:
                    client = Client(connection)
                    closes = False
                    while not self.stop and not closes:
                        response = client.ask()
                        assert response.status == 200
                        closes = response.getheader("Connection") == "close"
                        self.count += 1
                        if closes:
                            self.closed.append(self.count)
                if not self.again:
                    return
        except Exception as error:
            self.error = repr(error)


def test_nothing_is_lost_when_workers_are_reloaded(serve: Any) -> None:
    served = serve()
    loads = [Load(served) for _ in range(3)]
    former = served.pid()
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served.pid() != former and answered_by(served.ask(GET)) == [b"loop"])
    counts = [load.count for load in loads]
    wait_until(lambda: all(load.count > n for load, n in zip(loads, counts, strict=True)))
    for load in loads:
        load.stop = True
        load.join()
    assert [load.error for load in loads] == [""] * 3


def test_nothing_is_lost_when_the_server_stops(serve: Any) -> None:
    served = serve()
    loads = [Load(served, again=False) for _ in range(3)]
    wait_until(lambda: all(load.count > 5 for load in loads))
    # It sends nothing, and delays nothing.
    with served.connect():
        served.process.send_signal(signal.SIGTERM)
        for load in loads:
            load.join(30)
        served.process.wait(15)
    assert [load.error for load in loads] == [""] * 3


def test_max_requests_counts_what_the_loop_answers(serve: Any) -> None:
    served = serve("--max-requests", "60")
    load = Load(served)
    wait_until(lambda: len(load.closed) >= 2)
    load.stop = True
    load.join()
    assert load.error == ""
    assert load.closed[1] <= 2 * 60


# -- once ------------------------------------------------------------------------------------


def test_the_owners_middleware_runs_once(serve: Any, tmp_path: Path) -> None:
    served = serve(SERVED_MIDDLEWARE="1")
    (tmp_path / "calls").write_text("")
    for first in (b"", GET):
        assert answered_by(served.ask(GET, first=first)) == [b"thread"]
    assert (tmp_path / "calls").read_text().split() == ["/page"] * 3


def test_the_owners_hooks_run_once(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "def note(name):\n"
        "    with open('hooks', 'a') as hooks:\n"
        "        hooks.write(name + '\\n')\n"
        "def pre_request(worker, request):\n"
        "    note('pre')\n"
        "def post_request(worker, request, environ, response):\n"
        "    note('post')\n"
    )
    served = serve()
    (tmp_path / "hooks").write_text("")
    assert answered_by(served.ask(GET, first=GET)) == [b"thread"]
    wait_until(lambda: (tmp_path / "hooks").read_text().split() == ["pre", "post"] * 2)
    assert "pre_request or post_request" in served.log.read_text()


def test_gunicorns_own_access_log_has_each_request_once(serve: Any, tmp_path: Path) -> None:
    served = serve("--access-logfile", "access", "--access-logformat", "%(m)s %(U)s %(s)s %(B)s")
    size = len((tmp_path / "access").read_text().splitlines())
    served.ask(GET, GET.replace(b"/page", b"/plain"), GET.replace(b"GET", b"HEAD"), first=GET)
    lines = (tmp_path / "access").read_text().splitlines()[size:]
    assert lines == [
        "GET /page 200 550",
        "GET /page 200 550",
        "GET /plain 200 7",
        "HEAD /page 200 0",
    ]


# -- with which gunicorn, and with which settings --------------------------------------------


def worker_with(**settings: Any) -> Any:
    worker = object.__new__(Worker)
    worker.cfg = Config()
    for name, value in settings.items():
        worker.cfg.set(name, value)
    return worker


def test_the_installed_gunicorn_is_known() -> None:
    assert relied_on.digest() == relied_on.DIGEST, (
        f"gunicorn {importlib.metadata.version('gunicorn')} differs: read what RELIED_ON names, and"
        f" then write down {relied_on.digest()}"
    )
    assert relied_on.reason_for_threads(worker_with()) is None


def test_another_gunicorn_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle_request(self: Any, req: Any, conn: Any) -> None: ...

    monkeypatch.setattr(ThreadWorker, "handle_request", handle_request)
    assert "differs" in (relied_on.reason_for_threads(worker_with()) or "")
    monkeypatch.delattr(ThreadWorker, "handle_request")
    assert "differs" in (relied_on.reason_for_threads(worker_with()) or "")


@pytest.mark.parametrize(
    "settings",
    [
        {"certfile": "a.pem", "keyfile": "a.key"},
        {"proxy_protocol": "auto"},
        {"http2_cleartext": "upgrade"},
        {"protocol": "uwsgi"},
        {"pre_request": lambda worker, request: None},
        {"post_request": lambda worker, request, environ: None},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_threads_answer_all_with_some_settings(settings: dict[str, Any]) -> None:
    assert relied_on.reason_for_threads(worker_with(**settings))


def test_threads_answer_all_where_a_subclass_handles_requests() -> None:
    class Other(Worker):
        def handle_request(self, req: Any, conn: Any) -> Any:
            return super().handle_request(req, conn)

    worker = object.__new__(Other)
    worker.cfg = Config()
    assert relied_on.reason_for_threads(worker)
