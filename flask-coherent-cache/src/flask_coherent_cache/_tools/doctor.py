"""What is wrong with the cache, and what would do: all checks, one after the other."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask

from .._engine.engine import CacheEngine
from .._stores import StoreError
from . import reports
from .findings import Finding
from .overview import merge
from .server_checks import check_clocks, check_server
from .settings_checks import check_declarations, check_processes, check_settings

Check = Callable[[Mapping[str, Any]], Iterable[Finding]]
#: In `app.extensions`.
_CHECKS = "coherent_cache_checks"


def add_check(app: Flask, check: Check) -> None:
    """Have `flask cache doctor` run a check of the application's own, too.

    :param check: gets the settings, and returns what it finds.
    """
    app.extensions.setdefault(_CHECKS, []).append(check)


def examine(
    app: Flask,
    entries: CacheEngine | None,
    wait: float,
    declarations: Iterable[tuple[str, str, str]] = (),
    *,
    settings: Mapping[str, Any],
) -> list[Finding]:
    """Run the checks that the settings leave.

    :param wait: seconds to wait for the running processes at most.
    :param declarations: what the cache takes for harmless, as its owner declared.
    :param settings: the cache's own.
    """
    config = {**app.config, **settings}
    findings = list(check_settings(config))
    for check in app.extensions.get(_CHECKS, ()):
        findings += check(config)
    if entries is not None:
        findings += check_declarations(declarations)
    if entries is None or not entries.store.shared:
        return findings
    at_server = list(check_server(config))
    findings += at_server
    if any(finding.check == "server" and finding.severity == "ok" for finding in at_server):
        try:
            found = reports.ask(entries.board, wait)
        except StoreError:
            # Said already, by the checks of the server.
            found = []
        findings += check_clocks(found, entries.store.now())
        findings += check_processes(config, merge(found))
    return findings
