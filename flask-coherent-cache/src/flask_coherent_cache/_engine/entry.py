"""An entry: a value that knows what it was built from, and its bytes in the store."""

import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._compression import smaller

#: The format's version within one process.
_VERSION = b"p1"
_LENGTH_BYTES = 4
#: What the key is for under which secret data is named.
_NAMING = b"flask-coherent-cache: names of secret data"
#: The fastest level: a higher one takes twice the time and more to save a tenth.
_LEVEL = 1
_encode_head = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, what it was built from, and how long it lives; times are seconds since the epoch.

    :param value: the encoded value: a page, or a memoized function's result.
    :param generation: the store's generation in which the fill began.
    :param started: a timestamp of the store's clock not later than anything that went into the
        value; ``None`` for a plain ``cache.set``, which depends on its key alone.
    :param tags: the names of all that it was built from.
    :param stored_at: when it was stored.
    :param fresh_until: its soft expiry.
    :param kept_until: its hard expiry, when the store drops it.
    """

    value: bytes
    generation: str
    started: int | None
    tags: tuple[str, ...]
    stored_at: float
    fresh_until: float
    kept_until: float

    def moved(self, seconds: float) -> "Entry":
        """Return it with its times by a clock that is ahead by so many seconds."""
        if not seconds:
            return self
        return replace(
            self,
            stored_at=self.stored_at + seconds,
            fresh_until=self.fresh_until + seconds,
            kept_until=self.kept_until + seconds,
        )

    def is_fresh(self) -> bool:
        """Tell whether it is before its soft expiry."""
        return time.time() < self.fresh_until


class Sealer:
    """Turns entries into bytes and back, for a store that lives inside this process.

    Nobody else reads or writes there, so an entry only says which key it belongs to. A shared store
    needs :class:`~flask_coherent_cache._engine.encryption.EncryptingSealer`.

    :param secrets: the application's ``SECRET_KEY``, then its fallbacks.
    :param scope: names the application and its release.
    :param compress_min_bytes: compress values from this size on if that saves a tenth; 0 is never.
    """

    def __init__(
        self, secrets: Sequence[str | bytes], *, scope: str = "", compress_min_bytes: int = 0
    ) -> None:
        self._secrets = tuple(
            secret.encode() if isinstance(secret, str) else secret for secret in secrets
        )
        self._digest_keys = tuple(derived_key(secret, b"", _NAMING) for secret in self._secrets)
        self._scope = encoded_key(scope)
        self._compress_min_bytes = compress_min_bytes

    def seal(self, key: str, entry: Entry) -> bytes:
        """Encode an entry so that it opens under its key only."""
        return self._sealed(key, self._encoded(entry))

    def open(self, key: str, sealed: bytes | None) -> Entry | None:
        """Check and decode an entry; ``None`` for a missing, forged, foreign or cut one."""
        body = None if sealed is None else self._opened(key, sealed)
        return None if body is None else _decoded(body)

    def digest(self, data: bytes) -> str:
        """Name secret data, such as a session's, without telling it.

        The name is the same in all releases: a tag made of it reaches all of them.

        :return: 32 hexadecimal digits, a keyed hash (BLAKE2b, RFC 7693, 2.5) under ``SECRET_KEY``.
        """
        return _digest(self._digest_keys[0], data)

    def digests(self, data: bytes) -> tuple[str, ...]:
        """Name secret data under each known secret, the current one first.

        While secrets are rotated, other processes may use any of these names: an invalidation has
        to bump the tags of all of them.
        """
        return tuple(dict.fromkeys(_digest(key, data) for key in self._digest_keys))

    def _sealed(self, key: str, body: bytes) -> bytes:
        return framed(_VERSION, self._scope, encoded_key(key), body)

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        head = framed(_VERSION, self._scope, encoded_key(key))
        start = len(head) + _LENGTH_BYTES
        if not sealed.startswith(head):
            return None
        body = sealed[start:]
        return body if sealed[len(head) : start] == _length(body) else None

    def _encoded(self, entry: Entry) -> bytes:
        times = [entry.stored_at, entry.fresh_until, entry.kept_until]
        value = self._compressed(entry.value)
        size = None if value is entry.value else len(entry.value)
        head = [entry.generation, entry.started, entry.tags, *times, size]
        return framed(_encode_head(head).encode()) + value

    def _compressed(self, value: bytes) -> bytes:
        """Compress a value where that gains; the body of a page may be compressed already."""
        if not 0 < self._compress_min_bytes <= len(value):
            return value
        return smaller(value, _LEVEL) or value


def derived_key(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    """Derive a key of 32 bytes for one purpose: HKDF with SHA-256 (RFC 5869, 2.2 and 2.3)."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def framed(*parts: bytes) -> bytes:
    """Join parts so that no others give the same bytes: each comes after its length."""
    return b"".join(piece for part in parts for piece in (_length(part), part))


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(_LENGTH_BYTES, "big")


def encoded_key(key: str) -> bytes:
    """Encode a key, also one with half a surrogate pair, which a client may have sent."""
    return key.encode("utf-8", "surrogatepass")


def _decoded(body: bytes) -> Entry:
    end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    generation, started, tags, *times, size = json.loads(body[_LENGTH_BYTES:end])
    value = body[end:]
    if size is not None:
        value = zlib.decompressobj().decompress(value, size)
    return Entry(value, generation, started, tuple(tags), *times)


def _digest(key: bytes, data: bytes) -> str:
    return hashlib.blake2b(data, key=key, digest_size=16).hexdigest()
