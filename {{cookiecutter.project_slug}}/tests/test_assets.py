"""Static files: hashed names that browsers keep, plain names that they ask about."""

import re

import pytest
from flask import render_template_string, url_for

from package import load

assets = load("assets")
PLAIN = "/static/css/site.css"


@pytest.fixture
def hashed(app) -> str:
    with app.test_request_context():
        return assets.static_url("css/site.css")


def test_the_name_holds_the_hash(hashed):
    assert re.fullmatch(r"/static/css/site\.[0-9a-f]{8}\.css", hashed)


def test_url_for_gives_the_same(app, hashed):
    with app.test_request_context():
        assert url_for("static", filename="css/site.css") == hashed
        assert render_template_string("{{ static_url('css/site.css') }}") == hashed


def test_a_file_that_is_not_there_keeps_its_name(app):
    with app.test_request_context():
        assert assets.static_url("none.css") == "/static/none.css"


def test_the_hashed_name_is_kept_for_good(client, hashed):
    response = client.get(hashed)
    assert response.status_code == 200
    assert response.mimetype == "text/css"
    control = response.cache_control
    assert (control.public, control.max_age, control.immutable) == (True, 31_536_000, True)
    assert "Last-Modified" in response.headers


def test_the_plain_name_is_asked_about(client):
    response = client.get(PLAIN)
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["hashed", "plain"])
def test_a_match_is_answered_without_a_body(client, hashed, path):
    url = hashed if path == "hashed" else PLAIN
    response = client.get(url)
    tag, weak = response.get_etag()
    assert tag
    assert weak is False
    again = client.get(url, headers={"If-None-Match": f'"{tag}"'})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "css/site.00000000.css",
        "css/none.css",
        "css/none.00000000.css",
        "css",
        "../about.toml",
        "%2e%2e/about.toml",
        "css/site.00000000.00000000.css",
    ],
)
def test_anything_else_is_not_found(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_a_change_has_another_name(make_app, tmp_path):
    app = make_app()
    app.static_folder = str(tmp_path)
    file = tmp_path / "note.txt"
    with app.test_request_context():
        file.write_text("one")
        first = assets.static_url("note.txt")
        file.write_text("three")
        assert assets.static_url("note.txt") != first
    assert app.test_client().get(first).status_code == 404


@pytest.mark.parametrize("name", ["LICENSE", "app.min.js", "a/b.01234567.css", "site.web-manifest"])
def test_every_kind_of_name_can_hold_a_hash(make_app, tmp_path, name):
    app = make_app()
    app.static_folder = str(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_text("text")
    with app.test_request_context():
        url = assets.static_url(name)
    assert url != f"/static/{name}"
    response = app.test_client().get(url)
    assert response.text == "text"
    assert response.cache_control.immutable


def test_a_developer_gets_the_new_contents_by_the_former_name(make_app):
    response = make_app(DEBUG=True).test_client().get("/static/css/site.00000000.css")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-cache"
