"""Static files: hashed names that browsers keep, plain names that they ask about, gzip."""

import gzip
import random
import re
from pathlib import Path

import pytest
from flask import render_template_string, url_for

from package import load

assets = load("assets")
PLAIN = "/static/css/site.css"
GZIP = {"Accept-Encoding": "gzip"}


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
        "css/" + "a" * 3000 + ".css",
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


@pytest.fixture
def folder(app, tmp_path) -> Path:
    """A static folder of one's own."""
    app.static_folder = str(tmp_path)
    return tmp_path


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("path", ["hashed", "plain"])
def test_who_accepts_gzip_gets_it(app, client, hashed, path, method):
    url = hashed if path == "hashed" else PLAIN
    plain = client.get(url)
    response = getattr(client, method)(url, headers=GZIP)
    body = gzip.compress(plain.data, 9, mtime=0)
    assert response.status_code == 200
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.content_length == len(body)
    assert response.data == (body if method == "get" else b"")
    for name in ("Cache-Control", "Content-Type", "Last-Modified"):
        assert response.headers[name] == plain.headers[name]


@pytest.mark.parametrize(
    "accepted",
    ["gzip", "GZIP;q=0.5", "br, gzip", "*", "identity;q=0, *", "gzip, identity", "gzip, *;q=0"],
)
def test_gzip_is_chosen(client, accepted):
    response = client.get(PLAIN, headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == "gzip"


@pytest.mark.parametrize(
    "accepted",
    ["", "br", "identity", "gzip;q=0", "gzip;q=0, *", "*;q=0", "gzip;q=0.5, identity", "notgzip"],
)
def test_the_plain_bytes_are_chosen(client, accepted):
    response = client.get(PLAIN, headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in response.headers
    assert response.data.startswith(b"/*")


def test_each_variant_has_a_validator_of_its_own(client):
    """A cache must not take one's bytes for the other's (RFC 9110, 8.8.3.3)."""
    plain, compressed = client.get(PLAIN), client.get(PLAIN, headers=GZIP)
    tags = plain.headers["ETag"], compressed.headers["ETag"]
    assert tags[0] != tags[1]
    assert not any(tag.startswith("W/") for tag in tags)
    assert (plain.headers["Vary"], compressed.headers["Vary"]) == ("Accept-Encoding",) * 2
    assert client.get(PLAIN, headers={**GZIP, "If-None-Match": tags[0]}).status_code == 200
    for tag, accepted in zip(tags, ({}, GZIP), strict=True):
        again = client.get(PLAIN, headers={**accepted, "If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"]) == (304, tag)
        assert again.headers["Vary"] == "Accept-Encoding"
        assert "Content-Encoding" not in again.headers


def test_a_range_is_of_the_plain_bytes(client):
    plain = client.get(PLAIN)
    part = client.get(PLAIN, headers={**GZIP, "Range": "bytes=2-5"})
    assert (part.status_code, part.data) == (206, plain.data[2:6])
    assert part.headers["ETag"] == plain.headers["ETag"]
    assert "Content-Encoding" not in part.headers
    of_gzip = client.get(PLAIN, headers=GZIP).headers["ETag"]
    whole = client.get(PLAIN, headers={**GZIP, "Range": "bytes=2-5", "If-Range": of_gzip})
    assert (whole.status_code, whole.data) == (200, plain.data)


def test_a_failed_condition_is_an_error_that_nobody_keeps(client, hashed):
    response = client.get(hashed, headers={"If-Match": '"another"'})
    assert response.status_code == 412
    assert response.headers["Cache-Control"] == "no-store"
    assert b"font-family" not in response.data


def test_head_has_no_ranges(client):
    """As RFC 9110, 14.2 has it."""
    response = client.head(PLAIN, headers={**GZIP, "Range": "bytes=2-5"})
    assert (response.status_code, response.headers["Content-Encoding"]) == (200, "gzip")


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("small.txt", b"a" * 1000),
        ("random.txt", random.Random(1).randbytes(4000)),  # noqa: S311 - no secret
        ("picture.png", b"a" * 4000),
        ("text.css.gz", b"a" * 4000),
        ("kind.unknown-to-all", b"a" * 4000),
    ],
)
def test_what_gains_nothing_is_sent_as_it_is(client, folder, name, contents):
    (folder / name).write_bytes(contents)
    response = client.get(f"/static/{name}", headers=GZIP)
    assert response.data == contents
    assert "Vary" not in response.headers


@pytest.mark.parametrize("name", ["app.js", "app.json", "a.svg", "a.webmanifest", "a.wasm"])
def test_every_kind_of_text_is_compressed(client, folder, name):
    (folder / name).write_bytes(b"a" * 4000)
    response = client.get(f"/static/{name}", headers=GZIP)
    assert gzip.decompress(response.data) == b"a" * 4000


def test_a_change_is_compressed_again(client, folder):
    file = folder / "note.txt"
    for text in (b"one" * 1000, b"three" * 1000):
        file.write_bytes(text)
        assert gzip.decompress(client.get("/static/note.txt", headers=GZIP).data) == text


def test_nobody_waits_for_the_compression(make_app):
    assets._gzipped.cache_clear()
    client = make_app().test_client()
    before = assets._gzipped.cache_info().misses
    client.get(PLAIN, headers=GZIP)
    client.get(PLAIN, headers=GZIP)
    assert assets._gzipped.cache_info().misses == before
