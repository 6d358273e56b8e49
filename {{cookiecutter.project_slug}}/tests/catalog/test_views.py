"""The shop's pages."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from {{cookiecutter.package_name}}.catalog import seed, views
from {{cookiecutter.package_name}}.catalog.listing import Listing


def names(page):
    return re.findall(r">((?:Lamp \d\d)|Tote)</a>", page)


def test_home_shows_categories_and_what_is_new(client):
    page = client.get("/").text
    assert "31 things in 2 categories" in page
    assert "30 products" in page
    assert "1 product<" in page
    # Lamp 01 is sold out, and eight fit.
    assert len(names(page)) == 8
    assert "Lamp 01" not in page
    assert 'data-price-cents="4200">$42.00<' in page


def test_products_come_in_pages(client):
    first, second = client.get("/products").text, client.get("/products?page=2").text
    assert names(first) == [f"Lamp {number:02}" for number in range(1, 25)]
    assert names(second) == [f"Lamp {number:02}" for number in range(25, 31)] + ["Tote"]
    assert 'rel="next" ' not in second
    assert 'href="/products?page=2" rel="next"' in first
    assert 'href="/products" rel="prev"' in second


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        *(("sort=name", "Lamp 01"), ("sort=price", "Lamp 01"), ("sort=-price", "Tote")),
        *(("sort=newest", "Tote"), ("category=bags", "Tote")),
        ("category=lighting&sort=-price&page=2", "Lamp 06"),
    ],
)
def test_products_are_sorted_and_chosen(client, query, expected):
    assert names(client.get(f"/products?{query}").text)[0] == expected


def test_a_category_tells_its_prices(client):
    page = client.get("/products?category=lighting").text
    assert 'data-price-cents="1010">$10.10<' in page
    assert 'data-price-cents="1300">$13.00<' in page


def test_links_keep_the_choice_and_leave_out_defaults(client):
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
def test_bad_values_are_not_found(client, query):
    assert client.get(f"/products?{query}").status_code == 404


def test_a_product_shows_its_price_stock_and_kin(client):
    page = client.get("/products/lamp-05").text
    assert "<h1>Lamp 05</h1>" in page
    assert 'data-price-cents="1050">$10.50<' in page
    assert "Only 4 left" in page
    assert 'href="/account/wishes/add?product=lamp-05"' in page
    assert names(page) == ["Lamp 06", "Lamp 04", "Lamp 07", "Lamp 03"]


def test_stock_is_told_in_words(client):
    for slug, words in (("lamp-01", "Sold out"), ("lamp-30", "In stock"), ("tote", "Only 5 left")):
        assert words in client.get(f"/products/{slug}").text


@pytest.mark.parametrize("slug", ["none", "%00", "Lamp-01", "lamp_01", "a" * 300, "%F0%9F%92%A1"])
def test_an_unknown_product_is_not_found(client, slug):
    response = client.get(f"/products/{slug}")
    assert response.status_code == 404
    assert "There is no such product." in response.text


def test_a_name_is_escaped(client, authorized):
    name = "<script>alert(1)</script> & “quotes”"
    body = {"name": name, "slug": "odd", "price_cents": 1, "stock": 1, "category": "bags"}
    assert client.post("/api/products", json=body, headers=authorized).status_code == 201
    for path in ("/", "/products?sort=newest", "/products/odd"):
        page = client.get(path).text
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; “quotes”" in page


def test_every_category_has_a_picture():
    static = Path(views.__file__).parents[1] / "static"
    slugs = {product.category.slug for product in seed.assortment()}
    pictures = {views.category_picture(slug) for slug in slugs | {"unknown"}}
    assert len(pictures) == len(slugs) + 1
    for picture in pictures:
        ElementTree.parse(static / picture)  # noqa: S314 - a file of our own


def test_prices_are_written_for_people():
    prices = {0: "$0.00", 5: "$0.05", 100: "$1.00", 123456: "$1,234.56"}
    assert {cents: views.format_price(cents) for cents in prices} == prices


@pytest.mark.parametrize(
    ("page", "pages", "expected"),
    [(1, 1, [1]), (1, 3, [1, 2, 3]), (1, 9, [1, 2, 0, 9]), (5, 9, [1, 0, 4, 5, 6, 0, 9])],
)
def test_nearby_pages(page, pages, expected):
    assert Listing(page, pages, 0, "name", None).nearby_pages() == expected
