"""The inspector: who is let in, what is shown, and what is done."""

import base64
import re
import secrets
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from package import load
from servers import wait_until

access = load("ops.access")

TOKEN = "t" * 40
KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"
PRODUCTION = {"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "SimpleCache"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": "Basic " + base64.b64encode(f"anna:{TOKEN}".encode()).decode()}
PATHS = ("/_cache/", "/_cache/figures.json", "/_cache/entry?key=k", "/_cache/tag?tag=t")
PAGES = (*PATHS, "/_cache/clear")
ACTIONS = ("/_cache/clear", "/_cache/invalidate", "/_cache/drop")
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

MakeApp = Callable[..., Flask]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    """A browser that holds the token, on a server for tests."""
    client = make_app(OPS_TOKEN=TOKEN).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return client


@pytest.fixture
def entry(client: FlaskClient, cache: Any) -> str:
    """The key of an entry that carries the tag `shape`."""

    @cache.memoize(60, tags=("shape",), make_name=lambda name: "drawn")
    def drawn() -> int:
        return 1

    with client.application.app_context():
        drawn()
    return "fn:drawn()"


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


def test_each_action_is_asked_back(client: FlaskClient, entry: str) -> None:
    pages = ("", "entry?key=fn:drawn()", "tag?tag=shape")
    text = unescape("".join(client.get(f"/_cache/{page}").text for page in pages))
    for action in load("ops.inspector").ACTIONS.values():
        assert f'data-question="{action.question}"' in text


def test_a_get_does_nothing(client: FlaskClient, entry: str, cache: Any) -> None:
    for path in ("clear", "invalidate?value=shape", f"drop?value={entry}"):
        page = client.get(f"/_cache/{path}")
        assert page.status_code == 200
        assert '<form class="panel" method="post"' in page.text
    with client.application.app_context():
        assert cache.entries.peek([entry])[0].state == "fresh"


@pytest.mark.parametrize(
    ("path", "value", "state"),
    [("invalidate", "shape", "invalid"), ("drop", "fn:drawn()", "gone"), ("clear", "", "cleared")],
)
def test_actions_are_done_told_and_logged(
    client: FlaskClient,
    entry: str,
    cache: Any,
    caplog: pytest.LogCaptureFixture,
    path: str,
    value: str,
    state: str,
) -> None:
    answer = client.post(f"/_cache/{path}", data={"value": value}, headers=BASIC)
    assert (answer.status_code, answer.location) == (303, "/_cache/")
    with client.application.app_context():
        assert cache.entries.peek([entry])[0].state == state
    shown = client.get("/_cache/").text
    assert re.search(rf'class="alert alert-good"[^>]*>[^<]*{re.escape(value)}', shown)
    assert f"by the holder of OPS_TOKEN ('anna'): {path} {value}".rstrip() in caplog.text
    assert "POST cache_inspector.act" in unescape(shown)


def test_an_action_on_nothing_is_refused(client: FlaskClient) -> None:
    for path in ("/_cache/invalidate", "/_cache/drop"):
        assert client.get(path).status_code == 400
        assert client.post(path, data={"value": ""}).status_code == 400


