"""Cached views: serving pages and filling them."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Response, after_this_request, current_app, request, session
from flask.globals import request_ctx
from flask.sessions import session_json_serializer
from flask_caching import CachedResponse
from flask_caching.utils import normalize_timeout
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.test import run_wsgi_app

from .fills import Entries, Filled, Outcome, Policy
from .inputs import Declared, has_read_cookies, report_once, watched
from .keys import bounded
from .negotiation import accepts_gzip
from .options import Options
from .pages import (
    Page,
    age,
    cache_status,
    environ_name,
    page_key,
    refill_environ,
    surrogate_keys,
    unstorable,
)
from .statistics import Lookups

_REFILL = "caching.refill"
_ANSWERED = "caching.answered_with"
#: The share of the new pages of a route that may be a 404.
_FEWER_NOT_FOUND = 10
_REMEDY = "declare it, {option}=({name!r},), or do not read it."


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What ``cached`` was told about a view beside the shared options.

    :param declared: the query parameters and headers that enter the key.
    :param private: ``True``: an entry per session and ``Authorization``; or a callable that
        names the user.
    :param not_found_timeout: seconds for which a 404 is stored; ``None`` is not at all.
    :param custom_key: replaces the path in the key, and with ``whole_key`` the query, too.
    :param cache_control: what caches outside may do, where the view does not say it.
    :param stands_alone: whether the key is all that such a page depends on, and nothing of the
        application runs around its view.
    """

    declared: Declared
    private: bool | Callable[[], object]
    not_found_timeout: int | None
    custom_key: str | None
    whole_key: bool
    hit_indication: bool
    cache_control: str
    stands_alone: bool


def is_current_view(function: Callable[..., Any]) -> bool:
    """Tell whether a decorated function is the view of this request, whatever wraps it."""
    view = current_app.view_functions.get(request.endpoint or "")
    return any(each is function for each in _layers(view, request.method))


def warm_of(view: Callable[..., Any]) -> bool | Callable[[], Iterable[Mapping[str, Any]]]:
    """Return what ``@cache.cached(warm=…)`` says of a view, whatever wraps it."""
    said = (getattr(each, "cache_warm", False) for each in _layers(view, "GET"))
    return next(filter(None, said), False)


def _layers(view: Any, method: str) -> Iterator[Any]:
    """Yield a view, or what a class of views answers with, and all that is wrapped in it."""
    candidates = [view]
    if view_class := getattr(view, "view_class", None):
        own = getattr(view_class, method.lower(), None)
        candidates += [own or getattr(view_class, "get", None), view_class.dispatch_request]
    for candidate in candidates:
        layer = candidate
        while layer is not None:
            yield layer
            layer = getattr(layer, "__wrapped__", None)


def view_tag(endpoint: str, values: dict[str, Any] | None = None) -> str:
    """The tag of all pages of an endpoint, or of those with these arguments."""
    if not values:
        return f"view:{endpoint}"
    arguments = urlencode(sorted((k, str(v)) for k, v in values.items()))
    return bounded(f"view:{endpoint}?{arguments}")


def path_key(prefix: str, path: str) -> str:
    """The key by which Flask-Caching's users know the pages of a path."""
    return prefix % path if "%s" in prefix else prefix


