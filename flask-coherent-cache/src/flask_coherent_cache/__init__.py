"""Caching that is right: entries know what they were built from, and a write drops them.

:class:`Cache` takes the place of ``flask_caching.Cache``. The modules, from the outside in:

- ``extension``: the Flask extension, with Flask-Caching's names and ours
- ``views``, ``functions``, ``fragments``: what is cached, and how it is looked up
- ``watching``, ``noticed``, ``inputs``, ``declarations``: what is read of a request, and by whom
- ``pages``, ``http``, ``keys``, ``values``: what may be stored, under which key, in which form
- ``fills``, ``reads``, ``entries``: lookups, fills, tags and validity
- ``generations``, ``leases``, ``deliveries``: clock, one fill at a time, nothing forgotten
- ``statistics``, ``board``, ``peeks``: what the cache does, and what lies in it
- ``surroundings``, ``middleware``: pages that are served before Flask
- ``negotiation``: what the application and the page cache must answer alike
- ``stores``: SimpleCache, Redis and Valkey, Memcached
"""

from flask_caching import make_template_fragment_key
from flask_caching.signals import (
    cache_memoize_hit,
    cache_memoize_miss,
    cache_view_hit,
    cache_view_miss,
)

from ._dependencies.inputs import UndeclaredInput
from ._extension import Cache, CachedResponse
from ._keys.classes import UnstableArgument
from ._stores.breaker import CircuitBreaker

__all__ = [
    "Cache",
    "CachedResponse",
    "CircuitBreaker",
    "UndeclaredInput",
    "UnstableArgument",
    "cache_memoize_hit",
    "cache_memoize_miss",
    "cache_view_hit",
    "cache_view_miss",
    "make_template_fragment_key",
]

__version__ = "0.4.0"
