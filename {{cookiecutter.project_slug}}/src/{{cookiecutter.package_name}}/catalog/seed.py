"""What `flask seed` fills the shop with: the same products on every machine."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from itertools import product as pairs
from pathlib import Path

from sqlalchemy import func, select

from ..extensions import db
from .models import Category, Product
from .validation import slugify

ASSORTMENT = Path(__file__).parent / "assortment.toml"
#: What is in stock, over and over: enough of most things, the last few of some, none of others.
STOCKS = (24, 7, 60, 3, 18, 0, 41, 12, 2, 33, 9)
#: The products' changes lie an hour apart, the last of them at this time.
LAST_CHANGE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def fill() -> str:
    """Fill the shop's tables if they are empty; say what was done."""
    if db.session.scalar(select(Category.id).limit(1)):
        products = db.session.scalar(select(func.count(Product.id)))
        return f"The shop has {products} products: left as they are."
    made = list(assortment())
    db.session.add_all(made)
    db.session.commit()
    categories = {product.category for product in made}
    return f"Made {len(categories)} categories and {len(made)} products."


def assortment() -> Iterator[Product]:
    """Make the products, one of each category in turn."""
    shelves = []
    for title, shelf in tomllib.loads(ASSORTMENT.read_text(encoding="utf-8")).items():
        category = Category(name=title, slug=slugify(title))
        shelves.append(list(pairs([category], shelf["things"].items(), shelf["makes"].items())))
    in_turn = chain.from_iterable(zip(*shelves, strict=True))
    for number, (category, (thing, cents), (make, factor)) in enumerate(in_turn):
        name = f"{make} {thing}"
        yield Product(
            name=name,
            slug=slugify(name),
            # Prices end in 50 or 00 cents.
            price_cents=round(cents * factor / 50) * 50,
            stock=STOCKS[number % len(STOCKS)],
            category=category,
            updated_at=LAST_CHANGE - timedelta(hours=number),
        )