def serve_page(
    entries: Entries,
    call: Callable[[], Any],
    policy: Policy,
    options: Options,
    page_options: PageOptions,
    own: Callable[[str], str],
    *,
    renew: bool,
) -> Response:
    """Answer a request with a page from its entry, or call the view and store what it returns.

    :param own: makes a key the current tenant's.
    """
    lookups = entries.statistics.lookups("page", request.endpoint or "")
    user, refusal = _identity(entries, page_options)
    if refusal is not None:
        return _go_past(entries, call, page_options, refusal, lookups)
    custom = page_options.custom_key
    declared, with_query = page_options.declared, not page_options.whole_key
    text = page_key(request, declared, custom=custom, with_query=with_query, user=user)
    if len(text) > current_app.config["CACHE_MAX_KEY_BYTES"]:
        entries.count("limit: long key")
        return _go_past(entries, call, page_options, "long-key", lookups)
    key = own(bounded(text))
    # A refill of its own would know neither the user nor the tenant.
    in_foreground = page_options.private or own("") or is_refill(request.environ)
    fetch = partial(
        entries.fetch,
        key,
        lambda: _fill(call, options, page_options, lambda status: _may_add(entries, key, status)),
        policy,
        lookups,
        refill=None if in_foreground else _refill(declared),
        is_refill=is_refill(request.environ),
    )
    outcome = fetch(renew=renew)
    try:
        page = _decoded(outcome)
    except Exception as error:
        # Who can seal an entry may have put anything there: it is no page, in any way.
        entries.count("undecodable value")
        report_once(f"A page's entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = fetch(renew=True)
        page = _decoded(outcome)
    if page_options.stands_alone:
        names = frozenset(environ_name(name) for name in declared.headers)
        request.environ[_ANSWERED] = key, names, lookups
    if isinstance(outcome.result, HTTPException):
        after_this_request(
            lambda response: _with_status(_varied(response, page_options), outcome, key)
        )
        raise outcome.result
    response = _response(outcome, page)
    if outcome.entry is not None:
        response.headers.extend(surrogate_keys(outcome.entry, current_app.config))
    if page_options.hit_indication and outcome.status == "hit":
        response.headers["hit_cache"] = "True"
    return _with_status(response, outcome, key)


def is_refill(environ: dict[str, Any]) -> bool:
    """Tell whether a request is one of the cache's own, which renews a stale page."""
    return _REFILL in environ


def _go_past(
    entries: Entries,
    call: Callable[[], Any],
    page_options: PageOptions,
    refusal: str,
    lookups: Lookups,
) -> Response:
    """Answer by the view alone, and nothing is looked up or stored."""
    with entries.going_past(lookups):
        response = current_app.make_response(call())
    if request.method in ("GET", "HEAD"):
        _keep_from_guessing(_varied(response, page_options))
    return _with_status(response, Outcome("bypass", refused=refusal))


def _may_add(entries: Entries, key: str, status: int) -> bool:
    """Tell whether a page may be stored.

    What is not there is counted by itself: made-up addresses use up no room of the real pages, and
    need less, for few of them are asked for by many.
    """
    most = current_app.config["CACHE_NEW_PAGES_PER_MINUTE"]
    if status == HTTPStatus.NOT_FOUND and most:
        most = max(1, most // _FEWER_NOT_FOUND)
    return entries.may_add(key, f"{request.endpoint} ({status})", most)


def answered_with(environ: dict[str, Any]) -> tuple[str, frozenset[str], Lookups] | None:
    """Return the key of the page that a request was answered with, where it stands alone.

    With it come the headers that the key holds, as the environment spells them, and where its
    lookups are counted.
    """
    answered: tuple[str, frozenset[str], Lookups] | None = environ.get(_ANSWERED)
    return answered


def _identity(entries: Entries, page_options: PageOptions) -> tuple[str, str | None]:
    """Name the user of a private page, or say why this request goes past the cache."""
    if request.method not in ("GET", "HEAD"):
        return "", "method"
    if request.content_length or "HTTP_TRANSFER_ENCODING" in request.environ:
        return "", "body"
    by_cookie = callable(page_options.private) or "cookie" in page_options.declared.headers
    if has_read_cookies() and not by_cookie:
        return "", "cookies"
    if callable(page_options.private):
        name = page_options.private()
        return f"{name}", "anonymous" if name is None else None
    if page_options.private:
        told = session_json_serializer.dumps(dict(session)) or ""
        told += "\n" + request.headers.get("Authorization", "")
        return entries.sealer.digest(told.encode()), None
    if "HTTP_AUTHORIZATION" in request.environ:
        return "", "authorization"
    # The session proxy would count as a look at the session.
    if request_ctx._session is not None and request_ctx._session.accessed:
        return "", "session"
    return "", None


def _fill(
    call: Callable[[], Any],
    options: Options,
    page_options: PageOptions,
    may_add: Callable[[int], bool],
) -> Filled:
    """Call the view, and make a page of what it returns; a client's error is a result, too."""
    try:
        filled = _fill_page(call, options, page_options)
    except HTTPException as error:
        # A server's fault is a failure of the fill, for which a stale page can stand in.
        if error.get_response().status_code >= 500:
            raise
        return Filled(error, None, refused="status")
    if filled.value is not None and not may_add(filled.result.status_code):
        return Filled(filled.result, None, refused="limit")
    return filled


def _fill_page(call: Callable[[], Any], options: Options, page_options: PageOptions) -> Filled:
    private = bool(page_options.private)
    timeout: float | None = None
    with watched(f"The view {request.endpoint}", page_options.declared, _REMEDY) as inputs:
        try:
            returned = call()
        except NotFound as error:
            if page_options.not_found_timeout is None:
                raise
            returned = current_app.handle_user_exception(error)
            if isinstance(returned, HTTPException):
                returned = returned.get_response()
        response = current_app.make_response(returned)
    _varied(response, page_options)
    if response.status_code == 404:
        timeout = page_options.not_found_timeout
    if isinstance(returned, CachedResponse) and returned.timeout is not None:
        timeout = normalize_timeout(returned.timeout)
    refused = unstorable(
        response,
        page_options.declared,
        private=private,
        not_found=page_options.not_found_timeout is not None,
    )
    if inputs.session_written or (inputs.session_read and not private):
        refused = "session"
        report_once(
            f"The view {request.endpoint} looked at the session, so its pages are not cached: "
            "leave the session alone, or say private=True."
        )
    elif inputs.undeclared:
        refused = "undeclared"
    elif options.response_filter is not None and not options.response_filter(returned):
        refused = "filtered"
    elif request.method != "GET":
        refused = "method"
    if refused not in (None, "method"):
        _keep_from_guessing(response)
        return Filled(response, None, refused=refused)
    page = Page.of(response, private=private, cache_control=page_options.cache_control)
    if refused is not None:
        # A HEAD on its own says what a GET would (RFC 9110, 9.3.2).
        page = page.representation(accepts_gzip(request.environ.get("HTTP_ACCEPT_ENCODING", "")))
        return Filled(page.response(current_app.response_class), None, refused=refused)
    return Filled(response, page.encode(), timeout)


def _varied(response: Response, page_options: PageOptions) -> Response:
    """Say what a response depends on, also to caches outside, whether or not it is stored here."""
    response.vary.update(name.title() for name in sorted(page_options.declared.headers))
    if page_options.private:
        response.vary.add("Cookie")
    return response


def _keep_from_guessing(response: Response) -> None:
    """Say of what is not for all that it is not, where the view says nothing (RFC 9111, 4.2.2)."""
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
        if response.status_code == 200 and not response.is_streamed:
            response.add_etag()


def _decoded(outcome: Outcome) -> Page | None:
    """Return the page of an entry, in the form that this client accepts."""
    if outcome.entry is None:
        return None
    gzipped = accepts_gzip(request.environ.get("HTTP_ACCEPT_ENCODING", ""))
    return Page.decode(outcome.entry.value).representation(gzipped)


def _response(outcome: Outcome, page: Page | None) -> Response:
    """Make the response, and answer a condition after the cache (RFC 9110, 13), never before."""
    answer: Response | None = outcome.result
    if outcome.entry is None or page is None:
        return answer  # type: ignore[return-value]
    response = page.response(current_app.response_class)
    if answer is not None:
        response.call_on_close(answer.close)
    else:
        response.headers["Age"] = age(outcome.entry)
    response.make_conditional(request)
    # It is Werkzeug's, and the server has one of its own.
    response.headers.remove("Date")
    return response


def _with_status(response: Response, outcome: Outcome, key: str | None = None) -> Response:
    response.headers["Cache-Status"] = cache_status(
        outcome.status,
        outcome.entry,
        outcome.stored,
        outcome.refused,
        key if current_app.debug else None,
    )
    return response


def _refill(declared: Declared) -> Callable[[], object]:
    """Make a function that fills this request's page again by a GET of its own."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    environ: dict[str, Any] = {
        **refill_environ(request, declared),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        _REFILL: True,
    }
    return lambda: run_wsgi_app(app.wsgi_app, environ, buffered=True)
