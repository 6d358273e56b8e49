"""What the commands of `flask cache` have in common."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, NoReturn, ParamSpec

import click
from flask.cli import AppGroup

from ..._engine.engine import CacheEngine
from ..._stores import StoreError
from ..current import cache
from ..report import LONGEST_SECONDS, as_json

P = ParamSpec("P")

_IN_THE_PROCESS = "CACHE_TYPE is SimpleCache: the cache lives inside the server's process, and "
SEE_THE_INSPECTOR = (
    "a command could see, drop or fill only one of its own. /_cache/ of the server shows it."
)

group = AppGroup("cache", help="See the cache, act on it, fill it.")

json_option = click.option("--json", "json", is_flag=True, help="Write JSON, for programs.")
wait_option = click.option(
    "--wait",
    type=click.FloatRange(0, 60),
    default=LONGEST_SECONDS,
    show_default=True,
    help="Seconds to wait for the running processes at most.",
)


class CacheUnavailable(click.ClickException):
    """The cache cannot be asked."""

    exit_code = 3


def command(
    name: str, nothing: str = "", *, instead: str = SEE_THE_INSPECTOR
) -> Callable[[Callable[Concatenate[CacheEngine, P], None]], click.Command]:
    """Add a command that is called with the engine, and has ``--json``.

    Where there is no cache that it can ask, it ends in words and by the exit code.

    :param nothing: what the exit code 1 means.
    :param instead: what to do where the cache lives inside the server's process.
    """

    def add(function: Callable[Concatenate[CacheEngine, P], None]) -> click.Command:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            engine = cache.engine
            if engine is None:
                raise CacheUnavailable("CACHE_TYPE is NullCache: there is no cache.")
            if not engine.store.shared:
                raise CacheUnavailable(_IN_THE_PROCESS + instead)
            try:
                with quiet_logging():
                    function(engine, *args, **kwargs)
            except StoreError as error:
                words = f"The cache server refuses or fails: {error}"
                raise CacheUnavailable(words) from error

        one = f"1 {nothing}, " if nothing else ""
        codes = (
            f"Exit codes: 0 done, {one}2 wrong usage, 3 the cache is unavailable, or out of reach."
        )
        return group.command(name, epilog=codes)(json_option(checked))

    return add


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep the cache's log out of what a command says itself."""
    log = logging.getLogger(__name__.partition(".")[0])
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def write(json: bool, value: Any, *texts: str, ok: bool = True) -> NoReturn:
    """Write a value for a program, or else texts for people, and end the command with 0 or 1."""
    for text in [as_json(value, indent=2)] if json else texts:
        click.echo(text)
    click.get_current_context().exit(0 if ok else 1)
