"""Cached functions: what ``memoize`` does, and ``cached`` on a function that is no view."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from flask import has_request_context
from flask_caching.utils import join_generator

from .._dependencies.dependencies import Dependencies, current_dependencies
from .._dependencies.inputs import (
    FUNCTION_PARTS,
    Declared,
    Input,
    UndeclaredInput,
    distinct,
    report_once,
)
from .._dependencies.noticed import Filling, Kind, Noticed
from .._engine.engine import CacheEngine, Filled, Policy
from .._options import Options
from .._statistics.statistics import Lookups
from .values import decode, encode, shared_bytes

#: Of what a fill depends on, so much is named.
_MOST_NAMED = 3
_HELD = Declared(parts=FUNCTION_PARTS)
#: What a copy's ``decoded`` is where each caller must get a value of its own.
_NOT_SHARED: tuple[Any, ...] = ()


def copied_value(
    entries: CacheEngine, key: str, lookups: Lookups, reads: Dependencies
) -> tuple[Any, ...]:
    """Return the value of a fresh copy in this process, in a tuple that is empty without one.

    A value that cannot be changed is decoded once, and shared.

    :param reads: of the context.
    """
    copy = entries.fetch_copy(key, lookups, reads)
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
    entries: CacheEngine,
    key: str,
    call: Callable[[], Any],
    policy: Policy,
    options: Options,
    lookups: Lookups,
    *,
    renew: bool = False,
    in_background: bool = True,
    alone: bool = False,
    held: frozenset[Input] = frozenset(),
    verify: bool = False,
    unchanged: Callable[[], bool] = lambda: True,
) -> tuple[Any, bool]:
    """Return a function's value, of the caller's own, and whether it came from an entry.

    :param lookups: where it is counted.
    :param alone: whether the key holds all that the call is given.
    :param held: the inputs that it holds.
    :param verify: compute a hit again, and compare.
    :param unchanged: tells whether the call still has this key, which may hold what changes.
    """

    def fill() -> Filled:
        noticed = current_dependencies().noticed
        # Its key holds the path.
        kind: Kind = "function under cached" if held else "function"
        if lookups.level == "fragment":
            kind = "fragment"
        filling = Filling(options.name, _HELD, kind, held, looked_back=not alone)
        with noticed.filling(filling):
            result = _computed(call)
        refused = _refusal(entries, filling, noticed, lookups)
        if refused is None and not passes(options.response_filter, result):
            refused = "filtered"
            if lookups.level != "fragment":  # Its fill says more.
                entries.refuse(lookups, refused)
        if refused:
            return Filled(result, None, refused=refused, looked_back=filling.looked_back)
        # Outside a request nobody makes up arguments: a command may compute as many as it likes.
        most = entries.config["CACHE_NEW_VALUES_PER_MINUTE"]
        # A template can name a fragment by what a visitor sent.
        of = "fragments" if lookups.level == "fragment" else options.name
        if has_request_context() and not entries.may_add(key, of, most):
            entries.refuse(lookups, "limit: new keys")
            return Filled(result, None, looked_back=filling.looked_back)
        value = encoded(entries, options.name, result, lookups)
        return Filled(result, value, looked_back=filling.looked_back)

    def fill_later() -> Filled:
        filled = fill()
        return filled if unchanged() else replace(filled, value=None)

    def refill() -> None:
        with entries.app.app_context():
            if unchanged():
                entries.fetch(key, fill_later, policy, lookups, is_refill=True, alone=alone)

    later = refill if in_background else None
    outcome = entries.fetch(key, fill, policy, lookups, renew=renew, refill=later, alone=alone)
    entry = outcome.entry
    if outcome.status in ("miss", "bypass") or entry is None:
        return outcome.result, False
    try:
        value = decode(entry.value)
    except Exception as error:
        # Its class was renamed, or changed.
        entries.count("undecodable value")
        report_once(f"{options.name}: an entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = entries.fetch(key, fill, policy, lookups, renew=True, alone=alone)
        if outcome.entry is not None and not outcome.stored:
            raise  # The fill failed, and what would stand in for it is what cannot be decoded.
        return outcome.result, False
    if verify and outcome.status == "hit" and entries.verifier is not None:
        compute = partial(_computed_again, call, options)
        entries.verifier.check_value(key, entry, compute, lookups, options.may_differ)
    return value, True


def _refusal(
    entries: CacheEngine, filling: Filling, noticed: Noticed, lookups: Lookups
) -> str | None:
    """Say why a value must not be stored, or return ``None``."""
    undeclared = refuse_undeclared(entries, filling, noticed, lookups)
    if undeclared is not None:
        return undeclared
    if filling.wrote_session or filling.added_hooks:
        did = "wrote to the session" if filling.wrote_session else "used after_this_request"
        entries.refuse(
            lookups,
            f"effects: {did}",
            f"{filling.name} {did}, so it is not cached: do that in the view.",
        )
        return "effects"
    return None


def refuse_undeclared(
    entries: CacheEngine, filling: Filling, noticed: Noticed, lookups: Lookups
) -> str | None:
    """Name what a fill depends on and its key does not hold, log it once, and count it.

    :raises UndeclaredInput: in development, where the fill itself read it.
    """
    undeclared = noticed.undeclared(filling, page=lookups.level == "page")
    if not undeclared:
        return None
    what, place = next(iter(undeclared.items()))
    # What a hook or a decorator read may be an extension's doing, which its user cannot change.
    if filling.inputs.keys() & undeclared.keys() and is_strict(entries):
        what = next(what for what in undeclared if what in filling.inputs)
        raise UndeclaredInput(filling.complaint(what, undeclared[what], by_hook=False))
    names = [str(each) for each in distinct(undeclared)]
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    reason = "undeclared: " + ", ".join(names[:_MOST_NAMED] + more)
    complaint = filling.complaint(what, place, by_hook=noticed.may_declare(filling, what))
    entries.refuse(lookups, reason, f"{complaint} It is not cached.", place)
    return reason


def is_strict(entries: CacheEngine) -> bool:
    """Tell whether an undeclared input raises, as in development and tests."""
    if entries.strict is not None:
        return entries.strict
    app = entries.app
    return bool(app.config.get("CACHE_STRICT", app.debug or app.testing))


def _computed(call: Callable[[], Any]) -> Any:
    """Call a function; of a generator return what it yields, joined."""
    result = call()
    return join_generator(result) if inspect.isgenerator(result) else result


def _computed_again(call: Callable[[], Any], options: Options) -> Any:
    """Call a function for a comparison.

    :raises ValueError: where what it returns would not be stored.
    """
    result = _computed(call)
    if not passes(options.response_filter, result):
        raise ValueError(f"{options.name} returned what its response_filter refuses.")
    return result


def passes(response_filter: Callable[..., Any] | None, result: Any) -> bool:
    """Tell whether what a function returned may be stored as far as its owner says."""
    return response_filter is None or bool(response_filter(result))


def encoded(entries: CacheEngine, name: str, result: Any, lookups: Lookups) -> bytes | None:
    """Encode what a function returned; ``None`` where that cannot be.

    :raises Exception: in development, where it cannot be.
    """
    try:
        return encode(result)
    except Exception as error:
        if is_strict(entries):
            raise
        entries.refuse(
            lookups,
            f"no encoding: {type(result).__name__}",
            f"{name} returned what cannot be stored, so it is not cached: {error}",
        )
        return None
