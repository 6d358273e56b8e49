"""The inspector of a generated project, in a browser: two processes in production, on Redis."""

import itertools
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from baking import Project, clean_environ
from browsing import Visit, chromium, needs_chromium
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from serving import Answer, free_port, request, wait_for

REDIS = next(filter(None, map(shutil.which, ("redis-server", "valkey-server"))), None)
#: Above all that the shop begins with.
PRICES = itertools.count(100_001)
API_TOKEN, OPS_TOKEN = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
#: More presses of a key than there are things to be reached.
PRESSES = 400

pytestmark = [
    needs_chromium,
    pytest.mark.browser,
    pytest.mark.skipif(not REDIS, reason="neither Redis nor Valkey is installed"),
]

#: The shop, and a view whose key, tags and fragment a visitor fills with markup.
PROGRAM = """
import importlib, os
from flask import render_template_string, request
name = os.environ["FLASK_APP"]
app = importlib.import_module(name).create_app()
cache = importlib.import_module(name + ".extensions").cache
@app.get("/echo")
@cache.cached(60, query=("word",), vary=("User-Agent",))
def echo():
    word = request.args["word"]
    cache.tag("word:" + word, "agent:" + request.headers["User-Agent"])
    return render_template_string("{% cache 60, word %}x{% endcache %}", word=word)
"""


@dataclass(frozen=True)
class Server:
    """A running project."""

    address: str
    log: Path

    def get(self, path: str) -> Answer:
        """Ask for a page, on a connection of its own, which either process may answer."""
        answer = request(self.address + path)
        assert answer.status == 200
        return answer

    def set_price(self, product: int) -> None:
        """Change a product's price to one that it did not have."""
        url, data = f"{self.address}/api/products/{product}", {"price_cents": next(PRICES)}
        assert request(url, "PATCH", data, API_TOKEN).status == 200


