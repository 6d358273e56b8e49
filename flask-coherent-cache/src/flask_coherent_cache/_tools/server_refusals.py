"""Why a cache server does not do what it is asked, and what would do: in words."""

import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .._stores import StoreError
from .findings import Finding

Config = Mapping[str, Any]

#: Whoever does not answer within so many seconds does not answer.
PATIENCE_SECONDS = 2.0
#: redis-py leaves out the code that says it, NOPERM; of a script the words are others, and Redis
#: before 7.2 does not say which command.
_IN_A_SCRIPT = "executing the script can't run"
_DENIED_COMMAND = re.compile(r"'([\w|-]+)' command")
_UNKNOWN_COMMAND = re.compile(r"unknown (?:sub)?command [`'\"]([\w|-]+)", re.IGNORECASE)
_SCRIPTED = "+get +set +del +incr +time"
#: Words of the server, the check, what there is, and the remedy.
_WORDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "in request don't hash to the same slot", "cluster",
        "The server is a node of a cluster, and the cache's keys do not lie in one slot",
        "A CACHE_KEY_PREFIX in braces, as {{{prefix}}}, puts them into one slot, if this node has"
        " it; better is a server of its own, without cluster-enabled.",
    ),
    (
        "Hash slot not served", "cluster",
        "The server is a node of a cluster in which nobody has the slot of the cache's keys",
        "A server without cluster-enabled; or `redis-cli --cluster fix`.",
    ),
    (
        "The cluster is down", "cluster", "The server is a node of a cluster that is down",
        "A server without cluster-enabled; or `redis-cli --cluster check`.",
    ),
    (
        "replicas to write", "writes",
        "The server has fewer replicas than min-replicas-to-write, and takes no writes",
        "Start its replicas; or, if another primary has taken over, name that one.",
    ),
    (
        "replica", "writes", "The server takes no writes, for it is a replica, which is read only",
        "Name the primary's address.",
    ),
    (
        "MISCONF", "writes", "The server cannot save to its disk, and takes no writes",
        "See its log, or let a cache save nothing (save '').",
    ),
    (
        "max number of clients", "clients", "The server has as many connections as it may",
        "A larger maxclients; or fewer processes, or a smaller CACHE_POOL_SIZE.",
    ),
    (
        "protected mode", "credentials", "The server lets in only its own host (protected-mode)",
        "Give it a password and name it in CACHE_REDIS_URL; or `bind` it to an address that only"
        " this application reaches.",
    ),
)  # fmt: skip
_FAILURES: dict[str, tuple[str, str, str]] = {
    "forbidden": (
        "credentials", "The server does not let us in",
        "Correct CACHE_REDIS_USERNAME and CACHE_REDIS_PASSWORD, or what CACHE_REDIS_URL has of"
        " them; or the user, on the server.",
    ),
    "loading": (
        "server", "The server is still reading its data from the disk",
        "Wait; or let a cache save nothing (save '' and appendonly no), and it is there at once.",
    ),
    "read-only": (
        "writes", "The server takes no writes",
        "Name a primary's address; or see why it takes none, in its log.",
    ),
    "full": (
        "writes", "The server is full and takes no writes",
        "maxmemory-policy allkeys-lfu, so that it makes room; or more memory.",
    ),
    "wrong type": (
        "writes", "Another application writes to the cache's keys",
        "A CACHE_KEY_PREFIX of its own for each application.",
    ),
    "too large": (
        "writes", "The server takes no value of this size",
        "memcached -I with more bytes; or less in one entry.",
    ),
}  # fmt: skip


