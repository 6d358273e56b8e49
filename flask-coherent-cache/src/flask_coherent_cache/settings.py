"""Every setting of the cache: what it means, its default, its bounds, and what is wrong with it.

:meth:`Cache.init_app <flask_coherent_cache.Cache.init_app>` reads the application's configuration
with :func:`read`, and raises a ``ValueError`` that names each wrong setting. An application that
checks settings of its own calls :func:`read` itself, to report all problems at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._setting_kinds import (
    ADDRESSES,
    BACKEND,
    CERTIFICATES,
    FILE,
    FLAG,
    FUNCTION,
    HOST,
    LIST,
    MAPPING,
    PREFIX,
    REDIS_URL,
    SECRET,
    SHARE,
    TEXT,
    Kind,
    is_identity,
    is_verified,
    seconds,
    timeout,
    whole,
)
from ._stores.names import kind_of, options_as_settings

__all__ = ["SETTINGS", "Setting", "read"]

_YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the cache.

    :param kind: what the value is. ``kind.use`` says in words what it may be; ``kind.least`` and
        ``kind.most`` are the bounds of a number.
    :param default: the value where nothing is set.
    :param help: one sentence about what it does.
    :param optional: whether ``None`` is a value, too. It is where it is the default.
    """

    kind: Kind
    default: Any
    help: str
    optional: bool = False


