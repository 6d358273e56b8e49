"""What the shop caches, what drops it, and what does not: a pattern for views of your own.

`cache_log` records what the caches do during a test: which entries were filled, hit, refused and
dropped, and why. An assertion that does not hold lists all of it; `print(cache_log)` does, too.
"""

import pytest
from sqlalchemy import update

from {{cookiecutter.package_name}}.catalog import queries
from {{cookiecutter.package_name}}.catalog.models import Product
from {{cookiecutter.package_name}}.extensions import db

#: Addresses of each cached view.
PAGES = [
    ("catalog.home", "/"),
    ("catalog.products", "/products"),
    ("catalog.products", "/products?page=2&sort=-price&category=lighting"),
    ("catalog.product", "/products/lamp-05"),
    ("catalog_api.list_products", "/api/products?sort=price"),
]
#: All that shows the price of Lamp 05, once it is the product that changed last.
SHOWING = [
    "/", "/products", "/products?sort=price", "/products?sort=-price&page=2",
    "/products?sort=newest", "/products?category=lighting", "/products/lamp-05",
    "/products/lamp-04", "/api/products", "/api/products?category=lighting", "/api/products/5",
]  # fmt: skip


@pytest.fixture
def change(client, authorized):
    """Change Lamp 05 through the API."""

    def change(**fields):
        response = client.patch("/api/products/5", json=fields, headers=authorized)
        assert response.status_code == 200

    return change


def shows(response, cents):
    """Tell whether a page, or an answer of the API, shows a price."""
    if response.is_json:
        items = response.json.get("items", [response.json])
        return any(item["price_cents"] == cents for item in items)
    return f'data-price-cents="{cents}"' in response.text


# -- what is cached ------------------------------------------------------------------------


@pytest.mark.parametrize(("endpoint", "path"), PAGES)
def test_a_page_is_made_once(client, cache_log, endpoint, path):
    first, second = client.get(path), client.get(path)
    assert second.data == first.data
    cache_log.page(endpoint).was_filled(times=1).was_hit(times=1)


@pytest.mark.parametrize(("endpoint", "path"), PAGES[:4])
def test_a_page_is_everybodys(client, cache_log, endpoint, path):
    page = client.get(path)
    assert page.headers["Cache-Control"] == "public, no-cache"
    assert "Cookie" not in page.headers.get("Vary", "")
    with client.session_transaction() as session:
        session["user_id"] = 1
    client.head(path)
    assert client.get(path, headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    cache_log.page(endpoint).was_filled(times=1).was_hit(times=2)


def test_undeclared_parameters_make_no_second_entry(client, cache_log):
    client.get("/products?page=2")
    client.get("/products?utm_source=letter&page=2")
    cache_log.page("catalog.products").was_filled(times=1).was_hit(times=1)
    client.get("/products?page=1")
    cache_log.page("catalog.products").was_filled(times=2)


def test_made_up_parameters_are_not_stored(client, cache_log):
    client.get("/products?page=x")
    cache_log.page("catalog.products").was_not_stored(times=1, because="status: 404")


def test_an_unknown_product_is_looked_for_once_until_it_appears(client, authorized, cache_log):
    for _ in range(2):
        response = client.get("/products/new")
        assert response.status_code == 404
    assert int(response.headers["Cache-Status"].rpartition("ttl=")[2]) <= 30
    page = cache_log.page("catalog.product").was_filled(times=1).was_hit(times=1)
    body = {"name": "New", "price_cents": 1, "category": "bags"}
    client.post("/api/products", json=body, headers=authorized)
    page.was_dropped(times=1, by="POST catalog_api.create")
    assert client.get("/products/new").status_code == 200


def test_who_sends_a_token_gets_a_fresh_list(client, authorized, cache_log):
    client.get("/api/products", headers=authorized)
    cache_log.page("catalog_api.list_products").was_not_stored(because="header Authorization")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        *((queries.categories, ()), (queries.newest, (8,)), (queries.products, (1, "name", None))),
        *((queries.product, (5,)), (queries.product, (5000,)), (queries.related, (5,))),
        *((queries.price_range, (1,)), (queries.price_range, (99,)), (queries.count, (1,))),
    ],
)
def test_a_query_is_run_once(app, cache_log, function, arguments):
    with app.app_context():
        first = function(*arguments)
    with app.app_context():
        assert function(*arguments) == first
    cache_log.function(function).was_filled(times=1).was_hit(times=1)


