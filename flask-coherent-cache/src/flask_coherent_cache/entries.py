"""An entry: a value that knows what it was built from, and its bytes in the store."""

import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .stores import is_reading

#: The format's version; entries of another one are misses.
_VERSION = b"e2"
_MAC_BYTES = 32
#: So much from the middle of a large value shows whether the whole gains by compression.
_SAMPLE_BYTES = 1024
#: The fastest level: a higher one takes twice the time and more to save a tenth.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in the store under a key.

    :param value: the encoded value: a page, or a memoized function's result.
    :param generation: the store's generation in which the fill began.
    :param started: a reading of the store's clock not later than anything that went into the
        value; ``None`` for a plain ``cache.set``, which depends on its key alone.
    :param tags: the names of all that it was built from.
    :param stored_at: when it was stored, in seconds since the epoch.
    :param fresh_until: its soft expiry, in seconds since the epoch.
    :param kept_until: its hard expiry, when the store drops it, in seconds since the epoch.
    """

    value: bytes
    generation: str
    started: int | None
    tags: tuple[str, ...]
    stored_at: float
    fresh_until: float
    kept_until: float

    def is_fresh(self) -> bool:
        """Tell whether it is before its soft expiry."""
        return time.time() < self.fresh_until

    def is_valid(self, generation: str, tag_values: Iterable[bytes | None]) -> bool:
        """Judge it by the store's generation and its tags' values, in the order of ``tags``.

        A missing tag, one in doubt, or one raised since ``started`` makes it invalid.
        """
        if self.generation != generation:
            return False
        if self.started is None:
            return True
        now = time.time()
        return all(is_reading(value, now) and int(value) <= self.started for value in tag_values)


def invalid_tags(
    tags: Sequence[str], tag_values: Iterable[bytes | None], started: int | None
) -> tuple[tuple[str, ...], int | None]:
    """Name the tags that make an entry invalid, and give the latest of their readings.

    A missing tag, and one in doubt, has none.

    :param started: the entry's.
    """
    now, invalid = time.time(), []
    for tag, value in zip(tags, tag_values, strict=True):
        reading = int(value) if value is not None and is_reading(value, now) else None
        if reading is None or reading > (started or 0):
            invalid.append((tag, reading))
    readings = [reading for _, reading in invalid if reading is not None]
    return tuple(tag for tag, _ in invalid), max(readings, default=None)


class Sealer:
    """Turns entries into authenticated bytes and back.

    The bytes carry a MAC (BLAKE2b keyed, RFC 7693 section 2.5) over the format's version, the
    entry's key and the entry, and nothing is decoded before it is verified: whoever can write
    to the store can replay or drop an entry, and cannot forge one or move it to another key,
    application or release.

    :param secrets: the application's ``SECRET_KEY``, then its fallbacks, which still verify.
    :param scope: names the application and its release.
    :param compress_min_bytes: values of so many bytes are compressed where that saves a tenth;
        0 is none.
    """

    def __init__(
        self, secrets: Sequence[str | bytes], *, scope: str = "", compress_min_bytes: int = 0
    ) -> None:
        self._keys = [_derived(secret, scope) for secret in secrets]
        self._compress_min_bytes = compress_min_bytes

    def seal(self, key: str, entry: Entry) -> bytes:
        """Encode and authenticate an entry."""
        times = [entry.stored_at, entry.fresh_until, entry.kept_until]
        value = self._compressed(entry.value)
        size = None if value is entry.value else len(entry.value)
        head = json.dumps(
            [entry.generation, entry.started, entry.tags, *times, size], separators=(",", ":")
        ).encode()
        body = len(head).to_bytes(4, "big") + head + value
        return _mac(self._keys[0], key, body) + body

    def _compressed(self, value: bytes) -> bytes:
        """Compress a value where that gains; the body of a page may be compressed already."""
        if not 0 < self._compress_min_bytes <= len(value):
            return value
        if len(value) > 4 * _SAMPLE_BYTES:
            middle = len(value) // 2
            sample = value[middle : middle + _SAMPLE_BYTES]
            if _smaller(sample) is sample:
                return value
        return _smaller(value)

    def open(self, key: str, sealed: bytes | None) -> Entry | None:
        """Verify and decode an entry; ``None`` for a missing, forged, foreign or cut one.

        Its value is no longer compressed, and no larger than when it was sealed.
        """
        if sealed is None or len(sealed) < _MAC_BYTES + 4:
            return None
        body = sealed[_MAC_BYTES:]
        if not any(
            hmac.compare_digest(_mac(secret, key, body), sealed[:_MAC_BYTES])
            for secret in self._keys
        ):
            return None
        end = 4 + int.from_bytes(body[:4], "big")
        generation, started, tags, *times, size = json.loads(body[4:end])
        value = body[end:]
        if size is not None:
            value = zlib.decompressobj().decompress(value, size)
        return Entry(value, generation, started, tuple(tags), *times)

    def digest(self, data: bytes) -> str:
        """Name secret data, such as a session's, without telling it."""
        return hashlib.blake2b(data, key=self._keys[0], digest_size=16).hexdigest()


def _derived(secret: str | bytes, scope: str) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    purpose = f"cache entries {scope}".encode()
    return hashlib.blake2b(purpose, key=hashlib.sha256(raw).digest()).digest()


def _mac(secret: bytes, key: str, body: bytes) -> bytes:
    mac = hashlib.blake2b(_VERSION, key=secret, digest_size=_MAC_BYTES)
    name = key.encode("utf-8", "surrogatepass")
    mac.update(len(name).to_bytes(4, "big") + name)
    mac.update(body)
    return mac.digest()


def _smaller(value: bytes) -> bytes:
    """Compress bytes (RFC 1950), or return the same where that saves less than a tenth."""
    compressed = zlib.compress(value, _LEVEL)
    return compressed if len(compressed) <= 0.9 * len(value) else value
