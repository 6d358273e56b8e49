"""Runs a cell: two visitors alternate, and each must get an answer of its own."""

import contextvars
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.test import Client, TestResponse

from flask_coherent_cache import UndeclaredInput
from isolation.applications import SAME, SHOWN_HEADER, now, path_of
from isolation.cells import RESPONSE_HOOKS, Cell
from isolation.rule import CACHED, NOT_CACHED, PRIVATE, PUBLIC, RAISES, Verdict
from isolation.visitors import VISITORS, request_of, shown_of

#: How many cells came to which verdict, for the summary.
COUNTS: Counter[str] = Counter()
#: Each visitor comes twice, in turn.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got.

    :param shown: the part of it that shows what was read.
    :param whole: headers and body.
    :param raised: the message of an ``UndeclaredInput``; then the rest is empty.
    """

    visitor: str
    shown: str
    whole: str
    cache_status: str
    cache_control: str
    raised: str = ""


class Log(logging.Handler):
    """Keeps what the cache logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def visit_in_turn(
    app: Flask, cell: Cell, outside: Callable[..., Any] | None = None
) -> list[Answer]:
    """Have the visitors come in turn.

    :param outside: what stands in front of the application.
    """
    client = Client(outside or app.wsgi_app, TestResponse, use_cookies=False)
    return [visit(app, client, cell, who) for _ in range(ROUNDS) for who in VISITORS]


def visit(app: Flask, client: Client, cell: Cell, visitor: str) -> Answer:
    """Have a visitor come, with no ContextVar left over from another one."""
    told = request_of(app, cell.input, visitor, path_of(cell), is_page=cell.is_page)
    try:
        response = contextvars.copy_context().run(client.open, **told)
    except UndeclaredInput as error:
        return Answer(visitor, "", "", "", "", plain(f"{error}"))
    text = response.get_data(as_text=True)
    shown = response.headers.get(SHOWN_HEADER, "") if shows_in_header(cell) else text
    return Answer(
        visitor,
        shown,
        f"{response.headers}{text}",
        plain(response.headers.get("Cache-Status", "")),
        response.headers.get("Cache-Control", ""),
    )


def plain(text: str) -> str:
    """Write a message without case and quotes, to look for names in it."""
    return text.lower().replace("'", "").replace('"', "")


def shows_in_header(cell: Cell) -> bool:
    """Tell whether the answer shows what was read in a header."""
    if cell.place in RESPONSE_HOOKS:
        return cell.use != "unused" or (cell.place == "after_request" and not cell.is_page)
    return cell.place == "wsgi_middleware" and cell.use == "unused"


def leaks(cell: Cell, answers: list[Answer]) -> list[str]:
    """Say which answers are not the visitor's own."""
    return [
        f"{answer.visitor} got {answer.shown!r}"
        for answer in answers
        if not answer.raised and not _is_own(cell, answer)
    ]


def _is_own(cell: Cell, answer: Answer) -> bool:
    unused = cell.use in ("unused", "aside") and cell.place != "wsgi_middleware"
    own = SAME if unused or cell.use == "aside" else shown_of(cell.input, answer.visitor)
    others = [shown_of(cell.input, who) for who in VISITORS if who != answer.visitor]
    return answer.shown == own and not any(other in answer.whole for other in others)


def problems(cell: Cell, verdict: Verdict, answers: list[Answer], log: list[str]) -> list[str]:
    """Say in what a cell differs from its verdict."""
    found = leaks(cell, answers)
    raised = [answer.raised for answer in answers if answer.raised]
    if verdict.kind != RAISES:
        found += [f"raised {message!r}" for message in raised[:1]]
    if found:
        return found
    if verdict.kind == RAISES:
        return _missing(verdict, raised, len(answers), "raises")
    if verdict.kind == CACHED:
        found += _not_hit(cell, answers)
    if verdict.kind == NOT_CACHED:
        found += _not_refused(cell, verdict, answers, log)
    return found + _wrong_outside(verdict, answers)


def _missing(verdict: Verdict, texts: list[str], wanted: int, what: str) -> list[str]:
    named = [text for text in texts if any(name in text for name in verdict.names)]
    if len(named) >= wanted:
        return []
    return [f"{len(named)} of {wanted} {what} name {verdict.names}: {texts[:4]}"]


def _not_hit(cell: Cell, answers: list[Answer]) -> list[str]:
    fills = now.fills[cell.level]
    found = [] if fills <= len(VISITORS) else [f"filled {fills} times"]
    if cell.is_page:
        later = answers[len(VISITORS) :]
        found += [f"no hit: {a.cache_status}" for a in later if "; hit" not in a.cache_status]
    return found


def _not_refused(cell: Cell, verdict: Verdict, answers: list[Answer], log: list[str]) -> list[str]:
    fills = now.fills[cell.level]
    found = [] if fills == len(answers) else [f"filled {fills} times of {len(answers)}"]
    if cell.is_page:
        return found + _missing(verdict, [a.cache_status for a in answers], len(answers), "details")
    return found + _missing(verdict, [plain(line) for line in log], 1, "log lines")


def _wrong_outside(verdict: Verdict, answers: list[Answer]) -> list[str]:
    controls = Counter(answer.cache_control for answer in answers)
    if verdict.outside == PUBLIC:
        return [f"says {c!r} outside" for c in controls if "public" not in c]
    if verdict.outside == PRIVATE:
        return [
            f"says {c!r} outside" for c in controls if "private" not in c and "no-store" not in c
        ]
    return []
