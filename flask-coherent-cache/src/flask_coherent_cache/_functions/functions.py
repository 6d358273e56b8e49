"""Cached functions: what ``memoize`` does, and ``cached`` on a function that is no view."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flask import has_request_context
from flask_caching.utils import join_generator

from .._dependencies.dependencies import Dependencies, current_dependencies
from .._dependencies.fillings import Filling, Kind
from .._dependencies.inputs import (
    FUNCTION_PARTS,
    Declared,
    Input,
    UndeclaredInput,
    distinct,
    report_once,
)
from .._dependencies.noticed import Noticed
from .._engine.engine import CacheEngine, Filled, Outcome, Policy
from .._options import Options
from .._statistics.statistics import Lookups
from .values import decode, encode, source_of

#: How many undeclared inputs a refusal names.
_MOST_NAMED = 3
_HELD = Declared(parts=FUNCTION_PARTS)


def copied_value(
    engine: CacheEngine, key: str, lookups: Lookups, dependencies: Dependencies
) -> tuple[Any, ...]:
    """Return the value of a fresh copy in this process, in a tuple that is empty without one."""
    copy = engine.fetch_copy(key, lookups, dependencies)
    if copy is None:
        return ()
    try:
        if copy.decoded is None:
            data = copy.entry.value
            copy.decoded, size = source_of(decode(data), data)
            if engine.near is not None:
                engine.near.grow(copy, size)
        return (copy.decoded(),)
    except Exception:
        return ()  # The fetch from the store heals it.


@dataclass(slots=True)
class CachedCall:
    """One call of a cached function, or one use of a fragment.

    :param call: computes the value.
    :param lookups: where it is counted.
    :param in_background: whether a stale value may be served while it is filled in another thread.
    :param alone: whether the key holds all that the call is given.
    :param held: the inputs that the key holds.
    :param verify: compute a hit again, and compare.
    :param unchanged: tells whether the call still has this key, which may hold what changes.
    """

    engine: CacheEngine
    key: str
    call: Callable[[], Any]
    policy: Policy
    options: Options
    lookups: Lookups
    in_background: bool = True
    alone: bool = False
    held: frozenset[Input] = frozenset()
    verify: bool = False
    unchanged: Callable[[], bool] = lambda: True

    def value(self, *, renew: bool = False) -> tuple[Any, bool]:
        """Return the value, of the caller's own, and whether it came from an entry."""
        refill = (lambda: self._refill) if self.in_background else None
        outcome = self._fetch(self._fill, renew=renew, refill=refill)
        entry = outcome.entry
        if outcome.status in ("miss", "bypass") or entry is None:
            return outcome.result, False
        try:
            value = decode(entry.value)
        except Exception as error:
            # Its class was renamed, or changed.
            self.engine.count("undecodable value")
            report_once(
                f"{self.options.name}: an entry cannot be decoded, so it is filled anew: {error!r}"
            )
            outcome = self._fetch(self._fill, renew=True)
            if outcome.entry is not None and not outcome.stored:
                raise  # The fill failed, and what would stand in for it cannot be decoded.
            return outcome.result, False
        verifier = self.engine.verifier
        if self.verify and outcome.status == "hit" and verifier is not None:
            may_differ = self.options.may_differ
            verifier.check_value(self.key, entry, self._compute_again, self.lookups, may_differ)
        return value, True

    def _fetch(self, fill: Callable[[], Filled], **how: Any) -> Outcome:
        return self.engine.fetch(self.key, fill, self.policy, self.lookups, alone=self.alone, **how)

    def _refill(self) -> None:
        with self.engine.app.app_context():
            if self.unchanged():
                self._fetch(self._fill_unless_changed, is_refill=True)

    def _fill_unless_changed(self) -> Filled:
        filled = self._fill()
        return filled if self.unchanged() else replace(filled, value=None)

    def _fill(self) -> Filled:
        engine, lookups, name = self.engine, self.lookups, self.options.name
        noticed, is_fragment = current_dependencies().noticed, lookups.level == "fragment"
        # Under ``cached`` the key holds the path.
        kind: Kind = "function under cached" if self.held else "function"
        kind = "fragment" if is_fragment else kind
        filling = Filling(name, _HELD, kind, self.held, looked_back=not self.alone)
        with noticed.filling(filling):
            result = _computed(self.call)
        refused = refuse_undeclared(engine, filling, noticed, lookups)
        refused = refused or _refuse_effects(engine, filling, lookups)
        if refused is None and not passes(self.options.response_filter, result):
            refused = "filtered"
            if not is_fragment:  # Its fill says more.
                engine.refuse(lookups, refused)
        value = None
        # A template can name a fragment by what a visitor sent.
        if refused is None and self._may_add("fragments" if is_fragment else name):
            value = encoded(engine, name, result, lookups)
        return Filled(result, value, refused=refused, looked_back=filling.looked_back)

    def _may_add(self, kind: str) -> bool:
        # Outside a request nobody makes up arguments: a command may compute as many as it likes.
        most = self.engine.config["CACHE_NEW_VALUES_PER_MINUTE"]
        if not has_request_context() or self.engine.may_add(self.key, kind, most):
            return True
        self.engine.refuse(self.lookups, "limit: new keys")
        return False

    def _compute_again(self) -> Any:
        """Compute the value for a comparison.

        :raises ValueError: if it would not be stored.
        """
        result = _computed(self.call)
        if not passes(self.options.response_filter, result):
            raise ValueError(f"{self.options.name} returned what its response_filter refuses.")
        return result


