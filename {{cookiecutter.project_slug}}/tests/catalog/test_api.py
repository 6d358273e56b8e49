"""The JSON API."""

from datetime import UTC, datetime
from typing import Any

import pytest

from package import load

NEW = {"name": "Café Lamp", "price_cents": 1999, "category": "lighting"}


def test_one_product(client: Any) -> None:
    found = client.get("/api/products/5").json
    fields = "id name slug price_cents stock category updated_at"
    assert set(found) == set(fields.split())
    assert found["slug"] == "lamp-05"
    assert found["category"] == "lighting"
    updated_at = datetime.fromisoformat(found["updated_at"])
    assert updated_at.utcoffset() is not None
    assert abs((datetime.now(UTC) - updated_at).total_seconds()) < 60


def test_a_client_may_keep_a_product_and_ask_whether_it_still_holds(
    client: Any, authorized: Any
) -> None:
    first = client.get("/api/products/5")
    assert first.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/api/products/5", headers=known).status_code == 304
    client.patch("/api/products/5", json={"stock": 77}, headers=authorized)
    assert client.get("/api/products/5", headers=known).json["stock"] == 77


@pytest.mark.parametrize("number", ["0", "999", "2147483648", "99999999999999999999", "x", "-1"])
def test_an_unknown_product_is_a_problem(client: Any, number: str) -> None:
    response = client.get(f"/api/products/{number}")
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"


def test_a_list_has_the_pages_filters(client: Any) -> None:
    found = client.get("/api/products?category=lighting&sort=-price&page=2").json
    assert found["items"][0]["slug"] == "lamp-06"
    assert (found["page"], found["pages"], found["total"]) == (2, 2, 30)


def test_every_bad_filter_is_reported(client: Any) -> None:
    response = client.get("/api/products?category=z&sort=y&page=x")
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert set(response.json["errors"]) == {"category", "sort", "page"}


def test_create(client: Any, authorized: Any) -> None:
    response = client.post("/api/products", json=NEW, headers=authorized)
    assert response.status_code == 201
    assert response.json["slug"] == "cafe-lamp"
    assert response.json["stock"] == 0
    assert response.headers["Location"] == f"/api/products/{response.json['id']}"
    assert client.get(response.headers["Location"]).json == response.json


def test_update_changes_what_was_sent_and_the_time(client: Any, authorized: Any) -> None:
    before = client.get("/api/products/5").json
    response = client.patch("/api/products/5", json={"stock": 77}, headers=authorized)
    assert response.status_code == 200
    assert response.json["updated_at"] > before["updated_at"]
    assert response.json == before | {"stock": 77, "updated_at": response.json["updated_at"]}
    assert client.get("/api/products/5").json == response.json


def test_what_was_read_can_be_sent_back(client: Any, authorized: Any) -> None:
    before = client.get("/api/products/5").json
    assert client.patch("/api/products/5", json=before, headers=authorized).json == before


def test_an_empty_update_changes_nothing(client: Any, authorized: Any) -> None:
    before = client.get("/api/products/5").json
    assert client.patch("/api/products/5", json={}, headers=authorized).json == before


def test_delete(client: Any, authorized: Any) -> None:
    response = client.delete("/api/products/5", headers=authorized)
    assert (response.status_code, response.data) == (204, b"")
    assert client.get("/api/products/5").status_code == 404
    assert client.delete("/api/products/5", headers=authorized).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("patch", "/5000"),
        ("delete", "/5000"),
        ("patch", "/99999999999"),
        ("delete", "/99999999999"),
    ],
)
def test_writing_to_an_unknown_product(
    client: Any, authorized: Any, method: str, path: str
) -> None:
    response = client.open(f"/api/products{path}", method=method, json={}, headers=authorized)
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name", "price_cents", "category"}),
        ({"name": " ", "price_cents": -1, "stock": -1, "category": "toys", "slug": "A"},
         {"name", "price_cents", "stock", "category", "slug"}),
        (NEW | {"price_cents": "5"}, {"price_cents"}),
        (NEW | {"price_cents": 5.0}, {"price_cents"}),
        (NEW | {"price_cents": True}, {"price_cents"}),
        (NEW | {"price_cents": None}, {"price_cents"}),
        (NEW | {"price_cents": 2**31}, {"price_cents"}),
        (NEW | {"name": "x" * 121}, {"name"}),
        (NEW | {"name": "nul\0"}, {"name"}),
        (NEW | {"name": "half \ud83d"}, {"name"}),
        (NEW | {"name": "電灯"}, {"slug"}),
        (NEW | {"slug": "a--b"}, {"slug"}),
        (NEW | {"slug": "a\n"}, {"slug"}),
        (NEW | {"slug": "a" * 81}, {"slug"}),
        (NEW | {"category": ["lighting"]}, {"category"}),
        (NEW | {"category": {}}, {"category"}),
        (NEW | {"color": "red", "colour": "red"}, {"color", "colour"}),
    ],
)  # fmt: skip
def test_every_fault_of_a_body_is_reported(
    client: Any, authorized: Any, body: dict[str, Any], fields: set[str]
) -> None:
    response = client.post("/api/products", json=body, headers=authorized)
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert set(response.json["errors"]) == fields
    assert response.json["status"] == 422
    assert "stored" not in response.headers.get("Cache-Status", "")


