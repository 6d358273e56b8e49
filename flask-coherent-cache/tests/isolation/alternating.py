"""Visitors who come in turn to one small application."""

import contextvars
from collections.abc import Iterable
from typing import Any

from werkzeug.test import Client, TestResponse

#: What one visitor's request says: arguments of a test client's ``open``.
Visit = dict[str, Any]

ANN: Visit = {"headers": {"X-Who": "ann"}}
BOB: Visit = {"headers": {"X-Who": "bob"}}


def come(app: Any, *visits: Visit, path: str = "/page", rounds: int = 2) -> list[TestResponse]:
    """Have the visitors come in turn, each time with no ContextVar left over."""
    client = Client(app, use_cookies=False)
    return [
        contextvars.copy_context().run(client.open, **{"path": path, "buffered": True, **visit})
        for _ in range(rounds)
        for visit in visits
    ]


def texts(answers: Iterable[TestResponse]) -> list[str]:
    """The bodies of the answers."""
    return [answer.get_data(as_text=True) for answer in answers]


def hits(answers: Iterable[TestResponse]) -> int:
    """How many of the answers came from the page cache."""
    return sum("; hit" in answer.headers.get("Cache-Status", "") for answer in answers)


def details(answers: Iterable[TestResponse]) -> list[str]:
    """What the page cache says of each answer."""
    return [answer.headers.get("Cache-Status", "") for answer in answers]
