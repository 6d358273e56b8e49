"""The servers that are measured: what each serves, and how."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

#: How an application is served that brings no settings for gunicorn: the project's numbers, and
#: no access log.
PLAIN = ("--worker-class", "gthread", "--threads", "4", "--keep-alive", "65")
GTHREAD = ("--worker-class", "gthread")
#: The project logs each request at this level.
LOGGED = {"LOG_LEVEL": "INFO"}


@dataclass(frozen=True)
class Server:
    """What `subjects.make` is to make, gunicorn's options, and settings of the environment.

    `is_ours` is served as the project is in production: by its own gunicorn.conf.py.
    """

    subject: str
    options: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    is_ours: bool = False


SERVERS = {
    "ours": Server("ours", (), LOGGED, is_ours=True),
    "quiet": Server("ours", (), {}, is_ours=True),
    "gthread": Server("ours", GTHREAD, LOGGED, is_ours=True),
    "raw": Server("raw", PLAIN),
    "bare": Server("bare", PLAIN),
    "RedisCache": Server("RedisCache", PLAIN),
    "SimpleCache": Server("SimpleCache", PLAIN),
    "logged": Server("RedisCache", (*PLAIN, "--access-logfile", "access.log")),
    "defaults": Server("RedisCache"),
}
#: The application believes the edge's headers, and no other's.
BEHIND_EDGE = {"PROXY_COUNT": "1"}


def caddy() -> str | None:
    """Return the program of the edge proxy, if it is on this machine."""
    return shutil.which("caddy")


def caddyfile(project: Path, port: int, upstream: int) -> str:
    """Return the project's settings of its edge proxy, for one server on this machine.

    Without TLS, which the client does not speak, without the headers of static files, and without
    what concerns a request's body alone: not each Caddy knows it.
    """
    text = (project / "deploy/edge/Caddyfile").read_text(encoding="utf-8")
    text = re.sub(r"dynamic a \{[^}]*\}", f"to 127.0.0.1:{upstream}", text)
    text = re.sub(r"\t*(import /srv/headers\.caddy|request_buffers .*)\n", "", text)
    return text.replace("{$SITE}", f"http://127.0.0.1:{port}")
