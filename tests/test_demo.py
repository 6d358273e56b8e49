"""`make demo` from a fresh copy of the repository, and a walk through its shop in a browser."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from baking import clean_environ, copy_of_repository
from browsing import Visit, chromium, needs_chromium
from playwright.sync_api import Browser, Page
from serving import free_port, request, wait_for


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address at which `make demo` serves, in a copy of what Git would clone."""
    copy = copy_of_repository(tmp_path_factory.mktemp("clone") / "flask-cache-template")
    port = free_port()
    log = copy.parent / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "demo", f"PORT={port}"],
            cwd=copy,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/healthz", 600, process)
        yield address
    except TimeoutError:
        pytest.fail(log.read_text(errors="replace")[-6000:])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_the_second_get_of_a_page_is_a_hit(demo: str) -> None:
    first = request(f"{demo}/products?sort=price")
    second = request(f"{demo}/products?sort=price")
    assert (first.status, second.status) == (200, 200)
    assert "fwd=miss" in first.headers["Cache-Status"]
    assert "; hit" in second.headers["Cache-Status"]
    assert first.body == second.body
    assert len(re.findall(r'data-price-cents="\d+"', first.body)) > 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the machine's own Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, demo: str) -> Iterator[Visit]:
    """Return a new visitor of the demo. Afterwards nothing may have gone wrong."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    result = Visit(context, demo)
    yield result
    context.close()
    assert result.problems == []


@needs_chromium
@pytest.mark.browser
def test_a_walk_through_the_shop(visit: Visit) -> None:
    page = visit.page
    assert visit.open("/") == 200
    page.get_by_role("link", name="See everything").click()
    page.wait_for_url("**/products")
    assert page.locator("[data-price-cents]").count() > 10
    page.get_by_role("link", name="Highest price").click()
    page.wait_for_url("**sort=-price")
    prices = shown_prices(page)
    assert prices == sorted(prices, reverse=True)
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**page=2")
    assert max(shown_prices(page)) <= min(prices)
    link = page.locator("main .card a").first
    name = link.inner_text()
    link.click()
    page.wait_for_url("**/products/*")
    assert page.locator("h1").inner_text() == name
    price = page.locator("[data-price-cents]").first
    assert re.sub(r"\D", "", price.inner_text()) == price.get_attribute("data-price-cents")


def shown_prices(page: Page) -> list[int]:
    """Return the prices of the products on a page, in its order."""
    prices = page.locator(".card [data-price-cents]")
    return [int(price.get_attribute("data-price-cents") or "") for price in prices.all()]


@needs_chromium
@pytest.mark.browser
def test_a_visitor_signs_in_and_keeps_a_wish(visit: Visit, browser: Browser, demo: str) -> None:
    page = visit.page
    visit.open("/products")
    page.locator("main .card a").first.click()
    page.wait_for_url("**/products/*")
    name = page.locator("h1").inner_text()
    page.get_by_role("link", name="Add to wish list").click()
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill("demo-shop")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Add it").click()
    page.wait_for_url("**/account/wishes")
    assert page.locator("main").get_by_role("link", name=name).count() == 1
    visit.open("/account")
    assert page.locator("main").get_by_text(name).count() == 1

    other = browser.new_context()
    answer = other.new_page().goto(f"{demo}/account")
    assert answer
    assert name not in answer.text()
    other.close()

    page.get_by_role("link", name="Change it").click()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/account/wishes")
    assert page.locator("main").get_by_role("link", name=name).count() == 0
    visit.open("/account")
    assert page.locator("main").get_by_text(name).count() == 0
    page.get_by_role("button", name="Sign out").click()
    visit.open("/account")
    assert page.get_by_role("button", name="Sign in").count() == 1


@needs_chromium
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_fit_the_screen_and_follow_the_theme(visit: Visit, width: int, scheme: str) -> None:
    page = visit.page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    visit.open("/products")
    product = urlsplit(page.locator("main .card a").first.evaluate("link => link.href")).path
    for path in ("/", "/products", product, "/account"):
        assert visit.open(path) == 200
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades = [int(shade) for shade in re.findall(r"\d+", background)[:3]]
        assert (sum(shades) < 3 * 128) == (scheme == "dark"), (path, background)
