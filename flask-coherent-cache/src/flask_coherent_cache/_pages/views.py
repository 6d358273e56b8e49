"""Cached views: a request is answered with the page of its key, or by the view."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.test import run_wsgi_app

from .._dependencies.dependencies import CHOSEN, RECOMPUTATION, current_dependencies
from .._dependencies.environment import raw_environ
from .._dependencies.inputs import report_once
from .._engine.engine import CacheEngine, Outcome, Policy
from .._functions.values import decode
from .._keys.encoding import bounded
from .._options import Options
from .page_fills import compute_again, fill_page
from .page_keys import environ_name, page_key, refill_environ
from .page_visit import ANSWERED, PageOptions, PageVisit
from .pages import Page
from .responses import Answer, complete, complete_other
from .view_values import is_encoded_value, is_value
from .visitors import reason_to_bypass

_REFILL = "caching.refill"


def serve_page(
    engine: CacheEngine,
    call: Callable[[], Any],
    policy: Policy,
    options: Options,
    page_options: PageOptions,
    own: Callable[[str], str],
    *,
    endpoint: str,
    tags: Callable[[], Iterable[str]],
    renew: bool,
    is_stale: Callable[[Any], bool] | None = None,
) -> Any:
    """Answer a request with the page of its entry, or call the view and store its page.

    :param own: makes a key the current tenant's.
    :param tags: names what the page belongs to.
    :param renew: call the view in any case.
    :param is_stale: tells of a hit that the view is to be called all the same.
    :return: a response; the value for a caller other than Flask, if the view returned none.
    """
    environ = raw_environ(request_ctx.request)
    lookups = engine.statistics.lookups("page", endpoint)
    noticed = current_dependencies().noticed
    visit = PageVisit(
        engine, call, options, page_options, lookups, noticed, environ, endpoint, tags
    )
    reason = reason_to_bypass(visit)
    noticed.answer = Answer(page_options.declared)
    reason = reason or _make_key(visit, own)
    if reason is not None:
        return _bypass(visit, reason)
    if (wanted := environ.get(RECOMPUTATION)) is not None:
        return compute_again(visit, wanted)
    outcome, returned = _look_up(visit, policy, own, renew, is_stale)
    return _answer(visit, outcome, returned)


def _make_key(visit: PageVisit, own: Callable[[str], str]) -> str | None:
    """Make the key of a request, or say why there is none."""
    page_options, engine = visit.page_options, visit.engine
    with visit.noticed.unnoticed():
        text = page_key(
            request_ctx.request,
            page_options.declared,
            engine.sealer.digest,
            custom=page_options.custom_key,
            with_query=not page_options.whole_key,
            user=visit.user,
        )
    if len(text) > engine.config["CACHE_MAX_KEY_BYTES"]:
        engine.count("limit: long key")
        return visit.refuse(
            "long-key",
            f"{visit.view_name} was requested with what makes a key of more than "
            "CACHE_MAX_KEY_BYTES: such requests bypass the cache.",
        )
    visit.key = own(bounded(f"{text} value" if page_options.gives_value else text))
    return None


def _bypass(visit: PageVisit, reason: str) -> Any:
    """Answer by the view alone: nothing is looked up or stored."""
    outcome = Outcome("bypass", refused=reason)
    completed = partial(complete_other, visit=visit, outcome=outcome)
    try:
        with visit.engine.bypass(visit.lookups):
            returned = visit.call()
    except HTTPException:
        visit.noticed.answer.complete = completed
        raise
    if visit.page_options.gives_value and is_value(returned):
        visit.noticed.answer.complete = completed
        return returned
    return completed(visit.engine.app.make_response(returned))


def _look_up(
    visit: PageVisit,
    policy: Policy,
    own: Callable[[str], str],
    renew: bool,
    is_stale: Callable[[Any], bool] | None,
) -> tuple[Outcome, Any]:
    """Find the page or fill it; return also a response, the view's value, or its error."""
    engine, is_ours = visit.engine, is_refill(visit.environ)
    # A refill in the background would know neither the user nor the tenant.
    in_foreground = visit.page_options.knows_visitor or own("") or is_ours
    fetch = partial(
        engine.fetch,
        visit.key,
        partial(fill_page, visit),
        policy,
        visit.lookups,
        refill=None if in_foreground else partial(_refill, visit),
        is_refill=is_ours,
    )
    outcome = fetch(renew=renew)
    try:
        returned = _returned(visit, outcome)
    except Exception as error:
        # Who can seal an entry may have put anything there, which is no page.
        engine.count("undecodable value")
        report_once(f"A page's entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = fetch(renew=True)
        returned = _returned(visit, outcome)
    if is_stale is not None and outcome.status == "hit" and is_stale(returned):
        outcome = fetch(renew=True)
        returned = _returned(visit, outcome)
    return outcome, returned


def _returned(visit: PageVisit, outcome: Outcome) -> Any:
    """Return a response made of the entry; without one, what the view returned or raised."""
    entry, result = outcome.entry, outcome.result
    if entry is None or (result is not None and is_value(result)):
        return result
    if result is None and is_encoded_value(entry.value):
        return decode(entry.value)
    gzipped = visit.accepts_gzip
    page = Page.decode(entry.value) if result is None or visit.page is None else visit.page
    if result is not None and visit.is_own_response:
        return page.finish(result, gzipped=gzipped)
    # A response of the view's own may be one that it returns to others, too.
    response = page.representation(gzipped).response(visit.engine.app.response_class)
    if result is not None:
        response.call_on_close(result.close)
    return response


def _answer(visit: PageVisit, outcome: Outcome, returned: Any) -> Any:
    """Answer with what the page, or the view, returned; raise what the view raised."""
    answer = visit.noticed.answer
    answer.hit = outcome.status == "hit"
    if answer.hit:
        _verify(visit, outcome, returned)
    # Before its first hit no page is in the near cache.
    if answer.hit and visit.page_options.stands_alone():
        names = frozenset(map(environ_name, visit.page_options.declared.headers))
        # What guards read has to be in the page's tags.
        tags = current_dependencies().collected() if visit.user else set[str]()
        visit.environ[ANSWERED] = visit.key, names, visit.lookups, visit.user, tags
    if not is_value(returned):
        return complete(returned, visit, outcome)
    answer.complete = partial(complete_other, visit=visit, outcome=outcome)
    if isinstance(returned, HTTPException):
        raise returned
    return returned


def _verify(visit: PageVisit, outcome: Outcome, returned: Any) -> None:
    """Compute a share of the hits again, and compare."""
    verifier, entry, may_differ = visit.engine.verifier, outcome.entry, visit.options.may_differ
    if verifier is None or entry is None or not (CHOSEN in visit.environ or verifier.chooses()):
        return
    if is_value(returned):
        verifier.check_value(visit.key, entry, visit.call, visit.lookups, may_differ)
    else:
        verifier.check_page(visit.key, entry, visit.lookups, may_differ)


def is_refill(environ: dict[str, Any]) -> bool:
    """Tell whether the cache itself sent a request, to renew a stale page."""
    return _REFILL in environ


def _refill(visit: PageVisit) -> Callable[[], object]:
    """Make a function that fills the page again, by a GET of its own."""
    app = visit.engine.app
    environ = refill_environ(visit.environ, visit.page_options.declared) | {_REFILL: True}
    return lambda: run_wsgi_app(app.wsgi_app, environ, buffered=True)
