"""Cached views: serving pages and filling them."""

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlencode

from flask import Response, current_app, request
from flask.globals import request_ctx
from flask_caching import CachedResponse
from flask_caching.utils import normalize_timeout
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Rule
from werkzeug.test import run_wsgi_app

from .._dependencies.dependencies import CHOSEN, RECOMPUTATION, current_dependencies
from .._dependencies.inputs import AUTHORIZATION, Declared, Input, is_session_cookie, report_once
from .._dependencies.noticed import Filling, Kind, Noticed, Owner
from .._dependencies.watching import raw_environ
from .._engine.engine import CacheEngine, Filled, Outcome, Policy
from .._functions.functions import encoded, passes, refuse_undeclared
from .._keys.classes import UnstableArgument
from .._keys.encoding import bounded, stable_text
from .._options import Options
from .._statistics.statistics import Lookups
from .._verification import Recomputation
from ..negotiation import accepts_gzip
from .http import add_vary, conditional, contradicts_public, withdraw_public
from .layers import decoded_value, is_value, judged
from .pages import (
    STORABLE_STATUSES,
    Page,
    age,
    asks_for_public,
    cache_status,
    environ_name,
    page_key,
    refill_environ,
    surrogate_keys,
    unstorable,
    what_forbids,
)
from .view_layers import layers

#: Where ``app.extensions`` holds the middleware that serves pages before Flask.
PAGE_MIDDLEWARE = "coherent_cache_page_middleware"
_REFILL = "caching.refill"
_ANSWERED = "caching.answered_with"
#: The share of the new pages of a route that may be a 404.
_FEWER_NOT_FOUND = 10
_LONGEST_REASON = 100
NO_BODY = frozenset({None, "", "0"})
_PLAIN_VALUES = frozenset({str, bytes, int, bool, float, type(None)})


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What ``cached`` was told about a view beside the shared options.

    :param declared: the query parameters and headers that enter the key.
    :param private: ``True``: an entry per session and ``Authorization``; or a callable that
        names the user.
    :param not_found_timeout: seconds for which a 404 is stored; ``None`` is not at all.
    :param custom_key: replaces the path in the key, and with ``whole_key`` the query, too.
    :param key_inputs: what it was made from, which it holds.
    :param cache_control: what caches outside may do, where the view does not say it.
    :param gives_value: whether something else than Flask called the view, and gets its value.
    :param stands_alone: whether the key is all that such a page depends on, and nothing of the
        application runs around its view.
    """

    declared: Declared
    private: bool | Callable[[], object]
    not_found_timeout: int | None
    custom_key: str | None
    key_inputs: frozenset[Input]
    whole_key: bool
    hit_indication: bool
    cache_control: str
    gives_value: bool
    stands_alone: bool

    @property
    def knows_visitor(self) -> bool:
        """Tell whether the key holds what only the visitor's own request can say."""
        named = self.private or self.key_inputs
        return bool(named or self.declared.cookies or self.declared.environ)


def is_current_view(function: Callable[..., Any]) -> bool:
    """Tell whether a decorated function is the view of this request, whatever wraps it."""
    view = current_app.view_functions.get(request.endpoint or "")
    return any(each is function for each in layers(view, request.method))


def warm_of(view: Callable[..., Any]) -> bool | Callable[[], Iterable[Mapping[str, Any]]]:
    """Return what ``@cache.cached(warm=…)`` says of a view, whatever wraps it."""
    said = (getattr(each, "cache_warm", False) for each in layers(view, "GET"))
    return next(filter(None, said), False)


def view_tag(endpoint: str) -> str:
    """The tag of all pages of an endpoint."""
    return f"view:{endpoint.replace('%', '%25').replace('?', '%3F')}"


def unknown_view_tag(endpoint: str) -> str:
    """The tag of an endpoint's pages whose arguments no converter can write."""
    return f"{view_tag(endpoint)}?"


def view_tags(rules: Iterable[Rule], endpoint: str, values: Mapping[str, Any]) -> set[str]:
    """The tags of an endpoint's pages with these arguments, in the form that their URL has.

    :param rules: those of the endpoint; each one that takes these arguments gives a tag.
    """
    tags = set()
    for rule in rules:
        if rule.arguments == set(values):
            try:
                pairs = sorted((name, _url_text(rule, name, values[name])) for name in values)
            except UnstableArgument:
                continue
            tags.add(bounded(f"{view_tag(endpoint)}?{urlencode(pairs)}"))
    return tags


