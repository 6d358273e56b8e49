"""A log of what caches did during a test, and assertions about it that read as sentences."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Literal

from .._statistics.statistics import Known, Level, Lookups, Statistics

Kind = Literal["filled", "hit", "stale", "missed", "not stored", "bypassed", "failed", "dropped"]

#: What a lookup's result is called here.
_KINDS: dict[str, Kind] = {
    "miss": "missed",
    "hit": "hit",
    "wait": "hit",
    "stale": "stale",
    "bypass": "bypassed",
    "error": "failed",
}
_NOT_STORED: tuple[Kind, ...] = ("not stored", "bypassed")
#: Frames of these packages are not the place where a test or an application dropped something.
_MACHINERY = {
    *("blinker", "click", "contextlib", "flask", "flask_caching", "flask_coherent_cache"),
    *("flask_sqlalchemy", "functools", "sqlalchemy", "threading", "werkzeug"),
}
_MOST_TAGS = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a cache did. ``str(event)`` says it in words.

    :param kind: ``filled`` (computed and stored), ``hit``, ``stale`` (served past its timeout,
        within its grace), ``missed`` (``cache.get`` found nothing), ``not stored`` (computed, and
        refused), ``bypassed`` (computed without a lookup), ``failed`` (``cache.get``, because the
        store did not answer) or ``dropped``.
    :param level: ``page``, ``function``, ``fragment`` or ``value``.
    :param name: the endpoint of a page, ``module.qualname`` of a function, a fragment's name.
    :param tags: what a filled entry depends on; of a dropped one, the tags that dropped it.
    :param why: the cause of a fill, the reason of a refusal, or the request and the line that
        dropped the entry.
    """

    kind: Kind
    level: Level
    name: str
    tags: frozenset[str] = frozenset()
    why: str = ""

    def __str__(self) -> str:
        tags, why = _listed(self.tags), self.why
        match self.kind:
            case "filled":
                words = f"filled ({why}), depends on {tags}"
            case "dropped":
                words = f"dropped by {tags}" + (f", in {why}" if why else "")
            case _:
                words = self.kind + (f" ({why})" if why else "")
        return f"{self.level} {self.name}: {words}"


