"""Settings: read from the environment, checked in one place, all problems reported at once.

`.env.example` documents them one by one. The library reads those of the cache, CACHE_….
"""

import hashlib
import os
import secrets
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from dotenv import find_dotenv
from flask_coherent_cache import settings as cache_settings

from . import env_file
from .database_url import database_url, engine_options, find_problems, is_database
from .env_reader import SettingsReader, matches

PACKAGE = Path(__file__).parent
#: Parts of keys that are not random; too long to be in a random key by accident.
PLACEHOLDERS = (
    *("change", "secret", "placeholder", "example", "password", "insecure", "replace"),
    *("your-key", "your_key", "goes-here", "goes_here", "qwerty", "abcdef", "012345", "123456"),
)
A_KEY = (
    "at least 32 random characters, as printed by"
    " `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
)
YEAR = 31_536_000
NEVER_VARY = {
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    # Otherwise each response to a permanent session would set the cookie again, and no such page
    # could be served before Flask.
    "SESSION_REFRESH_EACH_REQUEST": False,
    # Browsers send cookies to every port of a host: a name of its own keeps projects apart.
    "SESSION_COOKIE_NAME": f"{PACKAGE.name}_session",
    "MAX_CONTENT_LENGTH": 1024 * 1024,
}


class ConfigurationError(click.ClickException, ValueError):
    """Settings are missing or wrong; the text names each, and what to use instead.

    The `flask` command shows Click's exceptions as a message, not as a traceback.
    """


