"""A crowd of clients that a server must tell of each write, beside those that are the proof's.

The I/O threads of Redis rest unless twice as many clients as threads are owed something at one
moment. With the crowd that is so at each write: its acknowledgement, and what the near caches are
told, go out by several threads at once, and either can be the first.
"""

import selectors
import socket
from collections.abc import Callable, Iterable

CLIENTS = 8


def crowd(port: int, prefixes: Iterable[str], goes_on: Callable[[], bool]) -> None:
    """Listen, with many clients, to the writes of keys for as long as it goes on."""
    wanted = " ".join(f"PREFIX {prefix}" for prefix in prefixes)
    subscribe = f"HELLO 3\r\nCLIENT TRACKING ON BCAST {wanted}\r\n".encode()
    with selectors.DefaultSelector() as listening:
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", port), 60)
            client.sendall(subscribe)
            listening.register(client, selectors.EVENT_READ, client)
        while goes_on():
            for ready, _ in listening.select(0.1):
                ready.data.recv(65536)
        for key in list(listening.get_map().values()):
            key.data.close()
