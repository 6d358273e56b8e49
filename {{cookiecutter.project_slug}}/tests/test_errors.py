"""Error pages: HTML or JSON by what the client asks for, and no word about the program."""

import pytest
from flask import abort, request
from werkzeug.exceptions import ServiceUnavailable

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def broken(make_app):
    """An application with views that fail."""
    app = make_app(PROPAGATE_EXCEPTIONS=False)

    @app.get("/broken")
    @app.get("/api/broken", endpoint="api_broken")
    def view():
        raise RuntimeError("the secret of the program")

    @app.get("/busy")
    def busy():
        raise ServiceUnavailable("Soon again.", retry_after=7)

    @app.get("/words")
    def words():
        abort(400, "<b>words</b>")

    return app.test_client()


@pytest.mark.parametrize("headers", [{}, HTML, {"Accept": "*/*"}], ids=["none", "browser", "any"])
def test_people_get_a_page(client, headers):
    response = client.get("/nowhere", headers=headers)
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "<h1>Not Found</h1>" in response.text
    assert "Accept" in response.vary


def test_programs_get_a_problem(client):
    response = client.get("/nowhere", headers=JSON)
    assert response.mimetype == "application/problem+json"
    assert response.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at this address, or no longer.",
    }


@pytest.mark.parametrize("path", ["/api/nowhere", "/api/broken"])
def test_the_api_always_answers_json(broken, path):
    response = broken.get(path, headers=HTML)
    assert response.mimetype == "application/problem+json"
    assert "Vary" not in response.headers


@pytest.mark.parametrize("headers", [HTML, JSON], ids=["html", "json"])
def test_an_unexpected_error_tells_its_number_and_nothing_else(broken, headers):
    response = broken.get("/broken", headers={**headers, "X-Request-ID": "abc123"})
    assert response.status_code == 500
    assert "abc123" in response.text
    assert "secret" not in response.text
    assert response.headers["Cache-Control"] == "no-store"


def test_what_a_view_says_is_escaped_and_its_headers_are_kept(broken):
    response = broken.get("/words")
    assert response.status_code == 400
    assert "&lt;b&gt;words&lt;/b&gt;" in response.text
    assert broken.get("/busy").headers["Retry-After"] == "7"
    assert "GET" in broken.post("/busy").headers["Allow"]


def test_a_not_found_may_be_cached_and_a_head_is_as_long(client):
    headers = client.get("/nowhere", headers={"X-Request-ID": "abc123"}).headers
    assert "Cache-Control" not in headers
    head = client.head("/nowhere")
    assert (head.status_code, head.data) == (404, b"")
    assert head.headers["Content-Length"] == headers["Content-Length"]


def test_a_body_that_is_too_large_is_refused(make_app):
    app = make_app(MAX_CONTENT_LENGTH=10)
    app.add_url_rule("/api/echo", "echo", lambda: f"{request.get_data()}", methods=["POST"])
    response = app.test_client().post("/api/echo", data=b"x" * 11)
    assert (response.status_code, response.json["title"]) == (413, "Request Entity Too Large")