class CacheLog:
    """What the caches of all applications did since a test began, the oldest event first.

    Use the fixture ``cache_log``. Choose what you ask about by :meth:`page`, :meth:`function` or
    :meth:`fragment`; ``print(cache_log)`` shows everything.
    """

    def __init__(self) -> None:
        #: All events, the oldest first.
        self.events: list[Event] = []
        self._reasons: dict[tuple[Level, str], str] = {}
        self._dropped: set[tuple[int, str, float]] = set()

    def page(self, endpoint: str) -> "Entries":
        """Choose the pages of a cached view.

        :param endpoint: as ``url_for`` takes it: ``"catalog.products"``.
        """
        return Entries(self, "page", endpoint)

    def function(self, function: Callable[..., Any] | str) -> "Entries":
        """Choose the values of a memoized function.

        :param function: the function itself, or the end of its dotted name: ``"queries.newest"``.
        """
        if isinstance(function, str):
            return Entries(self, "function", function)
        plain = getattr(function, "uncached", function)
        return Entries(self, "function", f"{plain.__module__}.{plain.__qualname__}")

    def fragment(self, name: str) -> "Entries":
        """Choose the fragments of a template.

        :param name: the one that ``{% cache %}`` gives it, or the template's own name.
        """
        return Entries(self, "fragment", name)

    def clear(self) -> None:
        """Forget the events so far, so that the next assertions are about what comes now."""
        self.events.clear()

    def __str__(self) -> str:
        return "\n".join(f"{n}. {event}" for n, event in enumerate(self.events, 1)) or "nothing"

    # -- what the statistics tell ----------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record what all caches of this process do, while the context lasts."""
        heard: dict[tuple[type, str], Callable[..., None]] = {
            (Lookups, "count"): self._looked_up,
            (Lookups, "count_near"): self._hit,
            (Lookups, "count_served"): self._hit,
            (Statistics, "filled"): self._filled,
            (Statistics, "refuse"): self._refused,
            (Statistics, "bumped"): self._bumped,
            (Statistics, "cleared"): self._cleared,
        }
        with ExitStack() as stack:
            for (owner, name), hear in heard.items():
                told = getattr(owner, name)
                setattr(owner, name, _followed_by(told, hear))
                stack.callback(setattr, owner, name, told)
            yield

    def _note(self, kind: Kind, lookups: Lookups | Known, **more: Any) -> None:
        self.events.append(Event(kind, lookups.level, lookups.name, **more))

    def _looked_up(self, lookups: Lookups, result: str, **_: object) -> None:
        # Of all but `cache.get`, the fill says more.
        if result in ("miss", "error") and lookups.level != "value":
            return
        kind = _KINDS[result]
        self._note(kind, lookups, why=self._reason(lookups) if kind in _NOT_STORED else "")

    def _hit(self, lookups: Lookups, *_: object) -> None:
        self._note("hit", lookups)

    def _filled(self, _: Statistics, lookups: Lookups, fill: Any, __: float, entry: Any) -> None:
        if entry is None or fill.bytes is None:
            why = self._reason(lookups) or fill.refused or "the store did not take it"
            self._note("not stored", lookups, why=why)
            return
        cause, by = fill.cause, fill.cause.tags
        why = f"{cause.reason} by {_listed(frozenset(by))}" if by else cause.reason
        self._note("filled", lookups, tags=frozenset(entry.tags), why=why)

    def _refused(self, _: Statistics, lookups: Lookups, reason: str, place: str) -> None:
        self._reasons[lookups.level, lookups.name] = f"{reason}, {place}" if place else reason

    def _reason(self, lookups: Lookups) -> str:
        return self._reasons.pop((lookups.level, lookups.name), "")

    def _bumped(self, statistics: Statistics, tags: Any, _: object, origin: str) -> None:
        bumped = frozenset(tags)
        self._drop(statistics, origin, lambda known: bumped.intersection(known.tags))

    def _cleared(self, statistics: Statistics, origin: str) -> None:
        self._drop(statistics, origin, lambda _: frozenset({"cache.clear()"}))

    def _drop(
        self, statistics: Statistics, origin: str, by: Callable[[Known], frozenset[str]]
    ) -> None:
        why = ", ".join(filter(None, (origin, _place())))
        for known in statistics.known_entries():
            entry = (id(statistics), known.key, known.stored_at)
            if entry not in self._dropped and (tags := by(known)):
                self._dropped.add(entry)
                self._note("dropped", known, tags=tags, why=why)


