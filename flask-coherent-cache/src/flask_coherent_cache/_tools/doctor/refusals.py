"""Why a cache server does not do what it is asked, and how to fix it: in words."""

import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..._stores import StoreError
from .finding import Finding

Config = Mapping[str, Any]

#: Whoever does not answer within so many seconds does not answer.
PATIENCE_SECONDS = 2.0


_COMMANDS = "get set del incr time"
_ALLOW_SCRIPTS = " ".join(f"+{command}" for command in _COMMANDS.split())
_NO_CLUSTER = "A server without cluster-enabled"
_NOT_ALLOWED = "The server's user may not do it"
_DENIED = r"'([\w|-]+)' command"
_UNKNOWN = r"(?i)unknown (?:sub)?command [`'\"]([\w|-]+)"
_UNTRACKED = "The server does not tell of writes, so that each hit asks it"

_ADDRESSES = {
    "MemcachedCache": "CACHE_MEMCACHED_SERVERS",
    "RedisCache": "CACHE_REDIS_URL, or CACHE_REDIS_HOST and _PORT",
}
Refusals = tuple[tuple[str, str, str, str], ...]

#: A pattern of the failure, a colon and the server's words; the check, what there is, the remedy.
#: The first that matches counts. What it captures is {name} in upper case, {lower} in lower case.
#: redis-py leaves out the code that says it, NOPERM; of a script the words are others, and Redis
#: before 7.2 does not say which command.
_OF_WORK: Refusals = (
    ("in request don't hash to the same slot", "cluster",
     "The server is a node of a cluster, and the cache's keys do not lie in one slot ({where})",
     "A CACHE_KEY_PREFIX in braces, as {{{prefix}}}, puts them into one slot, if this node has it;"
     " better is a server of its own, without cluster-enabled."),
    ("Hash slot not served", "cluster",
     "The server is a node of a cluster in which nobody has the slot of the cache's keys ({where})",
     f"{_NO_CLUSTER}; or `redis-cli --cluster fix`."),
    ("The cluster is down", "cluster",
     "The server is a node of a cluster that is down ({where})",
     f"{_NO_CLUSTER}; or `redis-cli --cluster check`."),
    ("replicas to write", "writes",
     "The server has fewer replicas than min-replicas-to-write, and takes no writes ({where})",
     "Start its replicas; or, if another primary has taken over, name that one."),
    ("replica", "writes",
     "The server takes no writes, for it is a replica, which is read only ({where})",
     "Name the primary's address."),
    ("MISCONF", "writes", "The server cannot save to its disk, and takes no writes ({where})",
     "See its log, or let a cache save nothing (save '')."),
    ("max number of clients", "clients",
     "The server has as many connections as it may ({where})",
     "A larger maxclients; or fewer processes, or a smaller CACHE_POOL_SIZE."),
    ("protected mode", "credentials",
     "The server lets in only its own host (protected-mode; {where})",
     "Give it a password and name it in CACHE_REDIS_URL; or `bind` it to an address that only this"
     " application reaches."),
    ("^listening: ", "server", "What listens at {where} ends the connection instead of answering",
     "Correct {setting}, and whether it begins with rediss:// (TLS); or name the server itself, if"
     " that is a proxy (such as twemproxy), which has not all its commands."),
    ("^unreachable: ", "server", "There is no server to be reached at {where}",
     "Start it, or correct {setting}; with TLS, look at its certificate."),
    ("^timeout: ", "server", "The server at {where} does not answer within {patience:g} s",
     "It hangs, or something between drops what is sent: see its log, its load, its disk."),
    ("^forbidden: ", "credentials", "The server does not let us in ({where})",
     "Correct CACHE_REDIS_USERNAME and CACHE_REDIS_PASSWORD, or what CACHE_REDIS_URL has of them;"
     " or the user, on the server."),
    ("^loading: ", "server", "The server is still reading its data from the disk ({where})",
     "Wait; or let a cache save nothing (save '' and appendonly no), and it is there at once."),
    ("^read-only: ", "writes", "The server takes no writes ({where})",
     "Name a primary's address; or see why it takes none, in its log."),
    ("^full: ", "writes", "The server is full and takes no writes ({where})",
     "maxmemory-policy allkeys-lfu, so that it makes room; or more memory."),
    ("^wrong type: ", "writes", "Another application writes to the cache's keys ({where})",
     "A CACHE_KEY_PREFIX of its own for each application."),
    ("^too large: ", "writes", "The server takes no value of this size ({where})",
     "memcached -I with more bytes; or less in one entry."),
    (r"\bMOVED\b|: Redis: \d+ \S+:\d+$", "cluster",
     "The server at {where} is a node of a cluster, and the keys lie on another",
     f"{_NO_CLUSTER}; or the node that it names."),
    (_UNKNOWN, "permissions", "The server has no command {name}",
     "Take `rename-command {name}` out of its configuration; or name the server itself, if that is"
     " a proxy; or a newer server."),
    ("Unknown Redis command called from script", "permissions",
     "The server has not all commands that the scripts need",
     f"Have it rename none of them: {_COMMANDS.upper()}."),
    (_DENIED, "permissions", _NOT_ALLOWED,
     "Allow it, by +{lower}; compose.yaml has all that the user needs."),
    ("executing the script can't run", "permissions", _NOT_ALLOWED,
     f"Allow what the scripts do: {_ALLOW_SCRIPTS}."),
    ("permission", "permissions", _NOT_ALLOWED,
     "Let it reach the application's keys: ~ and CACHE_KEY_PREFIX and :*."),
    ("", "server", "The server at {where} refuses what the cache needs",
     "The cache needs Redis from 5 on, Valkey, or Memcached from 1.4 on, with no proxy in between"
     " that changes what is asked."),
)  # fmt: skip
_OF_TRACKING: Refusals = (
    (_DENIED, "tracking", _UNTRACKED, "Allow it, by +{lower}. Without: CACHE_NEAR_BYTES=0."),
    (_UNKNOWN, "tracking", _UNTRACKED,
     "It has no {name}: Redis from 6 on and Valkey have, where it is not renamed and no proxy is in"
     " between. Without: CACHE_NEAR_BYTES=0."),
    ("", "tracking", _UNTRACKED,
     "Redis from 6 on or Valkey does, with no proxy in between. Without: CACHE_NEAR_BYTES=0."),
)  # fmt: skip


