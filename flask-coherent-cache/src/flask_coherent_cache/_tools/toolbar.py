"""The development toolbar: a line under each HTML page about what the cache did for it.

It is added to a response on its way out, after the cache, so it is part of no stored page. Only who
asks for `text/html` by name, as browsers do, gets it: curl and tests see the page as it is.
"""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass

from flask import Blueprint, Response, current_app, request

from .._dependencies.dependencies import tally_of
from .._dependencies.tags import describe
from .._keys.encoding import encodable
from .._statistics.records import ANSWERED, Tally, Trace

bp = Blueprint(
    "cache_toolbar",
    __name__,
    template_folder="../templates",
    static_folder="../static/toolbar",
    static_url_path="/_cache_toolbar",
)
#: Where each key and tag is looked up, if the application has it.
INSPECTOR = "/_cache/"
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")
#: What is true of the page alone, not of the page with a toolbar.
OF_THE_PAGE = ("ETag", "Last-Modified", "Expires", "Content-Encoding")


@dataclass(slots=True)
class Row:
    """A lookup, and how it lies within the others.

    :param inside: the name of the lookup that it was done for.
    :param depth: how many lookups are around it.
    :param own_seconds: how long it took without the lookups inside it.
    """

    trace: Trace
    inside: str | None
    depth: int
    own_seconds: float


def forget_conditions() -> None:
    """Answer a browser in full: with a 304 it would show the toolbar of an earlier request."""
    if _is_for_a_browser():
        for name in CONDITIONS:
            request.environ.pop(name, None)


def add_toolbar(response: Response) -> Response:
    """Put the toolbar at the end of a whole HTML page; leave any other response as it is.

    The page is then one of a single request, so nobody may store it (RFC 9111, 5.2.2.5).
    """
    if not _is_for_a_browser() or response.mimetype != "text/html":
        return response
    if response.is_streamed or response.direct_passthrough:
        return response
    body, coding = response.get_data(), response.content_encoding
    if coding == "gzip":
        body = gzip.decompress(body)
    end = body.lower().rfind(b"</body>")
    if coding not in (None, "gzip") or end < 0:
        return response
    toolbar = _render(response.headers.get("Cache-Status"))
    # The characters beyond ASCII as references: that is right in whatever charset the page has.
    response.set_data(body[:end] + toolbar.encode("ascii", "xmlcharrefreplace") + body[end:])
    for name in OF_THE_PAGE:
        response.headers.pop(name, None)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_for_a_browser() -> bool:
    return "text/html" in request.environ.get("HTTP_ACCEPT", "")


def _render(cache_status: str | None) -> str:
    tally = tally_of(request.environ) or Tally()
    rows = nested(tally.traces)
    computed = [row for row in rows if row.trace.result not in ANSWERED]
    count = sum(tally.results.values())
    rules = current_app.url_map.iter_rules()
    # Not by `render_template`: the application's own context processors may look things up, too.
    return current_app.jinja_env.get_template("flask_coherent_cache/toolbar/toolbar.html").render(
        tally=tally,
        rows=rows,
        count=count,
        hidden=count - len(rows),
        seconds=sum(row.trace.seconds for row in rows if not row.depth),
        longest=max(computed, key=lambda row: row.own_seconds, default=None),
        cache_status=cache_status,
        inspector=next((rule.endpoint for rule in rules if rule.rule == INSPECTOR), None),
        encodable=encodable,
        describe=describe,
    )


def nested(traces: Iterable[Trace]) -> list[Row]:
    """Put lookups in the order in which they began; those that a computation did are inside it."""
    rows: list[Row] = []
    around: list[Row] = []
    for trace in sorted(traces, key=lambda trace: (trace.began, -trace.seconds)):
        while around and trace.began >= around[-1].trace.began + around[-1].trace.seconds:
            around.pop()
        if around:
            around[-1].own_seconds -= trace.seconds
        inside = around[-1].trace.name if around else None
        rows.append(Row(trace, inside, len(around), trace.seconds))
        around.append(rows[-1])
    return rows
