"""A visitor with a browser."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is on PATH")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's own Chromium, without a window."""
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, as which containers and many CI machines run it.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A visitor's tab, which remembers all that went wrong in it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.address = address
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.note("error", str(error)))
        self.page.on("request", lambda sent: self.only_here(sent.url))

    def note(self, kind: str, text: str) -> None:
        """Remember an error of a script or of the content security policy."""
        if kind in {"error", "warning"}:
            self.problems.append(f"{self.page.url}: {text}")

    def only_here(self, url: str) -> None:
        """Remember a request to any other host."""
        if urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.problems.append(f"{self.page.url} asks {url}")

    def open(self, path: str) -> int:
        """Go to a page and return its status."""
        answer = self.page.goto(self.address + path)
        assert answer
        return answer.status
