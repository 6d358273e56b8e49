"""Plain values by key, as in Flask-Caching: ``get``, ``set`` and the like."""

from typing import Any

from flask_caching.utils import normalize_timeout

from ._base import BaseCache
from ._dependencies.inputs import report_once
from ._functions.values import decode, encode
from ._options import Timeout


class PlainValues(BaseCache):
    """The methods of a cache for values whose keys the application makes itself.

    With ``CACHE_TYPE=NullCache`` nothing is stored.
    """

    @property
    def cache(self) -> "Backend":  # type: ignore[override]
        """What Flask-Caching calls the backend: ``get``, ``set`` and the like."""
        return Backend(self)

    def get(self, key: str) -> Any:
        """Return the value of a key, or ``None``.

        A cached function or view that calls this depends on the key: to delete or set it
        invalidates what was built from it.

        :param key: the key, as given to :meth:`set`.
        """
        engine = self.engine
        value = engine.get(self._own(key)) if engine is not None else None
        if engine is None or value is None:
            return None
        try:
            return decode(value)
        except Exception as error:
            engine.count("undecodable value")
            report_once(f"cache.get: the value of {key} cannot be decoded: {error!r}")
            self.delete(key)
            return None

    def has(self, key: str) -> bool:
        """Tell whether a key has a value.

        :param key: the key, as given to :meth:`set`.
        """
        return self.engine is not None and self.engine.get(self._own(key)) is not None

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Set the value of a key.

        An invalidation cannot tell whether such a value is older than the write: put what depends
        on data into a memoized function instead.

        :param key: any text.
        :param value: anything that can be pickled, but no row of the database.
        :param timeout: seconds, or a ``timedelta``; 0 deletes the key; ``None`` is
            ``CACHE_DEFAULT_TIMEOUT``.
        :return: whether it was stored.
        """
        seconds = self._seconds(timeout)
        if self.engine is None:
            return False
        if seconds <= 0:
            return self.delete(key)
        return self.engine.set(self._own(key), encode(value), seconds)

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Set the value of a key that has none, in one step.

        :param key: any text.
        :param value: as for :meth:`set`.
        :param timeout: as for :meth:`set`; with 0 nothing is stored.
        :return: whether it was stored.
        """
        seconds = self._seconds(timeout)
        return (
            self.engine is not None
            and seconds > 0
            and self.engine.add(self._own(key), encode(value), seconds)
        )

    def delete(self, key: str) -> bool:
        """Delete a key, and make what depends on it invalid.

        :param key: the key, as given to :meth:`set`.
        :return: whether there is a cache that did.
        """
        return self.engine is not None and self.engine.delete([self._own(key)])

    def delete_many(self, *keys: str) -> list[str]:
        """Delete keys, and make what depends on them invalid.

        :param keys: the keys, as given to :meth:`set`.
        :return: those that were deleted.
        """
        own = [self._own(key) for key in keys]
        return list(keys) if self.engine is not None and self.engine.delete(own) else []

    def unlink(self, *keys: str) -> list[str]:
        """Delete keys: Flask-Caching's other name for :meth:`delete_many`.

        :param keys: the keys, as given to :meth:`set`.
        :return: those that were deleted.
        """
        return self.delete_many(*keys)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of keys, ``None`` for a key without one.

        :param keys: the keys, as given to :meth:`set`.
        """
        return [self.get(key) for key in keys]

    def get_dict(self, *keys: str) -> dict[str, Any]:
        """Return the values of keys by key, ``None`` for a key without one.

        :param keys: the keys, as given to :meth:`set`.
        """
        return {key: self.get(key) for key in keys}

    def set_many(self, mapping: dict[str, Any], timeout: Timeout = None) -> list[Any]:
        """Set the values of keys.

        :param mapping: the values by key.
        :param timeout: as for :meth:`set`.
        :return: the keys that were set.
        """
        return [key for key, value in mapping.items() if self.set(key, value, timeout)]

    def clear(self) -> bool:
        """Make every entry of this application invalid, at a cost that does not grow with them."""
        if self.engine is not None:
            self.engine.clear()
        return True

    def _seconds(self, timeout: Timeout) -> float:
        seconds = normalize_timeout(timeout)
        default: float = self.settings["CACHE_DEFAULT_TIMEOUT"]
        return default if seconds is None else seconds


class Backend:
    """What ``cache.cache`` is: the methods of a ``cachelib`` cache, by those of the cache."""

    def __init__(self, cache: PlainValues) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        if name in _OF_BACKENDS:
            return getattr(self._cache, name)
        raise AttributeError(f"cache.cache has no {name!r}; use the cache itself.")

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number, in two steps, as in Flask-Caching.

        :return: the new value; ``None`` where it was not stored.
        """
        value: int = (self._cache.get(key) or 0) + delta
        return value if self._cache.set(key, value) else None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtract from a number, as :meth:`inc` adds to it."""
        return self.inc(key, -delta)


_OF_BACKENDS = frozenset(name for name in vars(PlainValues) if name[0] != "_") - {"cache"}
