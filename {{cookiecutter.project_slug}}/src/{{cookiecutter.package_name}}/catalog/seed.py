"""What `flask seed` fills the shop with: the same products on every machine."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from itertools import product as pairs

from sqlalchemy import func, select

from ..extensions import db
from .models import Category, Product
from .validation import slugify

#: By category: its makes, each with what it does to a price, and its things, each with its price
#: in cents. A product is one of the things in one of the makes.
ASSORTMENT: dict[str, tuple[dict[str, float], dict[str, int]]] = {
    "Kitchen": (
        {"Cast Iron": 1.0, "Enamelled": 1.2, "Copper": 2.1},
        {
            "Skillet, 24 cm": 3900,
            "Casserole, 4 l": 8900,
            "Saucepan, 16 cm": 4200,
            "Grill Pan": 4600,
            "Milk Pan": 2900,
            "Roasting Tin": 4400,
            "Loaf Tin": 2100,
            "Pie Dish": 1900,
            "Kettle, 1.5 l": 5400,
            "Stockpot, 8 l": 9800,
            "Sauté Pan, 28 cm": 6900,
            "Trivet": 1400,
        },
    ),
    "Coffee and Tea": (
        {"Glass": 1.0, "Stoneware": 1.15, "Steel": 1.4},
        {
            "Teapot, 1 l": 3800,
            "Pour-Over Dripper": 2400,
            "Coffee Server": 3100,
            "Milk Jug": 1700,
            "Sugar Bowl": 1500,
            "Espresso Cup": 1200,
            "Tea Mug": 1600,
            "Tea Strainer": 900,
            "Cold Brew Jar": 2900,
            "Coffee Canister": 2600,
            "Tea Caddy": 2200,
            "Serving Tray": 3400,
        },
    ),
    "Stationery": (
        {"Dotted": 1.0, "Ruled": 1.0, "Plain": 0.95},
        {
            "Pocket Notebook": 700,
            "Notebook A5": 1400,
            "Notebook A4": 1900,
            "Hardback Journal": 2400,
            "Desk Pad": 1600,
            "Index Cards, 100": 600,
            "Reporter's Pad": 800,
            "Sketchbook, 120 g": 2200,
            "Letter Paper, 50 sheets": 1250,
            "Travel Diary": 2100,
            "Sticky Notes, 4 blocks": 750,
            "Weekly Planner": 1800,
        },
    ),
    "Garden": (
        {"Ash-Handled": 1.0, "Forged": 1.35, "Stainless": 1.6},
        {
            "Hand Trowel": 1900,
            "Hand Fork": 1900,
            "Bulb Planter": 2400,
            "Dutch Hoe": 3900,
            "Border Spade": 5200,
            "Border Fork": 5200,
            "Lawn Rake": 3600,
            "Pruning Saw": 3300,
            "Hedge Shears": 4700,
            "Weeding Knife": 1700,
            "Soil Scoop": 1500,
            "Dibber": 1300,
        },
    ),
    "Lighting": (
        {"Brass": 1.3, "Linen": 1.0, "Opal Glass": 1.15},
        {
            "Desk Lamp": 8900,
            "Floor Lamp": 17900,
            "Bedside Lamp": 6400,
            "Wall Light": 7200,
            "Pendant, small": 7900,
            "Pendant, large": 12900,
            "Reading Lamp": 9600,
            "Clip Light": 3900,
            "Ceiling Light": 8400,
            "Lantern": 5600,
            "Picture Light": 6900,
            "Night Light": 2400,
        },
    ),
    "Bags": (
        {"Waxed Canvas": 1.0, "Leather": 2.4, "Recycled Nylon": 0.9},
        {
            "Backpack, 20 l": 9800,
            "Tote": 4200,
            "Messenger Bag": 8600,
            "Weekender": 13900,
            "Wash Bag": 3200,
            "Pencil Case": 1600,
            "Laptop Sleeve, 14 in": 3900,
            "Hip Pack": 4400,
            "Tool Roll": 3600,
            "Camera Bag": 9400,
            "Luggage Tag": 1100,
            "Market Bag": 2800,
        },
    ),
    "Textiles": (
        {"Merino": 1.8, "Cotton": 1.0, "Linen-Blend": 1.4},
        {
            "Throw, 130 x 180 cm": 6900,
            "Cushion Cover": 2400,
            "Bed Sheet, double": 5900,
            "Pillowcase": 1900,
            "Bath Towel": 2900,
            "Hand Towel": 1500,
            "Tea Towels, set of 2": 1800,
            "Table Runner": 2600,
            "Tablecloth": 5200,
            "Napkins, set of 4": 2700,
            "Dressing Gown": 7900,
            "Bedspread": 9900,
        },
    ),
    "Toys": (
        {"Beech": 1.0, "Maple": 1.15, "Painted": 1.25},
        {
            "Building Blocks, 50": 3400,
            "Train Set": 5900,
            "Stacking Rings": 1900,
            "Pull-Along Duck": 2200,
            "Abacus": 2600,
            "Spinning Top": 900,
            "Skittles": 2900,
            "Draughts Board": 3200,
            "Shape Sorter": 2400,
            "Marble Run": 4600,
            "Rattle": 1200,
            "Noah's Ark": 6900,
        },
    ),
}
#: What is in stock, over and over: enough of most things, the last few of some, none of others.
STOCKS = (24, 7, 60, 3, 18, 0, 41, 12, 2, 33, 9)
#: The products' changes lie an hour apart, the last of them at this time.
LAST_CHANGE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def fill() -> str:
    """Fill the shop's tables if they are empty; say what was done."""
    if db.session.scalar(select(func.count(Category.id))):
        return f"The shop has {_count_products()} products: left as they are."
    db.session.add_all(assortment())
    db.session.commit()
    return f"Made {len(ASSORTMENT)} categories and {_count_products()} products."


def assortment() -> Iterator[Product]:
    """Make the products, one of each category in turn."""
    shelves = []
    for title, (makes, things) in ASSORTMENT.items():
        category = Category(name=title, slug=slugify(title))
        shelves.append(list(pairs([category], things.items(), makes.items())))
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


def _count_products() -> int:
    return db.session.scalar(select(func.count(Product.id))) or 0
