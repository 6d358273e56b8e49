"""What the shop reads from the database.

The functions return plain frozen dataclasses, never models: what is kept in a cache outlives the
session that a model belongs to.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from ..extensions import cache, db
from .models import Category, Product
from .validation import SLUG

PAGE_SIZE = 24
#: What a visitor may sort by. The primary key breaks ties, or rows would wander between pages.
SORTS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "name": (Product.name.asc(), Product.id.asc()),
    "price": (Product.price_cents.asc(), Product.id.asc()),
    "-price": (Product.price_cents.desc(), Product.id.desc()),
    "newest": (Product.updated_at.desc(), Product.id.desc()),
}
DEFAULT_SORT = "name"


@dataclass(frozen=True, slots=True)
class CategoryData:
    """A category as pages show it."""

    id: int
    name: str
    slug: str


@dataclass(frozen=True, slots=True)
class ProductData:
    """A product as pages and the API show it; ``category`` is the category's slug."""

    id: int
    name: str
    slug: str
    price_cents: int
    stock: int
    category: str
    category_name: str
    updated_at: datetime


# A memoized database query: for rows that several pages, requests or users share. It is keyed by
# its arguments, and depends on the rows and columns that its statement reads: the next commit that
# changes one drops it. The timeout is the bound for what is not committed through SQLAlchemy here.
@cache.memoize(timeout=3600)
def categories() -> tuple[CategoryData, ...]:
    """List the categories by name."""
    statement = select(Category.id, Category.name, Category.slug).order_by(Category.name)
    return tuple(CategoryData(*row) for row in db.session.execute(statement))


@cache.memoize(timeout=3600)
def counts() -> dict[int, int]:
    """Count the products of each category that has some, by its id."""
    grouped = select(Product.category_id, func.count()).group_by(Product.category_id)
    return {category: number for category, number in db.session.execute(grouped)}  # noqa: C416


# Asked by an indexed column's value, it is kept when a product comes to another category.
@cache.memoize(timeout=3600)
def count(category: int | None) -> int:
    """Count the products of one category, or all."""
    return db.session.scalar(_of_category(select(func.count(Product.id)), category)) or 0


@cache.memoize(timeout=300)
def products(page: int, sort: str, category: int | None) -> tuple[ProductData, ...]:
    """List one page of the products, from 1; `sort` is a key of SORTS, `category` an id."""
    statement = _of_category(select_products(), category).order_by(*SORTS[sort])
    return fetch(statement.limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE))


@cache.memoize(timeout=300)
def newest(count: int) -> tuple[ProductData, ...]:
    """List the products that changed last, and can be had."""
    statement = select_products().where(Product.stock > 0).order_by(*SORTS["newest"]).limit(count)
    return fetch(statement)


# A statement that finds one row by its key depends on this row alone. These are two such.
@cache.memoize(timeout=300)
def product(product_id: int) -> ProductData | None:
    """Find a product by its primary key."""
    found = db.session.get(Product, product_id)
    if found is None:
        return None
    row = (found.id, found.name, found.slug, found.price_cents, found.stock)
    return ProductData(*row, found.category.slug, found.category.name, _as_utc(found.updated_at))


def product_by_slug(slug: str) -> ProductData | None:
    """Find a product by its slug. Not memoized: only its page asks, and that is cached whole."""
    # PostgreSQL refuses a NUL in text with an error.
    found = SLUG.fullmatch(slug) and fetch(select_products().where(Product.slug == slug))
    return found[0] if found else None


# Rows with their keys, and no aggregate: of few rows an entry depends on these alone.
@cache.memoize(timeout=300)
def price_range(category: int) -> tuple[int, int] | None:
    """Return the lowest and the highest price of a category, in cents; ``None`` if it is empty."""
    rows = db.session.execute(_of_category(select(Product.id, Product.price_cents), category))
    cents = [row.price_cents for row in rows]
    return (min(cents), max(cents)) if cents else None


# A memoized function: for a result that costs more to compute than to fetch, whatever it is made
# from. Here the query is cheap, and comparing every name with every other is not.
@cache.memoize(timeout=600)
def related(product_id: int, count: int = 4) -> tuple[ProductData, ...]:
    """List the products most like one: by shared words, the category, and the price."""
    # Of many rows an entry depends on the columns that they show: here on those that are compared.
    compared = select(Product.id, Product.name, Product.category_id, Product.price_cents)
    everything = {row.id: row for row in db.session.execute(compared)}
    origin = everything.pop(product_id, None)
    if origin is None:
        return ()
    words = set(origin.name.casefold().split())

    def unlikeness(key: int) -> tuple[int, bool, float, int]:
        row = everything[key]
        shared = words & set(row.name.casefold().split())
        dearer = max(row.price_cents, origin.price_cents, 1)
        price = abs(row.price_cents - origin.price_cents) / dearer
        return -len(shared), row.category_id != origin.category_id, price, key

    likest = sorted(everything, key=unlikeness)[:count]
    found = fetch(select_products().where(Product.id.in_(likest)))
    return tuple(sorted(found, key=lambda row: likest.index(row.id)))


def select_products() -> Select[*tuple[Any, ...]]:
    """Select products with their categories: one statement, however many rows."""
    own = (Product.id, Product.name, Product.slug, Product.price_cents, Product.stock)
    return select(*own, Category.slug, Category.name, Product.updated_at).join(Category)


def _of_category(statement: Select[*tuple[Any, ...]], category: int | None) -> Any:
    return statement if category is None else statement.where(Product.category_id == category)


def fetch(statement: Select[*tuple[Any, ...]]) -> tuple[ProductData, ...]:
    """Run a statement that :func:`select_products` began."""
    rows = db.session.execute(statement)
    return tuple(ProductData(*(*row[:-1], _as_utc(row[-1]))) for row in rows)


def _as_utc(moment: datetime) -> datetime:
    """SQLite forgets the zone, PostgreSQL answers in the session's; what is stored is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
