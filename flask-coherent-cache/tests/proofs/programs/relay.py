"""A relay between clients and a server: it counts round trips, and can freeze links."""

import selectors
import socket

from killing import SUFFIX


class Relay:
    """Hands bytes over between clients and a server.

    :param port: where it listens.
    :param target: the server's port.
    """

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.listening = socket.create_server(("127.0.0.1", port))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listening, selectors.EVENT_READ)
        self.others: dict[socket.socket, socket.socket] = {}
        #: Both ends of the links on which near caches are told what is written.
        self.tracking: set[socket.socket] = set()
        #: By client: how often it has asked, and whether it waits for the answer.
        self.trips: dict[socket.socket, int] = {}
        self.waiting: set[socket.socket] = set()

    def accept(self) -> None:
        client, _ = self.listening.accept()
        try:
            there = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        self.others |= {client: there, there: client}
        self.trips[client] = 0
        for end in (client, there):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(end, selectors.EVENT_READ)

    def hand_over(self, end: socket.socket) -> None:
        """Hand over what has arrived at one end; note what gives itself a tracking link's name."""
        other = self.others[end]
        try:
            arrived = end.recv(65536)
            if SUFFIX.encode() in arrived:
                self.tracking |= {end, other}
            if arrived:
                self.count(end, other)
                other.sendall(arrived)
                return
        except OSError:
            # One of them is gone; the other hears of it as of an end.
            pass
        self.close(end, other)

    def count(self, end: socket.socket, other: socket.socket) -> None:
        """Count a round trip where a client that waits for nothing asks."""
        if end in self.trips and end not in self.waiting:
            self.trips[end] += 1
            self.waiting.add(end)
        self.waiting.discard(other)

    def total(self) -> int:
        """Count the round trips of all clients but the near caches' tracking links."""
        return sum(trips for client, trips in self.trips.items() if client not in self.tracking)

    def close(self, *ends: socket.socket) -> None:
        for end in ends:
            self.tracking.discard(end)
            del self.others[end]
            if end in self.selector.get_map():
                self.selector.unregister(end)
            end.close()

    def freeze(self) -> int:
        """Hand nothing over any more on the tracking links that there are; say how many."""
        frozen, self.tracking = self.tracking, set()
        for end in frozen:
            self.selector.unregister(end)
        return len(frozen) // 2

    def serve(self, seconds: float = 0.01) -> None:
        ready = self.selector.select(seconds)
        # A writer is answered after the near caches were told: here, too, however late it is.
        for key, _ in sorted(ready, key=lambda each: each[0].fileobj not in self.tracking):
            if key.fileobj is self.listening:
                self.accept()
            elif key.fileobj in self.others:
                self.hand_over(key.fileobj)  # type: ignore[arg-type]
