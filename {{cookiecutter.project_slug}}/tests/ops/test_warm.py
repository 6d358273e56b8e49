"""`flask cache warm` writes no access line for each page."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask_coherent_cache.testing import redis_server

from package import name


def test_a_log_line_for_each_page_is_spared(
    make_app: Callable[..., Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as port:
        if port is None:
            pytest.skip("there is no Redis and no Valkey on this machine")
        app = make_app(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/0")
        app.add_url_rule("/quiet", view_func=lambda: "quiet")
        caplog.set_level("INFO")
        warm = ["cache", "warm", "--base-url", "http://localhost"]
        assert "filled" in app.test_cli_runner().invoke(args=warm).output
        assert "GET" not in caplog.text
        app.test_client().get("/quiet")
        assert f"{name()}.access" in {record.name for record in caplog.records}
        assert "GET /quiet" in caplog.text
