"""Who sees metrics and inspector, and who may act on the cache."""

import base64
import json
import re

import pytest

TOKEN = "t" * 40
KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "SimpleCache"}
PATHS = ("/_cache/", "/_cache/figures.json", "/_cache/tag?tag=t", "/_cache/clear")
ACTIONS = ("/_cache/clear", "/_cache/invalidate", "/_cache/drop")


def basic(password):
    return "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()


BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": basic(TOKEN)}


@pytest.mark.parametrize(
    ("token", "authorization", "let_in"),
    [
        (TOKEN, f"bearer {TOKEN}", True),
        (TOKEN, basic(TOKEN), True),
        ("a=b" * 12, "Bearer " + "a=b" * 12, True),
        (TOKEN, None, False),
        (TOKEN, "Bearer wrong", False),
        (TOKEN, "Bearer", False),
        (TOKEN, "Bearer \x00", False),
        (TOKEN, basic(""), False),
        (TOKEN, "Basic \xff\xff", False),
        (TOKEN, "Basic //8=", False),
        (TOKEN, "Digest a*=x''%ff", False),
        ("", "Bearer ", False),
        ("", basic(""), False),
    ],
)
def test_only_the_token_opens(make_app, token, authorization, let_in):
    client = make_app(**PRODUCTION, OPS_TOKEN=token).test_client()
    headers = {"Authorization": authorization} if authorization else {}
    for path in ("/_cache/", "/metrics"):
        refused = 401 if token else 404
        assert client.get(path, headers=headers).status_code == (200 if let_in else refused)


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, BEARER, 404),
        ({"OPS_TOKEN": TOKEN}, {}, 401),
        ({"OPS_USERS": "anna"}, BASIC, 404),
        ({"OPS_TOKEN": TOKEN, "CACHE_INSPECTOR": False}, BEARER, 404),
    ],
)
def test_a_stranger_sees_nothing_in_production(make_app, settings, headers, status):
    client = make_app(**PRODUCTION, **settings).test_client()
    answers = [client.get(path, headers=headers) for path in (*PATHS, "/_cache", "/_cache/none")]
    answers += [client.post(path, headers=headers) for path in (*ACTIONS, "/_cache/")]
    for answer in answers:
        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert "Set-Cookie" not in answer.headers
        assert "Allow" not in answer.headers


def test_metrics_are_asked_for_by_a_machine(make_app):
    client = make_app(OPS_TOKEN=TOKEN, METRICS_PORT=9100).test_client()
    refused = client.get("/metrics", headers={"Host": "localhost:9100"})
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer realm=")
    answer = client.get("/metrics", headers=BEARER)
    assert "http_requests_total" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "address", "status"),
    [
        ("localhost:5000", "127.0.0.1", 200),
        ("shop.localhost", "127.0.0.1", 200),
        ("127.0.0.1:5000", "127.0.0.1", 200),
        ("[::1]:5000", "::1", 200),
        ("rebound.example", "127.0.0.1", 403),
        ("localhost.example", "127.0.0.1", 403),
        ("localhost", "unix:", 403),
        ("[::1", "127.0.0.1", 403),
        ("192.168.1.5:5000", "127.0.0.1", 403),
        ("localhost", "203.0.113.7", 403),
    ],
)
def test_development_is_open_to_this_machine_alone(make_app, host, address, status):
    client = make_app(APP_ENV="development", OPS_TOKEN=TOKEN).test_client()
    asks = {"environ_overrides": {"REMOTE_ADDR": address, "HTTP_HOST": host}}
    assert client.get("/_cache/", **asks).status_code == status
    assert client.get("/metrics", **asks).status_code == (200 if status == 200 else 401)
    assert client.get("/_cache/", headers=BEARER, **asks).status_code == 200


def test_each_action_needs_the_token_of_a_form(make_app):
    client = make_app(**PRODUCTION, OPS_TOKEN=TOKEN, SESSION_COOKIE_SECURE=False).test_client()
    page = client.get("/_cache/clear", headers=BASIC).text
    (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    form = {"value": "shape", "csrf_token": token}
    for path in ACTIONS:
        assert client.post(path, data={"value": "shape"}, headers=BASIC).status_code == 400
        assert client.post(path, data=form | {"csrf_token": "x"}, headers=BASIC).status_code == 400
        foreign = BASIC | {"Sec-Fetch-Site": "cross-site"}
        assert client.post(path, data=form, headers=foreign).status_code == 403
        assert client.post(path, data=form, headers=BASIC).status_code == 303


@pytest.mark.parametrize(("token", "severity"), [("", "advice"), (TOKEN, "ok")])
def test_the_doctor_misses_the_token_in_production(make_app, token, severity):
    runner = make_app(**PRODUCTION, OPS_TOKEN=token).test_cli_runner()
    told = json.loads(runner.invoke(args=["cache", "doctor", "--json"]).stdout)
    (found,) = [each for each in told["findings"] if each["check"] == "ops-token"]
    assert found["severity"] == severity


def test_the_toolbar_is_under_pages_where_it_is_asked_for(make_app):
    browser = {"Accept": "text/html"}
    assert "cache-toolbar" not in make_app().test_client().get("/", headers=browser).text
    client = make_app(CACHE_TOOLBAR="true").test_client()
    page = client.get("/", headers=browser).text
    assert '<aside class="cache-toolbar"' in page
    (sheet,) = re.findall(r'href="(/_cache_toolbar/[^"]+)"', page)
    assert client.get(sheet).mimetype == "text/css"
