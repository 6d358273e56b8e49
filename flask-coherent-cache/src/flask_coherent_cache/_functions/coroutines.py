"""Cached ``async def`` functions: run to their end, and awaited if an event loop is running."""

import asyncio
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context
from typing import Any

from flask import Flask


def run_to_end(function: Callable[..., Any], app_of: Callable[[], Flask]) -> Callable[..., Any]:
    """Make a function that runs a coroutine function to its end, as Flask runs an async view.

    If this thread runs a loop, the coroutine gets one of its own in another thread, in the same
    contexts, and this thread waits: the reads of two fills of one request must not mix.

    :param app_of: returns the application, whose ``ensure_sync`` may be the owner's.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(app_of().ensure_sync(function), *args, **kwargs)
        if not is_loop_running():
            return call()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, call).result()

    return run


def awaitable(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that returns an awaitable if a loop is running, and else the answer."""

    @functools.wraps(answer)
    def answer_or_promise(*args: Any, **kwargs: Any) -> Any:
        return promise(*args, **kwargs) if is_loop_running() else answer(*args, **kwargs)

    async def promise(*args: Any, **kwargs: Any) -> Any:
        return answer(*args, **kwargs)

    return answer_or_promise


def is_loop_running() -> bool:
    """Tell whether this thread runs an event loop, in which nothing can wait for a coroutine."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_of_asgiref(variable: ContextVar[Any]) -> bool:
    """Tell whether asgiref finds its threads by a context variable.

    An application's own ``asgiref.local.Local`` has the same name, and may hold anything.
    """
    sync: Any = sys.modules.get("asgiref.sync")
    return sync is not None and variable in _variables_of(sync)


@functools.cache
def _variables_of(sync: Any) -> frozenset[ContextVar[Any]]:
    def variables_of_executors() -> list[ContextVar[Any]]:
        sync.AsyncToSync.executors.current = None
        return list(copy_context())

    named = [*vars(sync.AsyncToSync).values(), *vars(sync.SyncToAsync).values()]
    own = [value for value in named if isinstance(value, ContextVar)]
    return frozenset([*own, *Context().run(variables_of_executors)])
