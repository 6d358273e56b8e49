"""Every invalidation of the shop, in one place: what a write makes untrue.

Call these after the commit and never before it, or a reader in between stores the old rows again.

==========  ==================================  ==========================================
by          call                                when to choose it
==========  ==================================  ==========================================
tag         ``cache.invalidate("product:42")``  whatever was built from it, wherever it is
view        ``cache.invalidate_view(...)``      one page whose address is known
function    ``cache.delete_memoized(f, ...)``   one function's results, or one of them
key         ``cache.delete(key)``               a value that was set by hand
==========  ==================================  ==========================================

The last is in account/throttle.py.
"""

from ..extensions import cache
from . import queries


def product_changed(product_id: int) -> None:
    """A product's columns changed: every page, list and statistic that shows it."""
    cache.invalidate("product", f"product:{product_id}")


def product_appeared(product_id: int, slug: str) -> None:
    """A product is new at its slug, or has moved between categories."""
    product_changed(product_id)
    # The page there may be kept as a 404, which was built from no row and so carries no row's tag.
    cache.invalidate_view("catalog.product", slug=slug)
    cache.delete_memoized(queries.categories)


def product_vanished(product_id: int) -> None:
    """A product was deleted."""
    product_changed(product_id)
    cache.delete_memoized(queries.categories)


def everything_changed() -> None:
    """The tables were filled."""
    cache.invalidate("product", "category")
    cache.delete_memoized(queries.categories)
