"""Security headers, trusted hosts, proxies and cookies."""

import pytest
from flask import request, session, url_for

from {{cookiecutter.package_name}}.security import HEADERS

KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
HTTPS = "https://localhost"


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/api/nowhere", "/static/css/site.css"])
def test_every_response_has_the_headers(client, path):
    headers = client.get(path).headers
    for name, value in HEADERS.items():
        assert headers.getlist(name) == [value]


def test_the_policy_allows_nothing_inline_and_no_other_host(client):
    policy = client.get("/healthz").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert not [opening for opening in ("unsafe", "data:", "*", "http") if opening in policy]


def test_a_view_may_say_otherwise(app, client):
    app.add_url_rule("/framed", view_func=lambda: ("", {"X-Frame-Options": "SAMEORIGIN"}))
    assert client.get("/framed").headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "NullCache"}, 31_536_000),
        ({"HSTS_SECONDS": 60}, 60),
        ({}, None),
    ],
)
def test_hsts_is_sent_on_secure_requests(make_app, settings, sent):
    client = make_app(**settings).test_client()
    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    header = client.get("/healthz", base_url=HTTPS).headers.get("Strict-Transport-Security")
    assert header == (sent and f"max-age={sent}")


@pytest.mark.parametrize("host", ["evil.example", "shop.example.evil.example", "a b", "[::1"])
def test_another_host_is_refused(make_app, host, caplog):
    client = make_app(TRUSTED_HOSTS="shop.example").test_client()
    response = client.get("/nowhere", headers={"Host": host})
    assert response.status_code == 400
    assert response.mimetype == "text/plain"
    assert host not in response.text
    assert "Content-Security-Policy" in response.headers
    assert f"{host!r} is not in TRUSTED_HOSTS" in caplog.text
    problem = client.get("/api/products", headers={"Host": host})
    assert (problem.status_code, problem.mimetype) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("shop.example", 404), ("shop.example:8000", 404), ("127.0.0.1:8000", 404)),
        *(("www.shop.test", 404), ("shop.test", 400)),
    ],
)
def test_trusted_hosts_the_public_address_and_this_machine_are_answered(make_app, host, status):
    settings = {"TRUSTED_HOSTS": "shop.example", "PUBLIC_URL": "https://www.shop.test"}
    client = make_app(**settings).test_client()
    assert client.get("/_cache/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("count", [0, 1], ids=["no proxy", "one proxy"])
def test_health_depends_on_no_host(make_app, count):
    client = make_app(TRUSTED_HOSTS="shop.example", PROXY_COUNT=count).test_client()
    for host in ("10.1.2.3:8000", "[fd00::1]:8000", "evil.example", "a b", ""):
        for path in ("/healthz", "/readyz"):
            headers = {"Host": host, "X-Forwarded-Host": host}
            assert client.get(path, headers=headers).status_code == 200, (host, path)


def test_under_a_prefix(make_app):
    app = make_app(SCRIPT_NAME="/shop", APP_ENV="testing")
    app.add_url_rule("/here", "here", lambda: url_for("here"))
    app.add_url_rule("/shop/there", "there", lambda: url_for("there"))

    def ask(path):
        # Flask's client would put the prefix before the path itself.
        return app.test_client().get(path, base_url="http://localhost")

    assert ask("/shop/here").text == "/shop/here"
    assert {ask(path).status_code for path in ("/here", "/shopping", "/")} == {404}
    assert {ask(path).status_code for path in ("/healthz", "/readyz", "/shop/healthz")} == {200}
    assert app.test_client().get("/shop/there").text == "/shop/shop/there", "the server knew"


@pytest.mark.parametrize(
    ("count", "seen"),
    [(0, "127.0.0.1 http localhost"), (1, "10.0.0.2 https shop.example")],
    ids=["no proxy", "one proxy"],
)
def test_a_proxy_is_believed_only_by_setting(make_app, count, seen):
    app = make_app(PROXY_COUNT=count)
    words = "{0.remote_addr} {0.scheme} {0.host}"
    app.add_url_rule("/seen", view_func=lambda: words.format(request))
    headers = {
        "X-Forwarded-For": "6.6.6.6, 10.0.0.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Prefix": "/evil",
    }
    assert app.test_client().get("/seen", headers=headers).text == seen


def test_cookies_are_guarded(make_app):
    app = make_app(SESSION_COOKIE_SECURE=True)
    app.add_url_rule("/remember", view_func=lambda: session.update(name="value") or "")
    cookie = app.test_client().get("/remember", base_url=HTTPS).headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/"):
        assert attribute in cookie


def test_no_page_of_the_base_looks_at_the_session(client):
    for path in ("/healthz", "/readyz", "/nowhere", "/static/css/site.css"):
        headers = client.get(path).headers
        assert "Set-Cookie" not in headers
        assert "Cookie" not in headers.get("Vary", "")
