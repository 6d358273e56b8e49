"""Where the server listens. Whoever needs to know asks here: Gunicorn, health check, `make up`.

Run as a program, it prints the address of a page as seen from within the container.
"""

import os

#: Of all addresses of a machine, what reaches it from itself.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "localhost"}  # noqa: S104


def host() -> str:
    """Return the address to listen on: without PORT, which a container sets, this machine's own."""
    return "0.0.0.0" if os.environ.get("PORT") else "127.0.0.1"  # noqa: S104


def binds() -> list[str]:
    """Return what Gunicorn binds: `host:port`, `[address]:port` or `unix:path`."""
    given = os.environ.get("GUNICORN_BIND", "").strip() or f"{host()}:{port()}"
    return [bind.strip() for bind in given.split(",") if bind.strip()]


def port() -> str:
    """Return the port, unless GUNICORN_BIND says otherwise; config.py checks it."""
    return os.environ.get("PORT", "").strip() or "8000"


def reachable() -> tuple[str, str]:
    """Return how this machine reaches the server: its socket's path or "", and host with port."""
    bind = binds()[0]
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:").removeprefix("//"), "localhost"
    name, _, number = bind.rpartition(":") if not bind.endswith("]") else (bind, "", "8000")
    if not number.isdecimal():
        name, number = bind, "8000"
    return "", f"{_LOOPBACK.get(name, name)}:{number}"


if __name__ == "__main__":
    path, place = reachable()
    prefix = os.environ.get("SCRIPT_NAME", "").rstrip("/")
    print(f"unix:{path}" if path else f"http://{place}{prefix}")
