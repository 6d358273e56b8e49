"""What the programs of the proofs share: servers, applications, and processes that run at once.

The programs print what they counted as one line of JSON. They judge nothing.
"""

import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn

import flask_caching
from flask import Flask
from pymemcache import serde
from pymemcache.client.base import PooledClient
from sqlalchemy import Engine, event

from flask_coherent_cache import Cache
from flask_coherent_cache.testing import memcached_server, redis_server

#: Patient with a busy machine: a time-out would be a bypass, and the proofs count fills.
PATIENT = {
    "SECRET_KEY": "k" * 40,
    "CACHE_DEFAULT_TIMEOUT": 600,
    "CACHE_CONNECT_TIMEOUT_SECONDS": 10,
    "CACHE_SOCKET_TIMEOUT_SECONDS": 10,
    "CACHE_WAIT_SECONDS": 60,
    "CACHE_LEASE_SECONDS": 60,
    "CACHE_POOL_SIZE": 64,
}
#: Each run draws the same at random, or anew from another seed where one is given.
SEED = os.environ.get("PROOF_SEED")
#: Forked, so that processes inherit the counters; nothing is connected before the fork.
processes = multiprocessing.get_context("fork")


def chance(name: object) -> random.Random:
    """Return what draws at random under a name: the same in each run with the same seed."""
    return random.Random(str(name) if SEED is None else f"{SEED} {name}")


def finish(**counted: Any) -> NoReturn:
    """Print what was counted, and end."""
    print(json.dumps(counted))
    sys.exit(0)


@contextmanager
def server(backend: str, *options: str) -> Iterator[dict[str, Any]]:
    """Start the server of a backend; yield the settings that lead to it.

    :param options: more arguments of a Redis or Valkey.
    """
    if backend == "SimpleCache":
        yield {"CACHE_TYPE": backend}
    elif backend == "RedisCache":
        with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder), *options) as port:
            if port is None:
                finish(skipped="there is no Redis and no Valkey on this machine")
            yield {"CACHE_TYPE": backend, "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    else:
        with memcached_server() as port:
            if port is None:
                finish(skipped="there is no Memcached on this machine")
            yield {"CACHE_TYPE": backend, "CACHE_MEMCACHED_SERVERS": [f"127.0.0.1:{port}"]}


def make_app(subject: str, settings: dict[str, Any], **more: Any) -> tuple[Flask, Any]:
    """Make an application with a cache: of this library ("ours"), or Flask-Caching's ("stock")."""
    app = Flask("proof", static_folder=None, template_folder=None)
    app.config.update({**PATIENT, **settings, **more})
    if subject == "ours":
        return app, Cache(app)
    if settings["CACHE_TYPE"] == "MemcachedCache":
        # It takes a client in the place of addresses; pymemcache's is the one that is here.
        (address,) = settings["CACHE_MEMCACHED_SERVERS"]
        app.config["CACHE_MEMCACHED_SERVERS"] = PooledClient(
            address, serde=serde.pickle_serde, default_noreply=False, max_pool_size=64
        )
        # Else a delete raises where another process fills at the same moment.
        app.config["CACHE_OPTIONS"] = {"ignore_delete_many_errors": True}
    app.config["CACHE_KEY_PREFIX"] = "app"
    return app, flask_caching.Cache(app)


def prepare_sqlite(engine: Engine) -> None:
    """Let readers read while a writer writes.

    A database of another kind is left alone. A proof's database need not survive the machine.
    """
    if engine.dialect.name != "sqlite":
        return

    def write_ahead(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", write_ahead)


def run_at_once(targets: list[Callable[[], None]], seconds: float = 300) -> None:
    """Run each target in a process of its own; end them all, in words, as soon as one fails."""
    running = [processes.Process(target=target) for target in targets]
    for process in running:
        process.start()
    deadline = time.monotonic() + seconds
    try:
        while alive := [process.sentinel for process in running if process.is_alive()]:
            ended = wait(alive, max(0.0, deadline - time.monotonic()))
            if not ended:
                sys.exit(f"{len(alive)} processes did not end within {seconds} s")
            if failed := [process.name for process in running if process.exitcode]:
                sys.exit(f"failed: {failed}")
    finally:
        for process in running:
            if process.is_alive():
                process.kill()
                process.join()
