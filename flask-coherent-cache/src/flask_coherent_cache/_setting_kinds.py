"""The kinds of values that settings have: how each is read from text, and what to use instead."""

import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

_FLAGS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    :param use: in words, what to use instead of a wrong value.
    :param read: returns the value in its own type, and raises for one that cannot be.
    :param least: the lowest value of a number, in its own unit.
    :param most: the highest value of a number.
    :param secret: whether no message may show the value.
    """

    use: str
    read: Callable[[Any], Any]
    least: float | None = None
    most: float | None = None
    secret: bool = False


def whole(least: int, most: int) -> Kind:
    """Return the kind of a whole number between two bounds."""

    def read(value: Any) -> int:
        number = _number(value, least, most)
        if number != int(number):
            raise ValueError
        return int(number)

    return Kind(f"a whole number from {least} to {most}", read, least, most)


def seconds(least: float, most: float) -> Kind:
    """Return the kind of a number of seconds between two bounds."""
    use = f"a number of seconds from {least:.10g} to {most:.10g}"
    return Kind(use, lambda value: _number(value, least, most), least, most)


def timeout(most: int) -> Kind:
    """Return the kind of a number of seconds that may also be a ``timedelta``."""
    plain = seconds(0, most)

    def read(value: Any) -> Any:
        # Rounded up: half a second does not become 0, which stores nothing.
        is_delta = isinstance(value, timedelta)
        return plain.read(math.ceil(value.total_seconds()) if is_delta else value)

    return Kind(plain.use, read, 0, most)


def _number(value: Any, least: float, most: float) -> int | float:
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else float(value)
    if isinstance(value, bool) or not least <= value <= most:
        raise ValueError
    number: int | float = value
    return number


def _flag(value: Any) -> bool:
    return _FLAGS[value.strip().lower()] if isinstance(value, str) else bool(value)


def _text(pattern: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value is None or not re.fullmatch(pattern, str(value), re.ASCII):
            raise ValueError
        return str(value)

    return read


def _only(accepts: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not accepts(value):
            raise ValueError
        return value

    return read


def _secret(value: Any) -> str | bytes:
    """Read a text; Flask's ``from_prefixed_env`` makes a number of one that is only digits."""
    if isinstance(value, bool) or not isinstance(value, str | bytes | int):
        raise TypeError
    return str(value) if isinstance(value, int) else value


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    if not isinstance(value, list | tuple):
        raise TypeError
    return list(value)


def _addresses(value: Any) -> list[str]:
    found = [
        f"{item}:11211" if re.fullmatch(r"[\w.-]+", item, re.ASCII) else item
        for item in map(str, _list(value))
    ]
    for item in found:
        match = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", item, re.ASCII)
        if not item.startswith(("unix:", "/")) and not (match and 1 <= int(match[1]) <= 65_535):
            raise ValueError
    return found


def _redis_url(url: Any) -> Any:
    if not isinstance(url, str):
        raise TypeError
    try:
        from redis import BlockingConnectionPool, RedisError  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError:
        return url
    try:
        # It connects to nothing. A parameter that no connection has is found by making one.
        BlockingConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except RedisError as error:
        raise ValueError from error
    # redis-py would read a name in the place of the database's number as 0.
    if not url.startswith("unix:") and not re.fullmatch(r"\w+://[^/?]*(/\d*/?)?(\?.*)?", url):
        raise ValueError
    return url


def is_verified(url: str) -> bool:
    """Tell whether the URL of a Redis leaves the check of the server's certificate on."""
    from redis.connection import parse_url  # noqa: PLC0415 - of an extra

    options = parse_url(url)  # type: ignore[no-untyped-call]
    return (
        options.get("ssl_cert_reqs", "required") == "required"
        and options.get("ssl_check_hostname", True) is True
    )


def _are_certificates(path: Any) -> bool:
    ssl.create_default_context(cafile=path)
    return True


def is_identity(certificate: str, key: str | None) -> bool:
    """Tell whether a file holds a certificate whose private key is there, in it or in another."""
    try:
        # With a password at hand, OpenSSL does not ask the terminal for one.
        ssl.create_default_context().load_cert_chain(certificate, key, password="")
    except OSError:
        return False
    return True


BACKEND = Kind("the name of a backend", str)
SHARE = Kind("a share from 0 (none) to 1 (all)", lambda value: _number(value, 0, 1), 0, 1)
FLAG = Kind("true or false", _flag)
TEXT = Kind("a text", _text(r"(?s).+"))
SECRET = Kind("a text", _secret, secret=True)
PREFIX = Kind("1 to 200 characters without a colon", _text(r"[^:]{1,200}"))
HOST = Kind("a host name or address", _text(r"[\w.:-]+"))
ADDRESSES = Kind("host:port, and commas between", _addresses)
REDIS_URL = Kind(
    "a URL such as redis://:password@host:6379/0, or rediss:// for TLS", _redis_url, secret=True
)
CERTIFICATES = Kind(
    "the path of a file of certificates in PEM form, which this process can read",
    _only(_are_certificates),
)
FILE = Kind("the path of a file in PEM form", _only(lambda value: Path(value).is_file()))
FUNCTION = Kind("a function, such as hashlib.sha256", _only(callable))
LIST = Kind("a list", _list)
MAPPING = Kind("a dictionary", _only(lambda value: isinstance(value, Mapping)))
