"""The development toolbar is under the application's pages, and under no others."""

import re
from collections.abc import Callable

from flask import Flask

BROWSER = {"Accept": "text/html"}


def test_it_is_under_a_page_with_its_style_sheet(make_app: Callable[..., Flask]) -> None:
    client = make_app(CACHE_TOOLBAR="true").test_client()
    text = client.get("/", headers=BROWSER).text
    assert '<aside class="cache-toolbar"' in text
    (sheet,) = re.findall(r'href="(/_cache_toolbar/[^"]+)"', text)
    answer = client.get(sheet)
    assert (answer.status_code, answer.mimetype) == (200, "text/css")


def test_it_is_off_where_nobody_asked_for_it(make_app: Callable[..., Flask]) -> None:
    client = make_app().test_client()
    assert "cache-toolbar" not in client.get("/", headers=BROWSER).text
