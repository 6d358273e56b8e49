"""`flask cache invalidate`, `clear`, `off` and `on`: what changes the cache."""

import click

from ..._engine.engine import CacheEngine
from ..._statistics.records import Invalidation
from ..current import cache
from .base import CacheUnavailable, command, write
from .terminal import printable

_NO_SWITCH = (
    "a command cannot switch it. Set CACHE_TYPE=NullCache and restart the server; set it back, and"
    " restart it once more, to switch the cache on."
)


@command("invalidate")
@click.argument("names", metavar="TAG...", nargs=-1, required=True)
def invalidate(engine: CacheEngine, names: tuple[str, ...], json: bool) -> None:
    """Drop every entry that carries one of the TAGs.

    They are invalid in all processes when the command returns.

    The name of a table drops all that was built from any part of it; 'product:42' one row's.
    """
    try:
        cache.invalidate(*names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    timestamp, tags = _taken(engine).timestamp, sorted(set(names))
    texts = [f"Entries tagged {', '.join(map(printable, tags))} are now invalid."]
    if timestamp is None:
        texts.append("The server is full, so all the other entries were dropped with them.")
    write(json, {"invalidated": tags, "reading": timestamp}, *texts)


@command("clear", "you said no")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def clear(engine: CacheEngine, yes: bool, json: bool) -> None:
    """Drop every entry of this application.

    What others have on the same server stays.
    """
    if not yes:
        prefix = cache.settings["CACHE_KEY_PREFIX"]
        question = f"Drop every entry of {prefix}? All pages will be computed again."
        click.confirm(question, abort=True, err=True)
    cache.clear()
    _taken(engine)
    write(json, {"cleared": True}, "Every entry is invalid; the next lookups compute again.")


def _taken(engine: CacheEngine) -> Invalidation:
    """Return the invalidation that the store has taken; a process that ends can try no later."""
    done = [event for _, event in engine.statistics.last_events()]
    last = done[-1] if done else None
    if not isinstance(last, Invalidation):
        raise CacheUnavailable("The cache server did not take it, so nothing was invalidated.")
    return last


@command("off", instead=_NO_SWITCH)
def off(engine: CacheEngine, json: bool) -> None:
    """Switch the cache off, in all processes within a second.

    Every lookup then bypasses the cache, and nothing is stored: pages and functions are computed
    each time. `Cache-Status` says detail=off.

    It lasts until `flask cache on`, also when processes are restarted or deployed; a cache server
    that loses its data forgets it. A process that cannot reach the server goes on as it last knew.

    Invalidations are still carried out, so that what is in the cache stays right.
    """
    engine.kill_switch.switch_off()
    write(
        json,
        {"off": True},
        "The cache is off: every lookup bypasses it, within a second in all processes.",
        "`flask cache on` switches it on again.",
    )


@command("on", instead=_NO_SWITCH)
def on(engine: CacheEngine, json: bool) -> None:
    """Switch the cache on again, in all processes within a second.

    What was in it before is used again. That is safe: writes have invalidated entries while it was
    off, too. If you doubt the entries themselves, run `flask cache clear` first.
    """
    engine.kill_switch.switch_on()
    write(json, {"off": False}, "The cache is on, within a second in all processes.")