def refused(config: Config, error: StoreError) -> Finding:
    """Say why a server does not do what the cache asks of it, and how to fix it."""
    return _first(_OF_WORK, config, error)


def not_tracked(config: Config, error: StoreError) -> Finding:
    """Say why a server does not tell of writes, and how to fix it."""
    return _first(_OF_TRACKING, config, error)


def _first(refusals: Refusals, config: Config, error: StoreError) -> Finding:
    where, failure = address(config), str(error.failure)
    if failure == "unreachable" and _accepts(where):
        failure = "listening"
    matches = ((re.search(row[0], f"{failure}: {error}"), row) for row in refusals)
    match, (_, check, what, remedy) = next(pair for pair in matches if pair[0])
    name = match[1] if match is not None and match.re.groups else ""
    words = {
        "where": where,
        "prefix": config["CACHE_KEY_PREFIX"],
        "setting": _ADDRESSES.get(config["CACHE_TYPE"], "CACHE_TYPE"),
        "patience": PATIENCE_SECONDS,
        "name": name.upper(),
        "lower": name.lower(),
    }
    return Finding(check, "problem", f"{what.format(**words)}: {error}.", remedy.format(**words))


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


def _accepts(where: str) -> bool:
    """Tell whether somebody listens at the first of these addresses."""
    host, _, port = where.partition(",")[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), PATIENCE_SECONDS):
            return True
    except (OSError, ValueError):
        return False
