"""Entries' bytes, and what happens where somebody else wrote into the store."""

import dataclasses
import gzip
import json
import random
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache._dependencies.dependencies import current_dependencies
from flask_coherent_cache._engine import encryption
from flask_coherent_cache._engine import entry as entries_module
from flask_coherent_cache._statistics import statistics
from flask_coherent_cache._stores import tagstate
from flask_coherent_cache.negotiation import gzipped_smaller
from noise import noise

Entry, Sealer = entries_module.Entry, entries_module.Sealer
#: Of a store inside the process, and of one that processes share.
SEALERS = [Sealer, encryption.EncryptingSealer]

NOW = 1_700_000_000
SECRET, OTHER_SECRET = "k" * 40, "o" * 40
TEXT = b"warm grey wool, " * 1000

#: What has the form of nothing that the cache writes beside entries.
FOREIGN = [
    *(b"", b" ", b"0", b"7", b"-5", b"1e16", b"nan", b"0x6000000000000", b"\xff" * 9),
    *(b" 1700000000000000", b"1700000000000000 ", b"+170000000000000", b"0000000000000007"),
    *(b"1700000000000000 x", b"1700000000000000 x:", b"1700000000000000 x:y", b"0 :1 :2", b":"),
    *(b"1700000000000000.0", b"1_700_000_000_00", b"word " * 5000),
]
#: Readings and doubts of a time that has not come, and numbers that not every reader can take.
AHEAD = [b"9" * 16, b"9" * 17, b"9" * 30, b"9" * 5000, b"1700000000000000 x:9999999999"]


def entry_of(value: bytes) -> Any:
    times = (NOW, NOW + 60, NOW + 120)
    return Entry(value, "generation", NOW * 1_000_000, ("a", "b"), *times)


