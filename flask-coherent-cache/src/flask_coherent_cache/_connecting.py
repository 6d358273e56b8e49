"""From the settings of an application to its engine: store, encryption, near cache."""

import logging
import secrets
import sys
from typing import Any

from flask import Flask

from ._engine.engine import CacheEngine
from ._engine.entry import Sealer
from ._engine.fallback import Fallback
from ._engine.kill_switch import KillSwitch
from ._setting_kinds import FLAG
from ._stores import Store, connect, kind_of, missing_extra
from ._verification import Verifier
from .settings import SETTINGS, read

logger = logging.getLogger(__name__)


def settings_of(app: Flask, own: dict[str, Any]) -> dict[str, Any]:
    """Return an application's settings, and above them those that the cache itself got.

    The defaults are set in ``app.config``, too.

    :raises ValueError: for settings that cannot be, naming each and how to fix it.
    """
    settings, problems = read({**app.config, **own})
    if problems:
        raise ValueError("\n".join(problems))
    for name, setting in SETTINGS.items():
        if setting.kind is FLAG and name not in own and isinstance(app.config.get(name), str):
            app.config[name] = settings[name]  # The text "false" is true where others look.
        if setting.default is not None:
            app.config.setdefault(name, setting.default)
    app.config["CACHE_TYPE"] = kind_of(app.config["CACHE_TYPE"])
    return {**own, **settings}  # A backend of your own has settings of any name.


def engine_of(app: Flask, settings: dict[str, Any]) -> CacheEngine | None:
    """Make the engine of an application; ``None`` with ``CACHE_TYPE=NullCache``.

    :raises ValueError: where a shared store has no ``SECRET_KEY``, or a library is missing.
    """
    store = connect(settings, app)
    if store is None:
        return None
    _check_worker()
    # Also where nothing is kept while the store is there.
    fallback_bytes = settings["CACHE_NEAR_BYTES"] or SETTINGS["CACHE_NEAR_BYTES"].default
    fallback = Fallback(settings["CACHE_DEGRADED_SECONDS"], fallback_bytes)
    kill_switch = KillSwitch(store, settings["CACHE_KEY_PREFIX"])
    engine = CacheEngine(
        store,
        _sealer(store, settings),
        app=app,
        prefix=settings["CACHE_KEY_PREFIX"],
        release=settings["RELEASE"],
        lease_seconds=settings["CACHE_LEASE_SECONDS"],
        wait_seconds=settings["CACHE_WAIT_SECONDS"],
        near=_near_cache(store, settings, fallback, kill_switch),
        fallback=fallback,
        kill_switch=kill_switch,
    )
    if share := settings["CACHE_VERIFY"]:
        engine.verifier = Verifier(engine, share)
    return engine


def _check_worker() -> None:
    """Log which worker cannot do what the cache does outside of requests."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not {"enable-threads", "threads"} & uwsgi.opt.keys():
        logger.warning(
            "uWSGI runs no Python threads: there is no near cache, stale pages are not renewed in "
            "the background, and `flask cache` gets no answer. Start it with --enable-threads."
        )


def _sealer(store: Store, settings: dict[str, Any]) -> Sealer:
    """Make what turns entries into bytes; they are encrypted where they leave the process."""
    secret, kind = settings.get("SECRET_KEY"), Sealer
    if store.shared:
        if not secret:
            raise ValueError(
                f"SECRET_KEY is not set, and CACHE_TYPE is {settings['CACHE_TYPE']}: what lies on a"
                " server is encrypted with it, so that nobody else can read or forge it. Set it to"
                " the same random text in all processes, as printed by"
                " `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`."
            )
        try:
            # A large library, of an extra.
            from ._engine.encryption import EncryptingSealer as kind  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing_extra(settings["CACHE_TYPE"], error) from error
    return kind(
        # What never leaves the process needs no key that another one knows.
        [secret or secrets.token_bytes(32), *(settings.get("SECRET_KEY_FALLBACKS") or ())],
        scope=f"{settings['CACHE_KEY_PREFIX']}:{settings['RELEASE']}",
        compress_min_bytes=settings["CACHE_COMPRESS_MIN_BYTES"] or 0,
    )


def _near_cache(
    store: Any, settings: dict[str, Any], fallback: Fallback, kill_switch: KillSwitch
) -> Any:
    """Make the near cache, where the store's server tells of writes and this system can poll."""
    if not settings["CACHE_NEAR_BYTES"] or not hasattr(store, "track"):
        return None
    # Only where there is such a store are these imported.
    from ._near.copies import NearCache  # noqa: PLC0415
    from ._near.tracking import is_supported  # noqa: PLC0415

    if not is_supported:
        return None
    return NearCache(
        store,
        prefix=settings["CACHE_KEY_PREFIX"],
        max_bytes=settings["CACHE_NEAR_BYTES"],
        max_entries=settings["CACHE_NEAR_ENTRIES"],
        fallback=fallback,
        kill_switch=kill_switch,
    )
