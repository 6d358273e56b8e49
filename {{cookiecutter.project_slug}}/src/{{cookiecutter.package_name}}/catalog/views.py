"""The shop's pages. Everyone sees the same ones: none of them looks at the session."""

from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, abort, render_template, request

from ..extensions import cache
from . import listing, queries

bp = Blueprint("catalog", __name__, cli_group=None)
# For the menu: a function that is a variable of the template keeps its fragment from being cached.
bp.add_app_template_global(queries.categories)

#: Categories that have a picture, by their slugs; others show a parcel.
_PICTURES = {path.stem for path in (Path(__file__).parents[1] / "static/catalog").glob("*.svg")}


@bp.app_template_filter("price")
def format_price(cents: int) -> str:
    """Write cents as people read them: ``$1,234.50``."""
    return f"${cents // 100:,}.{cents % 100:02}"


@bp.app_template_filter("category_picture")
def category_picture(slug: str) -> str:
    """Name the static file that pictures a category."""
    return f"catalog/{slug if slug in _PICTURES else 'parcel'}.svg"


# A cached page: one that is the same for everyone and requested often. A hit runs no view, no query
# and no template. A commit drops it at once, so the timeout can be long: it is for changes that no
# commit announces. Within its grace the old page is served while a new one is made, and while the
# database is down. `flask cache warm` requests the pages that say `warm=`.
@bp.get("/")
@cache.cached(timeout=300, grace=3600, warm=True)
def home() -> str:
    # What changes least is read first: an entry depends on all that was read before it, too.
    shown = {"categories": queries.categories(), "counts": queries.counts()}
    return render_template("catalog/home.html", **shown, newest=queries.newest(8))


# A cached page with a query: only the parameters named here enter the key, so `?utm_source=…`
# makes no second entry. A bad value is a 404 that is computed each time and never stored: it costs
# no query, and whoever makes up page numbers cannot fill the store with them.
@bp.get("/products")
@cache.cached(timeout=300, grace=3600, query=listing.PARAMETERS, warm=True)
def products() -> str:
    wanted, errors = listing.parse(request.args)
    if wanted is None:
        abort(404, description=" ".join(f"The {name} {error}." for name, error in errors.items()))
    return render_template(
        "catalog/products.html",
        listing=wanted,
        products=wanted.products(),
        prices=wanted.category and queries.price_range(wanted.category.id),
        sorts=queries.SORTS,
    )


def _first_products() -> Iterator[dict[str, str]]:
    """Name the products that visitors see first; the others wait until they are asked for."""
    for row in queries.products(1, queries.DEFAULT_SORT, None):
        yield {"slug": row.slug}


# A 404 cached briefly: for addresses that many follow in vain (an old link, a sold-out gift in a
# newsletter). Briefly, because anyone can make up addresses and each makes an entry.
@bp.get("/products/<slug>")
@cache.cached(timeout=300, grace=3600, not_found_timeout=30, warm=_first_products)
def product(slug: str) -> str:
    found = queries.product_by_slug(slug)
    if found is None:
        abort(404, description="There is no such product.")
    return render_template("catalog/product.html", product=found, related=queries.related(found.id))