# -- bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000, 100_000])
@pytest.mark.parametrize("kind", ["text", "random", "both"])
@pytest.mark.parametrize("threshold", [0, 1, 1024])
@pytest.mark.parametrize("sealer_class", SEALERS)
def test_an_entry_comes_back_as_it_was(
    size: int, kind: str, threshold: int, sealer_class: Any
) -> None:
    text, dense = (TEXT * 7)[:size], noise(size)
    value = {"text": text, "random": dense, "both": text[: size // 2] + dense[size // 2 :]}[kind]
    sealer = sealer_class([SECRET], compress_min_bytes=threshold)
    assert sealer.open("key", sealer.seal("key", entry_of(value))) == entry_of(value)


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_values_are_compressed_from_a_size_on_where_that_gains(sealer_class: Any) -> None:
    def sealed_bytes(value: bytes, threshold: int) -> int:
        sealer = sealer_class([SECRET], compress_min_bytes=threshold)
        return len(sealer.seal("key", entry_of(value)))

    assert sealed_bytes(TEXT, 1024) < len(TEXT) / 10
    assert sealed_bytes(TEXT, len(TEXT)) < len(TEXT) / 10
    assert sealed_bytes(TEXT, len(TEXT) + 1) > len(TEXT)
    assert sealed_bytes(TEXT, 0) > len(TEXT)
    dense = noise(10_000)
    # What is compressed already stays as it is, also with words before it, as a page has them.
    for value in (dense, TEXT[:2000] + dense):
        assert sealed_bytes(value, 1024) == sealed_bytes(value, 0)


@pytest.mark.parametrize("size", [513, 1000, 2047, 2048, 9000, 40_000])
@pytest.mark.parametrize("first", [" ", "ж", "か", "一", "가", "😀"])
def test_text_in_any_script_is_compressed(first: str, size: int) -> None:
    letters = [chr(ord(first) + number) for number in range(80)]
    words = random.Random(0).choices(letters, k=size)
    body = "".join(words).encode()
    compressed = gzipped_smaller(body, 6)
    assert compressed is not None
    assert gzip.decompress(compressed) == body
    assert gzipped_smaller(compressed, 6) is None


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_nothing_becomes_larger_than_its_head_says(sealer_class: Any) -> None:
    """The head is authenticated; the bound holds even for one who could write it."""
    sealer = sealer_class([SECRET])
    head = json.dumps(["generation", NOW, [], NOW, NOW, NOW, 100]).encode()
    body = len(head).to_bytes(4, "big") + head + zlib.compress(b"0" * 50_000_000)
    opened = sealer.open("key", sealer._sealed("key", body))
    assert opened is not None
    assert len(opened.value) == 100


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_an_entry_belongs_to_one_key_release_application_and_version(
    sealer_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealer = sealer_class([SECRET], scope="shop:r1")
    sealed = sealer.seal("key", entry_of(b"value"))
    assert sealer.open("key", sealed) is not None
    for key in ("key2", "ke", "", "\ud800"):
        assert sealer.open(key, sealed) is None
    for scope in ("shop:r2", "blog:r1", "", "shop:r1k"):
        assert sealer_class([SECRET], scope=scope).open("key", sealed) is None
    # What is joined does not decide where one part ends and the next one begins.
    assert sealer_class([SECRET], scope="shop:r1k").open("ey", sealed) is None
    for module in (encryption, entries_module):
        monkeypatch.setattr(module, "_VERSION", b"e0")
    assert sealer.open("key", sealed) is None


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_a_cut_or_longer_entry_is_none(sealer_class: Any) -> None:
    sealer = sealer_class([SECRET])
    sealed = sealer.seal("key", entry_of(b"value"))
    for size in range(len(sealed)):
        assert sealer.open("key", sealed[:size]) is None
    assert sealer.open("key", sealed + b"\0") is None
    assert sealer.open("key", b"\0" + sealed) is None
    assert sealer.open("key", sealed) == entry_of(b"value")


# -- values in the store that are not ours -----------------------------------------------


def entry_key(cache: Any, key: str) -> str:
    name: str = cache.engine.entry_key(key)
    return name


def stored(cache: Any, key: str) -> bytes | None:
    value: bytes | None = cache.engine.store.get_many([entry_key(cache, key)])[0]
    return value


def test_values_are_compressed_in_the_store_and_not_in_copies(app: Flask, cache: Any) -> None:
    text = TEXT.decode()
    memoized = cache.memoize(60, make_name=lambda name: "text")(lambda: text)
    for _ in range(3):
        with app.app_context():
            assert memoized() == text
    with app.app_context():
        assert len(stored(cache, "fn:text()") or b"") < len(text) / 10
        copy = cache.engine.fetch_copy(
            "fn:text()", statistics.Lookups("function", "text"), current_dependencies()
        )
        if copy is not None:
            assert len(copy.entry.value) > len(text)
        cache.set("plain", text)
        assert cache.get("plain") == text
        assert len(stored(cache, "plain") or b"") < len(text) / 10


@pytest.mark.parametrize("foreign", [b"", b"x", b"x" * 100, b"\x80\x05N.", b"x" * 500_000])
def test_foreign_bytes_are_a_miss_that_heals_and_is_counted(
    make_app: Callable[..., tuple[Flask, Any]], foreign: bytes
) -> None:
    app, cache = make_app(CACHE_NEAR_BYTES=0)
    memoized = cache.memoize(60, make_name=lambda name: "counted")(lambda: "value")
    with app.app_context():
        cache.clear()
        cache.engine.store.delete([entry_key(cache, "fn:counted()")])
        assert memoized() == "value"
        assert cache.engine.counts["unauthentic entry"] == 0, "a missing one is none"
        for times in range(1, 4):
            cache.engine.store.put(entry_key(cache, "fn:counted()"), foreign, None)
            assert [memoized(), memoized()] == ["value"] * 2
            assert cache.engine.counts["unauthentic entry"] == times
        assert cache.engine.sealer.open("fn:counted()", stored(cache, "fn:counted()"))


def test_a_value_that_cannot_be_decoded_is_a_miss_that_heals_and_is_counted(
    app: Flask, cache: Any
) -> None:
    memoized = cache.memoize(60, make_name=lambda name: "undecodable")(lambda: "value")
    with app.app_context():
        state, now = cache.engine.observe(), time.time()
        times = (now, now + 60, now + 60)
        entry = Entry(b"no pickle", state.generation, state.started, (), *times)
        for key in ("plain", "fn:undecodable()"):
            sealed = cache.engine.sealer.seal(key, entry)
            cache.engine.store.put(entry_key(cache, key), sealed, 60)
        assert cache.get("plain") is None
        assert cache.engine.counts["undecodable value"] == 1
        assert stored(cache, "plain") is None
        assert [memoized(), memoized()] == ["value"] * 2
        assert cache.engine.counts["undecodable value"] == 2
        assert cache.engine.counts["unauthentic entry"] == 0


def test_a_page_that_is_none_is_filled_anew_and_counted(app: Flask, cache: Any) -> None:
    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return "a page"

    client = app.test_client()
    client.get("/page")
    key = "page:http://localhost/page"
    with app.app_context():
        entry = cache.engine.sealer.open(key, stored(cache, key))
        no_page = dataclasses.replace(entry, value=b"no page")
        cache.engine.store.put(entry_key(cache, key), cache.engine.sealer.seal(key, no_page), 60)
        cache.engine.renew_copies(key)
    assert [client.get("/page").text for _ in range(3)] == ["a page"] * 3
    with app.app_context():
        assert cache.engine.counts["undecodable value"] == 1
    assert "; hit" in client.get("/page").headers["Cache-Status"]


@pytest.mark.parametrize("write", ["add", "set", "delete"])
def test_a_foreign_value_without_expiry_gives_way(app: Flask, cache: Any, write: str) -> None:
    with app.app_context():
        cache.engine.store.put(entry_key(cache, "plain"), b"foreign", None)
        assert cache.get("plain") is None
        assert not cache.has("plain")
        if write == "delete":
            assert cache.delete("plain")
            assert stored(cache, "plain") is None
        else:
            assert getattr(cache, write)("plain", 1, 60)
            assert cache.get("plain") == 1
            assert not cache.add("plain", 2)


@pytest.mark.parametrize("value", [b"", b"foreign", b"x" * 16])
def test_who_waited_for_what_is_no_lease_takes_it_away(
    make_app: Callable[..., tuple[Flask, Any]], value: bytes
) -> None:
    app, cache = make_app(CACHE_WAIT_SECONDS=0.1)
    memoized = cache.memoize(60, make_name=lambda name: "leased")(lambda: "value")
    with app.app_context():
        cache.clear()
        lease = cache.engine.lease("fn:leased()").name
        cache.engine.store.put(lease, value, None)
        assert memoized() == "value"
        assert cache.engine.store.get_many([lease]) == [None]
        # A lease of ours expires by itself, and its holder may only be slow.
        ours = cache.engine.lease("fn:leased()").token
        cache.engine.store.put(lease, ours, 60)
        cache.delete_memoized(memoized)
    with app.app_context():
        assert memoized() == "value"
        assert cache.engine.store.get_many([lease]) == [ours]


@pytest.mark.parametrize("value", [b"", b"foreign", b"x" * 16])
def test_nobody_waits_for_it(make_app: Callable[..., tuple[Flask, Any]], value: bytes) -> None:
    app, cache = make_app(CACHE_WAIT_SECONDS=3600)
    memoized = cache.memoize(60, make_name=lambda name: "waiting")(lambda: "value")
    with app.app_context():
        cache.clear()
        cache.engine.store.put(cache.engine.lease("fn:waiting()").name, value, None)

    def ask() -> Any:
        with app.app_context():
            return memoized()

    pool = ThreadPoolExecutor(1)
    assert pool.submit(ask).result(30) == "value"
    pool.shutdown()


def test_what_is_no_lease_does_not_keep_a_generation_from_starting(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache._engine.generations._STARTING_SECONDS", 3600)
    memoized = cache.memoize(60, make_name=lambda name: "starting")(lambda: "value")
    with app.app_context():
        store = cache.engine.store
        store.put("app:starting", b"foreign", None)
        store.delete(["app:clock"])
        assert memoized() == "value"
        assert tagstate.is_timestamp(store.get_many(["app:clock"])[0], store.now())


class Told:
    """Remembers what is true, by a tag, and counts how often it was looked up anew."""

    def __init__(self, app: Flask, cache: Any) -> None:
        self.app, self.cache = app, cache
        self.truth = self.fills = 0
        self._memoized = cache.memoize(60, make_name=lambda name: "told", tags=("t",))(self._fill)

    def _fill(self) -> int:
        self.fills += 1
        return self.truth

    def check(self) -> None:
        """Check that the truth is told."""
        with self.app.app_context():
            assert self._memoized() == self.truth

    def change(self) -> None:
        self.truth += 1
        with self.app.app_context():
            self.cache.invalidate("t")

    def check_healed(self) -> None:
        """Check that the truth is told, and from an entry again after a few times."""
        for _ in range(4):
            self.check()
        fills = self.fills
        self.check()
        assert self.fills == fills

    def write(self, name: str, value: bytes) -> None:
        with self.app.app_context():
            self.cache.engine.store.put(f"app:{name}", value, None)


@pytest.fixture
def told(app: Flask, cache: Any) -> Told:
    with app.app_context():
        cache.engine.store.delete(["app:tag:t"])
    return Told(app, cache)


@pytest.mark.parametrize("name", ["tag:t", "clock", "generation", "renewed:fn:told()"])
def test_foreign_bytes_beside_entries_never_lie_and_heal(told: Told, name: str) -> None:
    for value in FOREIGN + AHEAD:
        told.write(name, value)
        told.check_healed()
        told.write(name, value)
        told.change()
        told.check_healed()
        told.change()
        told.write(name, value)
        told.check_healed()


def test_a_foreign_tag_can_be_put_in_doubt(told: Told) -> None:
    for value in FOREIGN + AHEAD:
        told.write("tag:t", value)
        with told.app.app_context():
            token = told.cache.engine.mark(["t"])
            told.check()
            told.truth += 1
            told.cache.engine.invalidate(["t"], token)
        told.check_healed()


# -- keys that are rotated ---------------------------------------------------------------


def test_a_fallback_still_serves_and_a_removed_key_is_a_miss_that_heals(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    settings = {"CACHE_KEY_PREFIX": "rotating", "CACHE_NEAR_BYTES": 0}
    old = make_app(SECRET_KEY=OTHER_SECRET, **settings)
    both = make_app(SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=[OTHER_SECRET], **settings)
    new = make_app(SECRET_KEY=SECRET, **settings)
    if old[0].config["CACHE_TYPE"] == "SimpleCache":
        pytest.skip("SimpleCache is not shared")
    fills = []

    def call(pair: tuple[Flask, Any]) -> Any:
        app, cache = pair
        memoized = cache.memoize(60, make_name=lambda name: "rotated")(
            lambda: fills.append(app) or len(fills)
        )
        with app.app_context():
            return memoized()

    with old[0].app_context():
        old[1].clear()
    assert [call(old), call(both), call(both)] == [1, 1, 1]
    with new[0].app_context():
        new[1].engine.counts.clear()
    assert [call(new), call(new), call(both)] == [2, 2, 2]
    with new[0].app_context():
        assert new[1].engine.counts["unauthentic entry"] == 1
    # What was sealed with the new key is foreign to who has only the old one.
    assert call(old) == 3


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_secret_data_has_one_name_in_all_releases_and_another_under_another_key(
    sealer_class: Any,
) -> None:
    names = {
        (secret, session): {
            sealer_class([secret], scope=scope).digest(session) for scope in ("shop:r1", "shop:r2")
        }
        for secret in (SECRET, OTHER_SECRET)
        for session in (b"anna", b"bert")
    }
    assert all(len(of_releases) == 1 for of_releases in names.values())
    assert len(set.union(*names.values())) == len(names)
    assert sealer_class([SECRET.encode()]).digest(b"anna") in names[SECRET, b"anna"]


@pytest.mark.parametrize("sealer_class", SEALERS)
def test_secret_data_has_a_name_under_each_known_key(sealer_class: Any) -> None:
    old, new = (sealer_class([secret]).digest(b"anna") for secret in (OTHER_SECRET, SECRET))
    before = sealer_class([OTHER_SECRET, SECRET])
    after = sealer_class([SECRET, OTHER_SECRET])
    assert before.digest(b"anna") == old
    assert before.digests(b"anna") == (old, new)
    assert after.digest(b"anna") == new
    assert after.digests(b"anna") == (new, old)
    assert sealer_class([SECRET, SECRET]).digests(b"anna") == (new,)
