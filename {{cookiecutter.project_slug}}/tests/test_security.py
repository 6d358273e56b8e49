"""Security headers, trusted hosts, proxies and cookies."""

import pytest
from flask import request, session, url_for

from package import load

KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
HTTPS = "https://localhost"


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/api/nowhere", "/static/css/site.css"])
def test_every_response_has_the_headers(client, path):
    headers = client.get(path).headers
    for name, value in load("security").HEADERS.items():
        assert headers.getlist(name) == [value]


def test_the_policy_allows_nothing_inline_and_no_other_host(client):
    policy = client.get("/healthz").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    for opening in ("unsafe", "data:", "*", "http"):
        assert opening not in policy


def test_a_view_may_say_otherwise(make_app):
    app = make_app()

    @app.get("/framed")
    def framed():
        return "", 200, {"X-Frame-Options": "SAMEORIGIN"}

    response = app.test_client().get("/framed")
    assert response.headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]


def test_hsts_in_production_and_on_secure_requests_only(make_app):
    app = make_app(APP_ENV="production", SECRET_KEY=KEY, CACHE_TYPE="NullCache")
    client = app.test_client()
    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    secure = client.get("/healthz", base_url=HTTPS).headers
    assert secure["Strict-Transport-Security"] == "max-age=31536000"


def test_hsts_elsewhere_by_setting(make_app):
    plain, strict = make_app(), make_app(HSTS_SECONDS=60)
    name = "Strict-Transport-Security"
    assert name not in plain.test_client().get("/healthz", base_url=HTTPS).headers
    assert strict.test_client().get("/healthz", base_url=HTTPS).headers[name] == "max-age=60"


@pytest.mark.parametrize("host", ["evil.example", "shop.example.evil.example", "a b", "[::1"])
def test_another_host_is_refused(make_app, host):
    client = make_app(TRUSTED_HOSTS="shop.example").test_client()
    response = client.get("/nowhere", headers={"Host": host})
    assert response.status_code == 400
    assert response.mimetype == "text/plain"
    assert host not in response.text
    assert "Content-Security-Policy" in response.headers
    problem = client.get("/api/products", headers={"Host": host})
    assert (problem.status_code, problem.mimetype) == (400, "application/problem+json")


@pytest.mark.parametrize("host", ["shop.example", "shop.example:8000", "127.0.0.1:8000"])
def test_a_trusted_host_and_this_machine_are_answered(make_app, host):
    client = make_app(TRUSTED_HOSTS="shop.example").test_client()
    assert client.get("/nowhere", headers={"Host": host}).status_code == 404


def test_the_host_of_the_public_address_is_trusted(make_app):
    client = make_app(
        TRUSTED_HOSTS="shop.example", PUBLIC_URL="https://www.shop.test"
    ).test_client()
    assert client.get("/nowhere", headers={"Host": "www.shop.test"}).status_code == 404
    assert client.get("/nowhere", headers={"Host": "shop.test"}).status_code == 400


@pytest.mark.parametrize("host", ["10.1.2.3:8000", "[fd00::1]:8000", "evil.example", "a b", ""])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("count", [0, 1])
def test_health_depends_on_no_host(make_app, host, path, count):
    client = make_app(TRUSTED_HOSTS="shop.example", PROXY_COUNT=count).test_client()
    headers = {"Host": host, "X-Forwarded-Host": host}
    assert client.get(path, headers=headers).status_code == 200


def test_the_log_says_why_a_host_was_refused(make_app, caplog):
    client = make_app(TRUSTED_HOSTS="shop.example").test_client()
    client.get("/nowhere", headers={"Host": "10.1.2.3"})
    (said,) = [record.getMessage() for record in caplog.records if "Refused" in record.message]
    assert "'10.1.2.3' is not in TRUSTED_HOSTS" in said


def test_under_a_prefix(make_app):
    app = make_app(SCRIPT_NAME="/shop", APP_ENV="testing")

    @app.get("/here")
    def here():
        return url_for("here")

    def ask(path):
        # Flask's client would put the prefix before the path itself.
        return app.test_client().get(path, base_url="http://localhost")

    assert ask("/shop/here").text == "/shop/here"
    for path in ("/here", "/shopping", "/"):
        assert ask(path).status_code == 404
    for path in ("/healthz", "/readyz", "/shop/healthz"):
        assert ask(path).status_code == 200
    assert app.test_client().get("/here").text == "/shop/here", "the server knew the prefix"


@pytest.mark.parametrize(
    ("count", "seen"),
    [(0, "127.0.0.1 http localhost"), (1, "10.0.0.2 https shop.example")],
    ids=["no proxy", "one proxy"],
)
def test_a_proxy_is_believed_only_by_setting(make_app, count, seen):
    app = make_app(PROXY_COUNT=count)

    @app.get("/seen")
    def who():
        return f"{request.remote_addr} {request.scheme} {request.host}"

    headers = {
        "X-Forwarded-For": "6.6.6.6, 10.0.0.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Prefix": "/evil",
    }
    assert app.test_client().get("/seen", headers=headers).text == seen


def test_cookies_are_guarded(make_app):
    app = make_app(SESSION_COOKIE_SECURE=True)

    @app.get("/remember")
    def remember():
        session["name"] = "value"
        return ""

    cookie = app.test_client().get("/remember", base_url=HTTPS).headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/"):
        assert attribute in cookie


def test_no_page_of_the_base_looks_at_the_session(client):
    for path in ("/healthz", "/readyz", "/nowhere", "/static/css/site.css"):
        headers = client.get(path).headers
        assert "Set-Cookie" not in headers
        assert "Cookie" not in headers.get("Vary", "")
