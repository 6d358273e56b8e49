"""What was read of a request, and for which fills each read counts.

A read counts for all running fills, and for the page if the view is called later, unless isolated
code read it (see noticed.py), or a known function of an extension. What such a function read counts
when one of its names is taken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from flask import has_request_context
from flask.globals import request_ctx

from .declarations import BUILT_IN, RESOURCES, SESSION_OPENING, Declaration, Declarations
from .fillings import Filling
from .inputs import PAGE_PARTS, PATH, SESSION, Input
from .readers import Reader, find_reader
from .snapshots import MISSING, g_state, unknown_variables

#: Types of values that a page can show as they are.
_DATA = (str, bytes, int, float, type(None), tuple, list, dict, set, frozenset)


@dataclass(slots=True, eq=False)
class IsolatedCode:
    """Code whose reads are kept apart while it runs.

    :param subject: its name in messages.
    :param declaration: of a hook; ``None`` for a context processor.
    :param naming: whether it names the user or the page: the key then holds what it reads.
    :param asking: whether it only answers a question of the cache.
    :param inputs: what it read, and where.
    :param taken: what it took from ``g``, by name.
    """

    subject: str
    declaration: Declaration | None = None
    naming: bool = False
    asking: bool = False
    inputs: dict[Input, str] = field(default_factory=dict)
    taken: dict[str, Any] = field(default_factory=dict)


class RequestReads:
    """What was read of one request; nothing, in a context without a request.

    :param declarations: the hooks whose reads can be set aside.
    """

    #: The code whose frame ends the search for a reader.
    last: CodeType

    def __init__(self, declarations: Declarations | None = None) -> None:
        self.declarations = declarations
        #: What counts for the page, and where it was read first.
        self.counted: dict[Input, str] = {}
        #: All that was read, whether or not it counts.
        self.seen: dict[Input, str] = {}
        #: What declared hooks and known functions read that does not count yet.
        self.aside: dict[Declaration, dict[Input, str]] = {}
        #: What declared hooks read that counts all the same, because of what they wrote.
        self.by_declared: set[Input] = set()
        self.fills: list[Filling] = []
        self.isolated: list[IsolatedCode] = []
        #: Context processors that read something, with the names that they returned.
        self.processors: list[tuple[IsolatedCode, dict[str, Any]]] = []
        #: Lists to which each read is appended.
        self.collections: list[list[Input]] = []
        #: Attributes of the request that its own class made before it was watched.
        self.early: frozenset[str] = frozenset()
        #: Whether the cache itself reads, which does not count.
        self.quiet = False
        #: Whether context processors are being called.
        self.in_processors = False
        #: Whether nothing but a known function opens the session.
        self.session_is_known = True
        #: Called if a cached view answers.
        self.on_page: list[Callable[[], object]] = []
        #: How a cached view answered, for the last look at the response.
        self.answer: Any = None
        #: The arguments of the first call of each cached view, which has a page.
        self.arguments: dict[Any, tuple[Any, Any]] = {}

    # -- noticing ------------------------------------------------------------------------

    def note(self, what: Input) -> None:
        """Note that an input is read; the stack tells by which code."""
        for collected in self.collections:
            collected.append(what)
        if self.quiet:
            return
        fills = self.fills
        if not self.isolated and what in self.counted and (not fills or what in fills[-1].inputs):
            return
        if what in PAGE_PARTS and not self.isolated and not fills:
            # The key of every page holds it, so it does not matter who reads it.
            self.count(what, "")
            return
        reader = find_reader(self.last)
        if reader.boundary is not None and self._is_set_aside(what, reader):
            return
        if reader.place or self.isolated or reader.boundary is not None:
            self._route(what, reader.place)
        # Else Flask itself read it, to find the hooks and the view.

    def _is_set_aside(self, what: Input, reader: Reader) -> bool:
        """Tell whether a read in a known function is set aside, until one of its names is taken."""
        known = BUILT_IN[reader.boundary]  # type: ignore[index]
        if not known.g:
            return not reader.is_foreign and (self.session_is_known or known is not SESSION_OPENING)
        if reader.is_foreign and (not self.isolated or self.isolated[-1].naming):
            # A function of the application that an extension called: it may write anywhere.
            self.count(what, reader.place)
            return True
        self.seen.setdefault(what, reader.place)
        self.aside.setdefault(known, {}).setdefault(what, reader.place)
        return not (reader.is_foreign or known.counts or (known.refuses and self.fills))

    def take(self, name: str, value: Any) -> None:
        """Note that something is taken that may hold what was read before.

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
            if (not name or name in declaration.g) and not self._is_inside(declaration):
                for what, place in list(inputs.items()):
                    self._route(what, place)

    def _is_inside(self, declaration: Declaration) -> bool:
        """Tell whether an extension takes its own value, in its known function."""
        reader = find_reader(self.last)
        boundary = reader.boundary
        return boundary is not None and not reader.is_foreign and BUILT_IN[boundary] is declaration

    def _look_back(self, name: str, value: Any = None) -> None:
        if self.isolated:
            self.isolated[-1].taken.setdefault(name, value)
            return
        if self.fills:
            place = find_reader(self.last).place
            for filling in self.fills:
                filling.looked_back = True
                filling.taken.setdefault(name, (value, place))

    def _route(self, what: Input, place: str) -> None:
        if self.isolated:
            self.seen.setdefault(what, place)
            self.isolated[-1].inputs.setdefault(what, place)
        else:
            self.count(what, place)

    def count(self, what: Input, place: str) -> None:
        """Count a read for all running fills, and for the page."""
        self.seen.setdefault(what, place)
        self.counted.setdefault(what, place)
        for filling in self.fills:
            filling.inputs.setdefault(what, place)

    @contextmanager
    def filling(self, filling: Filling) -> Iterator[None]:
        """Note what a fill reads, and which effects it has, while it runs."""
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

    def collect(self) -> list[Input]:
        """Collect all that is read from now on, also by the cache itself."""
        collected: list[Input] = []
        self.collections.append(collected)
        return collected

    def end_collecting(self, collected: list[Input]) -> None:
        """Stop collecting into a list."""
        # By identity: two empty lists are equal.
        self.collections = [each for each in self.collections if each is not collected]

    def unnoticed(self) -> "Unnoticed":
        """Let the cache itself read the request, which does not count."""
        return Unnoticed(self)

    # -- what counts ---------------------------------------------------------------------

    def may_declare(self, filling: Filling, what: Input) -> bool:
        """Tell whether an undeclared hook may have read an input, and the fill did not."""
        declared = self.by_declared.union(*self.aside.values())
        return what not in filling.inputs and what not in declared

    def undeclared(self, filling: Filling, *, page: bool = False) -> dict[Input, str]:
        """Return what a fill depends on and its key does not hold, with the places of the reads."""
        if filling.taken:
            self._count_routing(filling)
        inputs = self.counted if page or filling.looked_back else filling.inputs
        found = {what: place for what, place in inputs.items() if not filling.holds(what)}
        # The session first, because private=True helps: opening it reads other inputs, too.
        return {SESSION: found[SESSION], **found} if SESSION in found else found

    def _count_routing(self, filling: Filling) -> None:
        """Count the path if a fill took data from ``g``, where each view can put other data.

        What is no data, such as a connection, is the same for every view, also if the fill put it
        there because it was missing. A command puts nothing there, but its fills serve requests.
        """
        now = g_state()
        for name, (value, place) in filling.taken.items():
            found = now.get(name, MISSING) if value is MISSING else value
            if found is MISSING or isinstance(found, _DATA):
                self.count(PATH, place)


class Unnoticed:
    """A block in which reads do not count; each request has several."""

    __slots__ = ("_before", "_reads")

    def __init__(self, reads: RequestReads) -> None:
        self._reads = reads

    def __enter__(self) -> None:
        self._before, self._reads.quiet = self._reads.quiet, True

    def __exit__(self, *_: object) -> None:
        self._reads.quiet = self._before
