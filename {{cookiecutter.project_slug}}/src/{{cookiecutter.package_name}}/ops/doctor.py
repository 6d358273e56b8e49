"""What is wrong with the cache, and what would do: all checks, one after the other."""

from collections.abc import Mapping
from typing import Any

from ..caching.fills import Entries
from ..caching.stores import StoreError
from . import reports
from .findings import Finding
from .overview import merge
from .server_checks import check_server
from .settings_checks import check_processes, check_settings


def examine(config: Mapping[str, Any], entries: Entries | None, wait: float) -> list[Finding]:
    """Run the checks that the settings leave.

    :param wait: seconds to wait for the running processes at most.
    """
    findings = list(check_settings(config))
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
        findings += check_processes(config, merge(found))
    return findings
