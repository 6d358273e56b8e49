"""What the parts of ``Cache`` share: its applications, their engines and settings, and keys."""

import gc
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import flask_caching
from flask import Flask
from flask.globals import _cv_app

from ._dependencies.declarations import Declarations
from ._engine.engine import CacheEngine
from ._engine.entry import Sealer
from ._keys.closures import Scope
from ._keys.registered_types import RegisteredTypes

#: Where ``app.extensions`` holds the objects that keys know by the name of their class.
_KNOWN = "coherent_cache_known"


class BaseCache(flask_caching.Cache):
    """A ``flask_caching.Cache`` that knows its applications.

    :param app: the application to connect; without it, call ``init_app`` later.
    :param with_jinja2_ext: whether templates get ``{% cache %}``.
    :param config: settings that come before those of ``app.config``.
    """

    _name_tenant: Callable[[], object] = str

    def __init__(
        self,
        app: Flask | None = None,
        with_jinja2_ext: bool = True,
        config: dict[str, Any] | None = None,
    ) -> None:
        #: Which hooks need not count, and why.
        self._declarations = Declarations()
        self._skipped_hooks: set[Callable[..., Any]] = set()
        self._settings: WeakKeyDictionary[Flask, dict[str, Any]] = WeakKeyDictionary()
        self._listeners: list[Callable[..., Any]] = []
        self._registered_types = RegisteredTypes()
        super().__init__(app, with_jinja2_ext, config)

    @property
    def apps(self) -> tuple[Flask, ...]:
        """The applications that the cache serves."""
        return tuple(self._settings)

    @property
    def engine(self) -> CacheEngine | None:
        """The current application's engine, for tools; ``None`` with ``CACHE_TYPE=NullCache``.

        :raises RuntimeError: where ``init_app`` was not called for the current application.
        """
        app = self._app()
        try:
            engine: CacheEngine | None = app.extensions["cache"][self]
        except KeyError:
            raise RuntimeError(
                f"This cache does not know the application {app.name!r}: call cache.init_app(app) "
                "where that is made."
            ) from None
        return engine

    @property
    def settings(self) -> Mapping[str, Any]:
        """The current application's settings, and above them those that this cache got."""
        return self._settings[self._app()]

    def _app(self) -> Flask:
        """Return the current application; outside of a context the only one that there is.

        :raises RuntimeError: where the cache serves none, or several.
        """
        # Asked on every hit, so not by ``current_app``.
        context = _cv_app.get(None)
        if context is not None:
            return context.app
        if len(self._settings) > 1:
            gc.collect()  # Those that were dropped, as by the tests before this one.
        apps = self.apps
        if len(apps) == 1:
            return apps[0]
        raise RuntimeError(
            f"This cache serves {len(apps)} applications, so outside of a context it cannot know "
            "which is meant: use it inside `with app.app_context():`."
            if apps
            else "This cache serves no application yet: call cache.init_app(app) first."
        )

    def _own(self, key: str, mount: str = "") -> str:
        """Make a key the current tenant's.

        :param mount: where the application is mounted: a URL built for one is wrong at another.
        """
        tenant = self._name_tenant()
        if mount:
            key = f"{key} at {mount}"
        return f"{tenant}|{key}" if tenant else key

    def _scope(self) -> Scope:
        """Return what the keys of closures take from the current application."""
        return Scope(self._app().extensions.setdefault(_KNOWN, {}), self.digest)

    def digest(self, value: str) -> str:
        """Name personal data by a keyed hash, for keys, tags and arguments that must not show it.

        Keys and tags lie in clear on the cache's server and are shown to operators. A plain hash
        of a name or an address is found out by trying; this one needs the ``SECRET_KEY``::

            cache.tag(f"user:{cache.digest(email)}")

        :param value: what to name, such as an e-mail address.
        :return: 32 hexadecimal digits, the same in all processes and releases until the
            ``SECRET_KEY`` changes.
        """
        return self._sealer().digest(value.encode("utf-8", "surrogatepass"))

    def digests(self, value: str) -> tuple[str, ...]:
        """Name personal data under each secret that is known, the current one first.

        While the ``SECRET_KEY`` is replaced, some processes still use the former one. Invalidate
        what a digest names under all of them::

            cache.invalidate(*(f"user:{digest}" for digest in cache.digests(email)))

        :param value: what to name, as for :meth:`digest`.
        :return: as many as there are secrets: the ``SECRET_KEY`` and its fallbacks.
        """
        return self._sealer().digests(value.encode("utf-8", "surrogatepass"))

    def _sealer(self) -> Sealer:
        if self.engine is not None:
            return self.engine.sealer
        # Nothing is kept under it, so it need not be the same again.
        return Sealer([self.settings.get("SECRET_KEY") or secrets.token_bytes(32)])
