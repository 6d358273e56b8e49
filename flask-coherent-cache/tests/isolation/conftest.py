"""One application on SimpleCache, as a production server runs it, and the table's totals."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache import Cache
from isolation.cells import SKIPPED
from isolation.running import COUNTS, Log


@pytest.fixture
def log(reports_again: None) -> Iterator[list[str]]:
    """What the cache logs in this test, also what it has logged once in another one."""
    handler, logger = Log(), logging.getLogger("flask_coherent_cache")
    logger.addHandler(handler)
    yield handler.messages
    logger.removeHandler(handler)


@pytest.fixture
def make(log: list[str]) -> Callable[..., tuple[Flask, Any]]:
    """Make an application, of a class of its own where one is given, and its cache."""

    def make_app(app_class: type[Flask] = Flask, **settings: Any) -> tuple[Flask, Any]:
        app = app_class("siblings", root_path=".", static_folder=None)
        app.config.update(SECRET_KEY="k" * 40, CACHE_TYPE="SimpleCache", **settings)
        return app, Cache(app)

    return make_app


@pytest.fixture
def app(make: Callable[..., tuple[Flask, Any]]) -> Flask:
    return make()[0]


@pytest.fixture
def cache(app: Flask) -> Any:
    return next(iter(app.extensions["cache"]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many cells came to which verdict, and which combinations there are not."""
    if COUNTS:
        terminalreporter.section("isolation")
        for what, count in sorted(COUNTS.items()):
            terminalreporter.line(f"{count:6} {what}")
        for reason, count in sorted(SKIPPED.items()):
            terminalreporter.line(f"{count:6} there are none: {reason}")
