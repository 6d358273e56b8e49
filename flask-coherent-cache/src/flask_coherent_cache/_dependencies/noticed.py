"""Isolated code: hooks and context processors whose reads do not count at once.

What a declared hook read counts when a name is taken through which it reaches pages. What a context
processor read counts when a template uses a name that it returned.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from .declarations import BUILT_IN, BUILT_IN_HOOKS, FIXED_PROCESSORS, RESOURCES
from .inputs import Input, report_once
from .request_reads import IsolatedCode, RequestReads
from .snapshots import MISSING, PLAIN, Snapshot

T = TypeVar("T")

_BUILT_IN_NAMES = frozenset(
    name for known in (*BUILT_IN.values(), *BUILT_IN_HOOKS.values()) for name in known.g
)


class Noticed(RequestReads):
    """What was read of one request, with the code that runs isolated."""

    def run(self, code: IsolatedCode, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function and keep its reads apart, unless it leaves something behind."""
        before = None if code.naming else Snapshot(self.unnoticed)
        in_processors, self.in_processors = self.in_processors, False
        self.isolated.append(code)
        try:
            returned = function(*args)
        finally:
            self.isolated.remove(code)
            self.in_processors = in_processors
            if before is not None:
                self._settle(code, before)
        is_processor = in_processors and code.declaration is None and not code.naming
        if is_processor and (code.inputs or code.taken):
            self.processors.append((code, dict(returned)))
        return returned

    last = run.__code__

    def run_apart(self, function: Callable[[], T], inputs: dict[Input, str]) -> T:
        """Call a function whose reads do not count, unless it leaves something behind.

        What it leaves behind can hold what it read: then its reads count.

        :param inputs: gets what it reads.
        """
        before = Snapshot(self.unnoticed)
        code = IsolatedCode("what is computed again", inputs=inputs)
        kept = {
            "fills": self.fills,
            "in_processors": self.in_processors,
            "on_page": list(self.on_page),
            "processors": list(self.processors),
            "seen": dict(self.seen),
            "aside": {declaration: dict(reads) for declaration, reads in self.aside.items()},
        }
        self.fills, self.in_processors = [], False
        self.isolated.append(code)
        try:
            return function()
        finally:
            self.isolated.remove(code)
            for name, value in kept.items():
                setattr(self, name, value)
            self._settle(code, before)

    def _settle(self, code: IsolatedCode, before: Snapshot) -> None:
        """Set aside what isolated code read, or count it if the code left something behind."""
        if not code.inputs:
            return
        declaration = code.declaration
        names = _BUILT_IN_NAMES | RESOURCES
        if declaration is not None:
            names = names | declaration.g | declaration.resources
        written = before.written(names, self.declarations)
        if declaration is not None and not code.asking:
            written += [
                f"g.{name}, which it could change"
                for name, value in code.taken.items()
                if name not in names and not isinstance(value, PLAIN)
            ]
        if not written:
            if declaration is not None:
                self.aside.setdefault(declaration, {}).update(code.inputs)
            return
        if declaration is not None:
            report_once(
                f"The hook {code.subject} is declared to reach pages only through "
                f"{', '.join(sorted(f'g.{n}' for n in declaration.g)) or 'nothing'}, and also "
                f"wrote {', '.join(sorted(written))}: all that it read counts for every page."
            )
            self.by_declared.update(code.inputs)
        inputs, code.inputs = code.inputs, {}
        for what, place in inputs.items():
            self._route(what, place)

    # -- context processors --------------------------------------------------------------

    def used(self, name: str, value: Any) -> None:
        """Note that a template uses a name, which a context processor may have returned."""
        for code, names in self.processors:
            if names.get(name, MISSING) is value:
                self._use(code)

    def used_unknown(self) -> None:
        """Note that a template looked up a missing name, which a processor may return at times."""
        for code, _ in self.processors:
            if code.subject not in FIXED_PROCESSORS:
                self._use(code)

    def used_all(self) -> None:
        """Note that a template passes on all names."""
        for code, _ in self.processors:
            self._use(code)

    def _use(self, code: IsolatedCode) -> None:
        for name, value in code.taken.items():
            self._look_back(name, value)
        for what, place in code.inputs.items():
            self._route(what, place)
