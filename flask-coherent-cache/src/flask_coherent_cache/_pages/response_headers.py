"""Header fields that say what the cache did for one response: they are not part of the page."""

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .._engine.entry import Entry
from .._keys.encoding import encodable

#: What needs no quotes in structured fields (RFC 9651, 3.3.4).
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~\w:/-]*", re.ASCII)


def cache_status(
    status: str, entry: Entry | None, stored: bool, detail: str | None, key: str | None = None
) -> str:
    """Write the ``Cache-Status`` field (RFC 9211): what the page cache did, and why.

    :param key: shown in development only, for it can name a user.
    """
    parts = ["page-cache"]
    if status in ("hit", "stale") and entry is not None:
        parts += ["hit", f"ttl={round(entry.fresh_until - time.time())}"]
        parts += ["detail=stale"] if status == "stale" else []
    else:
        parts.append(f"fwd={status}")
    if stored and entry is not None:
        parts += ["stored", f"ttl={round(entry.fresh_until - time.time())}"]
    if key is not None:
        parts.append(f'key="{_quoted(key)}"')
    if detail:
        parts.append(
            f"detail={detail}" if _TOKEN.fullmatch(detail) else f'detail="{_quoted(detail)}"'
        )
    return "; ".join(parts)


def _quoted(text: str) -> str:
    """Write a text as the inside of a string of structured fields (RFC 9651, 3.3.3)."""
    visible = "".join(c if " " <= c <= "~" else f"%{ord(c):02X}" for c in text)
    return visible.replace("\\", "\\\\").replace('"', '\\"')


def age(entry: Entry) -> str:
    """Write the seconds since an entry was stored (RFC 9111, 5.1)."""
    return str(max(0, int(time.time() - entry.stored_at)))


def hit_headers(entry: Entry, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the fields that a fresh hit has beside those of its page."""
    headers = [("Age", age(entry)), ("Cache-Status", cache_status("hit", entry, False, None))]
    return headers + surrogate_keys(entry, config)


def surrogate_keys(entry: Entry, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the tags of a page, for a cache in front that can purge by them."""
    if not config["CACHE_SURROGATE_KEYS"]:
        return []
    tags = (quote(encodable(tag), safe=":/*?=&@,;+$!~") for tag in entry.tags)
    return [("Surrogate-Key", " ".join(tags))]
