"""What the owner of a project with Flask-Login sees: every page, as two users and as nobody.

`test_flask_login.py` copies it into a project's tests.
"""

from typing import Any

import pytest
from flask import Flask, url_for

PASSWORD = "correct horse"  # noqa: S105 - it opens nothing
PUBLIC = ("/", "/products", "/products?sort=price", "/products/tote")
ARGUMENTS = {"slug": "tote", "filename": "css/site.css", "name": "clear"}
STRICT = {"CACHE_STRICT": True}
PRODUCTION = {"CACHE_STRICT": False, "TESTING": False}


def paths(app: Flask) -> list[str]:
    """Return an address of each page."""
    with app.test_request_context():
        return [
            url_for(rule.endpoint, **{name: ARGUMENTS.get(name, 1) for name in rule.arguments})
            for rule in app.url_map.iter_rules()
            if "GET" in (rule.methods or ()) and rule.endpoint != "static"
        ]


def signed_in(app: Flask, name: str) -> Any:
    """Return the browser of a user."""
    browser = app.test_client()
    form = {"name": name, "password": PASSWORD}
    assert browser.post("/account/sign-in", data=form).status_code == 303
    return browser


@pytest.mark.parametrize("settings", [{"DEBUG": True}, STRICT, PRODUCTION], ids=str)
@pytest.mark.parametrize("kind", ["NullCache", "SimpleCache"])
def test_every_page(shop: Any, kind: str, settings: dict[str, Any]) -> None:
    app = shop(CACHE_TYPE=kind)
    app.config.update(settings)
    names = ("Ada", "Bob", None)
    browsers = [app.test_client() if name is None else signed_in(app, name) for name in names]
    for number in range(3):
        for name, browser in zip(names, browsers, strict=True):
            for path in paths(app):
                assert browser.get(path).status_code < 500, path
            hits = [is_hit(browser, path, name) for path in PUBLIC]
            if name is not None:
                hits.append(is_hit(browser, "/account", name))
                assert f"Hello, {name}" in browser.get("/account").text
            else:
                assert browser.get("/account").status_code == 302
            assert kind == "NullCache" or number == 0 or all(hits)


def is_hit(browser: Any, path: str, name: str | None) -> bool:
    """Tell whether a page came from the cache; it names nobody else."""
    answer = browser.get(path)
    assert answer.status_code == 200
    assert not any(other in answer.text for other in {"Ada", "Bob"} - {name})
    return "; hit" in answer.headers.get("Cache-Status", "")
