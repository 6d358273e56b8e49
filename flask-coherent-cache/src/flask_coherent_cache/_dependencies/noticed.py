"""What a request's code has read of the request, and what of that counts for whom.

A read counts for all that is being filled, and for the page whose view comes later, with two
exceptions: what a declared hook read counts where a name is taken that it reaches pages through,
and what a context processor read counts where a template uses a name that it returned.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flask import has_app_context, has_request_context
from flask.globals import app_ctx, request_ctx

from .._functions.coroutines import is_of_asgiref
from .declarations import (
    BUILT_IN,
    BUILT_IN_HOOKS,
    FIXED_PROCESSORS,
    KNOWN_VARIABLES,
    RESOURCES,
    Declaration,
    Declarations,
)
from .inputs import (
    AUTHORIZATION,
    COOKIE_HEADERS,
    COOKIES,
    CREDENTIALS,
    ENVIRONMENT,
    HEADERS,
    PAGE_PARTS,
    PATH,
    SESSION,
    Declared,
    Input,
    Reader,
    find_reader,
    is_session_cookie,
    report_once,
)

T = TypeVar("T")

#: What is filled, for what can be done about an input: a user is named by a callable.
Kind = Literal["page", "page of a user", "function", "function under cached", "fragment"]

#: What the request keeps that was hung on it, see watching.py.
FOREIGN = "_caching_foreign"
_BUILT_IN_NAMES = frozenset(
    name for known in (*BUILT_IN.values(), *BUILT_IN_HOOKS.values()) for name in known.g
)


class Missing:
    """Stands in the place of a value that was not there."""


MISSING = Missing()
#: Values that a page can show as they are.
_DATA = (str, bytes, int, float, type(None), tuple, list, dict, set, frozenset)
#: Values of these types cannot be changed by who takes them.
_PLAIN = (str, bytes, int, float, bool, type(None), Missing)


@dataclass(slots=True, eq=False)
class Filling:
    """What one running fill has read.

    :param name: the function or view that is filling, in words.
    :param kind: what it is: its owner can do about an undeclared input what that allows.
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
        """Say in words what its key lacks, and what can be done.

        :param by_hook: whether a hook may have read it that is not declared yet.
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
    """Say what can be done about an input that a key does not hold."""
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


@dataclass(slots=True, eq=False)
class Owner:
    """Code whose reads are kept apart while it runs.

    :param declaration: of a hook; ``None`` for a context processor.
    :param subject: what it is, in words.
    :param naming: whether it names the user or the page for a key, which holds what it reads.
    :param asking: whether it only answers a question of the cache's.
    :param inputs: what it read, and where.
    :param taken: the names that it took from ``g``.
    """

    subject: str
    declaration: Declaration | None = None
    naming: bool = False
    asking: bool = False
    inputs: dict[Input, str] = field(default_factory=dict)
    taken: dict[str, Any] = field(default_factory=dict)


class Noticed:
    """What was read of one request; in a context without a request nothing is.

    :param declarations: which hooks need not count.
    """

    __slots__ = (
        "answer", "arguments", "aside", "by_declared", "collecting", "counted", "declarations",
        "early", "fills", "in_processors", "named", "on_page", "owners", "processors", "quiet",
        "seen", "session_is_known",
    )  # fmt: skip

    def __init__(self, declarations: Declarations | None = None) -> None:
        self.declarations = declarations
        #: What counts for the page, and where it was read first.
        self.counted: dict[Input, str] = {}
        #: All that was read, also what does not count.
        self.seen: dict[Input, str] = {}
        self.aside: dict[Declaration, dict[Input, str]] = {}
        #: What a declared hook read that counts whole, because of what it wrote.
        self.by_declared: set[Input] = set()
        self.fills: list[Filling] = []
        self.owners: list[Owner] = []
        self.processors: list[Owner] = []
        #: The names that context processors returned, with the values.
        self.named: dict[str, list[tuple[Any, Owner]]] = {}
        self.collecting: list[list[Input]] = []
        #: Attributes that the request's own class made of the environment, which nobody saw.
        self.early: frozenset[str] = frozenset()
        #: Whether the cache itself looks, which counts for nobody.
        self.quiet = False
        #: Whether context processors are being called.
        self.in_processors = False
        self.session_is_known = True
        #: Called where a cached view answered.
        self.on_page: list[Callable[[], object]] = []
        #: How the request was answered from a page, for the last look at the response.
        self.answer: Any = None
        #: The arguments with which each cached view was called first, and has its page.
        self.arguments: dict[Any, tuple[Any, Any]] = {}

    # -- noticing ------------------------------------------------------------------------

    def note(self, what: Input) -> None:
        """Note that an input is read, by whoever is on the stack."""
        for collected in self.collecting:
            collected.append(what)
        if self.quiet:
            return
        fills = self.fills
        if not self.owners and what in self.counted and (not fills or what in fills[-1].inputs):
            return
        if what in PAGE_PARTS and not self.owners and not fills:
            # The key of every page holds it: who reads it is of no interest.
            self.count(what, "")
            return
        reader = find_reader(BUILT_IN, _LAST)
        if reader.boundary is not None and self._is_set_aside(what, reader):
            return
        if reader.place or self.owners or reader.boundary is not None:
            self._route(what, reader.place)
        # Else Flask looked by itself, to find the hooks and the view.

    def _is_set_aside(self, what: Input, reader: Reader) -> bool:
        """Tell whether a read in a known function does not count, and keep it for its names."""
        known = BUILT_IN[reader.boundary]  # type: ignore[index]
        if not known.g:
            opens = reader.boundary[1].endswith("open_session")  # type: ignore[index]
            return not reader.is_foreign and (self.session_is_known or not opens)
        if reader.is_foreign and (not self.owners or self.owners[-1].naming):
            # An owner's function that an extension called back, which may write anywhere.
            self.count(what, reader.place)
            return True
        self.seen.setdefault(what, reader.place)
        self.aside.setdefault(known, {}).setdefault(what, reader.place)
        return not (reader.is_foreign or known.counts or (known.refuses and self.fills))

    def take(self, name: str, value: Any) -> None:
        """Note that something is taken which may hold what was read before.

        :param name: on ``g`` or the request; empty for all names.
        """
        if self.quiet or name in RESOURCES:
            return
        self._look_back(name, value)
        if "nonce" in name:
            self.note(Input("nonce", name))
        if name in self.early:
            self.note(Input("request attribute", name))
        for declaration, inputs in list(self.aside.items()):
            if (not name or name in declaration.g) and not _is_inside(declaration):
                for what, place in list(inputs.items()):
                    self._route(what, place)

    def _look_back(self, name: str, value: Any = None) -> None:
        if self.owners:
            self.owners[-1].taken.setdefault(name, value)
            return
        if self.fills:
            place = find_reader(BUILT_IN, _LAST).place
            for filling in self.fills:
                filling.looked_back = True
                filling.taken.setdefault(name, (value, place))

    def _route(self, what: Input, place: str) -> None:
        if self.owners:
            self.seen.setdefault(what, place)
            self.owners[-1].inputs.setdefault(what, place)
        else:
            self.count(what, place)

    def count(self, what: Input, place: str) -> None:
        """Count a read for all that is being filled, and for the page."""
        self.seen.setdefault(what, place)
        self.counted.setdefault(what, place)
        for filling in self.fills:
            filling.inputs.setdefault(what, place)

    @contextmanager
    def filling(self, filling: Filling) -> Iterator[None]:
        """Let a fill run, and note what it reads, and what it does beside returning a value."""
        context: Any = request_ctx._get_current_object() if has_request_context() else None  # type: ignore[attr-defined]
        session = context._session if context is not None else None
        modified = session is not None and session.modified
        hooks = len(context._after_request_functions) if context is not None else 0
        if session is not None:
            session.modified = False
        if unknown_variables(self.declarations):
            filling.looked_back = True
        self.fills.append(filling)
        try:
            yield
        finally:
            self.fills.remove(filling)
            if session is not None:
                filling.wrote_session = session.modified
                session.modified = modified or session.modified
            if context is not None:
                filling.added_hooks = len(context._after_request_functions) > hooks

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Let the cache itself look at the request, which counts for nobody."""
        quiet, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = quiet

    # -- owners --------------------------------------------------------------------------

    def run(self, owner: Owner, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, and keep apart what it reads; what it writes elsewhere is found out."""
        before = _State()
        in_processors, self.in_processors = self.in_processors, False
        self.owners.append(owner)
        try:
            returned = function(*args)
        finally:
            self.owners.remove(owner)
            self.in_processors = in_processors
            self._settle(owner, before)
        if in_processors and owner.declaration is None and not owner.naming:
            self._returned(owner, returned)
        return returned

    def run_apart(self, function: Callable[[], T], inputs: dict[Input, str]) -> T:
        """Call a function whose reads count for nobody, unless it leaves something behind.

        What it writes where others find it can hold what it read: then the reads count.

        :param inputs: gets what it reads.
        """
        with self.unnoticed():
            before = _State()
        owner = Owner("what is computed again", inputs=inputs)
        fills, in_processors, seen = self.fills, self.in_processors, dict(self.seen)
        aside = {declaration: dict(kept) for declaration, kept in self.aside.items()}
        processors = list(self.processors)
        named = {name: list(values) for name, values in self.named.items()}
        self.fills, self.in_processors = [], False
        self.owners.append(owner)
        on_page = list(self.on_page)
        try:
            return function()
        finally:
            self.owners.remove(owner)
            self.on_page = on_page
            self.fills, self.in_processors = fills, in_processors
            self.aside, self.processors, self.named, self.seen = aside, processors, named, seen
            with self.unnoticed():
                self._settle(owner, before)

    def _settle(self, owner: Owner, before: "_State") -> None:
        if owner.naming or not owner.inputs:
            return
        declaration = owner.declaration
        names = _BUILT_IN_NAMES | RESOURCES
        if declaration is not None:
            names = names | declaration.g | declaration.resources
        written = before.written(names, self.declarations)
        written += [
            f"g.{name}, which it could change"
            for name, value in owner.taken.items()
            if name not in names and not isinstance(value, _PLAIN) and not owner.asking
            if declaration is not None
        ]
        if written:
            if declaration is not None:
                report_once(
                    f"The hook {owner.subject} is declared to reach pages only through "
                    f"{', '.join(sorted(f'g.{n}' for n in declaration.g)) or 'nothing'}, and also "
                    f"wrote {', '.join(sorted(written))}: all that it read counts for every page."
                )
                self.by_declared.update(owner.inputs)
            inputs, owner.inputs = owner.inputs, {}
            for what, place in inputs.items():
                self._route(what, place)
        elif declaration is not None:
            self.aside.setdefault(declaration, {}).update(owner.inputs)

    # -- context processors --------------------------------------------------------------

    def _returned(self, owner: Owner, names: dict[str, Any]) -> None:
        """Note the names that a context processor returned."""
        if owner.inputs or owner.taken:
            self.processors.append(owner)
            for name, value in names.items():
                self.named.setdefault(name, []).append((value, owner))

    def used(self, name: str, value: Any) -> None:
        """Note that a template uses a name, which may be a context processor's."""
        for returned, owner in self.named.get(name, ()):
            if returned is value:
                self._use(owner)

    def used_unknown(self) -> None:
        """Note that a template looked for a name that some context processor may return."""
        for owner in self.processors:
            if owner.subject not in FIXED_PROCESSORS:
                self._use(owner)

    def used_all(self) -> None:
        """Note that all names of a template are handed on."""
        for owner in self.processors:
            self._use(owner)

    def _use(self, owner: Owner) -> None:
        for name, value in owner.taken.items():
            self._look_back(name, value)
        for what, place in owner.inputs.items():
            self._route(what, place)

    # -- what counts ---------------------------------------------------------------------

    def may_declare(self, filling: Filling, what: Input) -> bool:
        """Tell whether a hook that is not declared can have read an input, and not the fill."""
        declared = self.by_declared.union(*self.aside.values())
        return what not in filling.inputs and what not in declared

    def undeclared(self, filling: Filling, *, page: bool = False) -> dict[Input, str]:
        """Return what a fill depends on and its key does not hold, and where that was read."""
        if filling.taken:
            self._count_routing(filling)
        inputs = self.counted if page or filling.looked_back else filling.inputs
        found = {what: place for what, place in inputs.items() if not filling.holds(what)}
        # Who looks up a session looks at more to protect it, and private=True is what helps.
        return {SESSION: found[SESSION], **found} if SESSION in found else found

    def _count_routing(self, filling: Filling) -> None:
        """Count the path where a fill took data from ``g``: each view leaves there what it likes.

        A command leaves nothing there, and what it fills is for requests, too. A thing that is no
        data, such as a connection, is the same for every view; also one that the fill put there
        because it was missing.
        """
        now = _g_state()
        for name, (value, place) in filling.taken.items():
            found = now.get(name, MISSING) if value is MISSING else value
            if found is MISSING or isinstance(found, _DATA):
                self.count(PATH, place)


_LAST = Noticed.run.__code__


def _is_inside(declaration: Declaration) -> bool:
    """Tell whether an extension takes what it has left itself, in its own known function."""
    reader = find_reader(BUILT_IN, _LAST)
    boundary = reader.boundary
    return boundary is not None and not reader.is_foreign and BUILT_IN[boundary] is declaration


class _State:
    """What code can write to, as it was before a hook ran."""

    __slots__ = ("environ", "foreign", "g", "modified", "session", "variables", "view_args")

    def __init__(self) -> None:
        self.g = dict(_g_state())
        self.variables: Context = copy_context()
        self.environ: dict[str, Any] = {}
        self.foreign: dict[str, Any] = {}
        self.view_args: dict[str, Any] = {}
        self.modified = False
        self.session: dict[str, Any] = {}
        if has_request_context():
            state = request_ctx.request.__dict__
            # Copying what is watched would note all of it.
            self.environ = dict(getattr(state["environ"], "raw", state["environ"]))
            self.foreign = dict(state.get(FOREIGN, ()))
            contexts: tuple[Any, ...] = (app_ctx, request_ctx)
            for context in contexts:
                self.foreign.update(vars(context._get_current_object()).get(FOREIGN, ()))
            self.view_args = dict(state.get("view_args") or {})
            session = request_ctx._session
            if session is not None:
                self.modified = bool(session.modified)
                # Not by its own methods, which would note a look at all of it.
                self.session = dict.copy(session) if isinstance(session, dict) else dict(session)

    def written(self, names: frozenset[str], declarations: Declarations | None) -> list[str]:
        """Name what was written since, beside some names on ``g``."""
        now = _State()
        changed = [f"g.{name}" for name in _changed(self.g, now.g) if name not in names]
        foreign = _changed(self.foreign, now.foreign)
        changed += [f"request.{name}" for name in foreign if name not in names]
        changed += [f"environ[{name!r}]" for name in _changed(self.environ, now.environ)]
        changed += [f"view_args[{name!r}]" for name in _changed(self.view_args, now.view_args)]
        if now.modified and not self.modified and not self._is_same_session(now):
            changed.append("the session")
        for variable in unknown_variables(declarations):
            if self.variables.get(variable) is not now.variables[variable]:
                changed.append(f"the context variable {variable.name}")
        return changed

    def _is_same_session(self, now: "_State") -> bool:
        """Tell whether the session was only written again, as it was."""
        plain = all(isinstance(value, _PLAIN) for value in self.session.values())
        return plain and self.session == now.session


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    missing = object()
    return [
        name
        for name in {**before, **now}
        if not name.startswith("caching.")
        and before.get(name, missing) is not now.get(name, missing)
    ]


def _g_state() -> dict[str, Any]:
    if not has_app_context():
        return {}
    state: dict[str, Any] = object.__getattribute__(app_ctx.g, "__dict__")
    return state


def unknown_variables(declarations: Declarations | None) -> list[ContextVar[Any]]:
    """List the context variables that are set, and may hold anything that was read."""
    declared = declarations.variables if declarations is not None else {}
    return [
        variable
        for variable, value in copy_context().items()
        if value is not None
        and variable.name not in KNOWN_VARIABLES
        and not variable.name.startswith(("caching_", "structlog_"))
        and variable not in declared
        and not is_of_asgiref(variable)
    ]