def _refuse_effects(engine: CacheEngine, filling: Filling, lookups: Lookups) -> str | None:
    """Name an effect of a fill that an entry would not repeat, log it once, and count it."""
    if not (filling.wrote_session or filling.added_hooks):
        return None
    did = "wrote to the session" if filling.wrote_session else "used after_this_request"
    message = f"{filling.name} {did}, so it is not cached: do that in the view."
    engine.refuse(lookups, f"effects: {did}", message)
    return "effects"


def refuse_undeclared(
    engine: CacheEngine, filling: Filling, noticed: Noticed, lookups: Lookups
) -> str | None:
    """Name what a fill depends on and its key does not hold, log it once, and count it.

    :raises UndeclaredInput: in development, where the fill itself read it.
    """
    undeclared = noticed.undeclared(filling, page=lookups.level == "page")
    if not undeclared:
        return None
    what, place = next(iter(undeclared.items()))
    # What a hook or a decorator read may be an extension's doing, which its user cannot change.
    if filling.inputs.keys() & undeclared.keys() and is_strict(engine):
        what = next(what for what in undeclared if what in filling.inputs)
        raise UndeclaredInput(filling.complaint(what, undeclared[what], by_hook=False))
    names = [str(each) for each in distinct(undeclared)]
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    reason = "undeclared: " + ", ".join(names[:_MOST_NAMED] + more)
    complaint = filling.complaint(what, place, by_hook=noticed.may_declare(filling, what))
    engine.refuse(lookups, reason, f"{complaint} It is not cached.", place)
    return reason


def is_strict(engine: CacheEngine) -> bool:
    """Tell whether an undeclared input raises, as in development and tests."""
    if engine.strict is not None:
        return engine.strict
    app = engine.app
    strict = app.config.get("CACHE_STRICT")  # `settings.read` gives None where nothing is set.
    return bool(app.debug or app.testing if strict is None else strict)


def _computed(call: Callable[[], Any]) -> Any:
    """Call a function; of a generator return what it yields, joined."""
    result = call()
    return join_generator(result) if inspect.isgenerator(result) else result


def passes(response_filter: Callable[..., Any] | None, result: Any) -> bool:
    """Tell whether a ``response_filter`` lets a result be stored."""
    return response_filter is None or bool(response_filter(result))


def encoded(engine: CacheEngine, name: str, result: Any, lookups: Lookups) -> bytes | None:
    """Encode what a function returned; ``None`` if that is impossible, an error in development."""
    try:
        return encode(result)
    except Exception as error:
        if is_strict(engine):
            raise
        engine.refuse(
            lookups,
            f"no encoding: {type(result).__name__}",
            f"{name} returned what cannot be stored, so it is not cached: {error}",
        )
        return None
