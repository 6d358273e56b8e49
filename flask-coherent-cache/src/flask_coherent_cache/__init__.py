"""A cache for Flask that never serves stale or private data: a write drops what was built from it.

:class:`Cache` takes the place of ``flask_caching.Cache``. The other public modules:
:mod:`~flask_coherent_cache.settings`, :mod:`~flask_coherent_cache.tools`,
:mod:`~flask_coherent_cache.testing`, :mod:`~flask_coherent_cache.negotiation` and
:mod:`~flask_coherent_cache.gunicorn`. What is private, from the outside in:

- ``_extension``: ``Cache``, of ``_decorators``, ``_invalidation``, ``_plain_values`` and ``_base``
- ``_decorated``, ``_cached_views``: what a decorated function does when it is called
- ``_functions``, ``_pages``: cached values, pages and fragments
- ``_dependencies``: what is read of a request, and what an entry depends on
- ``_keys``: the keys of calls
- ``_engine``: lookups, fills, validity, leases, the outbox
- ``_near``, ``_stores``: copies in this process; SimpleCache, Redis and Valkey, Memcached
- ``_sqlalchemy``: what statements read and commits change
- ``_statistics``, ``_tools``: what the cache does, and how to see it

To debug a stale read, first find the place that served it: ``_near/copies.py`` (a copy in the
process, also for ``_pages/middleware.py``), ``_engine/lookup.py`` (the store) or
``_engine/fallback.py`` (while the store is down). Then find the tag that is missing: the ``judge``
of ``_engine/inspection.py`` compares an entry with its tags, ``_sqlalchemy/reads.py`` adds tags to
an entry, and ``_sqlalchemy/writes.py`` names the tags that a commit bumps.
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

__version__ = "0.6.0"