#: All settings, by name. Other names that begin with ``CACHE_`` are handed on as they are, for
#: Flask-Caching's other backends.
SETTINGS: Mapping[str, Setting] = {
    "CACHE_TYPE": Setting(
        BACKEND,
        "SimpleCache",
        "Where entries are kept: SimpleCache (in the process), RedisCache (Redis or Valkey),"
        " MemcachedCache, NullCache (nowhere), or a class of your own by its dotted name.",
    ),
    "CACHE_KEY_PREFIX": Setting(PREFIX, "app", "Keeps the applications on one cache server apart."),
    "RELEASE": Setting(
        TEXT, "dev", "The deployed version, part of each key: a deploy serves no old entry."
    ),
    "SECRET_KEY": Setting(SECRET, None, "Encrypts what a cache server holds, and signs it."),
    "SECRET_KEY_FALLBACKS": Setting(LIST, None, "Former keys, which still read what they wrote."),
    "WEB_CONCURRENCY": Setting(
        whole(1, 256),
        1,
        "The number of processes of the server; gunicorn's hooks set it.",
        optional=True,
    ),
    # How long an entry lives, and who computes it.
    "CACHE_DEFAULT_TIMEOUT": Setting(
        timeout(_YEAR),
        300,
        "Seconds that an entry lives where the code names none; 0: nothing is stored.",
    ),
    "CACHE_GRACE": Setting(
        seconds(0, _YEAR),
        0,
        "Seconds past its timeout in which an entry is served while it is recomputed.",
    ),
    "CACHE_LEASE_SECONDS": Setting(
        seconds(0.1, 3600),
        10,
        "Seconds for which a computation keeps others from starting the same one.",
    ),
    "CACHE_WAIT_SECONDS": Setting(
        seconds(0, 3600), 5, "Seconds that the others wait for it before they compute themselves."
    ),
    "CACHE_VERIFY": Setting(SHARE, 0, "The share of hits that are computed again and compared."),
    "CACHE_NARROW": Setting(
        FLAG,
        True,
        "Whether reads depend on the rows and columns that they use, and not on whole tables; false"
        " while processes before 0.6 share the store.",
    ),
    "CACHE_REPLICA_LAG_SECONDS": Setting(
        seconds(0, 3600),
        0,
        "Seconds by which a replica of the database that you read from may be behind.",
    ),
    # How much is kept.
    "CACHE_THRESHOLD": Setting(
        whole(0, 10_000_000), 5000, "The most entries in a SimpleCache or in files; 0: no bound."
    ),
    "CACHE_MAX_BYTES": Setting(whole(1024, 2**40), 64 * 2**20, "The most bytes in a SimpleCache."),
    "CACHE_NEAR_BYTES": Setting(
        whole(0, 2**40),
        32 * 2**20,
        "Bytes of which each process keeps copies in its memory; 0: none.",
        optional=True,
    ),
    "CACHE_NEAR_ENTRIES": Setting(
        whole(1, 10_000_000), 10_000, "The most entries of which each process keeps copies."
    ),
    "CACHE_COMPRESS_MIN_BYTES": Setting(
        whole(0, 2**40),
        4096,
        "Values of so many bytes are compressed where that saves a tenth; 0: none.",
        optional=True,
    ),
    "CACHE_MAX_KEY_BYTES": Setting(
        whole(256, 65_536),
        2048,
        "A page whose key takes more bytes is computed, and not looked up.",
    ),
    "CACHE_NEW_PAGES_PER_MINUTE": Setting(
        whole(0, 10_000_000),
        1000,
        "New pages of one route that a process stores a minute; 0: no bound.",
    ),
    "CACHE_NEW_VALUES_PER_MINUTE": Setting(
        whole(0, 10_000_000),
        10_000,
        "New values of one memoized function that a process stores in a minute; 0: no bound.",
    ),
    # The server.
    "CACHE_REDIS_URL": Setting(
        REDIS_URL, None, "Where Redis or Valkey is; it takes precedence over the parts below."
    ),
    "CACHE_REDIS_HOST": Setting(HOST, "localhost", "The host of Redis or Valkey."),
    "CACHE_REDIS_PORT": Setting(whole(1, 65_535), 6379, "Its port."),
    "CACHE_REDIS_DB": Setting(whole(0, 65_535), 0, "The number of its database."),
    "CACHE_REDIS_USERNAME": Setting(TEXT, None, "The user name to log in with."),
    "CACHE_REDIS_PASSWORD": Setting(SECRET, None, "The password to log in with."),
    "CACHE_REDIS_TLS": Setting(
        FLAG, False, "Whether to connect by TLS; a URL says it by rediss://."
    ),
    "CACHE_REDIS_CA_FILE": Setting(
        CERTIFICATES, None, "Certificate authorities to trust beside the system's."
    ),
    "CACHE_REDIS_CERT_FILE": Setting(CERTIFICATES, None, "The certificate to show to the server."),
    "CACHE_REDIS_KEY_FILE": Setting(
        FILE, None, "Its private key, where it is in a file of its own."
    ),
    "CACHE_MEMCACHED_SERVERS": Setting(ADDRESSES, ("localhost:11211",), "The Memcached servers."),
    "CACHE_CONNECT_TIMEOUT_SECONDS": Setting(
        seconds(0.01, 30),
        0.25,
        "Seconds that a request waits for a connection before it goes on without.",
    ),
    "CACHE_SOCKET_TIMEOUT_SECONDS": Setting(
        seconds(0.01, 30),
        0.25,
        "Seconds that a request waits for an answer before it goes on without.",
    ),
    "CACHE_RETRY_SECONDS": Setting(
        seconds(0.05, 60), 1, "Seconds between two attempts to reach a server that was lost."
    ),
    "CACHE_DEGRADED_SECONDS": Setting(
        seconds(0, 60),
        2,
        "Seconds for which a process serves its own entries without the server; 0: none.",
    ),
    "CACHE_POOL_SIZE": Setting(whole(1, 2**31), 16, "The most connections of a process."),
    # What it shows.
    "CACHE_INSPECTOR": Setting(FLAG, True, "Whether there is an inspector at /_cache/."),
    "CACHE_TOOLBAR": Setting(FLAG, False, "Whether each page shows what the cache did for it."),
    "CACHE_SURROGATE_KEYS": Setting(
        FLAG,
        False,
        "Whether pages name their tags in Surrogate-Key, for a CDN that purges by them.",
    ),
    "CACHE_ENABLE_SIGNALS": Setting(FLAG, False, "Whether Flask-Caching's signals are sent."),
    # For the code.
    "CACHE_STRICT": Setting(
        FLAG,
        None,
        "Whether mistakes raise instead of being logged; by default in debug and in tests.",
    ),
    "CACHE_SOURCE_CHECK": Setting(
        FLAG, False, "Whether a function's source is part of its keys where the code does not say."
    ),
    "CACHE_HASH_METHOD": Setting(
        FUNCTION, None, "What hashes a function's source: a constructor of hashlib, or SHA-256."
    ),
    "CACHE_OPTIONS": Setting(MAPPING, None, "Flask-Caching's options of a backend."),
    "CACHE_ARGS": Setting(LIST, None, "Flask-Caching's arguments of a backend."),
}