def test_update_is_checked_like_creation(client: Any, authorized: Any) -> None:
    body = {"price_cents": -5, "name": ""}
    response = client.patch("/api/products/5", json=body, headers=authorized)
    assert (response.status_code, set(response.json["errors"])) == (422, {"name", "price_cents"})


def test_the_largest_integer_is_kept(client: Any, authorized: Any) -> None:
    body = {"price_cents": 2**31 - 1, "stock": 2**31 - 1}
    assert client.patch("/api/products/5", json=body, headers=authorized).status_code == 200
    assert 'data-price-cents="2147483647"' in client.get("/products/lamp-05").text


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        ("{}", None, 415),
        ("name=x", "application/x-www-form-urlencoded", 415),
        ("{", "application/json", 400),
        ("", "application/json", 400),
        ("[]", "application/json", 422),
        ("1", "application/json", 422),
        ('{"stock": 3}', "application/merge-patch+json", 200),
    ],
)
def test_media_types(
    client: Any, authorized: Any, data: str, content_type: str, status: int
) -> None:
    response = client.patch(
        "/api/products/5", data=data, content_type=content_type, headers=authorized
    )
    assert response.status_code == status
    if status != 200:
        assert response.mimetype == "application/problem+json"


def test_a_body_that_is_no_json_is_said_in_words(client: Any, authorized: Any) -> None:
    headers = {**authorized, "Content-Type": "application/json"}
    answer = client.patch("/api/products/5", data="{", headers=headers)
    assert (answer.status_code, answer.json["detail"]) == (
        400,
        "The body is not valid JSON, or nested too deep.",
    )


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_body_that_is_nested_too_deep_is_refused(
    client: Any, authorized: Any, opening: str
) -> None:
    headers = {**authorized, "Content-Type": "application/json"}
    for path, method in (("/api/products/5", "PATCH"), ("/api/products", "POST")):
        answer = client.open(path, method=method, data=opening * 100_000, headers=headers)
        assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")


def test_unknown_names_are_told_within_bounds(client: Any, authorized: Any) -> None:
    sent = {f"{number}{'x' * 500}": 1 for number in range(1000)} | {"\ud800": 1}
    answer = client.patch("/api/products/5", json=sent | {"stock": -1}, headers=authorized)
    assert answer.status_code == 422
    assert len(answer.data) < 4000
    errors = answer.json["errors"]
    assert len(errors) == 12
    assert "stock" in errors
    assert errors["…"] == "and 991 more are not fields of a product"


def test_a_taken_slug_is_a_conflict(client: Any, authorized: Any) -> None:
    created = client.post("/api/products", json=NEW | {"slug": "tote"}, headers=authorized)
    changed = client.patch("/api/products/5", json={"slug": "tote"}, headers=authorized)
    for response in (created, changed):
        assert response.status_code == 409
        assert response.json["errors"] == {"slug": "is taken"}
    assert client.get("/api/products/5").json["slug"] == "lamp-05"


def test_a_failure_that_is_no_conflict_is_not_hidden(client: Any, authorized: Any, db: Any) -> None:
    with client.application.app_context():
        db.session.execute(
            db.text(
                "CREATE TRIGGER no BEFORE UPDATE ON product BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )
        db.session.commit()
    with pytest.raises(load("catalog.api").IntegrityError):
        client.patch("/api/products/5", json={"slug": "new", "stock": 3}, headers=authorized)


WRITES = [("POST", "/api/products"), ("PATCH", "/api/products/5"), ("DELETE", "/api/products/5")]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "header",
    [
        None, "Bearer", "Bearer ", "Bearer wrong", "Bearer a-token-for-tests2", "Bearer pässword",
        "Basic YTpi", "Basic =", "a-token-for-tests", "Token a-token-for-tests",
        # Bytes beyond ASCII, base64 that is not UTF-8, control characters, and a huge one.
        "Basic \xff\xff", "Basic //8=", "Basic \x00\x1f", "Bearer \x00\x7f", "\xff", " ",
        "Digest \xff=\xff", "Digest a*=x''%ff",
        "Basic " + "A" * 60_000, "Bearer " + "\xff" * 60_000,
    ],
)  # fmt: skip
def test_writing_needs_the_token(client: Any, method: str, path: str, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    response = client.open(path, method=method, json=NEW, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_without_a_token_in_the_settings_nobody_writes(
    make_app: Any, method: str, path: str
) -> None:
    client = make_app(API_TOKEN="").test_client()
    response = client.open(path, method=method, json=NEW, headers={"Authorization": "Bearer "})
    assert response.status_code == 503
    assert "API_TOKEN" in response.json["detail"]


def test_the_api_needs_no_csrf_token(make_app: Any) -> None:
    client = make_app(API_TOKEN="t", WTF_CSRF_ENABLED=True).test_client()
    headers = {"Authorization": "bearer t"}
    assert client.post("/api/products", json={}, headers=headers).status_code == 422


@pytest.mark.parametrize("method", ["PUT", "TRACE"])
def test_other_methods_are_refused_in_json(client: Any, authorized: Any, method: str) -> None:
    response = client.open("/api/products/5", method=method, headers=authorized)
    assert response.status_code == 405
    assert response.mimetype == "application/problem+json"
