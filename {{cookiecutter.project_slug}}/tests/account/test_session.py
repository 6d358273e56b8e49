"""Signing in and out."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from account.conftest import PASSWORD, fill
from package import load

FORM = {"name": "Ada", "password": PASSWORD}


def test_signing_in_leads_to_the_account(client: Any) -> None:
    response = client.post("/account/sign-in", data=FORM)
    assert (response.status_code, response.headers["Location"]) == (303, "/account")
    assert "Hello, Ada" in client.get("/account").text


def test_the_name_may_have_spaces_around_it(client: Any) -> None:
    assert client.post("/account/sign-in", data=FORM | {"name": " Ada "}).status_code == 303


def test_head_is_no_attempt_to_sign_in(client: Any) -> None:
    response = client.head("/account/sign-in", data=FORM)
    assert response.status_code == 200
    assert client.get("/account").status_code == 302


def test_who_is_signed_in_needs_no_form(sign_in: Any) -> None:
    response = sign_in("Ada").get("/account/sign-in?next=/account/wishes")
    assert (response.status_code, response.headers["Location"]) == (302, "/account/wishes")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": "Ada"},
        {"name": "Ada", "password": "wrong"},
        {"name": "ada", "password": PASSWORD},
        {"name": "Nobody", "password": PASSWORD},
        {"name": "Nobody", "password": ""},
        {"name": "Ada\0", "password": PASSWORD},
        {"name": "Ada", "password": PASSWORD * 1000},
        {"name": "x" * 10_000, "password": PASSWORD},
    ],
)
def test_a_wrong_name_or_password_is_refused(client: Any, form: dict[str, str]) -> None:
    response = client.post("/account/sign-in", data=form)
    assert response.status_code == 422
    assert "do not belong together" in response.text
    assert client.get("/account").status_code == 302


def test_a_hash_is_computed_for_unknown_names_too(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = load("account.models")
    hashes: list[str] = []
    check = models.check_password_hash

    def note(hashed: str, password: str) -> bool:
        hashes.append(hashed)
        return check(hashed, password)

    monkeypatch.setattr(models, "check_password_hash", note)
    for name in ("Ada", "Nobody"):
        client.post("/account/sign-in", data={"name": name, "password": "wrong"})
    known, unknown = (hashed.split("$")[0] for hashed in hashes)
    assert known == unknown
    assert known.startswith("scrypt:")


@pytest.fixture
def two_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("account.throttle"), "MOST_FAILURES", 2)


@pytest.mark.usefixtures("two_failures")
def test_guessing_is_bounded(client: Any) -> None:
    for _ in range(2):
        assert client.post("/account/sign-in", data=FORM | {"password": "x"}).status_code == 422
    response = client.post("/account/sign-in", data=FORM)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "900")
    other = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.post("/account/sign-in", data=FORM, environ_base=other).status_code == 303


@pytest.mark.usefixtures("two_failures")
@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1:50001", "192.0.2.1:50002", "::ffff:192.0.2.1"],
        ["2001:db8::1", "[2001:db8::2]:50001", "2001:db8::ffff:0:3"],
    ],
)
def test_another_port_or_address_of_a_client_guesses_no_more(
    client: Any, addresses: list[str]
) -> None:
    statuses = [
        client.post(
            "/account/sign-in",
            data=FORM | {"password": "x"},
            environ_base={"REMOTE_ADDR": address},
        ).status_code
        for address in addresses
    ]
    assert statuses == [422, 422, 429]


@pytest.mark.usefixtures("two_failures")
def test_a_success_forgets_the_failures(client: Any) -> None:
    for _ in range(2):
        client.post("/account/sign-in", data=FORM | {"password": "x"})
        assert client.post("/account/sign-in", data=FORM).status_code == 303
        client.post("/account/sign-out")


AWAY = {
    "SECRET_KEY": "k" * 40,
    "CACHE_TYPE": "RedisCache",
    "CACHE_REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.mark.parametrize("settings", [{}, {"CACHE_TYPE": "NullCache"}, AWAY])
def test_guesses_at_one_moment_are_counted_all(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    throttle = load("account.throttle")
    throttle._counted.clear()
    app = make_app(**settings)
    start = threading.Barrier(30)
    # Nothing is counted between the look and the note, where a password takes its time.
    monkeypatch.setattr(load("account.views"), "_authenticated", lambda *_: sleep_a_moment())

    def guess(_: int) -> int:
        client = app.test_client()
        start.wait(30)
        form = {"name": "Ada", "password": "wrong"}
        return int(client.post("/account/sign-in", data=form).status_code)

    with ThreadPoolExecutor(30) as pool:
        statuses = Counter(pool.map(guess, range(30)))
    assert statuses == {422: 10, 429: 20}


def sleep_a_moment() -> None:
    time.sleep(0.01)


def test_what_a_process_counts_by_itself_is_bounded(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = load("account.throttle")
    throttle._counted.clear()
    monkeypatch.setattr(throttle, "_MOST_COUNTED", 5)
    assert all(throttle._admit_here(f"key {number}") for number in range(20))
    assert list(throttle._counted) == [f"key {number}" for number in range(15, 20)]


def test_signing_out_empties_the_session(sign_in: Any) -> None:
    client = sign_in("Ada")
    response = client.post("/account/sign-out")
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    with client.session_transaction() as session:
        assert dict(session) == {}
    assert client.get("/account").status_code == 302


def test_signing_in_keeps_nothing_of_the_session_before(client: Any) -> None:
    with client.session_transaction() as session:
        session.update(left="over", csrf_token="fixed")
    client.post("/account/sign-in", data=FORM)
    with client.session_transaction() as session:
        assert set(session) == {"user_id", "csrf_token"}
        assert session["csrf_token"] != "fixed"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/account", "/account"),
        ("/account/wishes", "/account/wishes"),
        ("/account/wishes/add?product=tote", "/account/wishes/add?product%3Dtote"),
    ],
)
def test_who_must_sign_in_is_led_back(client: Any, path: str, target: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Location"] == f"/account/sign-in?next={target}"
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
def test_nobody_is_led_to_another_site(client: Any, target: str) -> None:
    response = client.post("/account/sign-in", query_string={"next": target}, data=FORM)
    assert response.headers["Location"] == "/account"


def test_a_deleted_user_has_to_sign_in_again(sign_in: Any, app: Any, db: Any) -> None:
    client = sign_in("Ada")
    with app.app_context():
        db.session.execute(db.delete(load("account.models").User))
        db.session.commit()
    for path in ("/account", "/account/wishes"):
        assert client.get(path).headers["Location"].startswith("/account/sign-in")
    with client.session_transaction() as session:
        assert "user_id" not in session


FORMS = ["/account/sign-in", "/account/sign-out", "/account/wishes/add", "/account/wishes/remove"]


@pytest.mark.parametrize("path", FORMS)
def test_every_form_needs_a_token(make_app: Any, path: str) -> None:
    client = make_app(WTF_CSRF_ENABLED=True).test_client()
    assert client.post(path, data=FORM).status_code == 400


def test_the_forms_bring_their_tokens(make_app: Any) -> None:
    app = make_app(WTF_CSRF_ENABLED=True)
    fill(app)
    client = app.test_client()

    def submit(page: str, path: str, **form: str) -> Any:
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
