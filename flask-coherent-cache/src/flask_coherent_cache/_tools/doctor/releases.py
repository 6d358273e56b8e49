"""The check of what lies on the cache server under the application's prefix."""

import re
from collections import Counter
from collections.abc import Iterator

from ..._stores import StoreError
from .finding import Finding
from .server import Server

#: What a key is, behind the application's prefix, where no release is in it.
_OF_ALL_RELEASES = re.compile(r"(clock|generation|off|starting|probe)$|(tag|board|renewed|doctor):")
_OF_A_RELEASE = re.compile(r"([A-Za-z0-9._-]+):(entry|lease):")
_SHOWN = 3


def releases(server: Server) -> Iterator[Finding]:
    """Look for keys under the application's prefix that are not this release's."""
    prefix, release = server.config["CACHE_KEY_PREFIX"], server.config["RELEASE"]
    if not hasattr(server.store, "scan"):
        yield Finding("releases", "unknown", "Memcached does not list its keys.")
        return
    try:
        keys, complete = server.store.scan(f"{prefix}:")
    except StoreError as error:
        yield Finding(
            "releases", "unknown", f"The server does not list its keys: {error}.",
            f"An administrator can: redis-cli --scan --pattern '{prefix}:*'. Entries expire.",
        )  # fmt: skip
        return
    older, strays = _sorted_out(keys, prefix, release)
    partly = "" if complete else ", of the first 100,000 that the server holds"
    if strays:
        shown = ", ".join(strays[:_SHOWN])
        yield Finding(
            "releases", "problem",
            f"{len(strays):,} keys{partly} begin as this application's, but belong to stock"
            f" Flask-Caching or to another application: {shown}.",
            "A CACHE_KEY_PREFIX of its own for each application; redis-cli unlink for the rest.",
        )  # fmt: skip
    if older:
        shown = ", ".join(f"{name} ({count:,})" for name, count in older.most_common(_SHOWN))
        yield Finding(
            "releases", "advice", f"Entries of other releases lie there{partly}: {shown}.",
            "Nothing to do: they expire. A release that still runs is listed, too.",
        )  # fmt: skip
    if not strays and not older:
        yield Finding("releases", "ok", f"No keys of other releases{partly}.")


def _sorted_out(keys: list[str], prefix: str, release: str) -> tuple[Counter[str], list[str]]:
    """Count the keys of other releases, and list those of no known form."""
    older: Counter[str] = Counter()
    strays = []
    for key in keys:
        rest = key.removeprefix(f"{prefix}:")
        if _OF_ALL_RELEASES.match(rest):
            continue
        found = _OF_A_RELEASE.match(rest)
        if found is None:
            strays.append(key)
        elif found[1] != release:
            older[found[1]] += 1
    return older, strays
