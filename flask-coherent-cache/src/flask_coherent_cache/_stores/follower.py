"""The connection on which Redis or Valkey reports what was written."""

import ssl
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import redis

from .connections import UNNAMED, identity_in, text
from .errors import ServerRefusedError


class Follower:
    """A connection on which the server reports which keys were written.

    It uses the broadcasting mode of client-side caching (``CLIENT TRACKING``) in RESP3. redis-py
    opens the connection, with TLS and user; after that only this class reads from it.
    """

    def __init__(self, connection: Any, prefixes: Sequence[str]) -> None:
        connection.connect()
        self.server: str = connection.identity
        self._connection = connection
        self._socket = connection._sock
        self._reader = hiredis.Reader()
        words = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        self.send("CLIENT", "TRACKING", "ON", "BCAST", *words)
        while (reply := self._next()) is False:
            self._feed()
        if reply != b"OK":
            self.close()
            raise redis.ResponseError(f"CLIENT TRACKING: {reply}")
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return cast("int", self._socket.fileno())

    def send(self, *command: str) -> None:
        self._socket.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]

    def ask(self) -> tuple[str, ...]:
        """Return the command whose reply :meth:`check` judges."""
        return ("PING",) if self.server == UNNAMED else ("INFO", "replication")

    def check(self, reply: Any) -> None:
        """Raise :class:`OSError` unless a reply shows the same server with the same data."""
        try:
            if self.server != UNNAMED and identity_in(text(reply)) != self.server:
                raise OSError("the server has become another one")
        except redis.ReadOnlyError as error:
            raise OSError(f"Redis: {error}") from error

    def receive(self) -> tuple[int, list[Any], bool]:
        """Return the bytes and the messages that were there, and whether the last is complete.

        A message is what the server pushed or replied, or an error if it refused a command.
        """
        size, messages = 0, []
        try:
            while True:
                size += self._feed()
                while (message := self._next()) is not False:
                    if isinstance(message, hiredis.ReplyError):
                        message = ServerRefusedError(f"Redis: {message}")
                    messages.append(message)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Where something lay there and nothing came out, it was a part of a TLS record.
            return size, messages, size > 0 and not self._reader.has_data()
        except OSError:
            if not messages:
                raise
            return size, messages, False  # What came before the end counts; the end comes again.

    def _next(self) -> Any:
        """Return the next complete message, or ``False``."""
        try:
            return self._reader.gets()
        except hiredis.HiredisError as error:
            raise OSError(f"Redis: {error}") from error

    def _feed(self) -> int:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("Redis closed the connection")
        self._reader.feed(data)
        return len(data)

    def close(self) -> None:
        self._connection.disconnect()
