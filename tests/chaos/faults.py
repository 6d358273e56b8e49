"""What is done to the servers of a stack.

Each fault takes the servers and how long to last, in seconds; a restart takes as long as it takes.
It returns when the server it was done to was back, on the clock of `time.monotonic()`.
"""

import itertools
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from stacks import Stack, request

#: Each run draws the same at random, or anew from another seed where one is given.
SEED = int(os.environ.get("PROOF_SEED", "1"))

Fault = Callable[["Servers", float], float]

#: Beside /data/dump.rdb, which the server reads at its start.
SNAPSHOT = "/data/old.rdb"
#: What a snapshot holds, and its server no longer.
MARK = ("chaos:snapshot", "was here")
#: So many values of a mebibyte, each under a name of its own.
FILL = """\
local value = string.rep('x', 1048576) for i = ARGV[1], ARGV[1] + 19 do \
redis.call('SET', 'junk:' .. i, value) end"""
OTHER_PASSWORD = "another-password-of-another-day"  # noqa: S105 - of a server of this test


class Servers:
    """The containers of a stack, and the administrator's access to its cache server."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.network = f"{stack.name}_inside"
        self.cli = f"{stack.project.answers['cache_server']}-cli"

    def docker(self, *words: str, check: bool = True) -> str:
        """Run a command of the engine; return what it says."""
        return self.stack.project.run("docker", *words, check=check).stdout

    def container(self, service: str, index: int = 1) -> str:
        return f"{self.stack.name}-{service}-{index}"

    def admin(self, *options: str) -> list[str]:
        """Return the command that starts the cache server's client as its administrator."""
        return ["docker", "exec", *options, self.container("cache"), self.cli, "--user", "admin"]

    def ask(self, *command: str) -> str:
        """Send the cache server one command."""
        return self.stack.project.run(*self.admin(), *command).stdout.strip()

    @contextmanager
    def console(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that sends the cache server lines, without waiting for its answers."""
        command = self.admin("--interactive")
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdin is not None
            file = process.stdin

            def send(line: str) -> None:
                file.write(f"{line}\n")
                file.flush()

            yield send

    def setting(self, name: str) -> str:
        """Return a setting of web's containers."""
        listed = self.docker("exec", self.container("web"), "env").splitlines()
        found = dict(line.split("=", 1) for line in listed if "=" in line)
        return found.get(name, "")

    def begun(self, ids: Iterable[str], seconds: float) -> set[str]:
        """Return those ids of requests that web's logs of the last seconds have a line for."""
        logs = ""
        for index in (1, 2):
            since = f"--since={int(seconds) + 1}s"
            command = ("docker", "logs", since, self.container("web", index))
            result = self.stack.project.run(*command)
            logs += result.stdout + result.stderr
        return {identity for identity in ids if f'"{identity}"' in logs}

    def workers(self, index: int) -> list[str]:
        """Return the process ids of a replica's workers, as its container numbers them."""
        children = "/proc/1/task/1/children"
        return self.docker("exec", self.container("web", index), "cat", children).split()

    def until(self, *command: str, seconds: float = 60) -> float:
        """Run a command of the engine until it succeeds; return when that was."""
        deadline = time.monotonic() + seconds
        while self.stack.project.run("docker", *command, check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"docker {' '.join(command)}")
            time.sleep(0.05)
        return time.monotonic()

    def cache_answers(self) -> float:
        ping = f"{self.cli} --user admin ping | grep -q PONG"
        return self.until("exec", self.container("cache"), "sh", "-c", ping)

    def database_answers(self) -> float:
        ready = ("pg_isready", "--quiet", "--host=127.0.0.1", "--username=app", "--dbname=app")
        return self.until("exec", self.container("database"), *ready)

    def answers(self, service: str) -> float:
        return self.cache_answers() if service == "cache" else self.database_answers()

    def web_answers(self, index: int) -> float:
        return self.until("exec", self.container("web", index), "python", "deploy/healthcheck.py")

    def take_snapshot(self) -> None:
        """Keep what the cache server holds now, for a restart that brings it back."""
        self.ask("SET", *MARK)
        self.ask("SAVE")
        self.ask("DEL", MARK[0])
        self.docker("exec", self.container("cache"), "mv", "/data/dump.rdb", SNAPSHOT)


def undone(service: str, begin: str, end: str) -> Fault:
    """Make a fault of what the engine does to a container, and undoes when the time is over."""

    def fault(servers: Servers, seconds: float) -> float:
        servers.docker(*begin.split(), servers.container(service))
        time.sleep(seconds)
        servers.docker(*end.split(), servers.container(service))
        return servers.answers(service)

    return fault


FROZEN = ("kill --signal=STOP", "kill --signal=CONT")

# -- the cache server


def disconnected(servers: Servers, seconds: float) -> float:
    begin = f"network disconnect {servers.network}"
    end = f"network connect --alias=cache {servers.network}"
    return undone("cache", begin, end)(servers, seconds)


def restarted_empty(servers: Servers, seconds: float) -> float:
    servers.docker("restart", "--timeout=0", servers.container("cache"))
    return servers.cache_answers()


def restarted_from_a_snapshot(servers: Servers, seconds: float) -> float:
    """Needs `take_snapshot`. The server comes back as it was then, with its old readings."""
    servers.docker("exec", servers.container("cache"), "cp", SNAPSHOT, "/data/dump.rdb")
    servers.docker("restart", "--timeout=0", servers.container("cache"))
    result = servers.cache_answers()
    servers.docker("exec", servers.container("cache"), "rm", "/data/dump.rdb")
    assert servers.ask("GET", MARK[0]) == MARK[1], "the server did not read the snapshot"
    return result


def filled(servers: Servers, seconds: float) -> float:
    """Others fill it: it drops what is used least."""
    fill(servers, seconds)
    return servers.cache_answers()


def filled_for_good(servers: Servers, seconds: float) -> float:
    """Others fill it, and it drops nothing: it refuses what would take more room."""
    policy = servers.ask("CONFIG", "GET", "maxmemory-policy").split()[-1]
    servers.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    fill(servers, seconds)
    servers.ask("CONFIG", "SET", "maxmemory-policy", policy)
    return servers.cache_answers()


def fill(servers: Servers, seconds: float) -> None:
    """Write more than `maxmemory` of compose.yaml, again and again; at the end delete it."""
    numbers = itertools.count(step=20)
    with servers.console() as send:
        repeat(seconds, 0.1, lambda: send(f'EVAL "{FILL}" 0 {next(numbers)}'))
    servers.ask("UNLINK", *servers.ask("--scan", "--pattern", "junk:*").split())


def password_changed(servers: Servers, seconds: float) -> float:
    """Change the password of the application's user, end its connections, change it back."""
    user = servers.setting("CACHE_REDIS_USERNAME") or "default"
    password = servers.setting("CACHE_REDIS_PASSWORD")
    change_password(servers, user, OTHER_PASSWORD)
    time.sleep(seconds)
    change_password(servers, user, password)
    return servers.cache_answers()


def change_password(servers: Servers, user: str, password: str) -> None:
    servers.ask("ACL", "SETUSER", user, "resetpass", f">{password}")
    with servers.console() as send:
        kill_connections(send)


def connections_killed(servers: Servers, seconds: float) -> float:
    with servers.console() as send:
        repeat(seconds, 0.1, lambda: kill_connections(send))
    return servers.cache_answers()


def kill_connections(send: Callable[[str], None]) -> None:
    for kind in ("normal", "pubsub"):
        send(f"CLIENT KILL TYPE {kind}")


def flushed(servers: Servers, seconds: float) -> float:
    with servers.console() as send:
        repeat(seconds, 0.02, lambda: send("FLUSHALL"))
    return servers.cache_answers()


def overwritten(servers: Servers, seconds: float) -> float:
    """Write random bytes over keys of every kind: entries, tags, clock, generation, leases."""
    draw = random.Random(SEED)
    with servers.console() as send:

        def overwrite() -> None:
            keys = sorted(servers.ask("--scan").splitlines())
            for key in draw.sample(keys, len(keys) // 3):
                value = draw.randbytes(draw.choice([0, 1, 40, 400]))
                send(f"SET {quoted(key.encode())} {quoted(value)} XX KEEPTTL")

        repeat(seconds, 0.2, overwrite)
    return servers.cache_answers()


def quoted(value: bytes) -> str:
    """Write bytes as a word that the client reads back."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'


# -- web


def stopped(servers: Servers, seconds: float) -> float:
    """Send a replica SIGTERM while it waits for the rest of requests; start it again later."""
    replica = servers.container("web", 2)
    held = [Held(servers.stack.replicas[1]) for _ in range(3)]
    # They are with the application by then: others that came later are answered.
    request(f"{servers.stack.replicas[1]}/healthz")
    servers.docker("kill", "--signal=TERM", replica)
    # What the replica does with the signal cannot be seen from outside; it has begun to by then.
    time.sleep(1)
    for one in held:
        assert one.finish().startswith(b"HTTP/1.1 400"), "an accepted request was dropped"
    servers.docker("wait", replica)
    time.sleep(seconds)
    servers.docker("start", replica)
    return servers.web_answers(2)


class Held:
    """A form that is sent but for its last words; a view that reads it waits for them."""

    HEAD = (
        b"POST /account/sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\nname"
    )

    def __init__(self, replica: str) -> None:
        host, port = replica.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall(self.HEAD)

    def finish(self) -> bytes:
        """Send the rest; return the beginning of the answer, or nothing if there is none."""
        with self.socket:
            try:
                self.socket.sendall(b"=ada")
                return self.socket.recv(100)
            except OSError:
                return b""


def worker_killed(servers: Servers, seconds: float) -> float:
    """Kill a worker of each replica in turn, each time when every page has to be filled."""
    deadline = time.monotonic() + seconds
    for turn in range(4):
        index = 1 + turn % 2
        (worker, *_) = servers.workers(index)
        servers.ask("FLUSHALL")
        kill = ("sh", "-c", f"kill -KILL {worker}")
        servers.docker("exec", servers.container("web", index), *kill)
        time.sleep(max(0.0, deadline - time.monotonic()) / (4 - turn))
    return max(map(servers.web_answers, (1, 2)))


def rolled(servers: Servers, seconds: float) -> float:
    """Restart one replica after the other, as a new release does."""
    for index in (1, 2):
        servers.docker("restart", servers.container("web", index))
        servers.web_answers(index)
        time.sleep(seconds / 2)
    return time.monotonic()


def repeat(seconds: float, interval: float, action: Callable[[], None]) -> None:
    """Do something again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        action()
        time.sleep(interval)


CACHE: dict[str, Fault] = {
    "SIGKILL and restart": undone("cache", "kill", "start"),
    "SIGSTOP and SIGCONT": undone("cache", *FROZEN),
    "network disconnected": disconnected,
    "restarted empty": restarted_empty,
    "restarted from an old snapshot": restarted_from_a_snapshot,
    "filled, dropping": filled,
    "filled, refusing": filled_for_good,
    "password changed": password_changed,
    "connections killed": connections_killed,
    "FLUSHALL in a loop": flushed,
    "random bytes over entries": overwritten,
}
DATABASE: dict[str, Fault] = {
    "database SIGKILL and restart": undone("database", "kill", "start"),
    # Every process of it: connections stay, and nothing answers.
    "database frozen": undone("database", "pause", "unpause"),
    # The process that takes connections: those that there are work on.
    "database frozen for new connections": undone("database", *FROZEN),
}
WEB: dict[str, Fault] = {
    "web SIGTERM": stopped,
    "worker SIGKILL": worker_killed,
    "rolling restart": rolled,
}
