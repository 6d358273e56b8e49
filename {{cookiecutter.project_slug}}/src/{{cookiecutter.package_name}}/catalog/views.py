"""The shop's pages. Everyone sees the same ones: none of them looks at the session."""

from collections.abc import Iterator

from flask import Blueprint, abort, render_template, request

from ..extensions import cache
from . import listing, queries
from .models import MAX_SLUG_LENGTH
from .validation import SLUG

bp = Blueprint("catalog", __name__, cli_group=None)

#: Categories that have a picture in static/catalog, with its background; others show a parcel.
_TONES = {
    "bags": "tone-1",
    "coffee-and-tea": "tone-2",
    "garden": "",
    "kitchen": "tone-3",
    "lighting": "tone-5",
    "stationery": "tone-4",
    "textiles": "tone-3",
    "toys": "tone-2",
}


@bp.app_template_filter("price")
def format_price(cents: int) -> str:
    """Write cents as people read them: ``$1,234.50``."""
    return f"${cents // 100:,}.{cents % 100:02}"


@bp.app_template_filter("category_picture")
def category_picture(slug: str) -> str:
    """Name the static file that pictures a category."""
    return f"catalog/{slug if slug in _TONES else 'parcel'}.svg"


@bp.app_template_filter("category_tone")
def category_tone(slug: str) -> str:
    """Name the style of a category's background."""
    return _TONES.get(slug, "")


# A cached page: for what is the same for everyone and asked for often. A hit runs no view, no
# query and no template. The timeout is the bound for what no write announces; writes drop it at
# once, so it can be long. Within its grace the old page is served while a new one is made, and
# where none can be, because the database is away. `flask cache warm` asks for what says `warm=`.
@bp.get("/")
@cache.cached(timeout=300, grace=3600, warm=True)
def home() -> str:
    # What changes least is read first: an entry depends on all that was read before it, too.
    categories = queries.categories()
    return render_template("catalog/home.html", categories=categories, newest=queries.newest(8))


# A cached page with a query: only the parameters named here enter the key, so `?utm_source=…`
# makes no second entry. A bad value is a 404 that is computed each time and never stored: it costs
# no query, and whoever makes up page numbers cannot fill the store with them.
@bp.get("/products")
@cache.cached(timeout=300, grace=3600, query=listing.PARAMETERS, warm=True)
def products() -> str:
    wanted, errors = listing.parse(request.args)
    if wanted is None:
        abort(404, description=_sentence(errors))
    return render_template(
        "catalog/products.html",
        listing=wanted,
        products=wanted.products(),
        prices=wanted.category and queries.price_range(wanted.category.slug),
        categories=queries.categories,
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
    # What cannot be a slug is not asked for: PostgreSQL refuses a NUL in text with an error.
    found = queries.product_by_slug(slug) if SLUG.fullmatch(slug) else None
    if found is None or len(slug) > MAX_SLUG_LENGTH:
        abort(404, description="There is no such product.")
    return render_template(
        "catalog/product.html",
        product=found,
        related=queries.related(found.id),
        categories=queries.categories,
    )


def _sentence(errors: dict[str, str]) -> str:
    return " ".join(f"The {name} {error}." for name, error in errors.items())