def test_the_menu_is_shared_by_pages(client, cache_log):
    client.get("/products/lamp-05")
    client.get("/products/lamp-06")
    cache_log.page("catalog.product").was_filled(times=2)
    cache_log.fragment("category-menu").was_filled(times=1).was_hit(times=1)


@pytest.mark.parametrize(
    ("path", "most"),
    [("/", 3), ("/products?category=lighting", 4), ("/products/lamp-05", 4), ("/api/products", 3)],
)
def test_a_page_takes_few_queries_however_long_it_is(client, count_queries, path, most):
    with count_queries() as statements:
        assert client.get(path).status_code == 200
    assert len(statements) <= most, statements


# -- what a change drops -------------------------------------------------------------------


def test_a_new_price_is_seen_by_the_next_get(client, change, cache_log):
    for path in SHOWING:
        assert not shows(client.get(path), 1054), path
    change(price_cents=1054)
    for path in SHOWING:
        page = client.get(path)
        assert shows(page, 1054), path
        assert not shows(page, 1050), path
    cache_log.page("catalog.home").was_dropped(by="PATCH catalog_api.update").was_filled(times=2)


def test_a_new_price_leaves_what_was_built_from_another_row(client, change, cache_log):
    client.get("/api/products/5")
    client.get("/api/products/6")
    cache_log.function(queries.product).depends_on("product:6")
    change(price_cents=1234)
    cache_log.function(queries.product).was_dropped(times=1, by="product:5")


def test_a_deleted_product_is_gone_everywhere(client, authorized):
    for path in SHOWING:
        client.get(path)
    assert client.delete("/api/products/5", headers=authorized).status_code == 204
    for path in SHOWING:
        assert "lamp-05" not in client.get(path).text
    assert client.get("/products/lamp-05").status_code == 404
    assert "29 products" in client.get("/products?category=lighting").text


def test_a_renamed_and_moved_product_is_where_it_is_now(client, change):
    assert client.get("/products/lamp-05").status_code == 200
    assert client.get("/products/sun").status_code == 404
    assert "1 product<" in client.get("/").text
    change(name="Sun", slug="sun", category="bags")
    assert client.get("/products/lamp-05").status_code == 404
    assert "<h1>Sun</h1>" in client.get("/products/sun").text
    assert "2 products<" in client.get("/").text
    assert "Sun" in client.get("/products?category=bags").text


def test_a_statement_that_names_no_rows_drops_every_row(client, app, cache_log):
    client.get("/api/products/5")
    with app.app_context():
        db.session.execute(update(Product).values(price_cents=99))
        db.session.commit()
    # By this very line: it tells who dropped what.
    cache_log.function(queries.product).was_dropped(by="test_caching.py")
    assert client.get("/api/products/5").json["price_cents"] == 99


def test_a_refused_write_drops_nothing(client, authorized, cache_log):
    client.get("/products")
    client.patch("/api/products/5", json={"price_cents": 5})
    client.patch("/api/products/5", json={"price_cents": -5}, headers=authorized)
    client.patch("/api/products/5", json={"slug": "tote"}, headers=authorized)
    assert client.post("/products").status_code == 405
    cache_log.page("catalog.products").was_kept()


def test_without_a_cache_everything_is_made_anew(shop, authorized):
    client = shop(CACHE_TYPE="NullCache").test_client()
    for path in SHOWING:
        assert client.get(path).status_code == 200
    client.patch("/api/products/5", json={"price_cents": 1054}, headers=authorized)
    for path in SHOWING:
        assert shows(client.get(path), 1054)
