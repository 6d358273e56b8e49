"""Marks: texts that occur nowhere else, and a search for them in whatever form they are kept."""

import base64
import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

#: A mark begins with so many random digits, by which it is known.
KNOWN_BY = 12
#: A digest that was cut is known by its beginning: so many bytes, and as hexadecimal digits.
CUT_BYTES = 8
WINDOW = 8
#: How many layers are taken off, as of a compressed text in base64 in JSON.
DEPTH = 3
MOST_INFLATED = 2**20
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
COMPRESSED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
ESCAPED = re.compile(rb"\\+u00([0-9A-Fa-f]{2})")
BLAKE2B_BYTES = (8, 12, 16, 20, 24, 32, 48, 64)


class Marks:
    """Makes marks, and finds them and their plain digests."""

    def __init__(self) -> None:
        self._kinds: dict[bytes, str] = {}
        self._hashed: set[str] = set()

    def new(self, kind: str, form: str = "{}") -> str:
        """Make a mark of a kind; its form is the text that holds it, such as an address."""
        known_by = secrets.token_hex(KNOWN_BY // 2)
        self._kinds[known_by.encode()] = kind
        mark = form.format(known_by + kind.replace(" ", ""))
        self.hashed(kind, mark)
        return mark

    def known(self, kind: str, text: str) -> str:
        """Take a text that others made for a mark."""
        self._kinds[text.encode()] = kind
        self.hashed(kind, text)
        return text

    def hashed(self, kind: str, text: str) -> None:
        """Look for the plain digests of a text, also with what may stand before it."""
        for data in (text, f"str {text}", f"{text}\n", f"127.0.0.1 {text}", repr(text)):
            if data in self._hashed:
                continue
            self._hashed.add(data)
            for digest in digests(data.encode()):
                for needle in forms(digest):
                    self._kinds[needle] = f"digest of {kind}"

    def found(self, haystack: bytes) -> set[str]:
        """Return the kinds of the marks in it, in whatever form."""
        beginnings = {needle[:WINDOW] for needle in self._kinds}
        kinds = set()
        for layer in layers(haystack, DEPTH):
            windows = {layer[at : at + WINDOW] for at in range(len(layer) - WINDOW + 1)}
            if hits := windows & beginnings:
                needles = [needle for needle in self._kinds if needle[:WINDOW] in hits]
                kinds |= {self._kinds[needle] for needle in needles if needle in layer}
        return kinds


def digests(data: bytes) -> Iterator[bytes]:
    """Hash data by each usual function, without a key."""
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2s"):
        yield hashlib.new(name, data, usedforsecurity=False).digest()
    for size in BLAKE2B_BYTES:
        yield hashlib.blake2b(data, digest_size=size).digest()


def forms(digest: bytes) -> Iterator[bytes]:
    """Write the beginning of a digest in each usual way."""
    yield digest[:CUT_BYTES]
    yield digest[:CUT_BYTES].hex().encode()
    yield digest[:CUT_BYTES].hex().upper().encode()
    yield base64.b64encode(digest)[:10]
    yield base64.urlsafe_b64encode(digest)[:10]


def layers(data: bytes, depth: int) -> Iterator[bytes]:
    """Yield data, and what lies in it encoded or compressed."""
    yield data
    if depth:
        for inner in (unquoted(data), unescaped(data), decoded(data), inflated(data)):
            if inner:
                yield from layers(inner, depth - 1)


def unquoted(data: bytes) -> bytes:
    """Undo the encoding of URLs (RFC 3986, 2.1), where there is any."""
    other = unquote_to_bytes(data)
    return other if other != data else b""


def unescaped(data: bytes) -> bytes:
    """Undo the escapes of JSON (RFC 8259, 7) that ASCII may be written in."""
    other = ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data)
    return other if other != data else b""


def decoded(data: bytes) -> bytes:
    """Decode all that may be base64 or base64url (RFC 4648), wherever it begins."""
    return b"\n".join(
        base64.b64decode(padded(run.translate(bytes.maketrans(b"-_", b"+/"))[start:]))
        for run in BASE64.findall(data)
        for start in range(4)
    )


def padded(run: bytes) -> bytes:
    """Fill the last group of four; one character alone is no byte, and is left out."""
    length = len(run) - (len(run) % 4 == 1)
    return run[:length] + b"=" * (-length % 4)


def inflated(data: bytes) -> bytes:
    """Inflate all that may be zlib's or gzip's (RFC 1950 and 1952), wherever it begins."""
    return b"\n".join(filter(None, inflate(data, COMPRESSED.finditer(data))))


def inflate(data: bytes, beginnings: Iterable[re.Match[bytes]]) -> Iterator[bytes]:
    for beginning in beginnings:
        try:
            yield zlib.decompressobj(47).decompress(data[beginning.start() :], MOST_INFLATED)
        except zlib.error:
            continue


def hidden(text: str) -> dict[str, bytes]:
    """Hide a text in each form in which it must be found."""
    data, digest = f'xx{{"name": "{text}"}}'.encode(), hashlib.sha256(text.encode()).digest()
    escaped = "".join(f"\\u{ord(character):04x}" for character in text).encode()
    return {
        "clear": data,
        "URL": "".join(f"%{ord(character):02X}" for character in text).encode(),
        "JSON": b'{"name": "' + escaped + b'"}',
        "zlib": b"\0\0head" + zlib.compress(data),
        "gzip": b"head" + zlib.compress(data, wbits=31),
        "base64": b"Basic " + base64.b64encode(data),
        "base64url within": b"a." + base64.urlsafe_b64encode(b"\xff\xfe" + data) + b".b",
        "all": base64.b64encode(zlib.compress(escaped)),
        "digest": b"key:" + digest.hex().encode(),
        "cut digest": b"key:" + digest.hex()[:16].encode(),
        "raw digest": b"key:" + digest,
        "digest in base64": base64.urlsafe_b64encode(digest),
        "MD5": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper().encode(),
        "BLAKE2b": hashlib.blake2b(text.encode(), digest_size=20).hexdigest().encode(),
        "with an address": hashlib.sha256(f"127.0.0.1 {text}".encode()).hexdigest().encode(),
    }
