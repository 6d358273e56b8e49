"""Advice: what to do about the caching of a view, function or fragment, in words."""

from typing import NamedTuple

from ..report import Counts

#: Fewer lookups, or fills, tell nothing.
_FEWEST_LOOKUPS = 20
_FEWEST_FILLS = 3
#: A computation this quick, in seconds, costs no more than a lookup over a network.
_QUICK_SECONDS = 0.0005
#: Above this share of hits there is little to gain, and below the other little is gained.
_GOOD_RATIO = 0.9
_BAD_RATIO = 0.1


class Advice(NamedTuple):
    """What to do, in short, and why.

    :param tone: ``good``, ``warn``, ``bad``, or ``plain`` where there is nothing to say.
    """

    words: str
    why: str
    tone: str = "warn"


def advise(counts: Counts) -> Advice:
    """Say what the counts call for: the first that applies."""
    fills, ratio, seconds = counts.fills, counts.ratio, counts.mean_seconds
    bypassed, looked_up = counts.results["bypass"], counts.looked_up
    if looked_up + bypassed < _FEWEST_LOOKUPS:
        return Advice("too early to tell", f"fewer than {_FEWEST_LOOKUPS} lookups", "plain")
    if counts.results["error"] > looked_up / 2:
        return Advice("see to the store", "it failed more than half of the lookups", "bad")
    if bypassed > looked_up:
        return Advice("bypasses the cache", "most requests may not be answered from it")
    if fills >= _FEWEST_FILLS and not counts.stored:
        return Advice("not cached at all", "what is computed may not be stored", "bad")
    if seconds is not None and seconds < _QUICK_SECONDS and counts.level != "page":
        return Advice("not worth caching", "to compute it is as quick as to look it up")
    if ratio is None or ratio >= _GOOD_RATIO or fills < _FEWEST_FILLS:
        return Advice("fine", "most lookups are answered", "good")
    reason, count = next(iter(counts.reasons.most_common(1)), ("", 0))
    share = f"{count / fills * 100:.0f} % of the computations"
    if count >= fills / 2:
        if reason == "invalidated":
            why = f"writes caused {share}: narrower tags, or no cache"
            return Advice("invalidated too often", why)
        if reason == "expired":
            return Advice("worth caching longer", f"its timeout caused {share}")
        if reason == "evicted":
            return Advice("give the store more memory", "entries are gone before their time")
    if ratio < _BAD_RATIO:
        return Advice("not worth caching", "what is stored is hardly asked for again")
    return Advice("fine", "it is asked for in many variants, each computed once", "good")
