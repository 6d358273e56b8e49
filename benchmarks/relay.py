"""Hands bytes over between clients and a server, each way so many milliseconds late.

Usage: python benchmarks/relay.py PORT TARGET MILLISECONDS
"""

import queue
import socket
import sys
import threading
import time

Late = queue.SimpleQueue[tuple[float, bytes]]


def receive(end: socket.socket, late: Late, seconds: float) -> None:
    """Note what arrives, and when it is due at the other end; nothing more is an empty one."""
    arrived = b"first"
    while arrived:
        try:
            arrived = end.recv(65536)
        except OSError:
            arrived = b""
        late.put((time.perf_counter() + seconds, arrived))


def send(end: socket.socket, late: Late) -> None:
    """Send on what is due."""
    while True:
        due, data = late.get()
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            end.sendall(data)
        except OSError:
            data = b""
        if not data:
            end.close()
            return


def hand_over(one: socket.socket, other: socket.socket, seconds: float) -> None:
    """Hand over in one direction."""
    late: Late = queue.SimpleQueue()
    threading.Thread(target=receive, args=(one, late, seconds), daemon=True).start()
    threading.Thread(target=send, args=(other, late), daemon=True).start()


def main(port: str, target: str, milliseconds: str) -> None:
    """Relay until the process is stopped."""
    seconds = float(milliseconds) / 1000
    with socket.create_server(("127.0.0.1", int(port)), backlog=64) as listening:
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", int(target)), 10)
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hand_over(client, server, seconds)
            hand_over(server, client, seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
