"""The stores' operations: the same meaning on every backend."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache import Cache
from flask_coherent_cache._engine.entry import Entry
from flask_coherent_cache._engine.inspection import judge
from flask_coherent_cache._stores import Store, memory, tagstate

CLOCK = "t:clock"


@pytest.fixture
def store(app: Flask, cache: Any) -> Any:
    with app.app_context():
        store = cache.engine.store
    store.delete([CLOCK, "t:a", "t:b", "t:lease", "t:entry"])
    store.put(CLOCK, b"1700000000000000", None)
    return store


def test_put_get_add_delete_release(store: Any) -> None:
    store.put("t:a", b"1", 60)
    assert store.get_many(["t:a", "t:b"]) == [b"1", None]
    assert not store.add("t:a", b"2", 60)
    assert store.add("t:b", b"2", 60)
    store.release("t:b", b"not mine")
    assert store.get_many(["t:b"]) == [b"2"]
    store.release("t:b", b"2")
    store.release("t:b", b"2")
    store.delete(["t:a", "t:b"])
    assert store.get_many(["t:a", "t:b"]) == [None, None]


def test_values_expire(store: Any) -> None:
    store.put("t:a", b"1", 1)
    deadline = time.monotonic() + 5
    while store.get_many(["t:a"]) != [None]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_expiry_beyond_thirty_days_is_no_date_in_the_past(store: Any) -> None:
    store.put("t:a", b"1", 31 * 24 * 3600)
    assert store.get_many(["t:a"]) == [b"1"]


def test_keys_are_listed_where_the_server_can(store: Any) -> None:
    if not hasattr(store, "scan"):
        pytest.skip("it lists no keys")
    names = [f"t:scan:{number}" for number in range(3000)] + ["t:scan:\xfc"]
    for name in names:
        store.put(name, b"", 60)
    assert store.scan("t:scan:") == (sorted(names), True)
    some, complete = store.scan("t:scan:", rounds=1)
    assert not complete
    assert 0 < len(some) < len(names)
    store.delete(names)


def test_any_text_can_be_a_key(store: Any) -> None:
    keys = ["t:ü space\n" + "x" * 300, "t:ü space\n" + "x" * 299 + "y"]
    for key in keys:
        store.put(key, key.encode(), 60)
    assert store.get_many(keys) == [key.encode() for key in keys]
    store.delete(keys)


def test_invalidate_bumps_and_never_lowers(store: Any) -> None:
    store.delete(["t:a"])
    assert store.invalidate(CLOCK, ["t:a"]) == 1700000000000001
    assert store.get_many(["t:a", CLOCK]) == [b"1700000000000001"] * 2
    store.put("t:a", b"1700000000000009", 60)
    store.invalidate(CLOCK, ["t:a"])
    assert store.get_many(["t:a"]) == [b"1700000000000009"]


def test_invalidate_without_a_clock_writes_nothing(store: Any) -> None:
    store.delete([CLOCK, "t:a"])
    assert store.invalidate(CLOCK, ["t:a"]) is None
    assert store.get_many([CLOCK, "t:a"]) == [None, None]
    for foreign in (b"7", b"no number", b""):
        store.put(CLOCK, foreign, None)
        assert store.invalidate(CLOCK, ["t:a"]) is None
        assert store.get_many(["t:a"]) == [None]


def test_marks_stay_until_their_writer_settles_them(store: Any) -> None:
    store.delete(["t:a"])
    store.mark(["t:a"], "w1")
    store.mark(["t:a"], "w2")
    store.invalidate(CLOCK, ["t:a"], "w1")
    (value,) = store.get_many(["t:a"])
    assert value.startswith(b"1700000000000001 w2:")
    store.invalidate(CLOCK, ["t:a"], "w2")
    assert store.get_many(["t:a"]) == [b"1700000000000002"]


def test_a_mark_whose_writer_died_goes_with_the_next_invalidation(store: Any) -> None:
    store.put("t:a", b"1700000000000000 dead:1", 60)
    store.invalidate(CLOCK, ["t:a"], "w1")
    assert store.get_many(["t:a"]) == [b"1700000000000001"]


def test_an_entry_creates_its_missing_tags_at_the_present_timestamp(store: Any) -> None:
    store.delete(["t:a"])
    store.put("t:b", b"1600000000000000", 60)
    store.put("t:lease", b"token", 60)
    store.store_entry("t:entry", b"e", 60, CLOCK, ["t:a", "t:b"], ("t:lease", b"token"))
    expected = [b"e", b"1700000000000000", b"1600000000000000", None]
    assert store.get_many(["t:entry", "t:a", "t:b", "t:lease"]) == expected
    store.put("t:lease", b"another", 60)
    store.store_entry("t:entry", b"e", 60, CLOCK, [], ("t:lease", b"token"))
    assert store.get_many(["t:lease"]) == [b"another"]


TIMESTAMP, LATER = b"1700000000000001", b"1700000000000009"
LOOKED_AT = [CLOCK, "t:entry", "t:a", "t:b"]
#: What tags may hold: ours, and what others wrote.
TAG_VALUES = (
    None, b"", b"0", TIMESTAMP, LATER, b"9" * 16, b"1" * 17, b"0000000000000001", b"x" * 16,
    TIMESTAMP + b" w:1800000000", b"0 w:1800000000", b"170000000000000\n", b"-700000000000001",
)  # fmt: skip


def look(store: Any, token: bytes, known: tuple[bytes, int] = (b"", 0)) -> list[bytes | None]:
    found: list[bytes | None] = store.look("t:lease", token, 60, LOOKED_AT, 1, known)
    assert found[1:] == store.get_many(LOOKED_AT)
    assert found[0] == store.get_many(["t:lease"])[0]
    return found


def leases_while_looking(store: Any) -> bool:
    return type(store).look is not Store.look


def test_a_look_takes_the_lease_of_what_is_missing_once(store: Any) -> None:
    first = b"first" if leases_while_looking(store) else None
    assert look(store, b"first")[0] == first
    assert look(store, b"second")[0] == first or not first


@pytest.mark.parametrize("tag", TAG_VALUES, ids=repr)
@pytest.mark.parametrize("other", [TIMESTAMP, None])
def test_no_look_takes_the_lease_of_what_may_be_valid(
    store: Any, tag: bytes | None, other: bytes | None
) -> None:
    store.delete(LOOKED_AT[1:])
    for key, value in zip(LOOKED_AT[1:], (b"sealed", tag, other), strict=True):
        if value is not None:
            store.put(key, value, 60)
    known = (b"seal", int(TIMESTAMP))
    for unknown in ((b"", 0), (b"other", 0), (b"sealed and more", 0)):
        assert look(store, b"mine", unknown)[0] is None
    entry = Entry(b"", "now", known[1], ("a", "b"), 0, 0, 0)
    found = judge("key", b"sealed", entry, "now", [tag, other], now=1700000001)
    taken = look(store, b"mine", known)[0] == b"mine"
    assert not (taken and found.valid)
    # What others wrote may be left to the second look.
    if leases_while_looking(store) and tag in (None, LATER, TIMESTAMP + b" w:1800000000"):
        assert taken


def test_a_look_leaves_alone_what_is_no_lease(store: Any) -> None:
    if not hasattr(store, "scan"):
        pytest.skip("its values have no types")
    store._pool.ask(("LPUSH", "t:lease", "a list"))
    assert look(store, b"mine")[0] is None
    assert store._pool.ask(("TYPE", "t:lease")) == [b"list"]


def test_a_look_at_more_keys_than_a_script_takes_only_reads(store: Any) -> None:
    keys = [f"t:many:{number}" for number in range(5000)]
    assert store.look("t:lease", b"mine", 60, keys, 0, (b"", 0))[1:] == [None] * len(keys)


def test_writers_at_once_lose_no_timestamp(store: Any) -> None:
    store.delete(["t:a"])
    with ThreadPoolExecutor(8) as pool:
        timestamps = list(pool.map(lambda _: store.invalidate(CLOCK, ["t:a"]), range(200)))
    assert len(set(timestamps)) == 200
    assert store.get_many(["t:a"]) == [b"%d" % max(timestamps)]


def bounded_store(max_entries: int = 10, max_bytes: int = 10_000) -> Any:
    return memory.MemoryStore({"CACHE_THRESHOLD": max_entries, "CACHE_MAX_BYTES": max_bytes})


@pytest.mark.parametrize("bounds", [{"max_entries": 3}, {"max_bytes": 1000}])
def test_memory_is_bounded_and_drops_the_least_recently_used(bounds: dict[str, int]) -> None:
    store = bounded_store(**bounds)
    for key in "abc":
        store.put(key, b"", 60)
    store.get_many(["a"])
    store.put("d", b"", 60)
    assert store.get_many(["a", "b", "c", "d"]) == [b"", None, b"", b""]


def test_memory_refuses_what_is_larger_than_its_bound() -> None:
    store = bounded_store(max_bytes=1000)
    store.put("a", b"x" * 2000, 60)
    assert store.get_many(["a"]) == [None]


def test_the_bytes_of_memory_return_to_zero() -> None:
    store = bounded_store()
    for key in "abcabc":
        store.put(key, b"x" * 100, 60)
    store.delete(list("abc"))
    assert store._bytes == 0


Change = Callable[[bytes | None], bytes]


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        (None, b"1700000000000007"),
        (b"1700000000000005", b"1700000000000007"),
        (b"1700000000000009", b"1700000000000009"),
        (b"1700000000000005 mine:1700000099", b"1700000000000007"),
        (
            b"1700000000000005 mine:1700000099 other:1700000099",
            b"1700000000000007 other:1700000099",
        ),
        (b"0 other:1700000099", b"1700000000000007 other:1700000099"),
        (b"1700000000000005 other:1", b"1700000000000007"),
        (b"1700000000000005 other:9999999999", b"1700000000000007"),
    ],
)
def test_an_invalidated_tag(value: bytes | None, changed: bytes) -> None:
    assert tagstate.invalidated(value, 1700000000000007, "mine", now=1700000050) == changed


@pytest.mark.parametrize("key", [None, ""])
def test_what_leaves_no_process_needs_no_secret_key(key: str | None) -> None:
    app = Flask("keyless")
    app.config["SECRET_KEY"] = key
    cache = Cache(app)
    with app.app_context():
        cache.set("name", "value")
        assert cache.get("name") == "value"


@pytest.mark.parametrize("kind", ["RedisCache", "MemcachedCache"])
@pytest.mark.parametrize("key", [None, ""])
def test_a_shared_store_without_a_secret_key_is_refused_in_words(
    kind: str, key: str | None
) -> None:
    app = Flask("keyless")
    app.config.update(SECRET_KEY=key, CACHE_TYPE=kind)
    with pytest.raises(ValueError, match=rf"SECRET_KEY is not set, and CACHE_TYPE is {kind}.*Set"):
        Cache(app)
