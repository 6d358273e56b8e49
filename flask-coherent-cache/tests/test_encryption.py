"""What lies on a server that others may read: nobody reads, forges or moves it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask

from flask_coherent_cache._engine.encryption import EncryptingSealer
from flask_coherent_cache._engine.entry import Entry, Sealer, derived_key, framed

NOW = 1_700_000_000
SECRET, OTHER_SECRET = "k" * 40, "o" * 40
ENTRY = Entry(b"value", "generation", NOW * 1_000_000, ("a", "b"), NOW, NOW + 60, NOW + 120)
#: Long enough that it is nowhere by chance; too short to be compressed.
MARK = "a-marked-plaintext-of-one-visitor"


def nonce_of(sealed: bytes) -> bytes:
    return sealed[2:14]


def salt_of(sealed: bytes) -> bytes:
    return sealed[14:30]


# -- bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"value", b"warm grey wool, " * 1000])
def test_no_changed_byte_is_accepted(value: bytes) -> None:
    sealer = EncryptingSealer([SECRET], compress_min_bytes=1024)
    entry = Entry(value, "generation", NOW, (), NOW, NOW, NOW)
    sealed = sealer.seal("key", entry)
    for place in range(len(sealed)):
        for changed in (sealed[place] ^ 1, sealed[place] ^ 128):
            forged = sealed[:place] + bytes([changed]) + sealed[place + 1 :]
            assert sealer.open("key", forged) is None, place
    assert sealer.open("key", sealed) == entry


def test_the_layout_is_version_nonce_salt_and_what_the_standard_makes() -> None:
    """Decrypted here by nothing but the standards' own building blocks."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    sealed = EncryptingSealer([SECRET], scope="shop:r1").seal("key", ENTRY)
    key = HKDF(SHA256(), 32, salt_of(sealed), b"flask-coherent-cache: entries").derive(b"k" * 40)
    parts = (b"e3", b"", b"shop:r1", b"key")
    associated = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    body = AESGCM(key).decrypt(nonce_of(sealed), sealed[30:], associated)
    assert sealed.startswith(b"e3")
    assert body.endswith(b"value")
    assert len(sealed) == len(body) + 2 + 12 + 16 + 16


def test_keys_are_derived_as_the_standard_says() -> None:
    # RFC 5869, A.1 and A.3: the first 32 bytes of each.
    salt, purpose = bytes(range(13)), bytes(range(0xF0, 0xFA))
    okm = "3cb25f25faacd57a 90434f64d0362f2a 2d2d0a90cf1a5a4c 5db02d56ecc4c5bf"
    assert derived_key(b"\x0b" * 22, salt, purpose) == bytes.fromhex(okm)
    okm = "8da4e775a563c18f 715f802a063c5a31 b8a11f5c5ee1879e c3454e5f3c738d2d"
    assert derived_key(b"\x0b" * 22, b"", b"") == bytes.fromhex(okm)
    for salt in (b"", b"s", os.urandom(16), os.urandom(100)):
        expected = HKDF(SHA256(), 32, salt, b"purpose").derive(b"secret")
        assert derived_key(b"secret", salt, b"purpose") == expected


def test_parts_are_joined_so_that_no_others_give_the_same_bytes() -> None:
    joined = [
        framed(*parts) for parts in [(b"a", b"bc"), (b"ab", b"c"), (b"abc",), (b"", b"abc"), ()]
    ]
    assert len(set(joined)) == len(joined)


def test_equal_entries_are_different_bytes_from_the_third_on() -> None:
    sealer = EncryptingSealer([SECRET])
    sealed = [sealer.seal("key", ENTRY) for _ in range(1000)]
    assert len({nonce_of(one) for one in sealed}) == 1000
    assert len({salt_of(one) for one in sealed}) == 1


# -- secrets -----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [OTHER_SECRET, SECRET[:-1], SECRET + "k", SECRET.upper(), b"x"])
def test_a_wrong_secret_opens_nothing(secret: str | bytes) -> None:
    sealed = EncryptingSealer([SECRET]).seal("key", ENTRY)
    assert EncryptingSealer([secret]).open("key", sealed) is None
    assert EncryptingSealer([secret, OTHER_SECRET]).open("key", sealed) is None
    assert EncryptingSealer([secret, SECRET]).open("key", sealed) == ENTRY


def test_while_secrets_are_rotated_each_process_opens_the_others_entries() -> None:
    before = EncryptingSealer([OTHER_SECRET, SECRET])
    after = EncryptingSealer([SECRET, OTHER_SECRET])
    assert after.open("key", before.seal("key", ENTRY)) == ENTRY
    assert before.open("key", after.seal("key", ENTRY)) == ENTRY
    # Each seals with its own current secret.
    assert EncryptingSealer([SECRET]).open("key", after.seal("key", ENTRY)) == ENTRY
    assert EncryptingSealer([SECRET]).open("key", before.seal("key", ENTRY)) is None


def test_bytes_and_text_are_one_secret() -> None:
    sealed = EncryptingSealer([SECRET.encode()]).seal("key", ENTRY)
    assert EncryptingSealer([SECRET]).open("key", sealed) == ENTRY


# -- keys --------------------------------------------------------------------------------


def test_each_process_has_a_key_of_its_own() -> None:
    one, two = EncryptingSealer([SECRET]), EncryptingSealer([SECRET])
    sealed = one.seal("key", ENTRY), two.seal("key", ENTRY)
    assert salt_of(sealed[0]) != salt_of(sealed[1])
    assert two.open("key", sealed[0]) == one.open("key", sealed[1]) == ENTRY


