"""What the shop keeps, for how long, and what drops it."""

from typing import Any

import pytest
from sqlalchemy import update

from catalog.conftest import TOKEN, fill
from package import load

PAGES = ["/", "/products", "/products?page=2&sort=-price&category=lighting", "/products/lamp-05"]
#: Everything that shows the price of Lamp 05, once it is the product that changed last.
SHOWING = [
    "/", "/products", "/products?sort=price", "/products?sort=-price&page=2",
    "/products?sort=newest", "/products?category=lighting", "/products/lamp-05",
    "/products/lamp-04", "/api/products", "/api/products?category=lighting", "/api/products/5",
]  # fmt: skip


def status(response: Any) -> str:
    """The page cache's word: hit, miss or bypass."""
    words = response.headers["Cache-Status"].split("; ")
    return "hit" if "hit" in words else words[1].removeprefix("fwd=")


def shows(response: Any, cents: int) -> bool:
    """Tell whether a page, or an answer of the API, shows a price."""
    if response.is_json:
        items = response.json.get("items", [response.json])
        return any(item["price_cents"] == cents for item in items)
    return f'data-price-cents="{cents}"' in response.text


# -- pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/api/products", "/api/products?sort=price"])
def test_a_page_is_made_once(client: Any, count_queries: Any, path: str) -> None:
    first = client.get(path)
    with count_queries() as queries:
        second = client.get(path)
    assert (status(first), status(second)) == ("miss", "hit")
    assert second.data == first.data
    assert queries == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_everybodys(client: Any, path: str) -> None:
    response = client.get(path)
    assert response.headers["Cache-Control"] == "public, no-cache"
    assert "Set-Cookie" not in response.headers
    assert "Cookie" not in response.headers.get("Vary", "")
    with client.session_transaction() as session:
        session["user_id"] = 1
    assert status(client.get(path)) == "hit"


@pytest.mark.parametrize("path", PAGES)
def test_head_is_answered_from_the_page(client: Any, path: str) -> None:
    page = client.get(path)
    head = client.head(path)
    assert (status(head), head.data) == ("hit", b"")
    assert head.headers["ETag"] == page.headers["ETag"]
    assert head.headers["Content-Length"] == page.headers["Content-Length"]


def test_head_leaves_nothing_for_get(client: Any) -> None:
    client.head("/products")
    assert "<h1>All products</h1>" in client.get("/products").text


@pytest.mark.parametrize("path", PAGES)
def test_who_has_the_page_gets_304(client: Any, path: str) -> None:
    etag = client.get(path).headers["ETag"]
    response = client.get(path, headers={"If-None-Match": etag})
    assert (response.status_code, response.data) == (304, b"")
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_post_is_refused_and_changes_no_page(client: Any, path: str) -> None:
    page = client.get(path)
    assert client.post(path).status_code == 405
    assert client.get(path).data == page.data


def test_undeclared_parameters_make_no_second_entry(client: Any) -> None:
    client.get("/products?page=2")
    assert status(client.get("/products?utm_source=letter&page=2")) == "hit"
    assert status(client.get("/products?page=1")) == "miss"


def test_who_sends_a_token_gets_a_fresh_list(client: Any, authorized: Any) -> None:
    client.get("/api/products")
    assert status(client.get("/api/products", headers=authorized)) == "bypass"


def test_a_404_is_kept_briefly(client: Any, count_queries: Any) -> None:
    first = client.get("/products/none")
    with count_queries() as queries:
        second = client.get("/products/none")
    assert (first.status_code, second.status_code) == (404, 404)
    assert (status(first), status(second)) == ("miss", "hit")
    assert queries == []
    assert int(second.headers["Cache-Status"].rpartition("ttl=")[2]) <= 30


def test_a_404_ends_when_the_product_appears(client: Any, authorized: Any) -> None:
    assert client.get("/products/new").status_code == 404
    body = {"name": "New", "price_cents": 1, "category": "bags"}
    client.post("/api/products", json=body, headers=authorized)
    assert client.get("/products/new").status_code == 200


# -- functions and fragments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("categories", ()),
        ("products", (1, "name", None)),
        ("newest", (8,)),
        ("product", (5,)),
        ("product", (5000,)),
        ("price_range", ("lighting",)),
        ("price_range", ("none",)),
        ("related", (5,)),
        ("related", (5000,)),
    ],
)
def test_a_query_is_run_once(app: Any, count_queries: Any, name: str, args: Any) -> None:
    function = getattr(load("catalog.queries"), name)
    with app.app_context():
        first = function(*args)
    with app.app_context(), count_queries() as queries:
        assert function(*args) == first
    assert queries == []


