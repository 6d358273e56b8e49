"""What one fill has read, and what to do about an input that its key does not hold."""

from dataclasses import dataclass, field
from typing import Any, Literal

from .inputs import (
    AUTHORIZATION,
    COOKIE_HEADERS,
    COOKIES,
    CREDENTIALS,
    ENVIRONMENT,
    HEADERS,
    Declared,
    Input,
    is_session_cookie,
)

#: What is filled, which decides what helps; "page of a user" if a function names the user.
Kind = Literal["page", "page of a user", "function", "function under cached", "fragment"]


@dataclass(slots=True, eq=False)
class Filling:
    """What one running fill has read.

    :param name: the name of the function or view, for messages.
    :param held: inputs that its key holds beside the declared ones.
    :param inputs: what it read, and where.
    :param looked_back: whether it took something that can hold what was read before it began.
    :param taken: what it took, by name, and where.
    :param wrote_session: whether it changed the session.
    :param added_hooks: whether it used ``after_this_request``.
    """

    name: str
    declared: Declared
    kind: Kind
    held: frozenset[Input] = frozenset()
    inputs: dict[Input, str] = field(default_factory=dict)
    looked_back: bool = False
    taken: dict[str, tuple[Any, str]] = field(default_factory=dict)
    wrote_session: bool = False
    added_hooks: bool = False

    def holds(self, what: Input) -> bool:
        """Tell whether its key tells two values of an input apart."""
        return self.declared.holds(what) or what in self.held

    def complaint(self, what: Input, place: str, *, by_hook: bool) -> str:
        """Say what its key lacks, and how to fix it.

        :param by_hook: whether an undeclared hook may have read it.
        """
        read = f", read at {place}," if place else ","
        words = (
            f"{self.name} depends on the {what}{read} which its key does not hold: "
            f"{remedy(what, self.kind)}"
        )
        if by_hook and what.kind != "context variable":
            words += (
                " If a hook reads it that reaches pages only through names on g, declare that with "
                "cache.influences_only_through(…)."
            )
        return words


def remedy(what: Input, kind: Kind) -> str:
    """Say what to do about an input that a key does not hold."""
    if what.kind == "nonce":
        return "a nonce is for one response, so leave what shows it uncached."
    if what.kind == "context variable":
        return (
            "if nothing cached shows what it holds, declare that with "
            "cache.influences_only_through(variable, reason='…')."
        )
    if kind == "function":
        return "pass it as an argument, or what is needed of it."
    if kind == "function under cached":
        return (
            "it is not what Flask calls for this URL, so it has no page. If it should be, have "
            "each decorator above @cache.cached use functools.wraps; else use @cache.memoize, and "
            "pass it as an argument."
        )
    if kind == "fragment":
        return "name what it needs of it in the tag, after the fragment's name."
    return _page_remedy(what, names_user=kind == "page of a user")


def _page_remedy(what: Input, *, names_user: bool) -> str:
    option = {
        "header": f"vary=({what.name.title()!r},)",
        "cookie": f"vary_cookies=({what.name!r},)",
        "query parameter": f"query=({what.name!r},)",
        "query string": "query_string=True",
        "environment value": f"vary_environ=({what.name!r},)",
        "session": "private=True",
    }.get(what.kind)
    if what == AUTHORIZATION:
        option = "private=True"
    elif what.kind == "header" and what.name in CREDENTIALS | COOKIE_HEADERS:
        option = None
    elif what.kind == "cookie" and is_session_cookie(what.name):
        return "read the session or the user in its place, and declare private=True."
    if what in (HEADERS, COOKIES, ENVIRONMENT):
        return "read by its name the one that is needed, and declare that."
    if names_user and option in (None, "private=True"):
        return "have the function of private=… tell its values apart, or do not read it."
    if option is None:
        return "name the user with private=function, or do not read it."
    return f"declare it, {option}, or do not read it."
