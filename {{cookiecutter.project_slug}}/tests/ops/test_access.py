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
        (TOKEN, "Basic \xff\xff", False),
        (TOKEN, "Basic //8=", False),
        (TOKEN, "Basic \x00", False),
        (TOKEN, "Bearer \x00", False),
        (TOKEN, "Digest a*=x''%ff", False),
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


@pytest.mark.parametrize("path", ["/_cache/", "/metrics"])
@pytest.mark.parametrize("authorization", ["Basic \xff\xff", "Basic //8=", "\x00"])
def test_what_nobody_can_read_is_asked_for_again(path: str, authorization: str) -> None:
    app = load().create_app(APP_ENV="testing", OPS_TOKEN=TOKEN)
    response = app.test_client().get(path, headers={"Authorization": authorization})
    assert response.status_code == 401
