"""The first page."""

from flask.testing import FlaskClient


def test_home_is_made_once(client: FlaskClient) -> None:
    first, second = client.get("/"), client.get("/")
    assert first.status_code == 200
    assert "fwd=miss" in first.headers["Cache-Status"]
    assert "hit" in second.headers["Cache-Status"]
    assert second.data == first.data
