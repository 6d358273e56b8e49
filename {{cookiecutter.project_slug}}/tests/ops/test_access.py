"""Who is let in."""

import base64

import pytest

from package import load

TOKEN = "t" * 40


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("token", "authorization", "let_in"),
    [
        (TOKEN, f"Bearer {TOKEN}", True),
        (TOKEN, basic(TOKEN), True),
        (TOKEN, None, False),
        (TOKEN, "Bearer wrong", False),
        (TOKEN, "Bearer", False),
        (TOKEN, "Bearer ü", False),
        (TOKEN, basic("wrong"), False),
        (TOKEN, basic(""), False),
        (TOKEN, "Digest x", False),
        ("a=b" * 12, "Bearer " + "a=b" * 12, True),
        (None, "Bearer ", False),
        (None, basic(""), False),
        ("", basic(""), False),
    ],
)
def test_only_the_token_opens(token: str | None, authorization: str | None, let_in: bool) -> None:
    app = load().create_app(APP_ENV="testing", OPS_TOKEN=token)
    headers = {"Authorization": authorization} if authorization else {}
    with app.test_request_context(headers=headers):
        assert load("ops.access").has_token() is let_in
