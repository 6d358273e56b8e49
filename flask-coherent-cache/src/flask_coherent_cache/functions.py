"""Cached functions: what ``memoize`` does, and ``cached`` on a function that is no view."""

import inspect
from collections.abc import Callable
from typing import Any

from flask import current_app, has_request_context
from flask_caching.utils import join_generator

from .fills import Entries, Filled, Policy
from .inputs import Declared, report_once, watched
from .options import Options
from .statistics import Lookups
from .values import decode, encode, shared_bytes

_REMEDY = "pass it as an argument."
#: What a copy's ``decoded`` is where each caller must get a value of its own.
_NOT_SHARED: tuple[Any, ...] = ()


def copied_value(entries: Entries, key: str, lookups: Lookups) -> tuple[Any, ...]:
    """Return the value of a fresh copy in this process, in a tuple that is empty without one.

    A value that cannot be changed is decoded once, and shared.
    """
    copy = entries.fetch_copy(key, lookups)
    if copy is None:
        return ()
    if copy.decoded:
        found: tuple[Any, ...] = copy.decoded
        return found
    try:
        value = decode(copy.entry.value)
    except Exception:
        return ()  # The way by the store heals it.
    if copy.decoded is None:
        size = shared_bytes(value)
        copy.decoded = _NOT_SHARED if size is None else (value,)
        if size is not None and entries.near is not None:
            entries.near.grow(copy, size)
    return (value,)


def fetch_value(
    entries: Entries,
    key: str,
    call: Callable[[], Any],
    policy: Policy,
    options: Options,
    lookups: Lookups,
    *,
    renew: bool = False,
    in_background: bool = True,
) -> tuple[Any, bool]:
    """Return a function's value, of the caller's own, and whether it came from an entry.

    :param lookups: where it is counted.
    """

    def fill() -> Filled:
        with watched(options.name, Declared(), _REMEDY) as inputs:
            result = call()
            if inspect.isgenerator(result):
                result = join_generator(result)
        if inputs.session_read:
            report_once(f"{options.name} looked at the session, so it is not cached: {_REMEDY}")
        refused = inputs.session_read or inputs.undeclared
        if refused or not _passes(options.response_filter, result):
            return Filled(result, None)
        # Outside a request nobody makes up arguments: a command may compute as many as it likes.
        most = current_app.config["CACHE_NEW_VALUES_PER_MINUTE"]
        # A template can name a fragment by what a visitor sent.
        kind = "fragments" if lookups.level == "fragment" else options.name
        if has_request_context() and not entries.may_add(key, kind, most):
            return Filled(result, None)
        return Filled(result, _encoded(options.name, result))

    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def refill() -> None:
        with app.app_context():
            entries.fetch(key, fill, policy, lookups, is_refill=True)

    outcome = entries.fetch(
        key, fill, policy, lookups, renew=renew, refill=refill if in_background else None
    )
    if outcome.status in ("miss", "bypass") or outcome.entry is None:
        return outcome.result, False
    try:
        return decode(outcome.entry.value), True
    except Exception as error:
        # Its class was renamed, or changed.
        entries.count("undecodable value")
        report_once(f"{options.name}: an entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = entries.fetch(key, fill, policy, lookups, renew=True)
        if outcome.entry is not None and not outcome.stored:
            raise  # The fill failed, and what would stand in for it is what cannot be decoded.
        return outcome.result, False


def _passes(response_filter: Callable[..., Any] | None, result: Any) -> bool:
    return response_filter is None or bool(response_filter(result))


def _encoded(name: str, result: Any) -> bytes | None:
    try:
        return encode(result)
    except Exception as error:
        if current_app.config.get("CACHE_STRICT", current_app.debug or current_app.testing):
            raise
        report_once(f"{name} returned what cannot be stored, so it is not cached: {error}")
        return None
