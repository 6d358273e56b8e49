"""Pages of one person: what is on them, and that nobody else sees them."""

from typing import Any

import pytest
from flask import session

from package import load

TOTE = {"product": "tote"}


def status(response: Any) -> str:
    """The page cache's word: hit, miss or bypass."""
    words = response.headers["Cache-Status"].split("; ")
    return "hit" if "hit" in words else words[1].removeprefix("fwd=")


@pytest.fixture
def ada(sign_in: Any) -> Any:
    return sign_in("Ada")


@pytest.fixture
def bob(sign_in: Any) -> Any:
    return sign_in("Bob")


def test_a_wish_is_confirmed_added_shown_and_removed(ada: Any) -> None:
    confirm = ada.get("/account/wishes/add?product=tote").text
    assert "<strong>Tote</strong>" in confirm
    assert 'data-price-cents="4200"' in confirm
    added = ada.post("/account/wishes/add", data=TOTE)
    assert (added.status_code, added.headers["Location"]) == (303, "/account/wishes")
    for path in ("/account", "/account/wishes"):
        page = ada.get(path).text
        assert "Tote" in page
        assert "Backpack" not in page
        assert 'data-price-cents="4200"' in page
    assert ada.post("/account/wishes/remove", data=TOTE).status_code == 303
    for path in ("/account", "/account/wishes"):
        assert "Tote" not in ada.get(path).text


def test_wishing_twice_is_wishing_once(ada: Any) -> None:
    for action in ("add", "add", "remove", "remove"):
        assert ada.post(f"/account/wishes/{action}", data=TOTE).status_code == 303
    assert "It is empty." in ada.get("/account/wishes").text


def test_the_same_wish_at_the_same_moment(
    ada: Any, app: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = db.session.commit

    def commit_second() -> None:
        with db.engine.connect() as other, db.session.no_autoflush:
            other.execute(db.text("INSERT INTO wish VALUES (1, 1)"))
            other.commit()
        commit()

    monkeypatch.setattr(db.session, "commit", commit_second)
    assert ada.post("/account/wishes/add", data=TOTE).status_code == 303
    assert "Tote" in ada.get("/account/wishes").text


@pytest.mark.parametrize("slug", ["none", "", "%00", "\0"])
def test_an_unknown_product_cannot_be_wished_for(ada: Any, slug: str) -> None:
    assert ada.get("/account/wishes/add", query_string={"product": slug}).status_code == 404
    for action in ("add", "remove"):
        response = ada.post(f"/account/wishes/{action}", data={"product": slug})
        assert response.status_code == 404


@pytest.mark.parametrize("path", ["/account/wishes/add", "/account/wishes/remove"])
def test_wishes_need_somebody(client: Any, path: str) -> None:
    response = client.post(path, data=TOTE)
    assert (response.status_code, response.headers["Location"]) == (302, "/account/sign-in")


# -- what is kept --------------------------------------------------------------------------


def test_the_account_page_is_kept_for_one_person(ada: Any, bob: Any) -> None:
    first, second = ada.get("/account"), ada.get("/account")
    assert (status(first), status(second)) == ("miss", "hit")
    assert second.headers["Cache-Control"] == "private, no-cache"
    other = bob.get("/account")
    assert status(other) == "miss"
    assert "Hello, Bob" in other.text
    assert "Hello, Ada" in ada.get("/account").text


def test_a_kept_account_page_is_not_shown_to_strangers(ada: Any, client: Any) -> None:
    ada.get("/account")
    response = client.get("/account")
    assert response.status_code == 302
    assert "Ada" not in response.text
    ada.post("/account/sign-out")
    assert ada.get("/account").status_code == 302


def test_head_of_the_account_page_is_as_private(ada: Any, client: Any) -> None:
    ada.get("/account")
    head = ada.head("/account")
    assert (status(head), head.data) == ("hit", b"")
    assert client.head("/account").status_code == 302


def test_the_wish_of_one_is_on_no_page_of_another(ada: Any, bob: Any) -> None:
    ada.get("/account")
    bob.get("/account")
    ada.post("/account/wishes/add", data=TOTE)
    assert status(ada.get("/account")) == "miss"
    assert "Tote" not in bob.get("/account").text


def test_a_new_price_is_seen_by_the_next_get(ada: Any) -> None:
    ada.post("/account/wishes/add", data=TOTE)
    for path in ("/account", "/account/wishes"):
        assert 'data-price-cents="4200"' in ada.get(path).text
    authorized = {"Authorization": "Bearer t"}
    ada.patch("/api/products/1", json={"price_cents": 1234}, headers=authorized)
    for path in ("/account", "/account/wishes", "/account/wishes/add?product=tote"):
        page = ada.get(path).text
        assert 'data-price-cents="1234"' in page
        assert "4200" not in page


def test_a_deleted_product_leaves_the_wishes(ada: Any) -> None:
    ada.post("/account/wishes/add", data=TOTE)
    assert "Tote" in ada.get("/account").text
    assert ada.delete("/api/products/1", headers={"Authorization": "Bearer t"}).status_code == 204
    for path in ("/account", "/account/wishes"):
        page = ada.get(path)
        assert page.status_code == 200
        assert "Tote" not in page.text


@pytest.mark.parametrize("path", ["/account/wishes", "/account/wishes/add?product=tote"])
def test_pages_with_forms_are_never_kept(ada: Any, path: str) -> None:
    for _ in range(2):
        response = ada.get(path)
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cache-Status" not in response.headers


def test_the_sign_in_page_is_never_kept(client: Any) -> None:
    for _ in range(2):
        response = client.get("/account/sign-in")
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cache-Status" not in response.headers
        assert "Cookie" in response.headers["Vary"]


def test_a_list_of_wishes_is_one_query(ada: Any, count_queries: Any) -> None:
    ada.post("/account/wishes/add", data=TOTE)
    ada.post("/account/wishes/add", data={"product": "backpack"})
    with count_queries() as statements:
        assert ada.get("/account/wishes").status_code == 200
    assert len(statements) == 2, statements
    with count_queries() as statements:
        ada.get("/account")
        ada.get("/account")
    assert len(statements) == 2, statements


@pytest.mark.parametrize("guard_outside", [True, False])
def test_the_order_of_decorators_gives_nothing_away(
    make_app: Any, cache: Any, guard_outside: bool
) -> None:
    login_required = load("account.session").login_required
    app = make_app(CACHE_STRICT=False)

    def secret() -> str:
        return f"The secret of {session['user_id']}"

    kept = cache.cached(timeout=60)
    view = login_required(kept(secret)) if guard_outside else kept(login_required(secret))
    app.add_url_rule("/secret", view_func=view)
    clients = []
    for user_id in (1, 2):
        client = app.test_client()
        with client.session_transaction() as cookie:
            cookie["user_id"] = user_id
        clients.append(client)
    for _ in range(2):
        for user_id, client in enumerate(clients, 1):
            assert client.get("/secret").text == f"The secret of {user_id}"
        assert app.test_client().get("/secret").status_code == 302
