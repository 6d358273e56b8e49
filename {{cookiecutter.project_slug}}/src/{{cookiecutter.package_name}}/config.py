"""Settings: read from the environment, checked in one place, every error reported at once.

`.env.example` documents them one by one.
"""

import hashlib
import os
import re
import secrets
import sqlite3
import ssl
import tomllib
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from dotenv import find_dotenv
from environs import Env, EnvValidationError, ValidationError, validate
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from . import env_file
from .database import CONNECT_ARGS, GuardedPool

PACKAGE = Path(__file__).parent
ENVIRONMENTS = ("development", "testing", "production")
CACHE_TYPES = ("SimpleCache", "RedisCache", "MemcachedCache", "NullCache")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Names of this machine: health checks ask for them, whatever the public name is.
LOOPBACK = ("localhost", "127.0.0.1")
#: Settings whose values no error message shows.
HIDDEN = frozenset(
    {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "API_TOKEN", "OPS_TOKEN", "DATABASE_URL"}
    | {"CACHE_REDIS_URL", "CACHE_REDIS_PASSWORD"}
)
#: Words of keys that nobody drew; too long to be in a random key by accident.
PLACEHOLDERS = (
    *("change", "secret", "placeholder", "example", "password", "insecure", "replace"),
    *("your-key", "your_key", "goes-here", "goes_here", "qwerty", "abcdef", "012345", "123456"),
)
A_KEY = (
    "at least 32 random characters, as printed by"
    " `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`,"
)
YEAR = 31_536_000


class ConfigurationError(click.ClickException, ValueError):
    """Settings are missing or wrong; the text names each, with what would do.

    The `flask` command shows an error of Click's in words, and any other as a traceback.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        """Join the problems, one a line."""
        super().__init__("The settings are wrong:\n" + "\n".join(f"- {p}" for p in problems))


class Settings(Env):
    """An environs reader that looks in several mappings and says what would do."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        """Read from `sources`; the first that has a name wins."""
        super().__init__(eager=False)
        self.found: dict[str, Any] = {}
        self._sources = ChainMap(*(dict(source) for source in sources))
        self._remedies: dict[str, str] = {}

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = self._sources.get(env_key)
        value = value.strip() if isinstance(value, str) else value
        # `NAME=` in a file of settings means that it is not set.
        return default if value is None or value == "" else value

    def _read(
        self, kind: Callable[..., Any], name: str, default: Any, remedy: str, **how: Any
    ) -> Any:
        self._remedies[name] = remedy
        self.found[name] = kind(name, default, **how)
        return self.found[name]

    def whole(self, name: str, default: int | None, least: int, most: int) -> Any:
        """Read a whole number between two bounds."""
        remedy = f"a whole number from {least} to {most}"
        return self._read(self.int, name, default, remedy, validate=validate.Range(least, most))

    def seconds(self, name: str, default: float, least: float, most: float) -> Any:
        """Read a duration in seconds between two bounds."""
        remedy = f"a number of seconds from {least:.10g} to {most:.10g}"
        return self._read(self.float, name, default, remedy, validate=validate.Range(least, most))

    def share(self, name: str, default: float) -> Any:
        """Read a share of a whole."""
        remedy = "a share from 0 (none) to 1 (all)"
        return self._read(self.float, name, default, remedy, validate=validate.Range(0, 1))

    def flag(self, name: str, default: bool) -> Any:
        """Read a truth value."""
        return self._read(self.bool, name, default, "true or false")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> Any:
        """Read one of a few words."""
        remedy = f"one of {', '.join(choices)}"
        return self._read(self.str, name, default, remedy, validate=validate.OneOf(choices))

    def text(
        self, name: str, default: Any, remedy: str, accepts: Callable[[str], bool] = bool
    ) -> Any:
        """Read a text that `accepts` does not refuse."""
        return self._read(self.str, name, default, remedy, validate=_check(accepts))

    def texts(self, name: str, default: Any, remedy: str, accepts: Callable[[str], bool]) -> Any:
        """Read a list of texts, separated by commas, none of which `accepts` refuses."""
        check = _check(lambda items: all(map(accepts, items)))
        return self._read(self.list, name, default, remedy, subcast=str.strip, validate=check)

    def problems(self) -> list[str]:
        """Say in words what was wrong with each setting that was read."""
        try:
            self.seal()
        except EnvValidationError as error:
            return [self._problem(name) for name in error.error_messages]
        return []

    def _problem(self, name: str) -> str:
        value = self._get_value(name, None)
        if value is None:
            found = "is not set"
        elif name in HIDDEN:
            found = "will not do (its value is not shown)"
        else:
            found = f"is {value if isinstance(value, int | float) else ascii(str(value)[:80])}"
        return f"{name} {found}: {self._remedies[name]} would do."


def load(given: Mapping[str, Any], environment: Mapping[str, str] = environ) -> dict[str, Any]:
    """Return all settings: `given` as it is, and those known here read and checked.

    :param given: wins over the environment; what is not known here is handed on.
    :raises ConfigurationError: naming every setting that is wrong, and what would do.
    """
    read = Settings(given, environment)
    app_env = read.choice("APP_ENV", "development", ENVIRONMENTS)
    production = app_env == "production"
    _read_application(read, app_env)
    _read_secrets(read, production)
    _read_web(read, production)
    _read_server(read)
    _read_cache(read, production)
    url = _read_database(read, given)
    # What is wrong by itself would only be found wrong a second time.
    problems = read.problems() or _contradictions(read.found)
    problems += _refusals(read.found) if production else []
    problems += _unusable(url)
    if environment.get("FLASK_RUN_FROM_CLI") == "true":
        # The flask command has read it into the environment.
        problems += env_file.problems(Path(find_dotenv(usecwd=True) or ".env"))
    if problems:
        raise ConfigurationError(problems)
    fixed = {
        "TESTING": app_env == "testing",
        "WTF_CSRF_ENABLED": app_env != "testing",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        # Else every response to who is signed in for good would set the cookie anew, and none
        # could be served before Flask.
        "SESSION_REFRESH_EACH_REQUEST": False,
        # Browsers send cookies to every port of a host: a name of its own keeps projects apart.
        "SESSION_COOKIE_NAME": f"{PACKAGE.name}_session",
        "MAX_CONTENT_LENGTH": 1024 * 1024,
        "SQLALCHEMY_DATABASE_URI": url,
        "SQLALCHEMY_ENGINE_OPTIONS": _engine_options(
            url, read.found["GUNICORN_THREADS"], hide_parameters=production
        ),
    }
    return {**fixed, **given, **read.found}


def named(config: Mapping[str, Any] | object | None) -> dict[str, Any]:
    """Return the settings of a mapping, or of an object's upper-case attributes."""
    if isinstance(config, Mapping):
        return dict(config)
    return {name: getattr(config, name) for name in dir(config) if name.isupper()}


