"""The inspector: who is let in, and which forms it takes."""

import base64
import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from package import load

access = load("ops.access")

TOKEN = "t" * 40
KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "SimpleCache"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": "Basic " + base64.b64encode(f"anna:{TOKEN}".encode()).decode()}
PATHS = ("/_cache/", "/_cache/figures.json", "/_cache/entry?key=k", "/_cache/tag?tag=t")
PAGES = (*PATHS, "/_cache/clear")
ACTIONS = ("/_cache/clear", "/_cache/invalidate", "/_cache/drop")

MakeApp = Callable[..., Flask]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    """A browser that holds the token, on a server for tests."""
    client = make_app(OPS_TOKEN=TOKEN).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


# -- who is let in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {}, 404),
        ({}, BEARER, 404),
        ({"OPS_TOKEN": TOKEN}, {}, 401),
        ({"OPS_TOKEN": TOKEN}, {"Authorization": "Bearer wrong"}, 401),
        ({"OPS_USERS": "anna"}, {}, 404),
        ({"OPS_USERS": "anna"}, BASIC, 404),
        ({"OPS_TOKEN": TOKEN, "OPS_USERS": "anna"}, {}, 401),
        ({"OPS_TOKEN": TOKEN, "CACHE_INSPECTOR": False}, BEARER, 404),
    ],
)
def test_a_stranger_sees_nothing_in_production(
    make_app: MakeApp, settings: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    client = make_app(**PRODUCTION, **settings).test_client()
    answers = [client.get(path, headers=headers) for path in PAGES]
    answers += [client.post(path, headers=headers) for path in ACTIONS]
    for answer in answers:
        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert "Set-Cookie" not in answer.headers
    if status == 401:
        # A browser asks for a password then.
        assert answers[0].headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("headers", [BEARER, BASIC], ids=["bearer", "basic"])
def test_the_token_opens_in_production(make_app: MakeApp, headers: dict[str, str]) -> None:
    client = make_app(**PRODUCTION, OPS_TOKEN=TOKEN).test_client()
    for path in ("/_cache/", "/_cache/figures.json", "/_cache/tag?tag=t", "/_cache/clear"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"


@pytest.mark.parametrize(("user", "status"), [("anna", 200), ("bert", 404), (None, 404)])
def test_a_user_of_operations_is_let_in(make_app: MakeApp, user: str | None, status: int) -> None:
    app = make_app(**PRODUCTION, OPS_USERS="zoe, anna")
    app.extensions["ops_signed_in"] = lambda: user
    assert app.test_client().get("/_cache/").status_code == status


def test_without_accounts_nobody_is_such_a_user(make_app: MakeApp) -> None:
    app = make_app(**PRODUCTION, OPS_USERS="anna")
    app.extensions.pop("ops_signed_in", None)
    assert app.test_client().get("/_cache/").status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:5000", 200),
        ("shop.localhost", 200),
        ("127.0.0.1:5000", 200),
        ("[::1]:5000", 200),
        ("rebound.example", 403),
        ("192.168.1.5:5000", 403),
        ("localhost.example", 403),
    ],
)
def test_development_is_open_to_this_machine_alone(
    make_app: MakeApp, host: str, status: int
) -> None:
    client = make_app(APP_ENV="development", OPS_TOKEN=TOKEN).test_client()
    for path in ("/_cache/", "/_cache/figures.json"):
        assert client.get(path, headers={"Host": host}).status_code == status
        assert client.get(path, headers={"Host": host, **BEARER}).status_code == 200


def test_a_name_of_this_machine_does_not_let_in_another_one(make_app: MakeApp) -> None:
    client = make_app(APP_ENV="development", OPS_TOKEN=TOKEN).test_client()
    for path in ("/_cache/", "/metrics"):
        far = {"REMOTE_ADDR": "203.0.113.7", "HTTP_HOST": "localhost"}
        assert client.get(path, environ_overrides=far).status_code in (401, 403)
        assert client.get(path, environ_overrides=far, headers=BEARER).status_code == 200


def test_a_page_of_another_name_reads_no_metrics(make_app: MakeApp) -> None:
    client = make_app(APP_ENV="development").test_client()
    assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 404
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"OPS_TOKEN": TOKEN}, 401), ({}, 404), ({"OPS_TOKEN": TOKEN, "CACHE_INSPECTOR": False}, 404)],
)
def test_what_has_no_route_there_tells_a_stranger_nothing(
    make_app: MakeApp, settings: dict[str, Any], status: int
) -> None:
    client = make_app(
        APP_ENV="production", SECRET_KEY=secrets.token_urlsafe(32), **settings
    ).test_client()
    for method, path in [
        *(("GET", path) for path in ("/_cache", "/_cache/", "/_cache/none", "/_cache/clear")),
        *(("POST", path) for path in ("/_cache/", "/_cache/figures.json", "/_cache/clear")),
        ("DELETE", "/_cache/clear"),
    ]:
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (status, "no-store"), path
        assert "Allow" not in answer.headers
    assert client.get("/_cached").status_code == 404


def test_what_is_no_host_is_not_local() -> None:
    for host in ("", "[::1", "evil.example/localhost", "localhost@evil.example"):
        assert not access.is_local(host)


# -- what may be done --------------------------------------------------------------------


def csrf_token(client: FlaskClient, **kwargs: Any) -> str:
    page = client.get("/_cache/clear", **kwargs).text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return found[1]


def test_each_action_needs_the_token_of_a_form(make_app: MakeApp) -> None:
    client = make_app(**PRODUCTION, OPS_TOKEN=TOKEN, SESSION_COOKIE_SECURE=False).test_client()
    form = {"value": "shape"}
    for path in ACTIONS:
        assert client.post(path, data=form, headers=BASIC).status_code == 400
    right = form | {"csrf_token": csrf_token(client, headers=BASIC)}
    for path in ACTIONS:
        assert client.post(path, data=right, headers=BASIC).status_code == 303
        # Another one's token does not do.
        assert client.post(path, data=right | {"csrf_token": "x"}, headers=BASIC).status_code == 400
        for site in ("cross-site", "same-site"):
            headers = BASIC | {"Sec-Fetch-Site": site}
            assert client.post(path, data=right, headers=headers).status_code == 403
        same = BASIC | {"Sec-Fetch-Site": "same-origin"}
        assert client.post(path, data=right, headers=same).status_code == 303


def test_over_https_a_form_of_another_site_is_refused(make_app: MakeApp) -> None:
    client = make_app(**PRODUCTION, OPS_TOKEN=TOKEN).test_client()
    https: dict[str, Any] = {"base_url": "https://localhost"}
    form = {"csrf_token": csrf_token(client, headers=BASIC, **https)}
    for referrer, status in (("https://evil.example/", 400), ("https://localhost/_cache/", 303)):
        headers = BASIC | {"Referer": referrer}
        answer = client.post("/_cache/clear", data=form, headers=headers, **https)
        assert answer.status_code == status


def test_the_page_has_nothing_inline(client: FlaskClient) -> None:
    for path in ("/_cache/", "/_cache/tag?tag=t", "/_cache/clear"):
        page = client.get(path)
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page.text)
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', page.text):
            assert address == "" or address.startswith(("/", "#")), address
