"""End a connection on which a request does not arrive in time, so that its thread is free again.

Gunicorn's threads wait for the rest of a request without a bound. This is for who asks the server
without a proxy that buffers requests; see docs/production.md.
"""

import contextlib
import socket
import time
from typing import Any


class LateRequests:
    """Bounds how long a worker of the kind gthread waits for a head, and for a body."""

    def __init__(self, worker: Any, seconds: float) -> None:
        """Wrap the methods of a worker that has not started yet."""
        self._seconds = seconds
        #: Until when a thread may wait for data on a connection, while it does.
        self._waiting: dict[Any, float] = {}
        self._handle, self._handle_request = worker.handle, worker.handle_request
        self._each_second = worker.murder_pending
        worker.handle, worker.handle_request = self.handle, self.handle_request
        worker.murder_pending = self.each_second

    def handle(self, connection: Any) -> Any:
        """Read a request and answer it, in a thread."""
        self._waiting[connection] = time.monotonic() + self._seconds
        try:
            return self._handle(connection)
        finally:
            self._waiting.pop(connection, None)

    def handle_request(self, request: Any, connection: Any) -> Any:
        """Answer a request whose head is there: that takes as long as it takes."""
        self._waiting.pop(connection, None)
        reader = request.body.reader
        read, deadlines = reader.read, []

        def bounded_read(size: int) -> Any:
            if not deadlines:
                deadlines.append(time.monotonic() + self._seconds)
            self._waiting[connection] = deadlines[0]
            try:
                return read(size)
            finally:
                self._waiting.pop(connection, None)

        reader.read = bounded_read
        return self._handle_request(request, connection)

    def each_second(self) -> None:
        """Look for what is late, in the worker's main thread."""
        self._each_second()
        now = time.monotonic()
        for connection, deadline in list(self._waiting.items()):
            if deadline < now:
                # Whoever waits for data comes to the end of it.
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RD)
