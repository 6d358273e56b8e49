"""Signing in and out."""

import pytest
from werkzeug.security import generate_password_hash

from {{cookiecutter.package_name}}.account import models, throttle
from {{cookiecutter.package_name}}.extensions import db

PASSWORD = "correct horse"
FORM = {"name": "Ada", "password": PASSWORD}


def test_signing_in_leads_to_the_account(client):
    assert client.head("/account/sign-in", data=FORM).status_code == 200
    assert client.get("/account").status_code == 302, "a HEAD is no attempt"
    response = client.post("/account/sign-in", data=FORM | {"name": " Ada "})
    assert (response.status_code, response.headers["Location"]) == (303, "/account")
    assert "Hello, Ada" in client.get("/account").text


def test_who_is_signed_in_needs_no_form(sign_in):
    response = sign_in("Ada").get("/account/sign-in?next=/account/wishes")
    assert (response.status_code, response.headers["Location"]) == (302, "/account/wishes")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": "Ada", "password": "wrong"},
        {"name": "ada", "password": PASSWORD},
        {"name": "Nobody", "password": PASSWORD},
        {"name": "Ada\0", "password": PASSWORD},
        {"name": "Ada", "password": PASSWORD * 1000},
        {"name": "x" * 10_000, "password": PASSWORD},
    ],
)
def test_a_wrong_name_or_password_is_refused(client, form):
    response = client.post("/account/sign-in", data=form)
    assert response.status_code == 422
    assert "The name or the password is wrong" in response.text
    assert client.get("/account").status_code == 302


def test_a_hash_is_computed_for_unknown_names_too(client, monkeypatch):
    check, hashes = models.check_password_hash, []
    monkeypatch.setattr(
        models, "check_password_hash", lambda *given: hashes.append(given[0]) or check(*given)
    )
    for name in ("Ada", "Nobody"):
        client.post("/account/sign-in", data={"name": name, "password": "wrong"})
    known, unknown = hashes
    assert known.startswith("scrypt:")
    assert unknown.partition("$")[0] == generate_password_hash("").partition("$")[0]


@pytest.fixture
def guess(client, monkeypatch):
    """Try to sign in from an address; two failures are the most."""
    monkeypatch.setattr(throttle, "MOST_FAILURES", 2)

    def guess(password, address="127.0.0.1"):
        form, environ = FORM | {"password": password}, {"REMOTE_ADDR": address}
        return client.post("/account/sign-in", data=form, environ_base=environ)

    return guess


def test_guessing_is_bounded(guess):
    assert [guess("x").status_code for _ in range(2)] == [422, 422]
    refused = guess(PASSWORD)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "900")
    assert guess(PASSWORD, "192.0.2.1").status_code == 303


@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1:50001", "192.0.2.1:50002", "::ffff:192.0.2.1"],
        ["2001:db8::1", "[2001:db8::2]:50001", "2001:db8::ffff:0:3"],
    ],
)
def test_another_port_or_address_of_a_client_guesses_no_more(guess, addresses):
    assert [guess("x", address).status_code for address in addresses] == [422, 422, 429]


def test_without_a_cache_each_process_counts_for_itself(make_app):
    client = make_app(CACHE_TYPE="NullCache").test_client()
    throttle._counted.clear()
    statuses = [client.post("/account/sign-in", data={}).status_code for _ in range(11)]
    assert statuses == [422] * 10 + [429]


def test_a_success_forgets_the_failures(client, guess):
    for _ in range(2):
        guess("x")
        assert guess(PASSWORD).status_code == 303
        client.post("/account/sign-out")


def test_signing_in_and_out_leave_nothing_of_the_session_before(client):
    with client.session_transaction() as session:
        session.update(left="over", csrf_token="fixed")
    client.post("/account/sign-in", data=FORM)
    with client.session_transaction() as session:
        assert set(session) == {"user_id", "csrf_token"}
        assert session["csrf_token"] != "fixed"
    response = client.post("/account/sign-out")
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    with client.session_transaction() as session:
        assert dict(session) == {}


@pytest.mark.parametrize("path", ["/account", "/account/wishes/add?product=tote"])
def test_who_must_sign_in_is_led_back(client, path):
    response = client.get(path)
    assert response.status_code == 302
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Location"] == f"/account/sign-in?next={path.replace('=', '%3D')}"
    signed_in = client.post(response.headers["Location"], data=FORM)
    assert signed_in.headers["Location"] == path


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
        "javascript:alert(1)", "/\t/evil.example", "/\n/evil.example", " //evil.example", "evil",
        "/a\r\nX: y", "", "/ä",
    ],
)  # fmt: skip
def test_nobody_is_led_to_another_site(client, target):
    response = client.post("/account/sign-in", query_string={"next": target}, data=FORM)
    assert response.headers["Location"] == "/account"


def test_a_deleted_user_has_to_sign_in_again(sign_in, app):
    client = sign_in("Ada")
    with app.app_context():
        db.session.execute(db.delete(models.User))
        db.session.commit()
    for path in ("/account", "/account/wishes"):
        assert client.get(path).headers["Location"].startswith("/account/sign-in")
    with client.session_transaction() as session:
        assert "user_id" not in session


def test_every_form_needs_a_token(make_app):
    client = make_app(WTF_CSRF_ENABLED=True).test_client()
    for form in ("sign-in", "sign-out", "wishes/add", "wishes/remove"):
        assert client.post(f"/account/{form}", data=FORM).status_code == 400


def test_the_forms_bring_their_tokens(shop):
    client = shop(WTF_CSRF_ENABLED=True).test_client()

    def submit(page, path, **form):
        token = client.get(page).text.partition('name="csrf_token" value="')[2].partition('"')[0]
        return client.post(path, data={"csrf_token": token, **form})

    assert submit("/account/sign-in", "/account/sign-in", **FORM).status_code == 303
    add = "/account/wishes/add"
    assert submit(f"{add}?product=tote", add, product="tote").status_code == 303
    remove = "/account/wishes/remove"
    assert submit("/account/wishes", remove, product="tote").status_code == 303
    # The private page may be the kept one: its token is of the same session.
    client.get("/account")
    assert submit("/account", "/account/sign-out").status_code == 303
    assert client.get("/account").status_code == 302
