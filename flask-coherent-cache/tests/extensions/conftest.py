"""Sites: an application with extensions and a cache, in each of the ways to run it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from jinja2 import DictLoader

from flask_coherent_cache import Cache
from visits import Site

#: Without a cache the answers have to be right, too: then the application itself is.
WAYS = ("NullCache", "debug", "testing", "production", "before Flask")
#: Ways in which the cache is the last extension that is connected, not the first.
LAST = ("testing", "before Flask")

#: Given an application, its cache and more settings, registers extensions and views.
Register = Callable[[Flask, Cache], None]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """One way to run an application."""
    return str(request.param)


@pytest.fixture
def build(way: str, server_settings: dict[str, Any]) -> Iterator[Callable[..., Site]]:
    """Make a site of what registers its extensions and views."""
    sites: list[Site] = []

    def make(register: Register, templates: dict[str, str] | None = None, **more: Any) -> Site:
        app = Flask("site", template_folder=None, static_folder=None)
        app.jinja_loader = DictLoader(templates or {})
        app.config.update(SECRET_KEY="k" * 40, **_settings(way, server_settings), **more)
        cache = Cache()
        if way not in LAST:
            cache.init_app(app)
        register(app, cache)
        if way in LAST:
            cache.init_app(app)
        if way == "before Flask":
            cache.serve_before_flask(app)
        site = Site(app, cache, has_cache=way != "NullCache")
        sites.append(site)
        return site

    yield make
    for site in sites:
        with site.app.app_context():
            if site.cache.engine is not None:
                site.cache.clear()
                site.cache.engine.close()


def _settings(way: str, server_settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of one way."""
    if way == "before Flask":
        if "RedisCache" not in server_settings:
            pytest.skip("no Redis or Valkey on this machine")
        patient = {"CACHE_CONNECT_TIMEOUT_SECONDS": 5, "CACHE_SOCKET_TIMEOUT_SECONDS": 5}
        return {"CACHE_TYPE": "RedisCache", **server_settings["RedisCache"], **patient}
    return {
        "NullCache": {"CACHE_TYPE": "NullCache"},
        "debug": {"CACHE_TYPE": "SimpleCache", "DEBUG": True},
        "testing": {"CACHE_TYPE": "SimpleCache", "TESTING": True},
        "production": {"CACHE_TYPE": "SimpleCache"},
    }[way]