def address(config: Config) -> str:
    """Say where the server is, without its password."""
    if config["CACHE_TYPE"] == "MemcachedCache":
        return ", ".join(config["CACHE_MEMCACHED_SERVERS"])
    if config["CACHE_TYPE"] != "RedisCache":
        return str(config["CACHE_TYPE"])
    if url := config["CACHE_REDIS_URL"]:
        parts = urlsplit(url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    return f"{config['CACHE_REDIS_HOST']}:{config['CACHE_REDIS_PORT']}"


def refused(config: Config, where: str, error: StoreError) -> Finding:
    """Say why a server does not do what the cache asks of it, and what would do."""
    told = str(error)
    for words, check, what, remedy in _WORDS:
        if words in told:
            prefix = config["CACHE_KEY_PREFIX"]
            return _problem(check, f"{what} ({where})", error, remedy.format(prefix=prefix))
    if error.failure == "unreachable":
        return _unreachable(config, where, error)
    if error.failure == "timeout":
        return Finding(
            "server", "problem",
            f"The server at {where} does not answer within {PATIENCE_SECONDS:g} s.",
            "It hangs, or something between drops what is sent: see its log, its load, its disk.",
        )  # fmt: skip
    if error.failure in _FAILURES:
        check, what, remedy = _FAILURES[error.failure]
        return _problem(check, f"{what} ({where})", error, remedy)
    if re.search(r"\bMOVED\b|^Redis: \d+ \S+:\d+$", told):
        return _problem(
            "cluster", f"The server at {where} is a node of a cluster, and the keys lie on another",
            error, "A server without cluster-enabled; or the node that it names.",
        )  # fmt: skip
    return _not_permitted(error) or _problem(
        "server", f"The server at {where} refuses what the cache needs", error,
        "The cache needs Redis from 5 on, Valkey, or Memcached from 1.4 on, with no proxy in"
        " between that changes what is asked.",
    )  # fmt: skip


def not_tracked(error: StoreError) -> Finding:
    """Say why a server does not tell of writes, and what would do."""
    denied = _DENIED_COMMAND.search(str(error))
    command = _UNKNOWN_COMMAND.search(str(error))
    if denied:
        remedy = f"Allow it, by +{denied[1].lower()}."
    elif command:
        remedy = (
            f"It has no {command[1].upper()}: Redis from 6 on and Valkey have, where it is not"
            " renamed and no proxy is in between."
        )
    else:
        remedy = "Redis from 6 on or Valkey does, with no proxy in between."
    return _problem(
        "tracking", "The server does not tell of writes, so that each hit asks it", error,
        f"{remedy} Without: CACHE_NEAR_BYTES=0.",
    )  # fmt: skip


def _unreachable(config: Config, where: str, error: StoreError) -> Finding:
    setting = (
        "CACHE_MEMCACHED_SERVERS"
        if config["CACHE_TYPE"] == "MemcachedCache"
        else "CACHE_REDIS_URL, or CACHE_REDIS_HOST and _PORT"
    )
    if _accepts(where):
        return _problem(
            "server", f"What listens at {where} ends the connection instead of answering", error,
            f"Correct {setting}, and whether it begins with rediss:// (TLS); or name the server"
            " itself, if that is a proxy (such as twemproxy), which has not all its commands.",
        )  # fmt: skip
    return _problem(
        "server", f"There is no server to be reached at {where}", error,
        f"Start it, or correct {setting}; with TLS, look at its certificate.",
    )  # fmt: skip


def _accepts(where: str) -> bool:
    """Tell whether somebody listens at the first of these addresses."""
    host, _, port = where.partition(",")[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), PATIENCE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _not_permitted(error: StoreError) -> Finding | None:
    """Say which command or key the server's user may not use, or which command it has not."""
    told = str(error)
    if command := _UNKNOWN_COMMAND.search(told):
        name = command[1].upper()
        return _problem(
            "permissions", f"The server has no command {name}", error,
            f"Take `rename-command {name}` out of its configuration; or name the server itself, if"
            " that is a proxy; or a newer server.",
        )  # fmt: skip
    if "Unknown Redis command called from script" in told:
        return _problem(
            "permissions", "The server has not all commands that the scripts need", error,
            f"Have it rename none of them: {_SCRIPTED.replace('+', '').upper()}.",
        )  # fmt: skip
    if command := _DENIED_COMMAND.search(told):
        remedy = f"Allow it, by +{command[1].lower()}; compose.yaml has all that the user needs."
    elif _IN_A_SCRIPT in told:
        remedy = f"Allow what the scripts do: {_SCRIPTED}."
    elif "permission" in told:
        remedy = "Let it reach the application's keys: ~ and CACHE_KEY_PREFIX and :*."
    else:
        return None
    return _problem("permissions", "The server's user may not do it", error, remedy)


def _problem(check: str, what: str, error: StoreError, remedy: str) -> Finding:
    return Finding(check, "problem", f"{what}: {error}.", remedy)