def test_no_key_seals_more_than_it_may() -> None:
    assert EncryptingSealer([SECRET])._most_sealed == 2**32
    sealer = EncryptingSealer([SECRET], most_sealed=3)
    sealed = [sealer.seal("key", ENTRY) for _ in range(10)]
    salts = [salt_of(one) for one in sealed]
    assert [salts.count(salt) for salt in dict.fromkeys(salts)] == [3, 3, 3, 1]
    assert all(sealer.open("key", one) == ENTRY for one in sealed)


def test_no_key_seals_more_than_it_may_in_threads() -> None:
    most, count, threads = 7, 400, 8
    sealer = EncryptingSealer([SECRET], most_sealed=most)
    barrier = threading.Barrier(threads)

    def seal(_: int) -> list[bytes]:
        barrier.wait(30)
        return [salt_of(sealer.seal("key", ENTRY)) for _ in range(count)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            salts = [salt for some in pool.map(seal, range(threads)) for salt in some]
    finally:
        sys.setswitchinterval(interval)
    assert len(salts) == threads * count
    assert max(map(salts.count, set(salts))) <= most


def test_the_keys_of_other_processes_are_kept_within_a_bound() -> None:
    reader = EncryptingSealer([SECRET])
    sealed = [EncryptingSealer([SECRET]).seal("key", ENTRY) for _ in range(300)]
    assert all(reader.open("key", one) == ENTRY for one in sealed * 2)
    # Also of salts that nobody's key was made with.
    for one in sealed:
        assert reader.open("key", one[:14] + os.urandom(16) + one[30:]) is None
    kept = reader._cipher.cache_info()
    assert kept.currsize == kept.maxsize == 256


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_goes_on_with_another_key_and_other_nonces() -> None:
    program = f"""
import json, os
from flask_coherent_cache._engine.encryption import EncryptingSealer
from flask_coherent_cache._engine.entry import Entry

sealer, entry = EncryptingSealer([{SECRET!r}]), Entry(b"value", "", 1, (), 1, 2, 3)
before = sealer.seal("key", entry)
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b" ".join(sealer.seal("key", entry).hex().encode() for _ in range(2)))
    os._exit(0)
os.wait()
of_child = [bytes.fromhex(one.decode()) for one in os.read(reader, 10_000).split()]
of_parent = [before, sealer.seal("key", entry)]
opened = [sealer.open("key", one) == entry for one in of_child]
print(json.dumps([[one.hex() for one in of_parent], [one.hex() for one in of_child], opened]))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    of_parent, of_child, opened = json.loads(result.stdout)
    parent, child = ([bytes.fromhex(one) for one in some] for some in (of_parent, of_child))
    assert opened == [True, True]
    assert len({salt_of(one) for one in parent}) == len({salt_of(one) for one in child}) == 1
    assert salt_of(parent[0]) != salt_of(child[0])
    assert len({nonce_of(one) for one in parent + child}) == 4


# -- where it is used --------------------------------------------------------------------


def fill_in_every_way(app: Flask, cache: Any) -> None:
    """Store the mark as a page, a function's result, a fragment and a value."""

    @app.get("/page")
    @cache.cached(60)
    def page() -> str:
        return MARK

    memoized = cache.memoize(60, make_name=lambda name: "marked")(lambda: [MARK])
    fragment = "{% cache 60, 'marked' %}" + MARK + "{% endcache %}"
    assert app.test_client().get("/page").text == MARK
    with app.test_request_context():
        assert memoized() == [MARK]
        assert app.jinja_env.from_string(fragment).render() == MARK
        assert cache.set("marked", {"name": MARK})


def everything_stored(app: Flask) -> dict[bytes, bytes]:
    import redis  # noqa: PLC0415

    client = redis.Redis.from_url(app.config["CACHE_REDIS_URL"])
    names: list[bytes] = list(client.scan_iter(f"{app.config['CACHE_KEY_PREFIX']}:*"))
    return dict(zip(names, client.mget(names), strict=True))


@pytest.mark.parametrize("sealing", [True, False])
def test_nothing_readable_lies_on_a_server(
    make_app: Callable[..., tuple[Flask, Any]], sealing: bool
) -> None:
    app, cache = make_app(CACHE_KEY_PREFIX=f"readable-{sealing}".lower())
    if app.config["CACHE_TYPE"] != "RedisCache":
        pytest.skip("only Redis lists what it holds")
    with app.app_context():
        if not sealing:
            cache.engine.sealer = Sealer([SECRET])
    fill_in_every_way(app, cache)
    stored = everything_stored(app)
    readable = [name for name, value in stored.items() if MARK.encode() in value]
    entries = [name for name in stored if b":entry:" in name]
    assert len(entries) == 4
    assert sorted(readable) == ([] if sealing else sorted(entries))


def test_only_a_shared_store_needs_what_encrypts() -> None:
    program = """
import sys

sys.modules["cryptography"] = None
from flask import Flask
from flask_coherent_cache import Cache

for kind in ("SimpleCache", "NullCache", "RedisCache", "MemcachedCache"):
    app = Flask("shop", static_folder=None)
    try:
        cache = Cache(app, config={"CACHE_TYPE": kind, "SECRET_KEY": "k" * 40})
        with app.app_context():
            print(kind, cache.set("a", 1), cache.get("a"))
    except ValueError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    simple, null, redis, memcached = result.stdout.splitlines()
    assert simple == "SimpleCache True 1"
    assert null.startswith("NullCache ")
    for words, extra in ((redis, "redis"), (memcached, "memcached")):
        assert f"the library's extra [{extra}] (cryptography is not installed)" in words
        assert f".whl[{extra}]" in words
