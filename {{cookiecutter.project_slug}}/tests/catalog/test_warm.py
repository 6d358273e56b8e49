"""`flask cache warm` asks for the shop's first pages."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask_coherent_cache.testing import redis_server

from package import load


def test_home_list_and_first_products_are_warmed(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    with redis_server(tmp_path) as port:
        if port is None:
            pytest.skip("no server for RedisCache on this machine")
        url = f"redis://127.0.0.1:{port}/0"
        app = make_app(SECRET_KEY="k" * 40, CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url)
        with app.app_context():
            load("catalog.seed").fill()
            first = load("catalog.queries").products(1, "name", None)
        warm = ["cache", "warm", "--base-url", "http://127.0.0.1:8000", "--json"]
        result = app.test_cli_runner().invoke(args=warm)
        code, told = result.exit_code, json.loads(result.stdout)
        expected = {"/", "/products", *(f"/products/{row.slug}" for row in first)}
        assert (code, {page["path"] for page in told["pages"]}) == (0, expected)
        assert told["filled"] == len(expected)
        response = app.test_client().get("/products", base_url="http://127.0.0.1:8000")
        assert "; hit" in response.headers["Cache-Status"]
        with app.app_context():
            load("extensions").cache.engine.close()
