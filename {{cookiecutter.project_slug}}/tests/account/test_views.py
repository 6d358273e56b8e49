"""Pages of one person: what is on them, and that nobody else sees them."""

import pytest

from {{cookiecutter.package_name}}.extensions import db

TOTE = {"product": "tote"}


@pytest.fixture
def ada(sign_in):
    return sign_in("Ada")


@pytest.fixture
def bob(sign_in):
    return sign_in("Bob")


def test_a_wish_is_confirmed_added_shown_and_removed(ada):
    confirm = ada.get("/account/wishes/add?product=tote").text
    assert "<strong>Tote</strong>" in confirm
    assert 'data-price-cents="4200"' in confirm
    ada.post("/account/wishes/add", data=TOTE)
    added = ada.post("/account/wishes/add", data=TOTE)  # twice is once
    assert (added.status_code, added.headers["Location"]) == (303, "/account/wishes")
    for path in ("/account", "/account/wishes"):
        page = ada.get(path).text
        assert "Tote" in page
        assert "Backpack" not in page
        assert 'data-price-cents="4200"' in page
    assert ada.post("/account/wishes/remove", data=TOTE).status_code == 303
    for path in ("/account", "/account/wishes"):
        assert "Tote" not in ada.get(path).text


def test_the_same_wish_at_the_same_moment(ada, monkeypatch):
    commit = db.session.commit

    def commit_second():
        with db.engine.connect() as other, db.session.no_autoflush:
            other.execute(db.text("INSERT INTO wish VALUES (1, 1)"))
            other.commit()
        commit()

    monkeypatch.setattr(db.session, "commit", commit_second)
    assert ada.post("/account/wishes/add", data=TOTE).status_code == 303
    assert "Tote" in ada.get("/account/wishes").text


def test_an_unknown_product_cannot_be_wished_for(ada):
    for slug in ("none", "", "%00", "\0"):
        confirm = ada.get("/account/wishes/add", query_string={"product": slug})
        assert confirm.status_code == 404
        for action in ("add", "remove"):
            response = ada.post(f"/account/wishes/{action}", data={"product": slug})
            assert response.status_code == 404


def test_wishes_need_somebody(client):
    for action in ("add", "remove"):
        response = client.post(f"/account/wishes/{action}", data=TOTE)
        assert (response.status_code, response.headers["Location"]) == (302, "/account/sign-in")


# -- what is kept --------------------------------------------------------------------------


def test_the_account_page_is_kept_for_one_person(ada, bob, cache_log):
    page = cache_log.page("account.index")
    ada.get("/account")
    assert ada.get("/account").headers["Cache-Control"] == "private, no-cache"
    page.was_filled(times=1).was_hit(times=1)
    assert "Hello, Bob" in bob.get("/account").text
    page.was_filled(times=2)
    assert "Hello, Ada" in ada.get("/account").text


def test_a_kept_account_page_is_not_shown_to_strangers(ada, client):
    ada.get("/account")
    for method in (client.get, client.head):
        response = method("/account")
        assert response.status_code == 302
        assert "Ada" not in response.text
    ada.post("/account/sign-out")
    assert ada.get("/account").status_code == 302


def test_the_wish_of_one_is_on_no_page_of_another(ada, bob, cache_log):
    ada.get("/account")
    bob.get("/account")
    ada.post("/account/wishes/add", data=TOTE)
    cache_log.page("account.index").was_dropped(by="POST account.add_wish")
    assert "Tote" in ada.get("/account").text
    assert "Tote" not in bob.get("/account").text


def test_a_new_price_is_seen_by_the_next_get(ada):
    ada.post("/account/wishes/add", data=TOTE)
    for path in ("/account", "/account/wishes"):
        assert 'data-price-cents="4200"' in ada.get(path).text
    authorized = {"Authorization": "Bearer t"}
    ada.patch("/api/products/1", json={"price_cents": 1234}, headers=authorized)
    for path in ("/account", "/account/wishes", "/account/wishes/add?product=tote"):
        page = ada.get(path).text
        assert 'data-price-cents="1234"' in page
        assert "4200" not in page


def test_a_deleted_product_leaves_the_wishes(ada):
    ada.post("/account/wishes/add", data=TOTE)
    assert "Tote" in ada.get("/account").text
    ada.delete("/api/products/1", headers={"Authorization": "Bearer t"})
    for path in ("/account", "/account/wishes"):
        page = ada.get(path)
        assert page.status_code == 200
        assert "Tote" not in page.text


def test_pages_with_forms_are_never_kept(ada, client, cache_log):
    asked = [(ada, "/account/wishes"), (ada, "/account/wishes/add?product=tote")]
    for browser, path in [*asked, (client, "/account/sign-in")] * 2:
        response = browser.get(path)
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cookie" in response.headers["Vary"]
    assert not [event for event in cache_log.events if event.level == "page"]


def test_a_list_of_wishes_is_one_query(ada, count_queries):
    ada.post("/account/wishes/add", data=TOTE)
    ada.post("/account/wishes/add", data={"product": "backpack"})
    with count_queries() as statements:
        assert ada.get("/account/wishes").status_code == 200
    assert len(statements) == 2, statements
    with count_queries() as statements:
        ada.get("/account")
        ada.get("/account")
    assert len(statements) == 2, statements