class Entries:
    """The entries of one view, function or fragment, and what became of them.

    Each method raises :exc:`AssertionError` where it does not hold, and says what happened instead.
    It returns the entries again, so that sentences can be continued::

        cache_log.page("catalog.products").was_filled(times=1).was_hit()
    """

    def __init__(self, log: CacheLog, level: Level, name: str) -> None:
        self._log, self._level, self._name = log, level, name

    @property
    def events(self) -> list[Event]:
        """What happened to them, the oldest first."""
        return [event for event in self._log.events if self._is_of(event)]

    def _is_of(self, event: Event) -> bool:
        # A function may be named by the end of its dotted name.
        by_end = self._level == "function" and event.name.endswith(f".{self._name}")
        return event.level == self._level and (event.name == self._name or by_end)

    def was_filled(self, *, times: int | None = None, because: str = "") -> "Entries":
        """Check that they were computed and stored.

        :param times: how often; ``None`` is at least once.
        :param because: a part of the cause: ``new``, ``expired``, ``invalidated`` or a tag.
        """
        __tracebackhide__ = True
        return self._happened("filled", ("filled",), times, because)

    def was_hit(self, *, times: int | None = None) -> "Entries":
        """Check that they were served from the cache, and fresh.

        :param times: how often; ``None`` is at least once.
        """
        __tracebackhide__ = True
        return self._happened("hit", ("hit",), times)

    def was_served_stale(self, *, times: int | None = None) -> "Entries":
        """Check that they were served past their timeout, within their grace.

        :param times: how often; ``None`` is at least once.
        """
        __tracebackhide__ = True
        return self._happened("served stale", ("stale",), times)

    def was_not_stored(self, *, times: int | None = None, because: str = "") -> "Entries":
        """Check that they were computed, and that the cache refused or bypassed the result.

        :param times: how often; ``None`` is at least once.
        :param because: a part of the reason: ``header X-Plan``, ``status: 404``.
        """
        __tracebackhide__ = True
        return self._happened("refused by the cache", _NOT_STORED, times, because)

    def was_dropped(self, *, times: int | None = None, by: str = "") -> "Entries":
        """Check that an invalidation dropped entries of these.

        :param times: how many entries; ``None`` is at least one.
        :param by: a tag, or a part of the request or of the line that dropped them:
            ``product:5``, ``PATCH api.update``, ``test_prices.py``.
        """
        __tracebackhide__ = True
        return self._happened("dropped", ("dropped",), times, by)

    def was_kept(self) -> "Entries":
        """Check that no invalidation dropped any of these."""
        __tracebackhide__ = True
        return self._happened("dropped", ("dropped",), 0)

    def depends_on(self, *tags: str) -> "Entries":
        """Check that the entry that was filled last carries each of these tags."""
        __tracebackhide__ = True
        self.was_filled()
        carried = next(event.tags for event in reversed(self.events) if event.kind == "filled")
        if missing := set(tags) - carried:
            raise AssertionError(self._with_log(f"does not depend on {_listed(missing)}"))
        return self

    def _happened(
        self, word: str, kinds: tuple[Kind, ...], times: int | None, about: str = ""
    ) -> "Entries":
        __tracebackhide__ = True
        of_kind = [event for event in self.events if event.kind in kinds]
        number = sum(
            about in event.why or (event.kind == "dropped" and about in event.tags)
            for event in of_kind
        )
        if number >= 1 if times is None else number == times:
            return self
        wanted = "" if times is None else f", not {_times(times)}"
        word += f" ({about})" if about else ""
        said = f"was {word} {_times(number)}{wanted}" if number else f"was never {word}"
        raise AssertionError(self._with_log(said))

    def _with_log(self, words: str) -> str:
        hint = "" if self.events else " No cache did anything for it: is this its name?"
        return f"The {self._level} {self._name} {words}.{hint} What happened:\n{self._log}"


def _followed_by(told: Callable[..., Any], hear: Callable[..., None]) -> Callable[..., Any]:
    @wraps(told)
    def method(*args: Any, **kwargs: Any) -> Any:
        result = told(*args, **kwargs)
        hear(*args, **kwargs)
        return result

    return method


def _times(number: int) -> str:
    words = {0: "never", 1: "once", 2: "twice"}
    return words.get(number, f"{number} times")


def _listed(tags: frozenset[str] | set[str]) -> str:
    """List tags, but for those that every entry has of its own key, where there are others."""
    named = [tag for tag in tags if not tag.startswith("key:")] or tags
    shown = [re.sub(r"\s+", " ", tag) for tag in sorted(named)]
    more = [f"and {len(shown) - _MOST_TAGS} more"] if len(shown) > _MOST_TAGS else []
    return ", ".join(shown[:_MOST_TAGS] + more) or "nothing"


def _place() -> str:
    """Name the line that dropped something: the innermost one that is no library's."""
    for depth in count(1):
        try:
            frame = sys._getframe(depth)
        except ValueError:
            return ""
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINERY:
            name = Path(frame.f_code.co_filename).name
            return f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
    return ""
