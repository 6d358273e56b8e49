"""Visitors who come back to the pages of an application, and what each page has to do then."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_coherent_cache import Cache, UndeclaredInput, UnstableArgument

NOT_INSTALLED = "`make extensions` installs what these tests need"
NOBODY = "nobody"
ROUNDS = 3


@dataclass(frozen=True)
class Verdict:
    """What the cache has to do with a page.

    :param entries: how many entries all visitors together have; ``None`` is one for each.
    :param named: the input that a page is not cached for; empty where it is cached.
    :param raises: whether it raises, for an undeclared input or a variable that a fragment cannot
        have in its key; the message has to name it.
    :param rounds: after how many rounds each visitor gets a hit.
    :param looked_up: whether the view is cached at all.
    """

    entries: int | None = None
    named: str = ""
    raises: bool = False
    rounds: int = 1
    looked_up: bool = True


#: One entry for all visitors.
CACHED = Verdict(entries=1)
PER_USER = Verdict()
#: A view without a cache, for what its template or its functions cache.
NO_PAGE = Verdict(looked_up=False)


def not_cached(named: str) -> Verdict:
    """The page is computed for each request, and ``Cache-Status`` names the input."""
    return Verdict(named=named)


def raises(named: str, rounds: int = 0) -> Verdict:
    """The view raises, naming the input, after so many rounds in which it may be refused."""
    return Verdict(named=named, raises=True, rounds=rounds)


def cached_by(entries: int) -> Verdict:
    """There are so many entries, for visitors differ in a header that the view declares."""
    return Verdict(entries=entries)


@dataclass(frozen=True)
class Page:
    """A page, and what has to happen to it.

    :param shows: the whole body; ``{name}`` is the visitor's.
    :param verdict: what the cache does in production.
    :param development: the same with ``debug`` or ``testing``, where it differs.
    :param nobody: the status for a visitor who is not signed in.
    :param blurred: a pattern of what differs by response, such as a token; it becomes ``*``.
    """

    path: str
    shows: str
    verdict: Verdict
    development: Verdict | None = None
    nobody: int = 200
    blurred: str = ""


@dataclass
class Visitor:
    """Somebody with a browser of their own."""

    name: str
    client: FlaskClient
    headers: dict[str, str] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)
    shown: str = ""

    def get(self, path: str, **headers: str) -> TestResponse:
        """Ask for a page; underscores in the names of headers become hyphens."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(
            path, headers={**self.headers, **own}, environ_overrides={**self.environ}
        )

    def post(self, path: str, **form: str) -> TestResponse:
        """Send a form."""
        return self.client.post(
            path, data=form, headers=self.headers, environ_overrides={**self.environ}
        )


@dataclass(frozen=True)
class Site:
    """An application with a cache, in one of the ways to run it."""

    app: Flask
    cache: Cache
    has_cache: bool

    @property
    def is_strict(self) -> bool:
        """Whether it runs as in development."""
        return self.app.debug or self.app.testing

    def visitor(self, name: str = NOBODY, **environ: Any) -> Visitor:
        """Open a browser."""
        return Visitor(name, self.app.test_client(), environ=environ)

    def visitors(self, *names: str) -> list[Visitor]:
        """Open browsers of which none is signed in."""
        return [self.visitor(name) for name in names]

    def is_hit(self, answer: TestResponse) -> bool:
        """Tell whether an answer came from the cache, and ``True`` where there is none."""
        return not self.has_cache or "; hit" in answer.headers["Cache-Status"]

    def tour(self, pages: Sequence[Page], visitors: Sequence[Visitor]) -> None:
        """Have each visitor see each page in each round, in another order, and judge it all."""
        problems = []
        stored: Counter[str] = Counter()
        for number in range(ROUNDS):
            turn = number % len(visitors)
            for page in pages:
                for visitor in [*visitors[turn:], *visitors[:turn]]:
                    problems += [
                        f"round {number + 1}, {visitor.name}, {page.path}: {problem}"
                        for problem in self._visit(page, visitor, number, stored)
                    ]
        if self.has_cache:
            problems += self._count(pages, stored)
        assert not problems, "\n" + "\n".join(problems)

    def verdict(self, page: Page) -> Verdict:
        """What the cache has to do with a page of this site."""
        strict = self.is_strict and page.development is not None
        return page.development if strict else page.verdict  # type: ignore[return-value]

    def _visit(
        self, page: Page, visitor: Visitor, number: int, stored: Counter[str]
    ) -> Iterator[str]:
        verdict = self.verdict(page)
        denied = page.nobody != 200 and visitor.name == NOBODY
        try:
            answer = visitor.get(page.path)
        except (UndeclaredInput, UnstableArgument) as error:
            if not verdict.raises or verdict.named.lower() not in str(error).lower():
                yield f"raised {error}"
            return
        yield from _answer(page, visitor, answer, denied)
        if self.has_cache and verdict.raises and not denied and number >= verdict.rounds:
            yield f"did not raise for {verdict.named}: {answer.headers.get('Cache-Status')}"
            return
        if self.has_cache and verdict.looked_up:
            status = answer.headers.get("Cache-Status", "")
            stored[page.path] += "; stored" in status
            yield from _headers(verdict, answer)
            if denied:
                if "; hit" in status:
                    yield f"a refusal is a hit: {status}"
            else:
                yield from _status(verdict, status, number)

    def _count(self, pages: Sequence[Page], stored: Counter[str]) -> Iterator[str]:
        for page in pages:
            wanted = self.verdict(page).entries
            if wanted is not None and stored[page.path] != wanted:
                yield f"{page.path}: {stored[page.path]} entries instead of {wanted}"


def _answer(page: Page, visitor: Visitor, answer: TestResponse, denied: bool) -> Iterator[str]:
    status = page.nobody if denied else 200
    if answer.status_code != status:
        yield f"status {answer.status_code} instead of {status}"
    if denied:
        return
    shown = re.sub(page.blurred, "*", answer.text) if page.blurred else answer.text
    wanted = page.shows.format(name=visitor.shown or visitor.name)
    if shown != wanted:
        yield f"showed {shown!r} instead of {wanted!r}"


def _status(verdict: Verdict, status: str, number: int) -> Iterator[str]:
    if verdict.named:
        if "; hit" in status or "; stored" in status:
            yield f"is cached: {status}"
        elif verdict.named.lower() not in status.lower():
            yield f"does not name {verdict.named}: {status}"
    elif number >= verdict.rounds and "; hit" not in status:
        yield f"is no hit: {status}"
    elif number == 0 and verdict.entries is None and "; hit" in status:
        yield f"is another's page: {status}"


def _headers(verdict: Verdict, answer: TestResponse) -> Iterator[str]:
    """Judge what caches in front may do."""
    control = answer.headers.get("Cache-Control", "")
    if "public" in control and "Set-Cookie" in answer.headers:
        yield f"sets a cookie, and is {control}"
    if "public" in control and (verdict.named or verdict.entries is None):
        yield f"is for one visitor, and {control}"
