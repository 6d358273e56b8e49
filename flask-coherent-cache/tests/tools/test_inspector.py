"""The inspector: what is shown, and what is done."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, render_template_string, request
from flask.testing import FlaskClient

from flask_coherent_cache import Cache
from flask_coherent_cache._tools.inspector.views import ACTIONS, REPORTER
from flask_coherent_cache.testing import wait_until
from flask_coherent_cache.tools import Inspector

TOKEN = "t" * 40
BEARER = {"Authorization": f"Bearer {TOKEN}"}
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


def test_each_action_is_asked_back(client: FlaskClient, entry: str) -> None:
    pages = ("", "entry?key=fn:drawn()", "tag?tag=shape")
    text = unescape("".join(client.get(f"/_cache/{page}").text for page in pages))
    for action in ACTIONS.values():
        assert f'data-question="{action.question}"' in text


def test_a_get_does_nothing(client: FlaskClient, entry: str, cache: Any) -> None:
    for path in ("clear", "invalidate?value=shape", f"drop?value={entry}"):
        page = client.get(f"/_cache/{path}")
        assert page.status_code == 200
        assert '<form class="panel" method="post"' in page.text
    with client.application.app_context():
        assert cache.engine.inspect([entry])[0].state == "fresh"


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
    answer = client.post(f"/_cache/{path}", data={"value": value})
    assert (answer.status_code, answer.location) == (303, "/_cache/")
    with client.application.app_context():
        assert cache.engine.inspect([entry])[0].state == state
    shown = client.get("/_cache/").text
    assert re.search(rf'class="alert alert-good"[^>]*>[^<]*{re.escape(value)}', shown)
    assert f"by the holder of OPS_TOKEN: {path} {value}".rstrip() in caplog.text
    assert "POST cache_inspector.act" in unescape(shown)


def test_an_action_on_nothing_is_refused(client: FlaskClient) -> None:
    for path in ("/_cache/invalidate", "/_cache/drop"):
        assert client.get(path).status_code == 400
        assert client.post(path, data={"value": ""}).status_code == 400


def test_no_log_line_can_be_forged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/_cache/invalidate", data={"value": "shape\n09:00:00 ERROR forged \x1b[31m"})
    (record,) = [r for r in caplog.records if r.name.endswith("tools.inspector")]
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
    assert "it was not requested before" in shown.text
    client.post("/change")
    (event,) = [e for e in client.get("/_cache/figures.json").json["events"] if e["tags"]]
    assert (event["title"], event["why"]) == ("Invalidated 3 tags", "by POST change")
    assert event["detail"] == "dropped 1 entry, none computed again since"
    assert [tag["text"] for tag in event["tags"]] == ["shape", "shape!", "shape:*"]
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
    monkeypatch.setattr("flask_coherent_cache._tools.inspector.views._MOST_INSPECTED_BYTES", 10)
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
    monkeypatch.setattr("flask_coherent_cache._tools.inspector.entries._TOLD_SECONDS", 0)
    page = client.get("/_cache/entry?key=plain")
    assert "no process that answered has computed it" in page.text


def test_the_table_sorts_without_a_script(client: FlaskClient, entry: str) -> None:
    page = client.get("/_cache/?sort=name").text
    assert re.search(r'data-id="name"\s+aria-sort="ascending"', page)
    assert re.search(r'data-id="lookups"\s+aria-sort="none"', page)
    # What no column is called changes nothing.
    page = client.get("/_cache/?sort=' OR 1=1").text
    assert re.search(r'data-id="lookups"\s+aria-sort="descending"', page)


def test_what_is_not_cached_is_listed_with_its_reason(client: FlaskClient, cache: Any) -> None:
    app = client.application
    app.testing = False

    @app.get("/plan")
    @cache.cached(60)
    def plan() -> str:
        return request.headers.get("X-Plan", "") + request.args.get(MARKUP, "")

    for _ in range(3):
        assert app.test_client().get("/plan").status_code == 200
    shown = client.get("/_cache/").text
    table = shown.partition('<h2 id="refusals">')[2].partition("</section>")[0]
    assert MARKUP not in table
    (row,) = re.findall(r"<tr data-id.*?</tr>", table.partition("<template>")[0], re.DOTALL)
    cells = unescape(re.sub(r"<[^>]*>|\s+", " ", row))
    assert "plan page undeclared: header X-Plan, query parameter <script>" in " ".join(
        cells.split()
    )
    assert re.search(r"test_inspector.py:\d+ \(plan\)", cells)
    assert cells.split()[-1] == "3"
    (told,) = client.get("/_cache/figures.json").get_json()["refusals"]
    assert (told["name"], told["count"]) == ("plan", "3")


def test_declarations_are_listed(client: FlaskClient, cache: Any) -> None:
    def load_user() -> None:
        pass

    cache.influences_only_through(load_user, g=("user", "cart"), reason="it sets <both>")
    try:
        shown = client.get("/_cache/").text
    finally:
        cache._declarations.of_hooks.clear()
    table = unescape(shown.partition('<h2 id="declarations">')[2].partition("</section>")[0])
    assert "load_user" in table
    assert "g.cart, g.user" in table
    assert "it sets <both>" in table
    assert "opening the session" in table


def test_hits_that_were_computed_again_are_shown(client: FlaskClient, cache: Any) -> None:
    with client.application.app_context():
        statistics = cache.engine.statistics
        lookups = statistics.lookups("page", "home")
    for outcome in ("compared", "compared", "different"):
        statistics.verified_hit(outcome, lookups)
    assert "compared 2, different 1" in client.get("/_cache/").text


def test_without_a_cache_it_says_so(make_app: MakeApp) -> None:
    client = make_app(CACHE_TYPE="NullCache", OPS_TOKEN=TOKEN).test_client()
    assert "NullCache" in client.get("/_cache/", headers=BEARER).text
    assert client.get("/_cache/figures.json", headers=BEARER).status_code == 404


def test_it_says_that_the_cache_is_switched_off(client: FlaskClient, cache: Any) -> None:
    with client.application.app_context():
        kill_switch = cache.engine.kill_switch
    assert "the store answers" in client.get("/_cache/").text
    kill_switch.switch_off()
    assert "the cache is switched off" in client.get("/_cache/").text
    kill_switch.switch_on()
    assert "the cache is switched off" not in client.get("/_cache/").text


def test_without_a_store_it_shows_this_process(make_app: MakeApp, cache: Any) -> None:
    away = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://127.0.0.1:1/0"}
    client = make_app(**away, CACHE_DEGRADED_SECONDS=60, OPS_TOKEN=TOKEN).test_client()

    @cache.memoize(60, make_name=lambda name: "kept")
    def kept() -> int:
        return 1

    with client.application.app_context():
        kept()
        wait_until(lambda: cache.engine.store.breaker.is_away)
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
    client.application.extensions[REPORTER].tick()
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
        render_template_string("{% cache 60, name %}{% endcache %}", name=MARKUP)
        fragments = [one for one in cache.engine.statistics.known_entries() if MARKUP in one.name]
    agent = {"User-Agent": MARKUP}
    assert client.get("/echo/x", headers=agent).status_code == 200
    with app.app_context():
        cache.invalidate(f"word:{MARKUP}", "word:x")
    lookups = client.application.extensions[REPORTER].report().lookups
    assert MARKUP in [one.name for one in lookups]
    tag = {"tag": f"agent:{MARKUP}"}
    pages = [
        client.get("/_cache/", query_string={"q": MARKUP, "sort": MARKUP}),
        client.get("/_cache/", headers=agent),
        client.get("/_cache/tag", query_string=tag),
        client.get("/_cache/invalidate", query_string={"value": MARKUP}),
        client.get("/_cache/entry", query_string={"key": fragments[0].key}),
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
        (known,) = cache.engine.statistics.known_entries()
        assert cache.engine.inspect([known.key])[0].state == "invalid"


@pytest.mark.parametrize("answer", [False, None, "", True, 1, Response("no", 302)])
def test_whoever_is_given_no_name_is_not_let_in(answer: Any) -> None:
    app = Flask("another")
    app.config["SECRET_KEY"] = "k" * 40
    Inspector(Cache(app), authorize=lambda: answer).init_app(app)
    client = app.test_client()
    assert client.get("/_cache/").status_code == 403
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/_cache/clear", headers=headers).status_code == 403


def test_templates_of_the_application_do_not_replace_its_own(tmp_path: Path) -> None:
    for name in ("inspector", "toolbar"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("mine")
    app = Flask("another", template_folder=str(tmp_path))
    Inspector(Cache(app), authorize=lambda: "somebody").init_app(app)
    assert "Hit ratio" in app.test_client().get("/_cache/").text
