"""Static files: hashed names that browsers keep, plain names that they ask about, gzip."""

import gzip
import random
import re

import pytest
from flask import url_for

PLAIN = "/static/css/site.css"
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def hashed(app):
    with app.test_request_context():
        return url_for("static", filename="css/site.css")


@pytest.fixture
def folder(app, tmp_path):
    """A static folder of one's own."""
    app.static_folder = str(tmp_path)
    return tmp_path


def test_the_hashed_name_is_kept_for_good(app, client, hashed):
    assert re.fullmatch(r"/static/css/site\.[0-9a-f]{8}\.css", hashed)
    with app.test_request_context():
        assert app.jinja_env.globals["static_url"]("css/site.css") == hashed
        assert url_for("static", filename="none.css") == "/static/none.css"
    response = client.get(hashed)
    assert (response.status_code, response.mimetype) == (200, "text/css")
    control = response.cache_control
    assert (control.public, control.max_age, control.immutable) == (True, 31_536_000, True)


@pytest.mark.parametrize(
    "name",
    [
        *("css/site.00000000.css", "css/none.00000000.css", "css", "../about.toml"),
        *("%2e%2e/about.toml", "css/" + "a" * 3000 + ".css"),
    ],
)
def test_anything_else_is_not_found(client, name):
    assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("name", ["LICENSE", "app.min.js", "a/b.01234567.css", "site.web-manifest"])
def test_a_change_has_another_name(app, client, folder, name):
    (folder / "a").mkdir()
    urls = []
    for text in ("one", "three"):
        (folder / name).write_text(text)
        with app.test_request_context():
            urls.append(url_for("static", filename=name))
        response = client.get(urls[-1])
        assert response.text == text
        assert response.cache_control.immutable
    assert client.get(urls[0]).status_code == 404


def test_a_developer_gets_the_new_contents_by_the_former_name(make_app):
    response = make_app(DEBUG=True).test_client().get("/static/css/site.00000000.css")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        *(("gzip", True), ("GZIP;q=0.5", True), ("br, gzip", True), ("identity;q=0, *", True)),
        *(("", False), ("br", False), ("gzip;q=0, *", False), ("gzip;q=0.5, identity", False)),
    ],
)
def test_who_accepts_gzip_gets_it(client, accepted, chosen):
    plain = client.get(PLAIN)
    for method in (client.get, client.head):
        response = method(PLAIN, headers={"Accept-Encoding": accepted})
        assert response.status_code == 200
        assert (response.headers.get("Content-Encoding") == "gzip") == chosen
        assert (response.content_length < plain.content_length) == chosen
    body = client.get(PLAIN, headers={"Accept-Encoding": accepted}).data
    assert (gzip.decompress(body) if chosen else body) == plain.data


def test_each_variant_has_a_validator_of_its_own(client):
    """A cache must not take one's bytes for the other's (RFC 9110, 8.8.3.3)."""
    plain, compressed = client.get(PLAIN), client.get(PLAIN, headers=GZIP)
    assert plain.headers["Cache-Control"] == "no-cache", "its name holds no hash"
    tags = plain.headers["ETag"], compressed.headers["ETag"]
    assert tags[0] != tags[1]
    assert (plain.headers["Vary"], compressed.headers["Vary"]) == ("Accept-Encoding",) * 2
    assert client.get(PLAIN, headers={**GZIP, "If-None-Match": tags[0]}).status_code == 200
    for tag, accepted in zip(tags, ({}, GZIP), strict=True):
        again = client.get(PLAIN, headers={**accepted, "If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"]) == (304, tag)


def test_a_range_is_of_the_plain_bytes(client):
    plain = client.get(PLAIN)
    part = client.get(PLAIN, headers={**GZIP, "Range": "bytes=2-5"})
    assert (part.status_code, part.data) == (206, plain.data[2:6])
    assert part.headers["ETag"] == plain.headers["ETag"]
    # As RFC 9110, 14.2 has it, only GET has ranges.
    head = client.head(PLAIN, headers={**GZIP, "Range": "bytes=2-5"})
    assert (head.status_code, head.headers["Content-Encoding"]) == (200, "gzip")


def test_a_failed_condition_is_an_error_that_nobody_keeps(client, hashed):
    response = client.get(hashed, headers={"If-Match": '"another"'})
    assert response.status_code == 412
    assert response.headers["Cache-Control"] == "no-store"
    assert b"font-family" not in response.data


@pytest.mark.parametrize(
    ("name", "contents", "gains"),
    [
        ("app.js", b"a" * 4000, True),
        ("a.svg", b"a" * 4000, True),
        ("a.webmanifest", b"a" * 4000, True),
        ("small.txt", b"a" * 1000, False),
        ("random.txt", random.Random(1).randbytes(4000), False),  # noqa: S311 - no secret
        ("picture.png", b"a" * 4000, False),
        ("text.css.gz", b"a" * 4000, False),
    ],
)
def test_what_gains_by_it_is_compressed(client, folder, name, contents, gains):
    (folder / name).write_bytes(contents)
    response = client.get(f"/static/{name}", headers=GZIP)
    assert (gzip.decompress(response.data) if gains else response.data) == contents
    assert ("Vary" in response.headers) == gains
