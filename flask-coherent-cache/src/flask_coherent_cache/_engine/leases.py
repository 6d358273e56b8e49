"""Leases: keys that one process at a time holds, by a token that only it knows, for seconds."""

import re
import secrets

from .._stores import Store

_TOKEN = re.compile(rb"[0-9a-f]{16}")


def new_token() -> bytes:
    """Return what a lease holds."""
    return secrets.token_hex(8).encode()


def release_foreign(store: Store, name: str, holder: bytes | None) -> None:
    """Delete what lies in the place of a lease and is none: nobody would release it."""
    if holder is not None and not _TOKEN.fullmatch(holder):
        store.release(name, holder)


def free(store: Store, name: str) -> None:
    """Delete what was waited for in vain and is no lease of ours: it may never expire."""
    (token,) = store.get_many([name])
    if token is None:
        store.delete([name])
    release_foreign(store, name, token)