def instance_path() -> str:
    """Return the absolute folder of what is not in version control, such as a SQLite file."""
    root = PACKAGE.parents[1] if PACKAGE.parent.name == "src" else Path.cwd()
    return str(root / "instance")


def _read_application(read: Settings, app_env: str) -> None:
    about = tomllib.loads((PACKAGE / "about.toml").read_text(encoding="utf-8"))
    development = app_env == "development"
    # `flask run --debug` sets FLASK_DEBUG.
    debug = read.flag("DEBUG", read.flag("FLASK_DEBUG", development))
    # Without DEBUG, development shows how production serves its pages.
    read.flag("CACHE_TOOLBAR", development and bool(debug))
    read.text("SITE_NAME", about["name"], "the name of the site")
    read.text("SITE_DESCRIPTION", about["description"], "a sentence about the site")
    read.choice("LOG_LEVEL", "INFO", LOG_LEVELS)
    read.choice("LOG_FORMAT", "json" if app_env == "production" else "text", ("text", "json"))
    read.text(
        "RELEASE",
        f"dev-{source_hash()}" if development else source_hash(),
        "1 to 64 letters, digits, dots, dashes and underscores",
        _matches(r"[A-Za-z0-9._-]{1,64}"),
    )


def _read_secrets(read: Settings, production: bool) -> None:
    good = _is_strong if production else bool
    random = secrets.token_urlsafe(32)
    key = read.text("SECRET_KEY", ... if production else random, A_KEY, good)
    read.found["SECRET_KEY_IS_RANDOM"] = key == random
    read.texts("SECRET_KEY_FALLBACKS", None, f"former keys, each {A_KEY} and commas between", good)
    read.text("API_TOKEN", None, "a random text")
    read.text("OPS_TOKEN", None, "a random text")
    read.texts("OPS_USERS", [], "names of users, and commas between,", bool)


