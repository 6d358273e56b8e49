"""`flask cache show`: what lies in the store under a key."""

import time
from collections.abc import Iterator
from typing import Any

import click

from ..._dependencies.tags import describe
from ..._engine.engine import CacheEngine
from ..._engine.inspection import Inspection
from ..._functions.values import type_name
from ..._pages.pages import Page
from ..text import STATES, distance, format_time, size
from .base import command, write
from .look import seen
from .terminal import printable, wrapped

_INDENT = 12


@command("show", "there is no such entry")
@click.argument("key")
def show(engine: CacheEngine, key: str, json: bool) -> None:
    """Show what lies under KEY.

    KEY is as `flask cache keys` writes it. It asks the store alone, and changes nothing. Values
    are not decoded: of one that is no page, the type is shown.
    """
    (inspection,) = engine.inspect([key])
    data = {"key": key, **seen(inspection), "bytes": inspection.bytes}
    if inspection.entry is not None:
        data["value"] = _preview(inspection.entry.value)
    write(json, data, *_description(inspection), ok=inspection.state != "gone")


def _description(inspection: Inspection) -> Iterator[str]:
    now, entry = time.time(), inspection.entry
    yield wrapped("Key", inspection.key, _INDENT)
    yield wrapped("State", STATES[inspection.state][0], _INDENT)
    if entry is None:
        return
    times = (entry.stored_at, entry.fresh_until, entry.kept_until)
    for label, at in zip(("Stored", "Fresh until", "Kept until"), times, strict=True):
        yield f"{label:<{_INDENT}}{format_time(at)}, {distance(at - now)}"
    began = "-" if entry.started is None else f"timestamp {entry.started}"
    yield f"{'Begun at':<{_INDENT}}{began}"
    yield f"{'Size':<{_INDENT}}{size(inspection.bytes)} in the store"
    value = _preview(entry.value)
    if value["kind"] == "page":
        body = size(value["body_bytes"]) + (" in gzip" if value["gzipped"] else "")
        yield f"{'Page':<{_INDENT}}status {value['status']}, a body of {body}"
        for name, text in value["headers"]:
            yield wrapped("", f"{name}: {text}", _INDENT)
    else:
        yield wrapped("Value", f"{value['type']}, {size(len(entry.value))}", _INDENT)
    for number, tag in enumerate(sorted(entry.tags)):
        dead = " (bumped since, or missing)" if tag in inspection.invalid else ""
        yield f"{'' if number else 'Tags':<{_INDENT}}{printable(tag)}{dead}"
        yield f"{'':<{_INDENT}}  {printable(describe(tag, entry.tags))}"


def _preview(value: bytes) -> dict[str, Any]:
    """Say of what kind a value is. A pickle begins with its protocol, a page with a length."""
    try:
        if value.startswith(b"\x80"):
            return {"kind": "value", "type": type_name(value)}
        page = Page.decode(value)
    except Exception:
        # Who can seal an entry may have put anything there.
        return {"kind": "unknown", "type": "of no known form"}
    return {
        "kind": "page",
        "status": page.status,
        "headers": page.headers,
        "body_bytes": len(page.body),
        "gzipped": page.gzipped,
    }
