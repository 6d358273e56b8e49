"""Template fragments: ``{% cache timeout, name, vary… %} … {% endcache %}``."""

from collections.abc import Callable
from typing import Any

from flask_caching.jinja2ext import JINJA_CACHE_ATTR_NAME, CacheExtension
from flask_caching.utils import make_template_fragment_key


def fragment_key(name: str, vary_on: list[Any]) -> str:
    """Name a fragment.

    It is Flask-Caching's ``make_template_fragment_key`` with one difference: an underscore in a
    value is doubled, so that ``("a_b", "c")`` and ``("a", "b_c")`` are two keys.
    """
    return make_template_fragment_key(name, [str(value).replace("_", "__") for value in vary_on])


class FragmentExtension(CacheExtension):
    """The ``{% cache %}`` tag, filled once at a time and dropped with what it was built from."""

    def _cache(
        self,
        timeout: Any,
        fragment_name: str,
        vary_on: list[Any],
        caller: Callable[[], str],
    ) -> Any:
        cache = getattr(self.environment, JINJA_CACHE_ATTR_NAME)
        key = fragment_key(fragment_name, vary_on)
        if timeout == "del":
            cache.delete(key)
            return caller()
        return cache.fragment(key, fragment_name, timeout, caller)