def test_the_menu_is_shared_by_pages(client: Any, count_queries: Any) -> None:
    client.get("/products/lamp-05")
    with count_queries() as queries:
        client.get("/products/lamp-06")
    assert not any("count(" in query for query in queries)


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/", 2),
        ("/products", 2),
        ("/products?category=lighting", 3),
        ("/products/lamp-05", 3),
        ("/api/products", 2),
        ("/api/products/5", 2),
    ],
)
def test_a_page_takes_few_queries_however_long_it_is(
    client: Any, count_queries: Any, path: str, most: int
) -> None:
    with count_queries() as queries:
        assert client.get(path).status_code == 200
    assert len(queries) <= most, queries


# -- invalidation --------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHOWING)
def test_a_new_price_is_seen_by_the_next_get(client: Any, authorized: Any, path: str) -> None:
    for _ in range(2):
        assert not shows(client.get(path), 1054)
    patched = client.patch("/api/products/5", json={"price_cents": 1054}, headers=authorized)
    assert patched.status_code == 200
    after = client.get(path)
    assert shows(after, 1054)
    assert not shows(after, 1050)


def test_a_deleted_product_is_gone_everywhere(client: Any, authorized: Any) -> None:
    for path in SHOWING:
        client.get(path)
    assert client.delete("/api/products/5", headers=authorized).status_code == 204
    for path in SHOWING:
        assert "lamp-05" not in client.get(path).text
    assert client.get("/products/lamp-05").status_code == 404
    assert "29 products" in client.get("/products?category=lighting").text


def test_a_renamed_product_leaves_its_address(client: Any, authorized: Any) -> None:
    assert client.get("/products/lamp-05").status_code == 200
    assert client.get("/products/sun").status_code == 404
    body = {"name": "Sun", "slug": "sun"}
    client.patch("/api/products/5", json=body, headers=authorized)
    assert client.get("/products/lamp-05").status_code == 404
    assert "<h1>Sun</h1>" in client.get("/products/sun").text


def test_a_moved_product_is_counted_where_it_is(client: Any, authorized: Any) -> None:
    assert "1 product<" in client.get("/").text
    client.patch("/api/products/5", json={"category": "bags"}, headers=authorized)
    assert "2 products<" in client.get("/").text
    assert "Lamp 05" in client.get("/products?category=bags").text
    assert client.get("/api/products/5").json["category"] == "bags"


def test_a_new_product_opens_a_new_page(client: Any, authorized: Any) -> None:
    for number in range(18):
        assert client.get("/products?page=3").status_code == 404
        body = {"name": f"Vase {number}", "price_cents": 1, "category": "bags"}
        client.post("/api/products", json=body, headers=authorized)
    assert client.get("/products?page=3").status_code == 200


def test_a_new_price_leaves_what_was_built_from_another_row(
    client: Any, authorized: Any, count_queries: Any
) -> None:
    before = client.get("/api/products/6").json
    client.patch("/api/products/5", json={"price_cents": 1234}, headers=authorized)
    with count_queries() as queries:
        assert client.get("/api/products/6").json == before
    assert queries == []


def test_a_statement_that_names_no_rows_drops_every_row(client: Any, app: Any, db: Any) -> None:
    client.get("/api/products/5")
    product = load("catalog.models").Product
    with app.app_context():
        db.session.execute(update(product).values(price_cents=99))
        db.session.commit()
    assert client.get("/api/products/5").json["price_cents"] == 99


def test_a_refused_write_drops_nothing(client: Any, authorized: Any) -> None:
    client.get("/products")
    client.patch("/api/products/5", json={"price_cents": 5})
    client.patch("/api/products/5", json={"price_cents": -5}, headers=authorized)
    client.patch("/api/products/5", json={"slug": "tote"}, headers=authorized)
    assert status(client.get("/products")) == "hit"


def test_without_a_cache_everything_is_made_anew(make_app: Any) -> None:
    app = make_app(CACHE_TYPE="NullCache", API_TOKEN=TOKEN)
    with app.app_context():
        fill()
    client = app.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in SHOWING:
        assert client.get(path).status_code == 200
    client.patch("/api/products/5", json={"price_cents": 1054}, headers=headers)
    for path in SHOWING:
        assert shows(client.get(path), 1054)