def load(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return all settings: those known here, read and checked, and all others in `given`.

    :param given: settings that take precedence over the environment.
    :raises ConfigurationError: naming every setting that is wrong.
    """
    # `NAME=` in a file of settings means that it is not set.
    sources = {
        name: value.strip() if isinstance(value, str) else value
        for name, value in {**environment, **given}.items()
        if value is not None and str(value).strip()
    }
    read = SettingsReader(sources)
    app_env = read.choice("APP_ENV", "development", ("development", "testing", "production"))
    production = app_env == "production"
    _read_application(read, app_env)
    _read_secrets(read, production)
    _read_web(read, production)
    of_cache, problems = _read_cache(read, sources, app_env)
    url = database_url(read.found["DATABASE_URL"] or "")
    url = str(given.get("SQLALCHEMY_DATABASE_URI") or url)
    problems += read.problems() + find_problems(url, instance_path())
    if production and read.found["DEBUG"]:
        problems.append(
            "DEBUG (or FLASK_DEBUG) is on, which shows the program and its secrets to visitors:"
            " production needs it off."
        )
    if environment.get("FLASK_RUN_FROM_CLI") == "true":
        # The flask command has read the file into the environment.
        problems += env_file.problems(Path(find_dotenv(usecwd=True) or ".env"))
    if problems:
        raise ConfigurationError("\n- ".join(["The settings are wrong:", *problems]))
    derived = {
        "TESTING": app_env == "testing",
        "WTF_CSRF_ENABLED": app_env != "testing",
        "SQLALCHEMY_DATABASE_URI": url,
        "SQLALCHEMY_ENGINE_OPTIONS": engine_options(
            url, read.found["GUNICORN_THREADS"], hide_parameters=production
        ),
    }
    return {**NEVER_VARY, **derived, **given, **of_cache, **read.found}


def as_mapping(config: Mapping[str, Any] | object | None) -> dict[str, Any]:
    """Return the settings of a mapping, or of an object's upper-case attributes."""
    if isinstance(config, Mapping):
        return dict(config)
    return {name: getattr(config, name) for name in dir(config) if name.isupper()}


def instance_path() -> str:
    """Return the absolute folder of what is not in version control, such as a SQLite file."""
    root = PACKAGE.parents[1] if PACKAGE.parent.name == "src" else Path.cwd()
    return str(root / "instance")


def _read_application(read: SettingsReader, app_env: str) -> None:
    about = tomllib.loads((PACKAGE / "about.toml").read_text(encoding="utf-8"))
    development = app_env == "development"
    # `flask run --debug` sets FLASK_DEBUG.
    read.flag("DEBUG", read.flag("FLASK_DEBUG", development))
    read.text("SITE_NAME", about["name"], "the name of the site")
    read.text("SITE_DESCRIPTION", about["description"], "a sentence about the site")
    read.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    read.choice("LOG_FORMAT", "json" if app_env == "production" else "text", ("text", "json"))
    release = f"dev-{source_hash()}" if development else source_hash()
    remedy = "1 to 64 letters, digits, dots, dashes and underscores"
    read.text("RELEASE", release, remedy, matches(r"[A-Za-z0-9._-]{1,64}"))
    remedy = "sqlite:///app.db (a file in instance/) or postgresql://user:password@host:5432/name"
    read.text("DATABASE_URL", "sqlite:///app.db", remedy, is_database)
    read.seconds("DATABASE_TIMEOUT_SECONDS", 5, 0, 3600)


def _read_secrets(read: SettingsReader, production: bool) -> None:
    good = _is_strong if production else bool
    random = secrets.token_urlsafe(32)
    key = read.text("SECRET_KEY", ... if production else random, A_KEY, good)
    read.found["SECRET_KEY_IS_RANDOM"] = key == random
    read.texts("SECRET_KEY_FALLBACKS", None, f"former keys, with commas between: {A_KEY}", good)
    read.text("API_TOKEN", None, "a random text")
    read.text("OPS_TOKEN", None, "a random text")
    read.texts("OPS_USERS", [], "names of users, with commas between", bool)


def _read_web(read: SettingsReader, production: bool) -> None:
    hosts = read.texts(
        "TRUSTED_HOSTS",
        [] if production else None,
        "host names without scheme and port, with commas between (.example.com: all subdomains)",
        matches(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"),
    )
    read.whole("PROXY_COUNT", 0, 0, 10)
    remedy = "scheme and host as visitors write them, without a path: https://www.example.com"
    is_public = matches(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?")
    public = read.text("PUBLIC_URL", None, remedy, is_public)
    # Health checks ask for this machine's own names, whatever the public one is.
    own = [urlsplit(public).hostname] * bool(public) + ["localhost", "127.0.0.1"]
    read.found["TRUSTED_HOSTS"] = None if hosts is None else hosts + own
    path = ("a path such as /shop, without a slash at its end", matches(r"/|(/[\w.~-]+)+"))
    # gunicorn.conf.py hands the one on as the other, which is Flask's name for it.
    read.text("APPLICATION_ROOT", read.text("SCRIPT_NAME", "/", *path), *path)
    read.flag("SESSION_COOKIE_SECURE", production)
    read.whole("HSTS_SECONDS", YEAR if production else 0, 0, 2 * YEAR)
    # What others ask about the server, with the defaults of gunicorn.conf.py.
    read.whole("GUNICORN_THREADS", 4, 1, 256)
    read.whole("GUNICORN_TIMEOUT_SECONDS", 30, 1, 3600)
    read.whole("GUNICORN_GRACEFUL_TIMEOUT_SECONDS", 25, 1, 3600)
    read.whole("METRICS_PORT", None, 1, 65535)


def _read_cache(
    read: SettingsReader, sources: Mapping[str, Any], app_env: str
) -> tuple[dict[str, Any], list[str]]:
    """Have the library read the settings of the cache, with this application's defaults."""
    # deploy/servers.yaml has a server for each of these, and the prefix in its user's pattern.
    kinds = ("SimpleCache", "RedisCache", "MemcachedCache", "NullCache")
    kind = read.choice("CACHE_TYPE", kinds[app_env == "production"], kinds)
    remedy = "1 to 64 letters, digits, dashes and underscores"
    prefix = read.text("CACHE_KEY_PREFIX", PACKAGE.name, remedy, matches(r"[A-Za-z0-9_-]{1,64}"))
    return cache_settings.read(
        {name: value for name, value in sources.items() if name not in read.found},
        production=app_env == "production",
        CACHE_TYPE=kind or "NullCache",
        CACHE_KEY_PREFIX=prefix or PACKAGE.name,
        CACHE_POOL_SIZE=(read.found["GUNICORN_THREADS"] or 0) + 4,
        # Without DEBUG, development shows how production serves its pages.
        CACHE_TOOLBAR=app_env == "development" and bool(read.found["DEBUG"]),
    )


def _is_strong(key: str) -> bool:
    placeholder = any(word in key.lower() for word in PLACEHOLDERS)
    repeats = key in (key + key)[1:-1]
    return len(key) >= 32 and len(set(key)) >= 8 and not placeholder and not repeats


@cache
def source_hash() -> str:
    """Return a short digest of the package's files, which names a version that nobody named."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            name = path.relative_to(PACKAGE).as_posix().encode()
            digest.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
