"""Exit with 0 if this container's server answers /healthz, with 1 and the reason if not."""

import http.client
import socket
import sys

from address import reachable

path, place = reachable()
connection = http.client.HTTPConnection(place, timeout=3)
try:
    if path:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(3)
        connection.sock.connect(path)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{path or place}: {error!r}")
if answer.status != 200:
    sys.exit(f"{path or place}: /healthz answers {answer.status} {answer.reason}")
