"""Entries on a server that others may read: encrypted and authenticated (AES-256-GCM)."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .entry import Sealer, derived_key, encoded_key, framed

#: The format's version; entries of another one are misses.
_VERSION = b"e3"
_NONCE_BYTES = 12
_SALT_BYTES = 16
_TAG_BYTES = 16
_NONCE_END = len(_VERSION) + _NONCE_BYTES
_SALT_END = _NONCE_END + _SALT_BYTES
#: What the key is for under which entries are encrypted.
_SEALING = b"flask-coherent-cache: entries"
#: Room for the kind of value, which nobody names yet.
_KIND = b""
#: With random nonces, so many entries may be encrypted with one key (NIST SP 800-38D, 8.3).
_MOST_SEALED = 2**32
#: Each process seals with a key of its own; so many are kept at hand.
_KEPT_KEYS = 256


@dataclass(frozen=True, slots=True)
class _OwnKey:
    """The key that this process seals with.

    :param pid: of the process that drew the salt: a fork draws another one.
    :param uses: counts the entries; threads that ask get different numbers.
    """

    pid: int
    salt: bytes
    cipher: AESGCM
    uses: "itertools.count[int]" = field(default_factory=itertools.count)


class EncryptingSealer(Sealer):
    """Turns entries into bytes that nobody without the secret can read, forge or move.

    The bytes are the format's version, a nonce, a salt, and what AES-256-GCM makes of the entry
    (NIST SP 800-38D). The key comes from the secret and the salt by HKDF (RFC 5869). The salt is
    random and one process's, so no two processes share a key. The nonce is random, too: a counter
    would repeat in a fork that Python did not see, or on a machine restored from a snapshot. It
    comes before the salt, so that entries differ in their first bytes.

    Authenticated with the entry are the format's version, the application, its release and the
    entry's key: whoever can write to the store can replay or drop an entry, no more. Nothing is
    decoded before it is verified.

    :param most_sealed: a new key is drawn before more entries than these are sealed with one.
    """

    def __init__(
        self,
        secrets: Sequence[str | bytes],
        *,
        scope: str = "",
        compress_min_bytes: int = 0,
        most_sealed: int = _MOST_SEALED,
    ) -> None:
        super().__init__(secrets, scope=scope, compress_min_bytes=compress_min_bytes)
        self._context = framed(_VERSION, _KIND, self._scope)
        self._most_sealed = most_sealed
        # Its own cache holds no lock that a fork could copy while it is held.
        self._cipher = lru_cache(_KEPT_KEYS)(_cipher)
        self._own: _OwnKey | None = None

    def _sealed(self, key: str, body: bytes) -> bytes:
        own = self._own_key()
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = own.cipher.encrypt(nonce, body, self._associated(key))
        return b"".join((_VERSION, nonce, own.salt, encrypted))

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        if len(sealed) < _SALT_END + _TAG_BYTES or not sealed.startswith(_VERSION):
            return None
        nonce, salt = sealed[len(_VERSION) : _NONCE_END], sealed[_NONCE_END:_SALT_END]
        encrypted, associated = memoryview(sealed)[_SALT_END:], self._associated(key)
        for secret in self._secrets:
            try:
                return self._cipher(secret, salt).decrypt(nonce, encrypted, associated)
            except InvalidTag:
                continue
        return None

    def _own_key(self) -> _OwnKey:
        """Return the key of this process; a new one if it was drawn before a fork, or is worn.

        Threads that draw one at the same time each use their own once, and go on with the last.
        """
        own = self._own
        if own is None or own.pid != os.getpid() or next(own.uses) >= self._most_sealed:
            salt = os.urandom(_SALT_BYTES)
            own = _OwnKey(os.getpid(), salt, self._cipher(self._secrets[0], salt))
            next(own.uses)
            self._own = own
        return own

    def _associated(self, key: str) -> bytes:
        return self._context + framed(encoded_key(key))


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(derived_key(secret, salt, _SEALING))