def read(
    source: Mapping[str, object], *, production: bool = False, **defaults: object
) -> tuple[dict[str, Any], list[str]]:
    """Read and check the cache's settings.

    :param source: settings by name, as text or as Python values: ``os.environ``, ``app.config`` or
        any other mapping. Names that are no settings of the cache are skipped. An empty text is a
        value, too: leave out what an environment sets to nothing.
    :param production: whether to refuse also what is unsafe in production: the toolbar, a
        ``SimpleCache`` for several processes (``WEB_CONCURRENCY``), and a ``CACHE_REDIS_URL`` that
        does not verify the server.
    :param defaults: default values that take the place of those in :data:`SETTINGS`.
    :returns: the value of each setting, and a sentence for each problem. A setting with a problem
        has its default. No sentence shows the value of a secret.

    Example::

        values, problems = read(os.environ, CACHE_KEY_PREFIX="shop")
        if problems:
            sys.exit("\\n".join(problems))
        app.config.update(values)
    """
    given = {
        name: value
        for name, value in source.items()
        if name in SETTINGS or name.startswith("CACHE_")
    }
    problems: list[str] = []
    values = {name: setting.default for name, setting in SETTINGS.items()} | defaults
    values |= {name: value for name, value in given.items() if name not in SETTINGS}
    try:
        given["CACHE_TYPE"] = kind_of(given.get("CACHE_TYPE", values["CACHE_TYPE"]))
    except ValueError as error:
        problems.append(str(error))
        given["CACHE_TYPE"] = values["CACHE_TYPE"]
    if isinstance(given.get("CACHE_OPTIONS") or {}, Mapping):
        given |= options_as_settings(given)
    for name, value in given.items():
        if setting := SETTINGS.get(name):
            try:
                values[name] = _value(setting, value)
            except (ValueError, TypeError, LookupError, ArithmeticError, OSError):
                problems.append(_problem(name, setting, value))
    # A value that is wrong by itself would only be found wrong a second time.
    problems = problems or _contradictions(values)
    if production:
        problems += _unsafe(values)
    return values, problems


def _value(setting: Setting, value: Any) -> Any:
    if (value is None or value == "") and (setting.optional or setting.default is None):
        return None
    if value is None and setting.kind in (HOST, TEXT):
        return setting.default  # As os.environ.get() gives it for what is not set.
    return setting.kind.read(value)


def _problem(name: str, setting: Setting, value: Any) -> str:
    if setting.kind.secret:
        return f"{name} will not do (its value is not shown): use {setting.kind.use}."
    shown = ascii(value[:80]) if isinstance(value, str) else repr(value)[:80]
    return f"{name} is {shown}: use {setting.kind.use}."


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Say which settings of the connection to Redis do not go together."""
    problems = []
    url, tls = values["CACHE_REDIS_URL"], values["CACHE_REDIS_TLS"]
    certificate, key = values["CACHE_REDIS_CERT_FILE"], values["CACHE_REDIS_KEY_FILE"]
    encrypted = url.startswith("rediss:") if url else tls
    if tls and not encrypted:
        problems.append(
            "CACHE_REDIS_TLS is true, but CACHE_REDIS_URL is one without TLS: begin it with"
            " rediss://."
        )
    elif not encrypted:
        problems += [
            f"{name} is set, but the connection is one without TLS: set CACHE_REDIS_TLS=true, or"
            " begin CACHE_REDIS_URL with rediss://."
            for name in ("CACHE_REDIS_CA_FILE", "CACHE_REDIS_CERT_FILE", "CACHE_REDIS_KEY_FILE")
            if values[name]
        ]
    if key and not certificate:
        problems.append("CACHE_REDIS_KEY_FILE is set, but CACHE_REDIS_CERT_FILE is not.")
    if certificate and not is_identity(certificate, key):
        problems.append(
            "CACHE_REDIS_CERT_FILE holds no certificate whose private key is there, in it or in"
            " CACHE_REDIS_KEY_FILE: use a key in PEM form and without a password."
        )
    return problems


def _unsafe(values: Mapping[str, Any]) -> list[str]:
    """Say what production must not be started with."""
    problems = []
    processes = values["WEB_CONCURRENCY"] or 1
    if values["CACHE_TOOLBAR"]:
        problems.append(
            "CACHE_TOOLBAR is on, which shows keys and tags to visitors, and lets nobody keep a"
            " page: production needs it off."
        )
    if values["CACHE_TYPE"] == "SimpleCache" and processes > 1:
        problems.append(
            f"CACHE_TYPE is SimpleCache and WEB_CONCURRENCY is {processes}: each process would"
            " keep values of its own and miss the others' invalidations. Use RedisCache,"
            " MemcachedCache or WEB_CONCURRENCY=1."
        )
    if (url := values["CACHE_REDIS_URL"]) and not is_verified(url):
        problems.append(
            "CACHE_REDIS_URL switches off the check of the server's certificate and name, so that"
            " anybody in between could be the server: production needs it without ssl_cert_reqs"
            " and ssl_check_hostname. CACHE_REDIS_CA_FILE names an authority of your own."
        )
    return problems