@pytest.fixture(scope="module")
def server(
    project: Project, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("inspector")
    (folder / "hostile.py").write_text(PROGRAM)
    port, redis_port = free_port(), free_port()
    settings: dict[str, Any] = {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(32),
        "API_TOKEN": API_TOKEN,
        "OPS_TOKEN": OPS_TOKEN,
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "DATABASE_URL": f"sqlite:///{folder}/app.db",
        "SESSION_COOKIE_SECURE": "false",
        "WEB_CONCURRENCY": "2",
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "FLASK_APP": project.package.name,
        "PYTHONPATH": f"src:{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    project.run(environment / "python", "deploy/prepare_database.py", **settings)
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    options = ["--port", f"{redis_port}", "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (
        subprocess.Popen([REDIS or "", *options], **quiet) as redis,
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [environment / "gunicorn", "hostile:app"],
            cwd=project.path,
            env=clean_environ(**settings),
            stderr=log,
            **quiet,
        ) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", 60, process)
            yield Server(f"http://127.0.0.1:{port}", folder / "log")
        finally:
            process.terminate()
            process.wait()
            redis.terminate()
    told = (folder / "log").read_text()
    assert "Traceback" not in told, told[-6000:]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def new_context(browser: Browser, server: Server) -> Iterator[Callable[..., BrowserContext]]:
    """Make contexts of a person who has the token."""
    made: list[BrowserContext] = []

    def new(**options: Any) -> BrowserContext:
        options["http_credentials"] = {"username": "anna", "password": OPS_TOKEN}
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        made.append(context)
        return context

    yield new
    for context in made:
        context.close()


@pytest.fixture
def visit(new_context: Callable[..., BrowserContext], server: Server) -> Iterator[Visit]:
    """Return an operator at the inspector. Afterwards nothing may have gone wrong."""
    result = Visit(new_context(), server.address)
    result.page.on("dialog", lambda dialog: result.note("error", f"it says {dialog.message}"))
    assert result.open("/_cache/") == 200
    yield result
    assert result.problems == []


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def mark(page: Page, name: str) -> Locator:
    """Find what the script writes a value into."""
    return page.locator(f'[data-text="{name}"]').first


def invalidation(page: Page) -> Locator:
    """Find the newest invalidation in the feed."""
    return page.locator('.event[data-kind="invalidation"]').first


def test_a_stranger_is_asked_for_the_token(browser: Browser, server: Server) -> None:
    with browser.new_context() as context:
        answer = context.request.get(f"{server.address}/_cache/")
        assert (answer.status, "inspector" in answer.text()) == (401, False)


def test_the_ratio_moves_when_pages_are_hit(visit: Visit, server: Server) -> None:
    page = visit.page

    def both() -> bool:
        server.get("/products")
        return "2 processes" in mark(page, "processes").inner_text()

    until(both)
    for number in range(1, 9):
        server.get(f"/api/products?page={number}&sort=-price")
    ratio, line = mark(page, "tiles.ratio"), page.locator(".chart .line").first
    page.wait_for_function("document.querySelector('[data-text=\"tiles.ratio\"]').textContent")
    before, drawn = percent(ratio), line.get_attribute("d")

    def risen() -> bool:
        server.get("/products")
        return percent(ratio) > before

    until(risen)
    assert line.get_attribute("d") != drawn
    words = mark(page, "charts.ratio_words").inner_text()
    assert re.match(r"Answered from the cache: [\d.]+ % last; lowest", words)
    row = page.locator('tr[data-id="page catalog.products"]')
    assert int(re.sub(r"\D", "", row.locator('[data-text="lookups"]').inner_text())) > 10


def percent(ratio: Locator) -> float:
    return float(ratio.inner_text().removesuffix(" %"))


def test_a_price_is_changed_and_the_feed_says_what_that_dropped(
    visit: Visit, server: Server
) -> None:
    page, path = visit.page, f"/products/{server.get('/api/products/1').json['slug']}"
    for _ in range(8):
        server.get(path)
        server.get("/products")
    server.set_price(1)
    newest = invalidation(page)
    expect(newest).to_contain_text("by PATCH catalog_api.update_product")
    expect(newest.locator(".tags a", has_text=re.compile("^product:1$"))).to_have_count(1)
    expect(newest.locator(".tags a", has_text=re.compile("^product$"))).to_have_count(1)
    expect(newest).to_contain_text(re.compile(r"dropped [1-9]\d* entr"))
    expect(page.locator("[data-announce]")).to_contain_text("new invalidation")
    server.get(path)
    expect(newest).to_contain_text("computed again since")
    key = f"page:{server.address}{path}"
    page.get_by_label("Key or tag").fill(key)
    page.locator("#search").press("Enter")
    links = page.locator('[data-list="entries"]').get_by_role("link")
    links.filter(has_text=re.compile(f"^{re.escape(key)}")).first.click()
    page.wait_for_url(re.compile(r"/_cache/entry\?"))
    assert page.locator("h1").inner_text().startswith(key)
    why = page.locator("dt", has_text="Last filled because").locator("xpath=../dd")
    words = re.compile(r"product\S* (was|were) invalidated by PATCH catalog_api.update_product at")

    def told() -> bool:
        page.reload()
        return words.search(why.inner_text()) is not None

    until(told)


def test_a_tag_is_invalidated_by_its_button(visit: Visit, server: Server) -> None:
    page = visit.page
    for _ in range(4):
        server.get("/products")
    visit.open("/_cache/tag?tag=category")
    expect(page.locator(".lead")).to_contain_text(re.compile(r"^\s*[1-9]\d* known entr"))
    assert "fresh" in page.locator('[data-text="state"]').all_inner_texts()
    page.get_by_role("button", name="Invalidate this tag").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Invalidate this tag").click()
    page.get_by_role("dialog").get_by_role("button", name="Invalidate it").click()
    page.wait_for_url("**/_cache/")
    expect(page.locator(".alert")).to_have_text("The tag was invalidated: category")
    expect(invalidation(page)).to_contain_text("by POST cache_inspector.act")
    assert "by the holder of OPS_TOKEN ('anna'): invalidate category" in server.log.read_text()
    visit.open("/_cache/tag?tag=category")
    assert page.locator('[data-text="state"]').first.inner_text() == "invalid"


def test_everything_can_be_done_by_keyboard(visit: Visit, server: Server) -> None:
    page, keys = visit.page, visit.page.keyboard
    server.get("/products?sort=price")
    tab_to(page, "button", "Hit ratio")
    keys.press("Enter")
    header = page.locator('th[data-id="ratio"]')
    expect(header).to_have_attribute("aria-sort", "descending")
    keys.press("Space")
    expect(header).to_have_attribute("aria-sort", "ascending")
    with page.expect_response("**/figures.json*"):
        pass
    assert focused(page) == ("button", "Hit ratio")
    tab_to(page, "input", "Key or tag")
    keys.type("sort=price")
    expect(mark(page, "found")).to_have_text("1 entry.")
    tab_to(page, "a", f"page:{server.address}/products?sort=price")
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/_cache/entry\?"))
    tab_to(page, "button", "Drop this entry")
    keys.press("Enter")
    assert focused(page) == ("button", "Cancel")
    keys.press("Escape")
    assert focused(page) == ("button", "Drop this entry")
    keys.press("Enter")
    keys.press("Shift+Tab")
    assert focused(page) == ("button", "Drop it")
    keys.press("Enter")
    page.wait_for_url("**/_cache/")
    expect(page.locator(".alert")).to_be_focused()
    tab_to(page, "button", "Pause")
    keys.press("Enter")
    expect(page.locator("[data-state]")).to_have_text("Paused.")


def tab_to(page: Page, kind: str, name: str) -> None:
    """Press Tab until something has the focus, as who has no mouse does."""
    for _ in range(PRESSES):
        page.keyboard.press("Tab")
        if focused(page) == (kind, name):
            return
    raise AssertionError(f"Tab does not lead to the {kind} {name}")


def focused(page: Page) -> tuple[str, str]:
    """Name what has the focus: its element, and its label or text."""
    kind, name = page.evaluate("""() => {
        const element = document.activeElement;
        return [element.localName, (element.labels?.[0] ?? element).textContent.trim()];
    }""")
    return kind, name


def test_nothing_that_a_visitor_sends_is_run(visit: Visit, server: Server) -> None:
    page = visit.page
    sent = page.request.get(
        f"{server.address}/echo", params={"word": MARKUP}, headers={"User-Agent": MARKUP}
    )
    assert sent.status == 200
    page.get_by_label("Key or tag").fill("<script>alert(1)")
    expect(page.locator('[data-list="entries"] th a')).to_have_count(2)
    assert page.locator("main").get_by_text("<script>alert(1)</script>").count() > 3
    links = page.locator('[data-list="entries"] a').all()
    seen = [href for link in links if "alert" in (href := link.get_attribute("href") or "")]
    assert len(seen) > 3
    for href in seen:
        assert visit.open(href) == 200
        nothing_is_run(page)
    visit.open("/_cache/")
    page.get_by_label("Tag", exact=True).fill(f"word:{MARKUP}")
    page.get_by_role("button", name="Invalidate", exact=True).click()
    nothing_is_run(page)
    page.get_by_role("dialog").get_by_role("button", name="Invalidate it").click()
    expect(page.locator(".alert")).to_contain_text(MARKUP)
    expect(invalidation(page).locator(".tags a")).to_have_text(f"word:{MARKUP}")
    nothing_is_run(page)


def nothing_is_run(page: Page) -> None:
    assert page.locator("body :is(script, img)").count() == 0


def test_without_a_script_it_asks_back_on_a_page(
    new_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = new_context(java_script_enabled=False).new_page()
    page.goto(f"{server.address}/_cache/")
    page.get_by_role("button", name="Time saved").click()
    assert page.locator('th[data-id="saved"]').get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Clear everything").click()
    assert page.locator("h1").inner_text() == "Clear everything?"
    page.get_by_role("button", name="Clear everything").click()
    assert page.locator(".alert").inner_text() == "Everything was cleared."
    assert "Cleared everything" in invalidation(page).inner_text()


@pytest.mark.parametrize(("scheme", "judged_width"), [("light", 1280), ("dark", 320)])
def test_it_is_accessible_and_fits_the_screen(
    new_context: Callable[..., BrowserContext], server: Server, scheme: str, judged_width: int
) -> None:
    server.get("/products")
    server.set_price(2)
    server.get("/products")
    visit = Visit(new_context(color_scheme=scheme), server.address)
    page = visit.page
    for path in ("/", "/tag?tag=product", f"/entry?key=page:{server.address}/products", "/clear"):
        assert visit.open(f"/_cache{path}") == 200
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            if width == judged_width:
                is_accessible(page)
    visit.open("/_cache/")
    page.get_by_role("button", name="Clear everything").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    is_accessible(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shades = [int(shade) for shade in re.findall(r"\d+", background)[:3]]
    assert (sum(shades) < 3 * 128) == (scheme == "dark")
    assert visit.problems == []


def is_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
