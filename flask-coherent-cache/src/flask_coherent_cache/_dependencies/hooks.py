"""The hooks of an application, some of which run isolated, so that their reads can be set aside."""

import functools
from collections.abc import Callable
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from flask import Flask

from .declarations import Declarations, name_of
from .dependencies import calls_processors, current_dependencies
from .inputs import PAGE_PARTS, Input, report_once
from .request_reads import IsolatedCode

Hook = Callable[..., Any]
#: Where a replaced hook keeps the original.
HOOK = "_caching_hook"


class Hooks:
    """Decides how the hooks of an application run.

    :param skipped: hooks that are said to do nothing for a hit; one that reads request data is
        taken out.
    :param ensure_sync: the application's own.
    """

    def __init__(
        self, declarations: Declarations, skipped: set[Hook], ensure_sync: Callable[[Hook], Hook]
    ) -> None:
        self._declarations = declarations
        self._skipped = skipped
        self._ensure_sync = ensure_sync
        self._is_flasks = getattr(ensure_sync, "__func__", None) is Flask.ensure_sync

    def prepared(self, hook: Hook) -> Hook:
        """Return what to call for a hook, a context processor, or another function."""
        declaration = self._declarations.of(hook)
        run = hook if self._is_sync(hook) else self._ensure_sync(hook)
        if declaration is not None or calls_processors():
            code = IsolatedCode(name_of(hook), declaration)
            return functools.partial(current_dependencies().noticed.run, code, run)
        return functools.partial(self._run_skipped, hook, run) if self._is_skipped(hook) else run

    def _is_skipped(self, hook: Hook) -> bool:
        return bool(self._skipped) and type(hook).__hash__ is not None and hook in self._skipped

    def _is_sync(self, hook: Hook) -> bool:
        """Tell whether Flask calls a hook as it is; to inspect it each time takes longer."""
        return (
            type(hook) is FunctionType
            and self._is_flasks
            and not hook.__code__.co_flags & CO_COROUTINE
            and not hook.__dict__  # Nor is it marked as one that returns a coroutine.
        )

    def replace_preprocessors(self, functions: list[Any]) -> None:
        """Replace the declared preprocessors of URL values, which Flask calls without asking."""
        for place, function in enumerate(functions):
            if self._declarations.of(function) is not None or self._is_skipped(function):
                functions[place] = self._replacement(function)

    def _replacement(self, function: Hook) -> Hook:
        @functools.wraps(function)
        def preprocessor(*args: Any) -> Any:
            return self.prepared(function)(*args)

        setattr(preprocessor, HOOK, function)
        return preprocessor

    def _run_skipped(self, hook: Hook, run: Hook, *args: Any) -> Any:
        noticed = current_dependencies().noticed
        collected = noticed.collect()
        try:
            return run(*args)
        finally:
            noticed.end_collecting(collected)
            read = next((what for what in collected if what not in PAGE_PARTS), None)
            if read is not None:
                # Only for cached pages: for other views it may read what it likes.
                noticed.on_page.append(functools.partial(self._skip_no_more, hook, read))

    def _skip_no_more(self, hook: Hook, what: Input) -> None:
        self._skipped.discard(hook)
        report_once(
            f"cache.skip_on_hit: {name_of(hook)} read the {what}, so it is not skipped, and pages "
            "are not served before Flask. Do not read request data in it for a GET, or declare it "
            "with cache.influences_only_through(…)."
        )
