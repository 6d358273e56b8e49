"""What is wrong with the cache, and how to fix it.

To add a check, write a function that yields findings, and name it in one of the tuples below. An
application has checks of its own, which it gives to :class:`flask_coherent_cache.tools.Commands`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask

from ..._stores import StoreError
from ..overview import Overview
from ..report import ask
from . import processes, releases, server, settings
from .finding import Finding
from .processes import Processes
from .refusals import address, refused
from .server import Server

if TYPE_CHECKING:
    from ... import Cache

Subject = TypeVar("Subject")
Check = Callable[[Mapping[str, Any]], Iterable[Finding]]

#: Of the settings alone; they get the settings.
SETTINGS_CHECKS: tuple[Check, ...] = (
    settings.backend,
    settings.secret_key,
    settings.pool,
    settings.waiting,
    settings.timeouts,
)
#: Of a cache server that answers.
SERVER_CHECKS: tuple[Callable[[Server], Iterable[Finding]], ...] = (
    server.permissions,
    server.switch,
    server.timeouts,
    server.writes,
    server.tracking,
    server.eviction,
    server.memory,
    server.clock,
    server.clients,
    server.persistence,
    releases.releases,
)
#: Of what the running processes report.
PROCESS_CHECKS: tuple[Callable[[Processes], Iterable[Finding]], ...] = (
    processes.clocks,
    processes.answers,
    processes.leases,
    processes.evictions,
    processes.errors,
    processes.verification,
    processes.whole_tables,
    processes.never_cached,
)
#: The application's own, in `app.extensions`.
CHECKS = "coherent_cache_checks"


def examine(app: Flask, cache: "Cache", wait: float) -> Iterator[Finding]:
    """Run the checks that the settings leave.

    :param wait: seconds to wait for the running processes at most.
    """
    config, engine = {**app.config, **cache.settings}, cache.engine
    yield from _run(SETTINGS_CHECKS + app.extensions.get(CHECKS, ()), config)
    if engine is None:
        return
    yield from settings.declarations(cache._declarations.rows())
    if not engine.store.shared:
        return
    at_server = list(_examine_server(config))
    yield from at_server
    if any(finding.check == "server" and finding.severity == "ok" for finding in at_server):
        try:
            reports = ask(engine.reports, wait)
        except StoreError:
            # The checks of the server have said it already.
            reports = []
        tables = engine.watcher.table_names() if engine.watcher is not None else ()
        found = Processes(config, Overview(reports), engine.store.now(), frozenset(tables))
        yield from _run(PROCESS_CHECKS, found)


def _examine_server(config: Mapping[str, Any]) -> Iterator[Finding]:
    with closing(server.connect_patiently(config)) as store:
        subject = Server(config, store)
        try:
            subject.measure()
        except StoreError as error:
            yield refused(config, error)
            return
        milliseconds = f"{1000 * subject.seconds:.2g} ms"
        yield Finding("server", "ok", f"The server at {address(config)} answers in {milliseconds}.")
        yield from _run(SERVER_CHECKS, subject)


def _run(
    checks: Iterable[Callable[[Subject], Iterable[Finding]]], subject: Subject
) -> Iterator[Finding]:
    for check in checks:
        yield from check(subject)