def test_no_log_line_can_be_forged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/_cache/invalidate", data={"value": "shape\n09:00:00 ERROR forged \x1b[31m"})
    (record,) = [r for r in caplog.records if r.name.endswith("ops.inspector")]
    assert record.getMessage().endswith(r"invalidate shape\n09:00:00 ERROR forged \x1b[31m")


# -- what is shown -----------------------------------------------------------------------


def test_an_entry_says_why_it_was_filled(client: FlaskClient, cache: Any) -> None:
    app = client.application

    @app.post("/change")
    def change() -> str:
        cache.invalidate("shape")
        return ""

    @cache.memoize(60, tags=("shape",), make_name=lambda name: "named")
    def named() -> int:
        return 1

    with app.app_context():
        named()
    shown = client.get("/_cache/entry?key=fn:named()")
    assert "it had not been asked for before" in shown.text
    client.post("/change")
    (event,) = [e for e in client.get("/_cache/figures.json").json["events"] if e["tags"]]
    assert (event["title"], event["why"]) == ("Invalidated 1 tag", "by POST change")
    assert event["detail"] == "dropped 1 entry, none computed again since"
    assert [tag["text"] for tag in event["tags"]] == ["shape"]
    assert [link["text"] for link in event["entries"]] == ["fn:named()"]
    with app.app_context():
        named()
    page = unescape(client.get("/_cache/entry?key=fn:named()").text)
    assert "shape was invalidated by POST change at " in page
    feed = client.get("/_cache/figures.json").json["events"]
    (event,) = [e for e in feed if e["tags"]]
    assert event["detail"] == "dropped 1 entry, which was computed again since"


def test_a_tag_says_what_depends_on_it(client: FlaskClient, entry: str) -> None:
    page = client.get("/_cache/tag?tag=shape")
    assert "1 known entry depends on it" in page.text
    assert entry in page.text
    assert "0 known entries depend on it" in client.get("/_cache/tag?tag=other").text
    assert client.get("/_cache/tag").status_code == 404


def test_entries_are_searched(client: FlaskClient, entry: str) -> None:
    for words, count in (("drawn", 1), ("SHAPE", 1), ("circle", 0)):
        shown = client.get("/_cache/figures.json", query_string={"q": words}).json
        assert len(shown["entries"]) == count
        page = client.get("/_cache/", query_string={"q": words}).text
        assert f"{shown['found']}</p>" in page
        assert shown["found"] == ("1 entry." if count else "0 entries.")


def test_large_entries_are_not_read_for_a_list(
    client: FlaskClient, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("ops.inspector"), "_MOST_PEEKED_BYTES", 10)
    (row,) = client.get("/_cache/figures.json").json["entries"]
    assert (row["text"], row["state"]) == (entry, "unknown")


def test_an_unknown_entry_is_not_found(client: FlaskClient) -> None:
    assert client.get("/_cache/entry?key=nothing").status_code == 404


def test_a_plain_value_is_found_by_its_key(
    client: FlaskClient, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client.application.app_context():
        cache.set("plain", "value")
    page = client.get("/_cache/entry?key=plain")
    assert page.status_code == 200
    assert "ask again in a few seconds" in page.text
    monkeypatch.setattr(load("ops.display"), "_TOLD_SECONDS", 0)
    page = client.get("/_cache/entry?key=plain")
    assert "no process that answered has computed it" in page.text


def test_the_table_sorts_without_a_script(client: FlaskClient, entry: str) -> None:
    page = client.get("/_cache/?sort=name").text
    assert re.search(r'data-id="name"\s+aria-sort="ascending"', page)
    assert re.search(r'data-id="lookups"\s+aria-sort="none"', page)
    # What no column is called changes nothing.
    page = client.get("/_cache/?sort=' OR 1=1").text
    assert re.search(r'data-id="lookups"\s+aria-sort="descending"', page)


def test_without_a_cache_it_says_so(make_app: MakeApp) -> None:
    client = make_app(CACHE_TYPE="NullCache", OPS_TOKEN=TOKEN).test_client()
    assert "NullCache" in client.get("/_cache/", headers=BEARER).text
    assert client.get("/_cache/figures.json", headers=BEARER).status_code == 404


def test_without_a_store_it_shows_this_process(make_app: MakeApp, cache: Any) -> None:
    away = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://127.0.0.1:1/0"}
    client = make_app(**away, CACHE_DEGRADED_SECONDS=60, OPS_TOKEN=TOKEN).test_client()

    @cache.memoize(60, make_name=lambda name: "kept")
    def kept() -> int:
        return 1

    with client.application.app_context():
        kept()
        wait_until(lambda: cache.entries.store.breaker.is_away)
    with client.application.app_context():
        kept()
    page = client.get("/_cache/", headers=BEARER)
    assert page.status_code == 200
    assert "the store does not answer" in page.text
    assert "no other process is heard" in page.text
    facts = client.get("/_cache/figures.json", headers=BEARER).json["health"]["facts"]
    shown = {fact["name"]: fact["text"] for fact in facts}
    assert shown["Kept for an outage"] == "1 entry"
    assert shown["Circuit breakers"].startswith("open in 1 process")
    client.application.extensions["coherent_cache_figures"].tick()
    answer = client.post("/_cache/invalidate", data={"value": "shape"}, headers=BEARER)
    assert answer.status_code == 303
    assert "any process trusts it again" in client.get("/_cache/", headers=BEARER).text


def test_nothing_that_visitors_make_is_markup(client: FlaskClient, cache: Any) -> None:
    app = client.application

    @app.get("/echo/<path:word>")
    @cache.cached(60, query=("q",), vary=("User-Agent",))
    def echo(word: str) -> str:
        cache.tag(f"agent:{request.headers['User-Agent']}", f"word:{word}")
        return word

    with app.test_request_context():
        cache.fragment(f"fragment {MARKUP}", MARKUP, 60, str)
    agent = {"User-Agent": MARKUP}
    assert client.get("/echo/x", headers=agent).status_code == 200
    with app.app_context():
        cache.invalidate(f"word:{MARKUP}", "word:x")
    lookups = client.application.extensions["coherent_cache_figures"].snapshot()["lookups"]
    assert MARKUP in [one["name"] for one in lookups]
    tag = {"tag": f"agent:{MARKUP}"}
    pages = [
        client.get("/_cache/", query_string={"q": MARKUP, "sort": MARKUP}),
        client.get("/_cache/", headers=agent),
        client.get("/_cache/tag", query_string=tag),
        client.get("/_cache/invalidate", query_string={"value": MARKUP}),
        client.get("/_cache/entry", query_string={"key": f"fragment {MARKUP}"}),
    ]
    client.post("/_cache/invalidate", data={"value": MARKUP})
    pages.append(client.get("/_cache/"))
    for page in pages:
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "alert(1)" in page.text
    assert client.get("/_cache/figures.json").mimetype == "application/json"


def test_half_a_character_breaks_no_page(client: FlaskClient, cache: Any) -> None:
    @cache.memoize(60, tags=("half \ud800",), make_name=lambda name: "half \ud800")
    def half() -> int:
        return 1

    with client.application.app_context():
        half()
    (row,) = client.get("/_cache/figures.json").json["entries"]
    assert client.get("/_cache/").status_code == 200
    assert client.get(row["href"]).status_code == 200
    assert client.get("/_cache/tag", query_string={"tag": r"half \ud800"}).status_code == 200
    client.post("/_cache/invalidate", data={"value": r"half \ud800"})
    with client.application.app_context():
        (known,) = cache.entries.statistics.known_entries()
        assert cache.entries.peek([known.key])[0].state == "invalid"


def test_the_page_has_nothing_inline(client: FlaskClient) -> None:
    for path in ("/_cache/", "/_cache/tag?tag=t", "/_cache/clear"):
        page = client.get(path)
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page.text)
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', page.text):
            assert address == "" or address.startswith(("/", "#")), address
