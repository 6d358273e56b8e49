"""The JSON API."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from {{cookiecutter.package_name}}.extensions import db

LAMP = "/api/products/5"
NEW = {"name": "Café Lamp", "price_cents": 1999, "category": "lighting"}
PROBLEM = "application/problem+json"


@pytest.fixture
def send(client, authorized):
    """Send a request that may write."""

    def send(method, path, body=None, **more):
        more = {"json": body} | more if body is not None else more
        headers = authorized | more.pop("headers", {})
        return client.open(path, method=method, headers=headers, **more)

    return send


def test_one_product(client):
    found = client.get(LAMP).json
    fields = "id name slug price_cents stock category updated_at"
    assert set(found) == set(fields.split())
    assert (found["slug"], found["category"]) == ("lamp-05", "lighting")
    updated_at = datetime.fromisoformat(found["updated_at"])
    assert abs((datetime.now(UTC) - updated_at).total_seconds()) < 60


def test_a_client_may_keep_a_product_and_ask_whether_it_still_holds(client, send):
    first = client.get(LAMP)
    assert first.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": first.headers["ETag"]}
    assert client.get(LAMP, headers=known).status_code == 304
    send("PATCH", LAMP, {"stock": 77})
    assert client.get(LAMP, headers=known).json["stock"] == 77


@pytest.mark.parametrize("number", ["0", "999", "2147483648", "99999999999999999999", "x", "-1"])
def test_an_unknown_product_is_a_problem(send, number):
    path = f"/api/products/{number}"
    for answer in (send("GET", path), send("PATCH", path, {}), send("DELETE", path)):
        assert (answer.status_code, answer.mimetype) == (404, PROBLEM)


def test_a_list_has_the_pages_filters_and_every_bad_one_is_reported(client):
    found = client.get("/api/products?category=lighting&sort=-price&page=2").json
    assert found["items"][0]["slug"] == "lamp-06"
    assert (found["page"], found["pages"], found["total"]) == (2, 2, 30)
    response = client.get("/api/products?category=z&sort=y&page=x")
    assert (response.status_code, response.mimetype) == (422, PROBLEM)
    assert set(response.json["errors"]) == {"category", "sort", "page"}


def test_create(client, send):
    response = send("POST", "/api/products", NEW)
    assert response.status_code == 201
    assert (response.json["slug"], response.json["stock"]) == ("cafe-lamp", 0)
    assert response.headers["Location"] == f"/api/products/{response.json['id']}"
    assert client.get(response.headers["Location"]).json == response.json


def test_update_changes_what_was_sent_and_the_time(client, send):
    before = client.get(LAMP).json
    assert send("PATCH", LAMP, before).json == send("PATCH", LAMP, {}).json == before
    after = send("PATCH", LAMP, {"stock": 77}).json
    assert after["updated_at"] > before["updated_at"]
    assert after == before | {"stock": 77, "updated_at": after["updated_at"]}
    assert client.get(LAMP).json == after


def test_delete(client, send):
    response = send("DELETE", LAMP)
    assert (response.status_code, response.data) == (204, b"")
    assert client.get(LAMP).status_code == 404
    assert send("DELETE", LAMP).status_code == 404


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
        (NEW | {"color": "red", "colour": "red"}, {"color", "colour"}),
    ],
)  # fmt: skip
def test_every_fault_of_a_body_is_reported(send, body, fields):
    response = send("POST", "/api/products", body)
    assert (response.status_code, response.mimetype) == (422, PROBLEM)
    assert set(response.json["errors"]) == fields


def test_update_is_checked_like_creation(client, send):
    response = send("PATCH", LAMP, {"price_cents": -5, "name": ""})
    assert (response.status_code, set(response.json["errors"])) == (422, {"name", "price_cents"})
    largest = {"price_cents": 2**31 - 1, "stock": 2**31 - 1}
    assert send("PATCH", LAMP, largest).status_code == 200
    assert 'data-price-cents="2147483647"' in client.get("/products/lamp-05").text


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        ("{}", None, 415),
        ("name=x", "application/x-www-form-urlencoded", 415),
        ("{", "application/json", 400),
        ("", "application/json", 400),
        ("[" * 100_000, "application/json", 400),
        ('{"a":' * 100_000, "application/json", 400),
        ("[]", "application/json", 422),
        ('{"stock": 3}', "application/merge-patch+json", 200),
    ],
)
def test_media_types(send, data, content_type, status):
    response = send("PATCH", LAMP, data=data, content_type=content_type)
    assert response.status_code == status
    if status != 200:
        assert response.mimetype == PROBLEM
    if status == 400:
        assert response.json["detail"] == "The body is not valid JSON, or nested too deep."


def test_unknown_names_are_told_within_bounds(send):
    sent = {f"{number}{'x' * 500}": 1 for number in range(1000)} | {"\ud800": 1}
    answer = send("PATCH", LAMP, sent | {"stock": -1})
    assert answer.status_code == 422
    assert len(answer.data) < 4000
    errors = answer.json["errors"]
    assert len(errors) == 12
    assert errors["…"] == "and 991 more are not fields of a product"


def test_a_taken_slug_is_a_conflict(client, send):
    created = send("POST", "/api/products", NEW | {"slug": "tote"})
    for response in (created, send("PATCH", LAMP, {"slug": "tote"})):
        assert response.status_code == 409
        assert response.json["errors"] == {"slug": "is taken"}
    assert client.get(LAMP).json["slug"] == "lamp-05"


def test_a_failure_that_is_no_conflict_is_not_hidden(app, send):
    trigger = "CREATE TRIGGER no BEFORE UPDATE ON product BEGIN SELECT RAISE(ABORT, 'no'); END"
    with app.app_context():
        db.session.execute(text(trigger))
        db.session.commit()
    with pytest.raises(IntegrityError):
        send("PATCH", LAMP, {"slug": "new", "stock": 3})


WRITES = [("POST", "/api/products"), ("PATCH", LAMP), ("DELETE", LAMP)]


@pytest.mark.parametrize(
    "header",
    [
        None, "Bearer", "Bearer wrong", "Bearer a-token-for-tests2", "Bearer pässword", "Basic =",
        "Basic YTpi", "a-token-for-tests", "Token a-token-for-tests", "Basic \xff\xff",
        "Basic //8=", "Basic \x00\x1f", "Bearer \x00\x7f", "\xff", " ", "Digest a*=x''%ff",
        "Bearer " + "\xff" * 60_000,
    ],
)  # fmt: skip
def test_writing_needs_the_token(client, header):
    headers = {"Authorization": header} if header else {}
    for method, path in WRITES:
        response = client.open(path, method=method, json=NEW, headers=headers)
        assert (response.status_code, response.mimetype) == (401, PROBLEM)
        assert response.headers["WWW-Authenticate"].startswith("Bearer realm=")


def test_without_a_token_in_the_settings_nobody_writes(shop):
    client = shop(API_TOKEN="").test_client()
    for method, path in WRITES:
        headers = {"Authorization": "Bearer "}
        response = client.open(path, method=method, json=NEW, headers=headers)
        assert response.status_code == 503
        assert "API_TOKEN" in response.json["detail"]


def test_the_api_needs_no_csrf_token(make_app):
    client = make_app(API_TOKEN="t", WTF_CSRF_ENABLED=True).test_client()
    headers = {"Authorization": "bearer t"}
    assert client.post("/api/products", json={}, headers=headers).status_code == 422


def test_other_methods_are_refused_in_json(send):
    assert {(a.status_code, a.mimetype) for a in (send("PUT", LAMP), send("TRACE", LAMP))} == {
        (405, PROBLEM)
    }