def _url_text(rule: Rule, name: str, value: Any) -> str:
    """Write an argument as a rule's converter does; what the rule sets by itself has none.

    :raises UnstableArgument: for what no converter takes.
    """
    converter = rule._converters.get(name)
    if converter is None:
        return f"={stable_text(value)}"
    try:
        return unquote(converter.to_url(value))
    except Exception as error:  # It is the application's code.
        if isinstance(value, str):
            return value  # As it stands in the URL.
        raise UnstableArgument(f"is no value of the URL's argument {name!r}") from error


def path_key(prefix: str, path: str) -> str:
    """The key by which Flask-Caching's users know the pages of a path."""
    return prefix % path if "%s" in prefix else prefix


@dataclass(slots=True)
class Answer:
    """How a request was answered by a cached view, for the last look at the response.

    :param page: the response that was made from an entry, whose conditions are still to be
        evaluated; ``None`` where the view answered.
    :param body: its bytes, before any hook.
    :param asked_public: whether the view itself said ``public``.
    :param adds_etag: whether a response that is not stored gets an ETag of its last bytes.
    :param complete: completes what an error handler made of the view's exception.
    :param begin: completes what a layer above the view made of its value, before any hook.
    :param hit: whether it came from an entry that is fresh.
    """

    declared: Declared
    page: Response | None = None
    body: bytes = b""
    asked_public: bool = False
    adds_etag: bool = False
    complete: Callable[[Response], Response] | None = None
    begin: Callable[[Response], Response] | None = None
    hit: bool = False


