"""The query as the application reads it: encoded, and for a cached view sorted as in its key."""

import re
from typing import Any

from flask import current_app

from .._pages.view_functions import sorts_query
from .inputs import sorted_query
from .request_class import COMPUTED, INPUTS_OF

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
#: What is computed from the query, beside the values whose inputs say so.
_OF_THE_QUERY = frozenset({"args", "values", "url", "full_path"})


def encode_query(request: Any) -> None:
    """Encode the bytes of a query that are not ASCII, as a URL must have them (RFC 3986, 2.1).

    Werkzeug fails to decode those that are no UTF-8.
    """
    state = request.__dict__
    if not state["query_string"].isascii():
        state["query_string"] = _BEYOND_ASCII.sub(_percent_encoded, state["query_string"])


def _percent_encoded(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(byte[0])


def sort_query(request: Any) -> None:
    """Let a cached view and its hooks read the query as it is in the key of the page."""
    state = request.__dict__
    # Not through its property, which would note the path.
    rule = state.get("url_rule")
    view = current_app.view_functions.get(rule.endpoint) if rule else None
    if state["method"] not in ("GET", "HEAD") or not sorts_query(view, state["method"]):
        return
    query = state["query_string"].decode("latin-1")
    in_order = sorted_query(query)
    if query == in_order:
        return
    state["query_string"] = in_order.encode("latin-1")
    state["environ"].changed["QUERY_STRING"] = in_order
    for name in getattr(type(request), COMPUTED):
        # Opening the session may have computed more from the query.
        inputs = state.get(INPUTS_OF + name, ())
        if name in _OF_THE_QUERY or any(what.kind.startswith("query") for what in inputs):
            state.pop(name, None)
