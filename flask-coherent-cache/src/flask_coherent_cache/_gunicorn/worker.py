"""Gunicorn's worker with threads, whose loop answers pages of the near cache.

For each request gunicorn hands a connection from its loop to a thread and takes it back. That
costs several times what a page of the near cache does. So the loop answers it: a GET or HEAD whose
head has arrived whole and has nothing behind it. The loop never waits. All else goes to a thread,
with every byte as it came.
"""

import selectors
import socket
from collections import deque
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT, ThreadWorker

from .._clock import monotonic
from .._pages.at_once import AtOnce, answerer
from .relied_on import reason_for_threads

#: A longer head is a thread's. It is what gunicorn reads at once.
_MOST_BYTES = 8192
_METHODS = (b"GET ", b"HEAD ")
_END = b"\r\n\r\n"
_MOST_PLAIN = 1000
#: How long, and how much, a client may go on to send after the server has ended the connection.
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 65536


class _Parser(RequestParser):  # type: ignore[misc]
    """A parser that can return a request once more."""

    ahead: Any = None
    req_count: int

    def __next__(self) -> Any:
        request, self.ahead = self.ahead, None
        return super().__next__() if request is None else request

    def parse(self, data: bytes) -> Any:
        """Parse a head that is there; ``None``, and all as it was, where it is malformed."""
        count = self.req_count
        try:
            return next(self)
        except Exception:
            # A thread parses it again, and answers what is wrong.
            self.req_count = count
            self.unreader.take_buffered()
            self.unreader.unread(data)
            return None


