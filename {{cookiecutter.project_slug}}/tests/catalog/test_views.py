"""The shop's pages."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from package import load


def names(page: str) -> list[str]:
    return re.findall(r">((?:Lamp \d\d)|Tote)</a>", page)


def test_home_shows_categories_and_what_is_new(client: Any) -> None:
    page = client.get("/").text
    assert "31 things in 2 categories" in page
    assert "30 products" in page
    assert "1 product<" in page
    # Lamp 01 is sold out, and eight fit.
    assert len(names(page)) == 8
    assert "Lamp 01" not in page
    assert 'data-price-cents="4200">$42.00<' in page


def test_home_of_an_empty_shop_says_what_fills_it(make_app: Any) -> None:
    page = make_app().test_client().get("/").text
    assert "flask seed" in page


def test_products_come_in_pages(client: Any) -> None:
    first, second = client.get("/products").text, client.get("/products?page=2").text
    assert names(first) == [f"Lamp {number:02}" for number in range(1, 25)]
    assert names(second) == [f"Lamp {number:02}" for number in range(25, 31)] + ["Tote"]
    assert 'rel="next" ' not in second
    assert 'href="/products?page=2" rel="next"' in first
    assert 'href="/products" rel="prev"' in second


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=name", "Lamp 01"),
        ("sort=price", "Lamp 01"),
        ("sort=-price", "Tote"),
        ("sort=newest", "Tote"),
        ("category=bags", "Tote"),
        ("category=lighting&sort=-price", "Lamp 30"),
        ("category=lighting&sort=-price&page=2", "Lamp 06"),
    ],
)
def test_products_are_sorted_and_chosen(client: Any, query: str, expected: str) -> None:
    assert names(client.get(f"/products?{query}").text)[0] == expected


def test_a_category_tells_its_prices(client: Any) -> None:
    page = client.get("/products?category=lighting").text
    assert 'data-price-cents="1010">$10.10<' in page
    assert 'data-price-cents="1300">$13.00<' in page


def test_links_keep_the_choice_and_leave_out_defaults(client: Any) -> None:
    page = client.get("/products?category=lighting&sort=-price").text
    assert "/products?category=lighting&amp;sort=-price&amp;page=2" in page
    assert 'href="/products?category=lighting"' in page
    assert "sort=name" not in page


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=-1", "page=3", "page=x", "page=1.0", "page=01", "page=", "page=%D9%A2",
        "page=99999999999999999999", "page=1%00", "sort=", "sort=color", "category=",
        "category=toys", "category=%00", "category=bags&page=2",
    ],
)  # fmt: skip
def test_bad_values_are_not_found_and_not_kept(client: Any, query: str) -> None:
    for _ in range(2):
        response = client.get(f"/products?{query}")
        assert response.status_code == 404
        assert "hit" not in response.headers.get("Cache-Status", "")


def test_bad_values_are_all_named(client: Any) -> None:
    page = client.get("/products?page=x&sort=y&category=z").text
    assert "The category is not a category." in page
    assert "The sort is not one of" in page
    assert "The page is not a whole number" in page


def test_a_product_shows_its_price_stock_and_kin(client: Any) -> None:
    page = client.get("/products/lamp-05").text
    assert "<h1>Lamp 05</h1>" in page
    assert 'data-price-cents="1050">$10.50<' in page
    assert "Only 4 left" in page
    assert 'href="/account/wishes/add?product=lamp-05"' in page
    assert names(page) == ["Lamp 06", "Lamp 04", "Lamp 07", "Lamp 03"]


@pytest.mark.parametrize(
    ("slug", "words"), [("lamp-01", "Sold out"), ("lamp-30", "In stock"), ("tote", "Only 5 left")]
)
def test_stock_is_told_in_words(client: Any, slug: str, words: str) -> None:
    assert words in client.get(f"/products/{slug}").text


@pytest.mark.parametrize("slug", ["none", "%00", "Lamp-01", "lamp_01", "a" * 300, "%F0%9F%92%A1"])
def test_an_unknown_product_is_not_found(client: Any, slug: str) -> None:
    response = client.get(f"/products/{slug}")
    assert response.status_code == 404
    assert "There is no such product." in response.text


def test_a_name_is_escaped(client: Any, authorized: Any) -> None:
    name = "<script>alert(1)</script> & “quotes”"
    body = {"name": name, "slug": "odd", "price_cents": 1, "stock": 1, "category": "bags"}
    assert client.post("/api/products", json=body, headers=authorized).status_code == 201
    for path in ("/", "/products?sort=newest", "/products/odd"):
        page = client.get(path).text
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; “quotes”" in page


def test_every_category_has_a_picture() -> None:
    views, seed = load("catalog.views"), load("catalog.seed")
    static = load("assets").Path(views.__file__).parents[1] / "static"
    slugs = {product.category.slug for product in seed.assortment()}
    pictures = {views.category_picture(slug) for slug in slugs | {"unknown"}}
    assert len(pictures) == len(slugs) + 1
    for picture in pictures:
        ElementTree.parse(static / picture)  # noqa: S314 - a file of our own


@pytest.mark.parametrize(
    ("cents", "text"), [(0, "$0.00"), (5, "$0.05"), (123456, "$1,234.56"), (100, "$1.00")]
)
def test_prices_are_written_for_people(cents: int, text: str) -> None:
    assert load("catalog.views").format_price(cents) == text


@pytest.mark.parametrize(
    ("page", "pages", "expected"),
    [
        (1, 1, [1]),
        (1, 3, [1, 2, 3]),
        (1, 9, [1, 2, 0, 9]),
        (5, 9, [1, 0, 4, 5, 6, 0, 9]),
        (9, 9, [1, 0, 8, 9]),
    ],
)
def test_nearby_pages(page: int, pages: int, expected: list[int]) -> None:
    listing = load("catalog.listing").Listing(page, pages, 0, "name", None)
    assert listing.nearby_pages() == expected
