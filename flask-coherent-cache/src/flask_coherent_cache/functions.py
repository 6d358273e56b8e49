"""Cached functions: what ``memoize`` does, and ``cached`` on a function that is no view."""

import inspect
from collections.abc import Callable
from typing import Any

from flask import current_app, has_request_context
from flask_caching.utils import join_generator

from .fills import Entries, Filled, Policy
from .inputs import FUNCTION_PARTS, Declared, Input, UndeclaredInput, report_once
from .noticed import Filling, Noticed
from .options import Options
from .reads import Reads, current_reads
from .statistics import Lookups
from .values import decode, encode, shared_bytes

#: Of what a fill depends on, so much is named.
_MOST_NAMED = 3
_REMEDY = "pass it as an argument."
_HELD = Declared(parts=FUNCTION_PARTS)
#: What a copy's ``decoded`` is where each caller must get a value of its own.
_NOT_SHARED: tuple[Any, ...] = ()


def copied_value(entries: Entries, key: str, lookups: Lookups, reads: Reads) -> tuple[Any, ...]:
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
    entries: Entries,
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
) -> tuple[Any, bool]:
    """Return a function's value, of the caller's own, and whether it came from an entry.

    :param lookups: where it is counted.
    :param alone: whether the key holds all that the call is given.
    :param held: the inputs that it holds.
    """

    def fill() -> Filled:
        noticed = current_reads().noticed
        filling = Filling(options.name, _HELD, _REMEDY, held, looked_back=not alone)
        with noticed.filling(filling):
            result = call()
            if inspect.isgenerator(result):
                result = join_generator(result)
        refused = _refusal(entries, filling, noticed)
        if refused or not _passes(options.response_filter, result):
            return Filled(result, None, refused=refused, looked_back=filling.looked_back)
        # Outside a request nobody makes up arguments: a command may compute as many as it likes.
        most = current_app.config["CACHE_NEW_VALUES_PER_MINUTE"]
        # A template can name a fragment by what a visitor sent.
        kind = "fragments" if lookups.level == "fragment" else options.name
        if has_request_context() and not entries.may_add(key, kind, most):
            return Filled(result, None, looked_back=filling.looked_back)
        value = _encoded(options.name, result)
        return Filled(result, value, looked_back=filling.looked_back)

    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def refill() -> None:
        with app.app_context():
            entries.fetch(key, fill, policy, lookups, is_refill=True, alone=alone)

    later = refill if in_background else None
    outcome = entries.fetch(key, fill, policy, lookups, renew=renew, refill=later, alone=alone)
    if outcome.status in ("miss", "bypass") or outcome.entry is None:
        return outcome.result, False
    try:
        return decode(outcome.entry.value), True
    except Exception as error:
        # Its class was renamed, or changed.
        entries.count("undecodable value")
        report_once(f"{options.name}: an entry cannot be decoded, so it is filled anew: {error!r}")
        outcome = entries.fetch(key, fill, policy, lookups, renew=True, alone=alone)
        if outcome.entry is not None and not outcome.stored:
            raise  # The fill failed, and what would stand in for it is what cannot be decoded.
        return outcome.result, False


def _refusal(entries: Entries, filling: Filling, noticed: Noticed) -> str | None:
    """Say why a value must not be stored, or return ``None``."""
    undeclared = refuse_undeclared(entries, filling, noticed)
    if undeclared is not None:
        return undeclared
    if filling.wrote_session or filling.added_hooks:
        did = "wrote to the session" if filling.wrote_session else "used after_this_request"
        report_once(f"{filling.name} {did}, so it is not cached: do that in the view.")
        return "effects"
    return None


def refuse_undeclared(
    entries: Entries, filling: Filling, noticed: Noticed, *, page: bool = False
) -> str | None:
    """Name what a fill depends on and its key does not hold, log it once, and count it.

    :raises UndeclaredInput: in development, where the fill itself read it.
    """
    undeclared = noticed.undeclared(filling, page=page)
    if not undeclared:
        return None
    what, place = next(iter(undeclared.items()))
    # What a hook or a decorator read may be an extension's doing, which its user cannot change.
    if filling.inputs.keys() & undeclared.keys() and is_strict():
        what = next(what for what in undeclared if what in filling.inputs)
        raise UndeclaredInput(filling.complaint(what, undeclared[what]))
    report_once(filling.complaint(what, place) + " It is not cached.")
    names = [str(each) for each in undeclared]
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    reason = "undeclared: " + ", ".join(names[:_MOST_NAMED] + more)
    entries.statistics.refuse(filling.name, reason, place)
    return reason


def is_strict() -> bool:
    """Tell whether an undeclared input raises, as in development and tests."""
    return bool(current_app.config.get("CACHE_STRICT", current_app.debug or current_app.testing))


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
