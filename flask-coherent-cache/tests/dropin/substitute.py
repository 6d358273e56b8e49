"""A pytest plugin for Flask-Caching's own tests: they meet our ``Cache`` in the place of theirs.

Run with ``-p substitute``; ``--outcomes FILE`` writes what each test came to, as JSON.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import flask_caching
import pytest

import flask_coherent_cache

flask_caching.Cache = flask_coherent_cache.Cache  # type: ignore[misc]
# A server that processes share needs one, and their tests know of none.
flask.Flask.default_config = {**flask.Flask.default_config, "SECRET_KEY": "k" * 40}

_outcomes: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        # What fails in a fixture is worse than what the test came to.
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.getoption("--outcomes").write_text(json.dumps(_outcomes))


@pytest.fixture(autouse=True)
def follow_their_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have our modules' time pass as their ``clock`` fixture says, which knows cachelib alone."""
    if "clock" not in request.fixturenames:
        return
    clock: Any = request.getfixturevalue("clock")
    began = clock.now
    shifted = SimpleNamespace(**vars(time))
    shifted.time = lambda: time.time() + clock.now - began
    shifted.monotonic = lambda: time.monotonic() + clock.now - began
    for name, module in list(sys.modules.items()):
        if name.startswith("flask_coherent_cache") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", shifted)