class _Settings:
    """Gunicorn's settings, each of which is looked up once: a request needs some thirty."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._cfg, name)
        return value


class _Response(wsgi.Response):  # type: ignore[misc]
    """A response that is gathered, to leave at once."""

    headers: list[Any]
    headers_sent: bool
    chunked: bool
    data = b""
    #: Headers that have been checked, and are sent as they are.
    _plain: ClassVar[set[Any]] = set()

    def process_headers(self, headers: list[Any]) -> None:
        for header in headers:
            if header in self._plain:
                self.headers.append(header)
                continue
            count = len(self.headers)
            super().process_headers([header])
            if self.headers[count:] == [header] and header[0].lower() != "content-length":
                if len(self._plain) >= _MOST_PLAIN:
                    self._plain.clear()
                self._plain.add(header)

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [f"{name}: {value}\r\n" for name, value in self.headers]
            self.data = "".join([*self.default_headers(), *lines, "\r\n"]).encode("latin-1")
            self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        if self.chunked:
            raise ValueError("no page of the near cache is without a length")
        self.send_headers()


class Worker(ThreadWorker):  # type: ignore[misc]
    """Gunicorn's ``gthread`` worker, whose loop itself answers pages of the near cache.

    The loop answers a GET or HEAD for such a page byte for byte as a thread would, also while slow
    requests hold all threads. Every other request goes to a thread. It needs
    ``cache.serve_before_flask(app)``, and all other WSGI middleware added by
    ``cache.add_middleware``. With the settings ``pre_request`` or ``post_request``, with TLS or
    HTTP/2, and with a release of gunicorn that it does not know, threads answer all requests, and
    the log says why.

    Example, in ``gunicorn.conf.py``::

        worker_class = "flask_coherent_cache.gunicorn.Worker"
        threads = 4
    """

    _is_able = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Connections that have ended here, and not there; the first to time out stand in front.
        self._lingering: deque[Any] = deque()

    def init_process(self) -> None:
        """Find out whether the loop may answer anything, and run."""
        reason = reason_for_threads(self)
        self._is_able, self._settings = reason is None, _Settings(self.cfg)
        if reason is not None:
            self.log.warning("Threads answer all requests, as with gthread: %s.", reason)
        super().init_process()

    # -- where gunicorn hands a connection to a thread -----------------------------------

    def enqueue_req(self, conn: Any) -> None:
        """Answer a request on a connection that the poller does not watch."""
        at_once = self._answerer()
        if at_once is not None and not conn.initialized:
            conn.initialized, conn.parser = True, _Parser(self._settings, conn.sock, conn.client)
        data = self._receive(conn) if at_once is not None else None
        response = self._answer(conn, data, at_once)
        if response is not None:
            self._send(conn, response, watched=False)
        elif data is None and at_once is not None and self._is_new(conn):
            # A thread would wait for its first bytes.
            conn.timeout = monotonic() + DEFAULT_WORKER_DATA_TIMEOUT + self.cfg.keepalive
            self.pending_conns.append(conn)
            self._watch(conn, self.on_pending_socket_readable)
        elif data == b"":
            self._end(conn)
        else:
            super().enqueue_req(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Answer a request on a connection that was kept."""
        self.keepalived_conns.remove(conn)
        at_once = self._answerer()
        data = self._receive(conn) if at_once is not None else None
        response = self._answer(conn, data, at_once)
        if response is not None:
            self._send(conn, response, watched=True)
            return
        self.poller.unregister(client)
        if data == b"":
            self._end(conn)
        else:
            super().enqueue_req(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Let no connection delay the end of the process, new ones without a request included."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    # -- without waiting -----------------------------------------------------------------

    def _answerer(self) -> AtOnce | None:
        """Return what answers at once; ``None`` where a thread ends the connection, or more."""
        if (
            not self._is_able
            or not self.alive
            or self.nr + 1 >= self.max_requests
            or len(self.keepalived_conns) >= self.max_keepalived
        ):
            return None
        return answerer(self.wsgi)

    def _is_new(self, conn: Any) -> bool:
        return not conn.data_ready and conn.parser.mesg is None

    def _receive(self, conn: Any) -> bytes | None:
        """Return what has come, and leave it to the parser; ``None`` if a thread has to look."""
        if type(conn.parser) is not _Parser or conn.parser.unreader.buf.getvalue():
            return None
        conn.sock.setblocking(False)
        try:
            data: bytes = conn.sock.recv(_MOST_BYTES)
        except OSError:
            return None
        conn.parser.unreader.unread(data)
        return data

    def _answer(self, conn: Any, data: bytes | None, at_once: AtOnce | None) -> _Response | None:
        """Make the response to a request; ``None`` if a thread has to, which finds it parsed."""
        if at_once is None or not data:
            return None
        if not data.startswith(_METHODS) or data.find(_END) != len(data) - len(_END):
            return None
        request = conn.parser.parse(data)
        if request is None:
            return None
        conn.parser.ahead = request
        if request._expected_100_continue:
            return None
        try:
            response = self._respond(conn, request, at_once)
        except Exception:
            return None  # It happens to the thread again, which says so.
        if response is not None:
            conn.parser.ahead = None
            self.nr += 1
        return response

    def _respond(self, conn: Any, request: Any, at_once: AtOnce) -> _Response | None:
        began = datetime.now()
        response, environ = wsgi.create(
            request, conn.sock, conn.client, conn.server, self._settings, response_class=_Response
        )
        environ["wsgi.multithread"] = True
        if not self._settings.keepalive:
            response.force_close()
        body = at_once(environ, response.start_response)
        if body is None:
            return None
        for part in body:
            response.write(part)
        response.close()
        if hasattr(body, "close"):
            body.close()
        self.log.access(response, request, environ, datetime.now() - began)
        answered: _Response = response
        return answered

    def _send(self, conn: Any, response: _Response, watched: bool) -> None:
        """Send what the connection takes now, and keep it or end it."""
        rest, keeps = response.data, not response.should_close()
        try:
            rest = rest[conn.sock.send(rest) :]
        except BlockingIOError:
            pass
        except OSError:
            rest, keeps = b"", False
        if keeps and not rest:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            if not watched:
                self._watch(conn, self.on_client_socket_readable)
            return
        if watched:
            self.poller.unregister(conn.sock)
        if rest:
            # A thread waits for a slow reader.
            future = self.tpool.submit(_send_rest, conn.sock, rest, keeps)
            future.add_done_callback(
                lambda done: self.method_queue.defer(self.finish_request, conn, done)
            )
        else:
            self._end(conn)

    def _end(self, conn: Any) -> None:
        """Close a connection as gunicorn does (RFC 9112, 9.6), without waiting for the client."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        else:
            if self._lingers(conn):
                conn.timeout = monotonic() + _LINGER_SECONDS
                self._lingering.append(conn)
                self._watch(conn, self._on_lingering_readable)
                return
        self.nr_conns -= 1
        conn.close()

    def _on_lingering_readable(self, conn: Any, client: Any) -> None:
        if not self._lingers(conn):
            self._leave(conn)

    def murder_pending(self) -> None:
        """Close connections that have timed out; gunicorn calls it again and again."""
        super().murder_pending()
        now = monotonic()
        while self._lingering and self._lingering[0].timeout <= now:
            self._leave(self._lingering[0])

    def _leave(self, conn: Any) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _lingers(self, conn: Any) -> bool:
        """Tell whether the client has not closed yet, and sends little."""
        try:
            return 0 < len(conn.sock.recv(_LINGER_BYTES)) < _LINGER_BYTES
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _watch(self, conn: Any, readable: Any) -> None:
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(readable, conn))


def _send_rest(connection: socket.socket, data: bytes, keeps: bool) -> bool:
    connection.setblocking(True)
    connection.sendall(data)
    return keeps
