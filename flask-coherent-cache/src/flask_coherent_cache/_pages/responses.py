"""Responses of cached views: completed before the hooks of the application, judged after them."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Response
from flask.globals import request_ctx

from .._dependencies.dependencies import current_dependencies
from .._dependencies.environment import raw_environ
from .._dependencies.inputs import AUTHORIZATION, SESSION, Declared
from .._dependencies.noticed import Noticed
from .._engine.engine import Outcome
from .http import (
    add_vary,
    cache_directives,
    conditional,
    contradicts_public,
    names_of,
    withdraw_public,
)
from .page_visit import ANSWERED, PageOptions, PageVisit
from .pages import add_page_headers
from .response_headers import age, cache_status, surrogate_keys
from .storable import STORABLE_STATUSES, is_whole


@dataclass(slots=True)
class Answer:
    """How a cached view answered the request, for the last look at the response.

    :param page: the response that was made from an entry, and whose conditions are still to be
        evaluated; ``None`` if the view answered.
    :param body: its bytes, before any hook.
    :param asked_public: whether the view itself said ``public``.
    :param adds_etag: whether a response that is not stored gets an ETag of its final bytes.
    :param complete: adds the headers if something other than the view makes the response: the
        caller of the view, or an error handler.
    :param hit: whether it came from a fresh entry.
    """

    declared: Declared
    page: Response | None = None
    body: bytes = b""
    asked_public: bool = False
    adds_etag: bool = False
    complete: Callable[[Response], Response] | None = None
    hit: bool = False


# -- before the hooks ------------------------------------------------------------------------


def before_hooks(response: Response) -> Response:
    """Complete a response that the view itself did not make, so that hooks see its headers."""
    noticed = current_dependencies().noticed
    answer: Answer | None = noticed.answer
    if answer is None or answer.complete is None:
        return response
    with noticed.unnoticed():
        return answer.complete(response)


def complete(response: Response, visit: PageVisit, outcome: Outcome) -> Response:
    """Add what the cache says of a page, or of a response that the view made."""
    answer: Answer = visit.noticed.answer
    if outcome.entry is None:
        _keep_from_guessing(response, answer)
    else:
        answer.page, answer.body = response, response.get_data()
        if not outcome.stored:
            response.headers["Age"] = age(outcome.entry)
        if keys := surrogate_keys(outcome.entry, visit.engine.config):
            response.headers.extend(keys)
    # Every page says the default.
    control = ", ".join(response.headers.getlist("Cache-Control"))
    answer.asked_public = (
        "public" in cache_directives(response.headers)
        and control != f"public, {visit.page_options.cache_control}"
    )
    if outcome.status == "hit" and visit.page_options.hit_indication:
        response.headers["hit_cache"] = "True"
    return with_status(response, visit, outcome)


def complete_other(response: Response, visit: PageVisit, outcome: Outcome) -> Response:
    """Add the same to a response that bypassed the cache, or that was made of a value or error."""
    if not visit.is_safe:
        return with_status(response, visit, outcome)
    page_options, storable = visit.page_options, response.status_code in STORABLE_STATUSES
    add_key_to_vary(response, page_options)
    raised = outcome.status != "bypass" and response.status_code >= 400
    if outcome.entry is None and not raised:
        _keep_from_guessing(response, visit.noticed.answer)
    elif outcome.entry is not None and storable and is_whole(response):
        private, control = bool(page_options.private), page_options.cache_control
        add_page_headers(response, private=private, cache_control=control)
        return complete(response, visit, outcome)
    return with_status(response, visit, outcome)


def add_key_to_vary(response: Response, page_options: PageOptions) -> None:
    """Name the headers that a response depends on, stored or not, for caches in front."""
    names = [name.title() for name in sorted(page_options.declared.headers)]
    if page_options.private or page_options.declared.cookies:
        names.append("Cookie")
    add_vary(response.headers, *names)


def _keep_from_guessing(response: Response, answer: Answer) -> None:
    """Forbid caches in front to store what is not for all, by heuristics (RFC 9111, 4.2.2)."""
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
        # After the hooks, which may change the body.
        answer.adds_etag = True


def with_status(response: Response, visit: PageVisit, outcome: Outcome) -> Response:
    """Add the ``Cache-Status`` field."""
    key = visit.key if visit.engine.app.debug else ""
    response.headers["Cache-Status"] = cache_status(
        outcome.status, outcome.entry, outcome.stored, outcome.refused, key or None
    )
    return response


# -- after the hooks -------------------------------------------------------------------------


def after_hooks(response: Response) -> Response:
    """Judge a cached view's response last, after every hook, and once the session is saved.

    Caches in front have no guard that runs on their hits. A response that depends on more than its
    key is private to them, even if a declaration sets that aside here (RFC 9111, 3.5). Conditions
    are evaluated by what really leaves (RFC 9110, 13.2.1).
    """
    noticed = current_dependencies().noticed
    answer: Answer | None = noticed.answer
    if answer is None:
        return response
    try:
        # Reads of what runs later count again: a stream, or a cached function that it calls.
        with noticed.unnoticed():
            _judge(response, answer, noticed)
    finally:
        noticed.answer = None
    return response


def _judge(response: Response, answer: Answer, noticed: Noticed) -> None:
    for follow in noticed.on_page:
        follow()
    # No Vary can name a value of the environment: it is in our keys only, on hits, too.
    missing = {what for what in noticed.seen if not answer.declared.holds(what)}
    unheld = bool(missing or answer.declared.environ)
    page, environ = answer.page, raw_environ(request_ctx.request)
    names = names_of(response.headers)
    sets_cookie = "set-cookie" in names
    # Naming the user has looked for Authorization, and a request with it is always Flask's.
    if SESSION in answer.declared.parts and (
        sets_cookie or response is not page or not missing <= {AUTHORIZATION}
    ):
        environ.pop(ANSWERED, None)
    if (
        sets_cookie
        or (unheld and not answer.asked_public)
        or contradicts_public(response.headers)  # A hook forbade what the page allows.
    ):
        withdraw_public(response.headers)
    if answer.adds_etag and response.status_code == 200 and not response.is_streamed:
        response.add_etag()
    if page is not None and response.status_code == page.status_code:
        if "etag" in names and response.get_data() != answer.body:
            response.headers.remove("ETag")
            response.add_etag()
        conditional(environ, response)
        if "date" in names:  # It is Werkzeug's, and the server adds its own.
            response.headers.remove("Date")
