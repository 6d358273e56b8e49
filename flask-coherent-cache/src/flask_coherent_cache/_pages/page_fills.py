"""Fills of pages: calling the view, and deciding whether its page may be stored."""

from http import HTTPStatus
from typing import Any

from flask import Response
from flask_caching import CachedResponse
from flask_caching.utils import normalize_timeout
from werkzeug.exceptions import HTTPException, NotFound

from .._dependencies.fillings import Filling
from .._engine.engine import Filled, Outcome
from .._functions.functions import encoded, passes
from .._verification import Recomputation
from .page_visit import PageVisit
from .pages import Page
from .responses import add_key_to_vary, with_status
from .storable import refusal_of
from .view_values import is_value, response_to_check

#: Of the new pages of a route, one in so many may be a 404.
_FEWER_NOT_FOUND = 10


def fill_page(visit: PageVisit) -> Filled:
    """Call the view, and make a page of its answer; a client's error is an answer, too."""
    try:
        filled = _fill(visit)
    except HTTPException as error:
        status = error.get_response().status_code
        if status >= 500:  # A failed fill, for which a stale page can stand in.
            raise
        return Filled(error, None, refused=visit.refuse("status", about=str(status)))
    status = getattr(filled.result, "status_code", HTTPStatus.OK)
    if filled.value is not None and not _may_add(visit, status):
        return Filled(filled.result, None, refused=visit.refuse("limit", about="new keys"))
    return filled


def compute_again(visit: PageVisit, wanted: Recomputation) -> Response:
    """Call the view to compare its page with the entry; only the cache sees the response."""
    page = None
    try:
        filled = _fill(visit)
        status = filled.result.status_code
        page = None if filled.value is None else Page.decode(filled.value)
    except HTTPException as error:
        status = error.get_response().status_code
    except Exception:
        # No visitor's request failed, so the application is not to log an error.
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    wanted.returned(visit.key, status, page, visit.noticed.seen)
    return with_status(Response(status=204), visit, Outcome("bypass", refused="verification"))


def _may_add(visit: PageVisit, status: int) -> bool:
    """Tell whether a page with a new key may be stored.

    404s are counted apart: made-up addresses take no room from real pages, and need less.
    """
    engine = visit.engine
    most = engine.config["CACHE_NEW_PAGES_PER_MINUTE"]
    if status == HTTPStatus.NOT_FOUND and most:
        most = max(1, most // _FEWER_NOT_FOUND)
    return engine.may_add(visit.key, f"{visit.endpoint} ({status})", most)


def _fill(visit: PageVisit) -> Filled:
    page_options, filling = visit.page_options, visit.filling()
    with visit.noticed.filling(filling):
        returned = _call_view(visit)
        gives_value = page_options.gives_value and is_value(returned)
        make_response = response_to_check if gives_value else visit.engine.app.make_response
        response = make_response(returned)
    add_key_to_vary(response, page_options)
    timeout: float | None = None
    if response.status_code == HTTPStatus.NOT_FOUND:
        timeout = page_options.not_found_timeout
    if isinstance(returned, CachedResponse) and returned.timeout is not None:
        timeout = normalize_timeout(returned.timeout)
    result = returned if gives_value else response
    refused = _refuse(response, visit, filling)
    if refused is None and not passes(visit.options.response_filter, returned):
        refused = visit.refuse("filtered")
    if refused is not None:
        return Filled(result, None, refused=refused)
    is_get = visit.environ["REQUEST_METHOD"] == "GET"
    if gives_value:
        if not is_get:
            return Filled(returned, None, refused="method")
        value = encoded(visit.engine, filling.name, returned, visit.lookups)
        refused = "no encoding" if value is None else None
        return Filled(returned, value, timeout, refused, tags=tuple(visit.tags()))
    private = bool(page_options.private)
    page = Page.of(response, private=private, cache_control=page_options.cache_control)
    if not is_get:
        # A HEAD on its own says what a GET would (RFC 9110, 9.3.2).
        page = page.representation(visit.accepts_gzip)
        response = page.response(visit.engine.app.response_class)
        return Filled(response, None, refused="method")
    visit.page, visit.is_own_response = page, _is_data(returned)
    return Filled(response, page.encode(), timeout, tags=tuple(visit.tags()))


def _is_data(returned: Any) -> bool:
    """Tell whether Flask made a response of what a view returned: its own may be anybody's."""
    first = returned[0] if isinstance(returned, tuple) and returned else returned
    return isinstance(first, str | bytes | bytearray | dict | list)


def _call_view(visit: PageVisit) -> Any:
    """Return what the view returned; if a 404 may be stored, its response."""
    try:
        return visit.call()
    except NotFound as error:
        if visit.page_options.not_found_timeout is None:
            raise
        app = visit.engine.app
        returned = app.handle_user_exception(error)
        if isinstance(returned, HTTPException):
            returned = returned.get_response()
        return app.make_response(returned)


def _refuse(response: Response, visit: PageVisit, filling: Filling) -> str | None:
    """Refuse a page that must not be stored, and return the reason."""
    page_options = visit.page_options
    refusal = refusal_of(
        response,
        page_options.declared,
        private=bool(page_options.private),
        not_found=page_options.not_found_timeout is not None,
    )
    if refusal is not None:
        reason, about, advice = refusal
        full = f"{reason}: {about}" if about else reason
        message = f"{filling.name} is not cached ({full}). {advice}" if advice else ""
        return visit.refuse(reason, message, about=about)
    if filling.wrote_session:
        message = f"{filling.name} wrote to the session, so its page is not cached."
        return visit.refuse("session", message)
    if filling.added_hooks:
        return visit.refuse(
            "after_this_request",
            f"{filling.name} used after_this_request, which does not run on a hit, so its page is "
            "not cached: use after_request, or change the response in the view.",
        )
    return visit.refuse_undeclared(filling)
