"""Compares sealing by AES-256-GCM with what it replaced: a keyed BLAKE2b, which hid nothing.

Usage: python benchmarks/sealing.py [ROUNDS]

Both seal and open entries of the same values, which nothing compresses. Rounds alternate, each has
so many calls that it takes milliseconds, and a ratio is the median of the rounds' own ratios: below
1 the encryption is quicker. The last line says it all in JSON.
"""

import hashlib
import hmac
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flask_coherent_cache._engine.encryption import EncryptingSealer
from flask_coherent_cache._engine.entry import Entry, Sealer, derived_key

SIZES = {"1 kB": 1_000, "10 kB": 10_000, "100 kB": 100_000}
SCOPE, KEY = "shop:r1", "page:https://www.example.com/products?sort=price"
TAGS = ("catalog.queries.products", "product", "product:*", *(f"product:{n}" for n in range(20)))
ROUND_SECONDS = 0.004
MAC_BYTES = 32


class AuthenticatingSealer(Sealer):
    """The former sealer: a MAC before the entry, which anybody can read."""

    def __init__(self, secrets: list[str], scope: str) -> None:
        """Derive the key."""
        super().__init__(secrets, scope=scope)
        self._mac_key = derived_key(secrets[0].encode(), b"", scope.encode())

    def _sealed(self, key: str, body: bytes) -> bytes:
        return self._mac(key, body) + body

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        body = sealed[MAC_BYTES:]
        right = hmac.compare_digest(self._mac(key, body), sealed[:MAC_BYTES])
        return body if right else None

    def _mac(self, key: str, body: bytes) -> bytes:
        mac = hashlib.blake2b(b"e2", key=self._mac_key, digest_size=MAC_BYTES)
        name = key.encode("utf-8", "surrogatepass")
        mac.update(len(name).to_bytes(4, "big") + name)
        mac.update(body)
        return mac.digest()


def seconds_of(call: Callable[[], object], count: int) -> float:
    """Return the seconds of one of so many calls."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def compare(former: Callable[[], object], now: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Interleave rounds of both."""
    seconds_of(former, 100), seconds_of(now, 100)
    count = max(1, round(ROUND_SECONDS / seconds_of(former, 100)))
    pairs = []
    for number in range(rounds):
        calls = (former, now) if number % 2 else (now, former)
        first, second = (seconds_of(call, count) for call in calls)
        pairs.append((first, second) if number % 2 else (second, first))
    return {
        "former_microseconds": round(1e6 * statistics.median(one for one, _ in pairs), 2),
        "now_microseconds": round(1e6 * statistics.median(one for _, one in pairs), 2),
        "ratio": round(statistics.median(new / old for old, new in pairs), 3),
    }


def main(rounds: str = "101") -> None:
    """Compare both ways at each size."""
    secret, found = "k" * 40, {}
    former = AuthenticatingSealer([secret], SCOPE)
    now = EncryptingSealer([secret], scope=SCOPE)
    for name, size in SIZES.items():
        moment = time.time()
        entry = Entry(os.urandom(size), "g" * 16, 1, TAGS, moment, moment + 60, moment + 60)
        one, other = former.seal(KEY, entry), now.seal(KEY, entry)
        if not former.open(KEY, one) == now.open(KEY, other) == entry:
            sys.exit("an entry does not come back as it was")
        found[f"seal {name}"] = compare(
            partial(former.seal, KEY, entry), partial(now.seal, KEY, entry), int(rounds)
        )
        found[f"open {name}"] = compare(
            partial(former.open, KEY, one), partial(now.open, KEY, other), int(rounds)
        )
    for name, figures in found.items():
        print(
            f"{name:>11}: {figures['former_microseconds']:>8} µs by a keyed BLAKE2b, "
            f"{figures['now_microseconds']:>8} µs by AES-256-GCM, ratio {figures['ratio']}"
        )
    print(json.dumps({"rounds": int(rounds), **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
