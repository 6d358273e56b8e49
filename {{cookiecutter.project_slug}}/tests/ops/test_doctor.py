"""`flask cache doctor` runs the application's own checks, too."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

KEY = "Mw1xkVZC0bL9gqTzR5sYh7uJ2nPd4eFa"  # pragma: allowlist secret


@pytest.mark.parametrize(("token", "severity"), [("", "advice"), ("t" * 40, "ok")])
def test_production_needs_its_token(
    make_app: Callable[..., Flask], token: str, severity: str
) -> None:
    production = {"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "SimpleCache"}
    app = make_app(**production, OPS_TOKEN=token)
    told: dict[str, Any] = json.loads(
        app.test_cli_runner().invoke(args=["cache", "doctor", "--json"]).stdout
    )
    (found,) = [each for each in told["findings"] if each["check"] == "ops-token"]
    assert found["severity"] == severity
