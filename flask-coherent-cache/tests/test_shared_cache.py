"""The shared cache of these tests: what it stores, serves and asks again (RFC 9111)."""

from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.test import Client

from shared_cache import SharedCache


class Front:
    """An application behind the shared cache; each answer of it has a number of its own."""

    def __init__(self) -> None:
        self.answer: dict[str, str] = {}
        self.status, self.made, self.now = 200, 0, 1000.0
        app = Flask("front")
        app.add_url_rule("/<path:path>", view_func=self._view, methods=["GET", "POST"])
        self.cache = SharedCache(app, clock=lambda: self.now)
        self.client = Client(self.cache, use_cookies=False)

    def _view(self, path: str) -> Response:
        self.made += 1
        etag = self.answer.get("ETag")
        if etag is not None and request.headers.get("If-None-Match") == etag:
            return Response("", 304, self.answer)
        return Response(f"{self.made}", self.status, self.answer)

    def get(self, path: str = "/page", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers=named)


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.mark.parametrize(
    ("answer", "asked", "status", "shared"),
    [
        ({"Cache-Control": "public, max-age=60"}, {}, 200, True),
        ({"Cache-Control": "s-maxage=60, max-age=0"}, {}, 200, True),
        ({"Cache-Control": "s-maxage=0, max-age=60"}, {}, 200, False),
        ({"Cache-Control": "public"}, {}, 200, True),
        ({}, {}, 200, True),
        ({}, {}, 404, True),
        ({}, {}, 302, False),
        ({"Cache-Control": "public"}, {}, 302, True),
        ({"Cache-Control": "max-age=60"}, {}, 500, True),
        ({"Expires": "Fri, 01 Jan 2100 00:00:00 GMT"}, {}, 302, True),
        ({"Expires": "0"}, {}, 200, False),
        ({"Cache-Control": "max-age=60"}, {}, 206, False),
        ({"Cache-Control": "No-Store"}, {}, 200, False),
        ({"Cache-Control": "private, max-age=60"}, {}, 200, False),
        ({"Cache-Control": 'private="set-cookie", max-age=60'}, {}, 200, True),
        ({"Cache-Control": "public, no-cache"}, {}, 200, False),
        ({"Cache-Control": "public, max-age=60", "Set-Cookie": "a=1"}, {}, 200, True),
        ({"Cache-Control": "max-age=60"}, {"Authorization": "x"}, 200, False),
        ({"Cache-Control": "public, max-age=60"}, {"Authorization": "x"}, 200, True),
        ({"Cache-Control": "s-maxage=60"}, {"Authorization": "x"}, 200, True),
        ({"Cache-Control": "max-age=60, must-revalidate"}, {"Authorization": "x"}, 200, True),
        ({"Cache-Control": "max-age=60"}, {"Cache_Control": "no-store"}, 200, False),
        ({"Cache-Control": "max-age=60", "Vary": "*"}, {}, 200, False),
        ({"Cache-Control": "max-age=60", "Age": "61"}, {}, 200, False),
    ],
)
def test_what_it_serves_to_others(
    front: Front, answer: dict[str, str], asked: dict[str, str], status: int, shared: bool
) -> None:
    front.answer, front.status = answer, status
    first, second = front.get(**asked), front.get()
    assert (second.text == first.text) is shared
    assert front.cache.hits == shared


def test_each_variant_is_its_own(front: Front) -> None:
    front.answer = {"Cache-Control": "max-age=60", "Vary": "Accept-Language, X-Own"}
    german, french = front.get(Accept_Language="de"), front.get(Accept_Language="fr")
    assert front.get(Accept_Language="de").text == german.text
    assert front.get(Accept_Language="fr").text == french.text
    assert front.get().text not in (german.text, french.text)


def test_a_stale_response_is_confirmed(front: Front) -> None:
    front.answer = {"Cache-Control": "max-age=60", "ETag": '"a"'}
    first = front.get()
    front.now += 30
    assert front.get().headers["Age"] == "30"
    front.now += 31
    confirmed = front.get()
    assert (confirmed.text, confirmed.headers["Cache-Status"]) == (first.text, "shared; fwd=stale")
    assert (front.made, front.cache.hits) == (2, 1)
    front.now += 61
    front.answer = {"ETag": '"b"'}
    assert front.get().text == "3"


def test_an_unsafe_method_makes_it_invalid(front: Front) -> None:
    front.answer = {"Cache-Control": "max-age=60"}
    front.get()
    front.client.post("/page")
    assert front.get().text == "3"


def test_head_is_answered_from_a_get(front: Front) -> None:
    front.answer = {"Cache-Control": "max-age=60"}
    front.get()
    response = front.client.head("/page")
    assert (response.data, front.cache.hits) == (b"", 1)
    assert front.get("/page?other=1").text == "2"
