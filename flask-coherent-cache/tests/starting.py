"""Starting servers for tests where ports are scarce."""

from pathlib import Path

import pytest

from flask_coherent_cache.testing import Server, ServerEndedError


def started(kind: str, folder: Path, *options: str, tries: int = 10) -> Server:
    """Start a server, on another port if one was just taken; skip the test if there is none.

    A node of a cluster listens on a second port, 10,000 above the first, which others may have.
    """
    folder.mkdir(exist_ok=True)
    server = Server(kind, folder, *options)
    if server.command is None:
        pytest.skip(f"no server for {kind} on this machine")
    try:
        server.start()
    except ServerEndedError:
        if tries == 1:
            raise
        return started(kind, folder, *options, tries=tries - 1)
    return server