def _read_web(read: Settings, production: bool) -> None:
    hosts = read.texts(
        "TRUSTED_HOSTS",
        [] if production else None,
        "host names without scheme and port, and commas between (.example.com: all subdomains),",
        _matches(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"),
    )
    read.whole("PROXY_COUNT", 0, 0, 10)
    public = read.text(
        "PUBLIC_URL",
        None,
        "scheme and host as visitors write them, without a path: https://www.example.com",
        _matches(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?"),
    )
    own = [urlsplit(public).hostname] if public else []
    read.found["TRUSTED_HOSTS"] = None if hosts is None else [*hosts, *own, *LOOPBACK]
    path = ("a path such as /shop, without a slash at its end", _matches(r"/|(/[\w.~-]+)+"))
    # gunicorn.conf.py hands the one on as the other, which is Flask's name for it.
    read.text("APPLICATION_ROOT", read.text("SCRIPT_NAME", "/", *path), *path)
    read.flag("SESSION_COOKIE_SECURE", production)
    read.whole("HSTS_SECONDS", YEAR if production else 0, 0, 2 * YEAR)


def _read_server(read: Settings) -> None:
    """Read what gunicorn.conf.py reads too, with the same defaults."""
    read.whole("WEB_CONCURRENCY", 1, 1, 256)
    read.whole("GUNICORN_THREADS", 4, 1, 256)
    read.whole("GUNICORN_TIMEOUT_SECONDS", 30, 1, 3600)
    read.whole("GUNICORN_REQUEST_SECONDS", 10, 1, 3600)
    read.whole("GUNICORN_GRACEFUL_TIMEOUT_SECONDS", 25, 1, 3600)
    read.whole("GUNICORN_KEEPALIVE_SECONDS", 65, 0, 3600)
    read.whole("GUNICORN_MAX_REQUESTS", 100_000, 0, 1_000_000_000)
    read.whole("METRICS_PORT", None, 1, 65535)


def _read_cache(read: Settings, production: bool) -> None:
    read.choice("CACHE_TYPE", "RedisCache" if production else "SimpleCache", CACHE_TYPES)
    read.whole("CACHE_DEFAULT_TIMEOUT", 300, 1, YEAR)
    read.text(
        "CACHE_KEY_PREFIX",
        PACKAGE.name,
        "1 to 64 letters, digits, dashes and underscores",
        _matches(r"[A-Za-z0-9_-]{1,64}"),
    )
    read.text("CACHE_REDIS_URL", None, "redis://:password@host:6379/0 or rediss://…", _is_redis)
    read.text("CACHE_REDIS_HOST", "localhost", "a host name or address", _matches(r"[\w.:-]+"))
    read.whole("CACHE_REDIS_PORT", 6379, 1, 65535)
    read.whole("CACHE_REDIS_DB", 0, 0, 65535)
    read.text("CACHE_REDIS_USERNAME", None, "a user name")
    read.text("CACHE_REDIS_PASSWORD", None, "a password")
    read.flag("CACHE_REDIS_TLS", False)
    file = "the path of a file of certificates in PEM form, which this process can read,"
    read.text("CACHE_REDIS_CA_FILE", None, file, _holds_certificates)
    read.text("CACHE_REDIS_CERT_FILE", None, file, _holds_certificates)
    read.text("CACHE_REDIS_KEY_FILE", None, "the path of a file in PEM form", _is_file)
    read.texts(
        "CACHE_MEMCACHED_SERVERS",
        ["localhost:11211"],
        "host:port, and commas between,",
        _is_address,
    )
    read.seconds("CACHE_CONNECT_TIMEOUT_SECONDS", 0.25, 0.01, 30)
    read.seconds("CACHE_SOCKET_TIMEOUT_SECONDS", 0.25, 0.01, 30)
    read.seconds("CACHE_RETRY_SECONDS", 1, 0.05, 60)
    read.seconds("CACHE_DEGRADED_SECONDS", 2, 0, 60)
    read.whole("CACHE_POOL_SIZE", (read.found["GUNICORN_THREADS"] or 0) + 4, 1, 1024)
    read.whole("CACHE_THRESHOLD", 5000, 1, 10_000_000)
    read.whole("CACHE_MAX_BYTES", 64 * 2**20, 1024, 2**40)
    read.whole("CACHE_NEAR_BYTES", 32 * 2**20, 0, 2**40)
    read.whole("CACHE_NEAR_ENTRIES", 10_000, 1, 10_000_000)
    read.whole("CACHE_COMPRESS_MIN_BYTES", 4096, 0, 2**40)
    read.whole("CACHE_MAX_KEY_BYTES", 2048, 256, 65_536)
    read.whole("CACHE_NEW_PAGES_PER_MINUTE", 1000, 0, 10_000_000)
    read.whole("CACHE_NEW_VALUES_PER_MINUTE", 10_000, 0, 10_000_000)
    read.flag("CACHE_INSPECTOR", True)
    read.flag("CACHE_SURROGATE_KEYS", False)
    read.share("CACHE_VERIFY", 0)
    read.seconds("CACHE_GRACE", 0, 0, YEAR)
    read.seconds("CACHE_LEASE_SECONDS", 10, 0.1, 3600)
    read.seconds("CACHE_WAIT_SECONDS", 5, 0, 3600)


def _read_database(read: Settings, given: Mapping[str, Any]) -> str:
    remedy = "sqlite:///app.db (a file in instance/) or postgresql://user:password@host:5432/name"
    url = read.text("DATABASE_URL", "sqlite:///app.db", remedy, _is_database)
    read.seconds("DATABASE_TIMEOUT_SECONDS", 5, 0, 3600)
    return str(given.get("SQLALCHEMY_DATABASE_URI") or database_url(url or ""))


def _contradictions(found: Mapping[str, Any]) -> list[str]:
    """Say which settings of the connection to Redis do not go together."""
    problems = []
    url, wanted = found["CACHE_REDIS_URL"], found["CACHE_REDIS_TLS"]
    certificate, key = found["CACHE_REDIS_CERT_FILE"], found["CACHE_REDIS_KEY_FILE"]
    encrypted = url.startswith("rediss:") if url else wanted
    if wanted and not encrypted:
        problems.append(
            "CACHE_REDIS_TLS is true, but CACHE_REDIS_URL is one without TLS: rediss:// in the"
            " place of its first word would do."
        )
    elif not encrypted:
        problems += [
            f"{name} is set, but the connection is one without TLS: CACHE_REDIS_TLS=true, or"
            " rediss:// in CACHE_REDIS_URL, would do."
            for name in ("CACHE_REDIS_CA_FILE", "CACHE_REDIS_CERT_FILE", "CACHE_REDIS_KEY_FILE")
            if found[name]
        ]
    if key and not certificate:
        problems.append("CACHE_REDIS_KEY_FILE is set, but CACHE_REDIS_CERT_FILE is not.")
    if certificate and not _is_identity(certificate, key):
        problems.append(
            "CACHE_REDIS_CERT_FILE holds no certificate whose private key is there, in it or in"
            " CACHE_REDIS_KEY_FILE: such a key, in PEM form and without a password, would do."
        )
    return problems


def _refusals(found: Mapping[str, Any]) -> list[str]:
    """Say what production must not be started with."""
    refused = []
    if found["DEBUG"]:
        refused.append(
            "DEBUG (or FLASK_DEBUG) is on, which shows the program and its secrets to visitors:"
            " production needs it off."
        )
    if found["CACHE_TOOLBAR"]:
        refused.append(
            "CACHE_TOOLBAR is on, which shows keys and tags to visitors, and lets nobody keep a"
            " page: production needs it off."
        )
    processes = found["WEB_CONCURRENCY"] or 1
    if found["CACHE_TYPE"] == "SimpleCache" and processes > 1:
        refused.append(
            f"CACHE_TYPE is SimpleCache and WEB_CONCURRENCY is {processes}: each process would"
            " keep values of its own and miss the others' invalidations. RedisCache,"
            " MemcachedCache or WEB_CONCURRENCY=1 would do."
        )
    if (url := found["CACHE_REDIS_URL"]) and not _is_verified(url):
        refused.append(
            "CACHE_REDIS_URL switches off that the server's certificate and name are verified, so"
            " that anybody in between could be the server: production needs it without"
            " ssl_cert_reqs and ssl_check_hostname. CACHE_REDIS_CA_FILE names an authority of"
            " one's own."
        )
    return refused


def database_url(url: str) -> str:
    """Return SQLAlchemy's URL; `postgres://` and `postgresql://` are taken to mean psycopg 3."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def _engine_options(url: str, threads: int, *, hide_parameters: bool) -> dict[str, Any]:
    # An error of a statement is logged, and its parameters may be a visitor's name.
    hidden = {"hide_parameters": hide_parameters}
    if not url.startswith("postgresql"):
        # A writer waits so many seconds for another one to finish.
        return hidden | {"connect_args": {"timeout": 5}}
    return hidden | {
        # A connection that the server or a firewall closed is replaced, not handed out.
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        # One for each thread, some more for work in the background; waiting is bounded.
        "pool_size": threads,
        "max_overflow": 4,
        "pool_timeout": 5,
        "poolclass": GuardedPool,
        "connect_args": CONNECT_ARGS,
    }


def _is_database(url: str) -> bool:
    try:
        parsed = make_url(database_url(url))
    except (ArgumentError, ValueError):
        return False
    name = parsed.drivername
    return name == "sqlite" or (name == "postgresql+psycopg" and bool(parsed.database))


def _unusable(url: str) -> list[str]:
    """Say what keeps a connection from being made, of what can be told without a server."""
    if not _is_database(url):
        return []
    parsed = make_url(url)
    problem = (_wrong_query if parsed.query else _unwritable)(parsed) or _unwritable(parsed)
    return [f"DATABASE_URL {problem}"] if problem else []


def _wrong_query(url: URL) -> str | None:
    # Each parameter goes to the driver as a text, also where the driver wants something else.
    names = ", ".join(sorted(url.query))
    try:
        arguments, options = url.get_dialect()().create_connect_args(url)
        if url.get_backend_name() == "sqlite":
            sqlite3.connect(":memory:", **options).close()
        else:
            import psycopg  # noqa: PLC0415 - only where it is used

            psycopg.conninfo.make_conninfo(*arguments, **options)
    except (TypeError, ValueError, sqlite3.Error, SQLAlchemyError) as error:
        return f"has parameters ({names}) that its driver does not take: {error}"
    except Exception as error:
        # psycopg's own, which is imported above only.
        return f"has parameters ({names}) that are not libpq's: {error}".strip()
    return None


def _unwritable(url: URL) -> str | None:
    """Say why a file of SQLite cannot be written by this process."""
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    # As Flask-SQLAlchemy, which makes the folder `instance`.
    path = Path(instance_path(), name)
    folder = path.parent
    if not Path(name).is_absolute():
        folder = next(parent for parent in path.parents if parent.exists())
    who = f"user {os.getuid()}" if hasattr(os, "getuid") else "the user"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return f"names the file {path}, which {who} of this process may not write."
    if not folder.is_dir():
        return f"names the file {path}, whose folder is not there."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"names the file {path}, in whose folder {who} of this process may not write."
    return None


def _is_redis(url: str) -> bool:
    # redis-py's own reading of it, which is imported only where one is used.
    from redis import BlockingConnectionPool, RedisError  # noqa: PLC0415

    try:
        # Connects to nothing; a parameter that no connection has is found only by making one.
        BlockingConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        return False
    # A name in the place of the database's number would be read as 0 in silence.
    return url.startswith("unix:") or re.fullmatch(r"\w+://[^/?]*(/\d*/?)?(\?.*)?", url) is not None


def _is_verified(url: str) -> bool:
    from redis.connection import parse_url  # noqa: PLC0415 - as above

    options = parse_url(url)  # type: ignore[no-untyped-call]
    return (
        options.get("ssl_cert_reqs", "required") == "required"
        and options.get("ssl_check_hostname", True) is True
    )


def _holds_certificates(path: str) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        return False
    return True


def _is_identity(certificate: str, key: str | None) -> bool:
    try:
        # With a password at hand, OpenSSL does not ask the terminal for one.
        ssl.create_default_context().load_cert_chain(certificate, key, password="")
    except OSError:
        return False
    return True


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return _matches(r"[\w.-]+")(host) and _matches(r"\d{1,5}")(port) and 1 <= int(port) <= 65535


def _is_strong(key: str) -> bool:
    placeholder = any(word in key.lower() for word in PLACEHOLDERS)
    repeats = key in (key + key)[1:-1]
    return len(key) >= 32 and len(set(key)) >= 8 and not placeholder and not repeats


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text, re.ASCII) is not None


def _check(accepts: Callable[[Any], bool]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not accepts(value):
            raise ValidationError("refused")

    return check


@cache
def source_hash() -> str:
    """Return a short digest of the package's files, which names a version that nobody named."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
