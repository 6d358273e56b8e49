"""What holds for all keys and all tags, whatever they are made of.

Each run draws the same values. PROOF_SEED=2 draws others.
"""

import copy
import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from flask_coherent_cache._keys import encoding as keys
from flask_coherent_cache._stores import tagstate

plain = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.dates()
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
TOKENS = ("one", "two", "three")
NOW = 1_800_000_000.0
SEED = os.environ.get("PROOF_SEED")
Test = Callable[..., None]


def holds_for(*drawn: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Run a test on what is drawn, for as long as a busy machine takes."""

    def decorate(test: Test) -> Test:
        same = settings(derandomize=SEED is None, database=None, deadline=None)
        steady = same(given(*drawn)(test))
        return steady if SEED is None else seed(SEED)(steady)

    return decorate


@holds_for(values, values)
def test_one_text_is_one_value(first: Any, second: Any) -> None:
    same = keys.stable_text(first) == keys.stable_text(second)
    assert not same or first == second
    assert keys.stable_text(copy.deepcopy(first)) == keys.stable_text(first)


@holds_for(st.text(max_size=600), st.text(max_size=600))
def test_a_bounded_key_is_short_and_tells_keys_apart(first: str, second: str) -> None:
    assert len(keys.bounded(first)) <= 200
    assert (keys.bounded(first) == keys.bounded(second)) == (first == second)


@holds_for(
    st.lists(
        st.tuples(st.sampled_from(["mark", "settle", "bump"]), st.sampled_from(TOKENS)),
        max_size=12,
    )
)
def test_a_tag_never_falls_and_each_writer_settles_its_own_doubt(
    steps: list[tuple[str, str]],
) -> None:
    value, last, doubting = None, 0, set[str]()
    for number, (step, token) in enumerate(steps):
        change = -number if step == "bump" else number
        timestamp = tagstate.FIRST_TIMESTAMP + 100 + change
        if step == "mark":
            value = tagstate.marked(value, token, NOW)
            doubting.add(token)
        else:
            own = token if step == "settle" else ""
            value = tagstate.invalidated(value, timestamp, own, NOW)
            doubting.discard(own)
        words = value.decode().split()
        assert int(words[0]) >= last
        assert {word.partition(":")[0] for word in words[1:]} == doubting
        assert not tagstate.is_overdue(value, NOW + tagstate.DOUBT_SECONDS - 1)
        assert tagstate.is_overdue(value, NOW + tagstate.DOUBT_SECONDS + 1) == bool(doubting)
        last = int(words[0])