def serve_page(
    entries: CacheEngine,
    call: Callable[[], Any],
    policy: Policy,
    options: Options,
    page_options: PageOptions,
    own: Callable[[str], str],
    *,
    renew: bool,
    is_stale: Callable[[Any], bool] | None = None,
) -> Any:
    """Answer a request with a page from its entry, or call the view and store what it returns.

    :return: a response; for a layer above the view the value, where the view returns no response.
    :param own: makes a key the current tenant's.
    :param is_stale: says of a hit that the view is to be called all the same.
    """
    lookups = entries.statistics.lookups("page", request_ctx.request.endpoint or "")
    noticed = current_dependencies().noticed
    user, held, refusal = _identity(entries, page_options, noticed, lookups)
    declared, environ = page_options.declared, raw_environ(request_ctx.request)
    refusal = refusal or _unreadable(entries, declared, environ, lookups)
    noticed.answer = Answer(declared)
    with noticed.unnoticed():
        text = page_key(
            request_ctx.request,
            declared,
            entries.sealer.digest,
            custom=page_options.custom_key,
            with_query=not page_options.whole_key,
            user=user,
        )
    if refusal is None and len(text) > entries.config["CACHE_MAX_KEY_BYTES"]:
        entries.count("limit: long key")
        entries.refuse(
            lookups,
            refusal := "long-key",
            f"{_view_name()} was asked for what makes a key of more than CACHE_MAX_KEY_BYTES: "
            "such requests go past the cache.",
        )
    if refusal is not None:
        return _go_past(entries, call, page_options, refusal, lookups)
    key = own(bounded(f"{text} value" if page_options.gives_value else text))
    if (wanted := environ.get(RECOMPUTATION)) is not None:
        return _compute_again(wanted, call, options, page_options, held, entries, key, lookups)
    # A refill of its own would know neither the user nor the tenant.
    in_foreground = page_options.knows_visitor or own("") or is_refill(environ)
    fetch = partial(
        entries.fetch,
        key,
        lambda: _fill(call, options, page_options, held, entries, key, lookups),
        policy,
        lookups,
        refill=None if in_foreground else _refill(declared),
        is_refill=is_refill(environ),
    )
    outcome = fetch(renew=renew)
    try:
        value, page = _decoded(outcome)
    except Exception as error:
        # Who can seal an entry may have put anything there: it is no page, in any way.
        entries.count("undecodable value")
        report_once(f"A page's entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = fetch(renew=True)
        value, page = _decoded(outcome)
    if (
        is_stale is not None
        and outcome.status == "hit"
        and is_stale(value[0] if value else _response(outcome, page))
    ):
        outcome = fetch(renew=True)
        value, page = _decoded(outcome)
    hit = outcome.entry if outcome.status == "hit" else None
    verifier = entries.verifier
    noticed.answer.hit = hit is not None
    if verifier is not None and hit is not None and (CHOSEN in environ or verifier.chooses()):
        if value:
            verifier.check_value(key, hit, call, lookups, options.may_differ)
        else:
            verifier.check_page(key, hit, lookups, options.may_differ)
    if page_options.stands_alone:
        names = frozenset(environ_name(name) for name in declared.headers)
        environ[_ANSWERED] = key, names, lookups
    if isinstance(outcome.result, HTTPException):
        noticed.answer.complete = lambda response: _with_status(
            _varied(response, page_options), outcome, key
        )
        raise outcome.result
    if value:
        noticed.answer.begin = partial(
            _with_page_headers, outcome=outcome, key=key, page_options=page_options, entries=entries
        )
        return value[0]
    response = _response(outcome, page)
    if page is not None:
        noticed.answer.page, noticed.answer.body = response, response.get_data()
    noticed.answer.asked_public = asks_for_public(response, page_options.cache_control)
    if outcome.entry is not None:
        response.headers.extend(surrogate_keys(outcome.entry, entries.config))
    if page_options.hit_indication and outcome.status == "hit":
        response.headers["hit_cache"] = "True"
    return _with_status(response, outcome, key)


def is_refill(environ: dict[str, Any]) -> bool:
    """Tell whether a request is one of the cache's own, which renews a stale page."""
    return _REFILL in environ


def begin(response: Response) -> Response:
    """Complete the response of a layer above a cached view, so that hooks see a page's headers."""
    noticed = current_dependencies().noticed
    answer: Answer | None = noticed.answer
    if answer is None or answer.begin is None:
        return response
    with noticed.unnoticed():
        return answer.begin(response)


def finish(response: Response) -> Response:
    """Look at a cached view's response last, after every hook, and once the session is saved.

    Caches in front have no guard that runs on their hits: what depends on more than the key holds
    is private to them, also where a declaration sets it aside here (RFC 9111, 3.5). Conditions are
    evaluated by what really leaves (RFC 9110, 13.2.1).
    """
    noticed = current_dependencies().noticed
    answer: Answer | None = noticed.answer
    if answer is None:
        return response
    try:
        # What runs later is noticed again: a stream, or a function that it calls and is cached.
        with noticed.unnoticed():
            return _finished(response, answer, noticed)
    finally:
        noticed.answer = None


def _finished(response: Response, answer: Answer, noticed: Noticed) -> Response:
    for follow in noticed.on_page:
        follow()
    if answer.complete is not None:
        response = answer.complete(response)
    # What no Vary can name is in no key but ours, also on a hit, which reads nothing of it.
    unheld = bool(answer.declared.environ) or not all(map(answer.declared.holds, noticed.seen))
    if (
        "Set-Cookie" in response.headers
        or (unheld and not answer.asked_public)
        or contradicts_public(response.headers)  # A hook forbade what the page allows.
    ):
        withdraw_public(response.headers)
    if answer.adds_etag and response.status_code == 200 and not response.is_streamed:
        response.add_etag()
    page = answer.page
    if page is not None and response.status_code == page.status_code:
        if "ETag" in response.headers and response.get_data() != answer.body:
            response.headers.remove("ETag")
            response.add_etag()
        conditional(raw_environ(request_ctx.request), response)
        # It is Werkzeug's, and the server has one of its own.
        response.headers.remove("Date")
    return response


def _go_past(
    entries: CacheEngine,
    call: Callable[[], Any],
    page_options: PageOptions,
    refusal: str,
    lookups: Lookups,
) -> Any:
    """Answer by the view alone, and nothing is looked up or stored."""

    def complete(response: Response) -> Response:
        if raw_environ(request_ctx.request)["REQUEST_METHOD"] in ("GET", "HEAD"):
            _keep_from_guessing(_varied(response, page_options))
        return _with_status(response, Outcome("bypass", refused=refusal))

    try:
        with entries.bypass(lookups):
            returned = call()
        if page_options.gives_value and is_value(returned):
            current_dependencies().noticed.answer.begin = complete
            return returned
        return complete(current_app.make_response(returned))
    except HTTPException:
        # An error handler makes the response.
        current_dependencies().noticed.answer.complete = complete
        raise


def _may_add(entries: CacheEngine, key: str, status: int) -> bool:
    """Tell whether a page may be stored.

    What is not there is counted by itself: made-up addresses use up no room of the real pages, and
    need less, for few of them are asked for by many.
    """
    most = entries.config["CACHE_NEW_PAGES_PER_MINUTE"]
    if status == HTTPStatus.NOT_FOUND and most:
        most = max(1, most // _FEWER_NOT_FOUND)
    return entries.may_add(key, f"{request_ctx.request.endpoint} ({status})", most)


def answered_with(environ: dict[str, Any]) -> tuple[str, frozenset[str], Lookups] | None:
    """Return the key of the page that a request was answered with, where it stands alone.

    With it come the headers that the key holds, as the environment spells them, and where its
    lookups are counted.
    """
    answered: tuple[str, frozenset[str], Lookups] | None = environ.get(_ANSWERED)
    return answered


def _identity(
    entries: CacheEngine, page_options: PageOptions, noticed: Noticed, lookups: Lookups
) -> tuple[str, frozenset[Input], str | None]:
    """Name the user of a private page, or say why this request goes past the cache.

    With the name come the inputs that it was made from: the key holds them by it.
    """
    environ = raw_environ(request_ctx.request)
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return "", frozenset(), "method"
    if environ.get("CONTENT_LENGTH") not in NO_BODY or "HTTP_TRANSFER_ENCODING" in environ:
        return "", frozenset(), "body"
    user, held = "", page_options.key_inputs
    if page_options.private:
        owner = Owner("naming the user", naming=True)
        try:
            name = noticed.run(
                owner, page_options.private if callable(page_options.private) else _visitor
            )
        except UnstableArgument as error:
            reason = "session: " + f"{error}".partition(",")[0][:_LONGEST_REASON]
            entries.refuse(
                lookups,
                reason,
                f"{_view_name()} is not cached, for its visitor has no stable name: {error}. Put "
                "plain values into the session, or name the user with private=function.",
            )
            return "", held, "session"
        held |= frozenset(owner.inputs)
        if name is None:
            entries.refuse(lookups, "anonymous", place=_place_of(page_options.private))
            return "", held, "anonymous"
        user = entries.sealer.digest(
            f"{type(name).__name__} {name}".encode("utf-8", "surrogatepass")
        )
    elif "HTTP_AUTHORIZATION" in environ:
        entries.refuse(
            lookups,
            "authorization: header Authorization",
            f"{_view_name()} was asked for with the header Authorization: such requests go past "
            "the cache. For pages of one visitor each say private=True, or name the user with "
            "private=function.",
        )
        return "", held, "authorization"
    filling = _filling(page_options, held)
    return user, held, refuse_undeclared(entries, filling, noticed, lookups)


def _filling(page_options: PageOptions, held: frozenset[Input]) -> Filling:
    kind: Kind = "page of a user" if callable(page_options.private) else "page"
    return Filling(_view_name(), page_options.declared, kind, held)


def _place_of(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _unreadable(
    entries: CacheEngine, declared: Declared, environ: Mapping[str, Any], lookups: Lookups
) -> str | None:
    """Say which declared value has a text that does not tell it from others, or is a secret."""
    for name in filter(is_session_cookie, declared.cookies):
        reason = f"undeclared: cookie {name}"
        entries.refuse(
            lookups,
            reason,
            f"{_view_name()} has {name} in vary_cookies, which says who asks, so its page is not "
            "cached: say private=True, or name the user with private=function.",
        )
        return reason
    for name in declared.environ:
        value = environ.get(name)
        if type(value) not in _PLAIN_VALUES:
            reason = f"undeclared: environment value {name}"
            entries.refuse(
                lookups,
                reason,
                f"{_view_name()} has {name} in vary_environ, which is a {type(value).__name__} "
                "and not text, so its page is not cached: have the middleware put text there.",
            )
            return reason
    return None


def _visitor() -> str:
    """Name a visitor by session and ``Authorization``, and by Flask-Login's user where it is."""
    environ = raw_environ(request_ctx.request)
    # A session on the server may hold what JSON cannot express.
    told: str = stable_text(dict(request_ctx.session))
    told += "\n" + environ.get("HTTP_AUTHORIZATION", "")
    current_dependencies().noticed.note(AUTHORIZATION)
    if (login := sys.modules.get("flask_login")) is not None and hasattr(
        current_app, "login_manager"
    ):
        told += f"\n{login.current_user.get_id()!r} {request_ctx.session.get('_fresh')!r}"
    return told


def _view_name() -> str:
    return f"The view {request_ctx.request.endpoint}"


def _fill(
    call: Callable[[], Any],
    options: Options,
    page_options: PageOptions,
    held: frozenset[Input],
    entries: CacheEngine,
    key: str,
    lookups: Lookups,
) -> Filled:
    """Call the view, and make a page of what it returns; a client's error is a result, too."""
    try:
        filled = _fill_page(call, options, page_options, held, entries, lookups)
    except HTTPException as error:
        # A server's fault is a failure of the fill, for which a stale page can stand in.
        if error.get_response().status_code >= 500:
            raise
        entries.refuse(lookups, f"status: {error.get_response().status_code}")
        return Filled(error, None, refused="status")
    status = getattr(filled.result, "status_code", HTTPStatus.OK)
    if filled.value is not None and not _may_add(entries, key, status):
        entries.refuse(lookups, "limit: new keys")
        return Filled(filled.result, None, refused="limit")
    return filled


def _compute_again(
    wanted: Recomputation,
    call: Callable[[], Any],
    options: Options,
    page_options: PageOptions,
    held: frozenset[Input],
    entries: CacheEngine,
    key: str,
    lookups: Lookups,
) -> Response:
    """Call the view for a comparison with its entry; the cache alone sees the response."""
    try:
        filled = _fill_page(call, options, page_options, held, entries, lookups)
        status = filled.result.status_code
        page = None if filled.value is None else Page.decode(filled.value)
    except HTTPException as error:
        status, page = error.get_response().status_code, None
    except Exception:
        # It is no error of any visitor's request, so the application is not to log it as one.
        status, page = 500, None
    wanted.returned(key, status, page, current_dependencies().noticed.seen)
    return _with_status(Response(status=204), Outcome("bypass", refused="verification"))


def _fill_page(
    call: Callable[[], Any],
    options: Options,
    page_options: PageOptions,
    held: frozenset[Input],
    entries: CacheEngine,
    lookups: Lookups,
) -> Filled:
    timeout: float | None = None
    noticed = current_dependencies().noticed
    filling = _filling(page_options, held)
    with noticed.filling(filling):
        returned, response = _call_view(call, page_options)
    _varied(response, page_options)
    if response.status_code == 404:
        timeout = page_options.not_found_timeout
    if isinstance(returned, CachedResponse) and returned.timeout is not None:
        timeout = normalize_timeout(returned.timeout)
    refused = _refusal(response, page_options, filling, entries, lookups)
    if refused is None and not passes(options.response_filter, returned):
        entries.refuse(lookups, refused := "filtered")
    gives_value = page_options.gives_value and is_value(returned)
    if gives_value:
        return _filled_value(returned, refused, timeout, filling.name, entries, lookups)
    if refused is not None:
        _keep_from_guessing(response)
        return Filled(response, None, refused=refused)
    private = bool(page_options.private)
    page = Page.of(response, private=private, cache_control=page_options.cache_control)
    environ = raw_environ(request_ctx.request)
    if environ["REQUEST_METHOD"] != "GET":
        # A HEAD on its own says what a GET would (RFC 9110, 9.3.2).
        page = page.representation(accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")))
        return Filled(page.response(current_app.response_class), None, refused="method")
    return Filled(response, page.encode(), timeout)


def _filled_value(
    returned: Any,
    refused: str | None,
    timeout: float | None,
    name: str,
    entries: CacheEngine,
    lookups: Lookups,
) -> Filled:
    """Fill with a value for a layer above the view."""
    if refused is None and raw_environ(request_ctx.request)["REQUEST_METHOD"] != "GET":
        refused = "method"
    if refused is not None:
        return Filled(returned, None, refused=refused)
    value = encoded(entries, name, returned, lookups)
    return Filled(returned, value, timeout, None if value is not None else "no encoding")


def _call_view(call: Callable[[], Any], page_options: PageOptions) -> tuple[Any, Response]:
    try:
        returned = call()
    except NotFound as error:
        if page_options.not_found_timeout is None:
            raise
        returned = current_app.handle_user_exception(error)
        if isinstance(returned, HTTPException):
            returned = returned.get_response()
        returned = current_app.make_response(returned)
    if page_options.gives_value and is_value(returned):
        return returned, judged(returned)
    return returned, current_app.make_response(returned)


def _refusal(
    response: Response,
    page_options: PageOptions,
    filling: Filling,
    entries: CacheEngine,
    lookups: Lookups,
) -> str | None:
    """Say why a page must not be stored, or return ``None``."""
    refused = unstorable(
        response,
        page_options.declared,
        private=bool(page_options.private),
        not_found=page_options.not_found_timeout is not None,
    )
    if refused is not None:
        about, advice = what_forbids(
            refused, response, page_options.declared, private=bool(page_options.private)
        )
        reason = f"{refused}: {about}" if about else refused
        message = f"{filling.name} is not cached ({reason}). {advice}" if advice else ""
        entries.refuse(lookups, reason, message)
        return refused
    if filling.wrote_session:
        entries.refuse(
            lookups,
            "session",
            f"{filling.name} wrote to the session, so its page is not cached.",
        )
        return "session"
    if filling.added_hooks:
        entries.refuse(
            lookups,
            "after_this_request",
            f"{filling.name} used after_this_request, which does not run on a hit, so its page is "
            "not cached: use after_request, or change the response in the view.",
        )
        return "after_this_request"
    return refuse_undeclared(entries, filling, current_dependencies().noticed, lookups)


def _varied(response: Response, page_options: PageOptions) -> Response:
    """Say what a response depends on, also to caches outside, whether or not it is stored here."""
    names = [name.title() for name in sorted(page_options.declared.headers)]
    if page_options.private or page_options.declared.cookies:
        names.append("Cookie")
    add_vary(response.headers, *names)
    return response


def _keep_from_guessing(response: Response) -> None:
    """Say of what is not for all that it is not, where the view says nothing (RFC 9111, 4.2.2)."""
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
        # After the hooks, which may change the body.
        current_dependencies().noticed.answer.adds_etag = True


def _decoded(outcome: Outcome) -> tuple[tuple[Any, ...], Page | None]:
    """Return what the answer is made of: a layer's value, in a tuple, or the page of an entry.

    The page has the form that this client accepts.
    """
    entry, result = outcome.entry, outcome.result
    if result is not None and is_value(result) and not isinstance(result, HTTPException):
        return (result,), None
    if entry is None:
        return () if result is not None else (None,), None
    if result is None and (value := decoded_value(entry.value)):
        return value, None
    environ = raw_environ(request_ctx.request)
    gzipped = accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
    return (), Page.decode(entry.value).representation(gzipped)


def _with_page_headers(
    response: Response,
    *,
    outcome: Outcome,
    key: str,
    page_options: PageOptions,
    entries: CacheEngine,
) -> Response:
    """Put a page's headers on the response that a layer made of the view's value."""
    noticed, entry = current_dependencies().noticed, outcome.entry
    _varied(response, page_options)
    if entry is None:
        if raw_environ(request_ctx.request)["REQUEST_METHOD"] in ("GET", "HEAD"):
            _keep_from_guessing(response)
        return _with_status(response, outcome, key)
    if response.status_code in STORABLE_STATUSES and not (
        response.is_streamed or response.direct_passthrough
    ):
        if "Cache-Control" not in response.headers:
            whose = "private" if page_options.private else "public"
            response.headers["Cache-Control"] = f"{whose}, {page_options.cache_control}"
        response.add_etag()
        noticed.answer.page, noticed.answer.body = response, response.get_data()
        noticed.answer.asked_public = asks_for_public(response, page_options.cache_control)
        if not outcome.stored:
            response.headers["Age"] = age(entry)
        response.headers.extend(surrogate_keys(entry, entries.config))
    return _with_status(response, outcome, key)


def _response(outcome: Outcome, page: Page | None) -> Response:
    """Make the response of a page that lies in an entry; else it is the view's."""
    answer: Response | None = outcome.result
    if outcome.entry is None or page is None:
        return answer  # type: ignore[return-value]
    response = page.response(current_app.response_class)
    if answer is not None:
        response.call_on_close(answer.close)
    else:
        response.headers["Age"] = age(outcome.entry)
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
        **refill_environ(raw_environ(request_ctx.request), declared),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        _REFILL: True,
    }
    return lambda: run_wsgi_app(app.wsgi_app, environ, buffered=True)
