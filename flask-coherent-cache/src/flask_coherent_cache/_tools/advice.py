"""Advice: what to do about the caching of a view, function or fragment, in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from .._statistics.statistics import ANSWERED
from .figures import LOOKED_UP, Counts

#: Fewer lookups, or fills, tell nothing.
_FEWEST_LOOKUPS = 20
_FEWEST_FILLS = 3
#: A computation this quick, in seconds, costs no more than a look into a store over a network.
_QUICK_SECONDS = 0.0005
#: A share of hits above which there is little to gain, and one below which there is little gained.
_GOOD_RATIO = 0.9
_BAD_RATIO = 0.1


@dataclass(frozen=True, slots=True)
class Advice:
    """What is to be done, in short, and why.

    :param tone: ``good``, ``warn``, ``bad``, or ``plain`` where there is nothing to say.
    """

    words: str
    why: str
    tone: str = "warn"


def answered(counts: Counts) -> int:
    """The lookups that an entry answered."""
    return sum(counts["results"].get(result, 0) for result in ANSWERED)


def ratio(counts: Counts) -> float | None:
    """The share of the lookups that an entry answered; ``None`` where there were none."""
    looked_up = sum(counts["results"].get(result, 0) for result in LOOKED_UP)
    return answered(counts) / looked_up if looked_up else None


def fill_seconds(counts: Counts) -> float | None:
    """What a computation takes on average, in seconds; ``None`` where there was none."""
    return counts["fill_seconds"] / counts["fills"] if counts["fills"] else None


def saved_seconds(counts: Counts) -> float | None:
    """What the answered lookups would have taken to compute."""
    mean = fill_seconds(counts)
    return None if mean is None else answered(counts) * mean


def advise(counts: Counts) -> Advice:
    """Say what the counts call for: the first that applies."""
    results, fills = counts["results"], counts["fills"]
    share, seconds = ratio(counts), fill_seconds(counts)
    bypassed = results.get("bypass", 0)
    looked_up = sum(results.get(result, 0) for result in LOOKED_UP)
    if looked_up + bypassed < _FEWEST_LOOKUPS:
        return Advice("too early to tell", f"fewer than {_FEWEST_LOOKUPS} lookups", "plain")
    if results.get("error", 0) > looked_up / 2:
        return Advice("see to the store", "it failed more than half of the lookups", "bad")
    if bypassed > looked_up:
        return Advice("goes past the cache", "most requests may not be answered from it")
    if fills >= _FEWEST_FILLS and not counts["stored"]:
        return Advice("not cached at all", "what is computed may not be stored", "bad")
    if seconds is not None and seconds < _QUICK_SECONDS and counts["level"] != "page":
        return Advice("not worth caching", "to compute it is as quick as to look it up")
    if share is None or share >= _GOOD_RATIO or fills < _FEWEST_FILLS:
        return Advice("fine", "most lookups are answered", "good")
    reason, portion = _main_reason(counts["reasons"], fills)
    if reason == "invalidated" and portion >= 0.5:
        why = f"writes caused {portion * 100:.0f} % of the computations"
        return Advice("invalidated too often", f"{why}: narrower tags, or no cache", "warn")
    if reason == "expired" and portion >= 0.5:
        why = f"its time was over at {portion * 100:.0f} % of the computations"
        return Advice("worth caching longer", why)
    if reason == "evicted" and portion >= 0.5:
        return Advice("give the store more memory", "entries are gone before their time")
    if share < _BAD_RATIO:
        return Advice("not worth caching", "what is stored is hardly asked for again")
    return Advice("fine", "it is asked for in many variants, each computed once", "good")


def _main_reason(reasons: Mapping[str, int], fills: int) -> tuple[str, float]:
    """The reason of most fills, and its share of all of them."""
    if not reasons:
        return "", 0
    reason = max(reasons, key=lambda name: reasons[name])
    return reason, reasons[reason] / fills
