"""`flask cache …`: what the cache does, what is in it, and what is wrong with it.

A command sees nothing of the servers' memory. What the processes know it asks them by the board in
the cache's store; what lies there, the store.
"""

import fnmatch
import functools
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from .._engine.engine import CacheEngine
from .._engine.inspection import Inspection
from .._functions.values import type_name
from .._pages.pages import Page
from .._statistics.statistics import Invalidation
from .._stores import StoreError
from . import doctor as checks
from . import reports, tables
from . import warm as warming
from .advice import ratio
from .figures import Counts, EntryFigures, Snapshot
from .overview import Overview, merge
from .shown import cache, set_cache

if TYPE_CHECKING:
    from .. import Cache

P = ParamSpec("P")

#: How a command ends, beside 0 for done and 2 for a wrong use of it.
NOTHING, AWAY = 1, 3
_CODES = (
    "Exit codes: 0 done, 1 {nothing}, 2 wrong usage, 3 the cache is away, or out of a command's"
    " reach."
)
_PEEKED_AT_ONCE = 200

IN_THE_PROCESS = (
    "CACHE_TYPE is SimpleCache: the cache lives inside the server's process, and a command could"
    " see, drop or fill only one of its own. /_cache/ of the server shows it."
)


SWITCHED_IN_THE_PROCESS = (
    "CACHE_TYPE is SimpleCache: the cache lives inside the server's process, and a command cannot"
    " switch it. Set CACHE_TYPE=NullCache and restart the server; set it back, and restart it once"
    " more, to switch the cache on."
)


class Away(click.ClickException):
    """The cache cannot be asked."""

    exit_code = AWAY


group = AppGroup("cache", help="See the cache, act on it, fill it.")


def init_app(app: Flask, cache: "Cache") -> None:
    """Add `flask cache` to the commands of `app`."""
    set_cache(app, cache)
    app.cli.add_command(group)


as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
patience = click.option(
    "--wait",
    type=click.FloatRange(0, 60),
    default=reports.LONGEST_SECONDS,
    show_default=True,
    help="Seconds to wait for the running processes at most.",
)


def codes(nothing: str) -> str:
    """Write a command's exit codes for its help."""
    return _CODES.format(nothing=nothing)


def asks_the_cache(
    command: Callable[Concatenate[CacheEngine, P], None], in_the_process: str = IN_THE_PROCESS
) -> Callable[P, None]:
    """Hand a command the entries; say in words, and by the exit code, that there are none.

    :param in_the_process: what is said where the cache lives inside the server's process.
    """

    @functools.wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        entries = cache.engine
        if entries is None:
            raise Away("CACHE_TYPE is NullCache: there is no cache.")
        if not entries.store.shared:
            raise Away(in_the_process)
        try:
            with hushed():
                command(entries, *args, **kwargs)
        except StoreError as error:
            raise Away(f"The cache server does not do what it is asked: {error}") from error

    return checked


def switches_the_cache(command: Callable[Concatenate[CacheEngine, P], None]) -> Callable[P, None]:
    """Hand a command that switches the cache the entries, as :func:`asks_the_cache` does."""
    return asks_the_cache(command, SWITCHED_IN_THE_PROCESS)


@contextmanager
def hushed() -> Iterator[None]:
    """Keep the cache's log out of what a command says itself."""
    log = logging.getLogger(__package__.rpartition(".")[0])
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def finish(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


def write_json(value: Any) -> None:
    """Write a value for a program."""
    click.echo(json.dumps(value, indent=2))


def heard(overview: Overview) -> str:
    """Say whom the figures are of."""
    many = len(overview.processes)
    count = f"{many} processes" if many > 1 else "one process"
    release = cache.settings["RELEASE"]
    return f"Of {count} of release {release}, since {tables.moment(overview.since)}."


def ask(entries: CacheEngine, wait: float) -> list[Snapshot]:
    """Ask the running processes, and end the command where there are none."""
    found = reports.ask(entries.board, wait)
    if not found:
        raise Away(
            f"No running process answered within {wait:g} s. Heard are those of this release"
            f" ({cache.settings['RELEASE']}) that have this command's SECRET_KEY,"
            " CACHE_KEY_PREFIX and cache server, have answered a request, and were not started with"
            " CACHE_INSPECTOR=false."
        )
    return found


# -- to see ------------------------------------------------------------------------------


@group.command("stats", epilog=codes("nothing was looked up yet"))
@patience
@as_json
@asks_the_cache
def stats(entries: CacheEngine, wait: float, as_json: bool) -> None:
    """Count the lookups of all running processes.

    ANSWERED is the share that an entry answered: hits, stale ones, and those that waited for
    another's computation; what went past the cache does not count. MS is what a computation
    took on average, in milliseconds.
    """
    found = ask(entries, wait)
    overview = merge(found)
    lookups = sorted(overview.lookups, key=lambda one: (one["level"], one["name"]))
    counts, leases = overview.counts, overview.leases
    if as_json:
        processes = [
            {
                "pid": one["pid"],
                "host": one["host"],
                "since": one["since"],
                "release": one["release"],
            }
            for one in found
        ]
        told = {"processes": processes, "lookups": lookups, "counts": counts, "leases": leases}
        write_json({**told, "verified": overview.verified, "refusals": _refusals(overview)})
    else:
        click.echo(heard(overview))
        if lookups:
            click.echo("\n" + _lookups_table(lookups))
        for title, some in (
            ("Leases", leases),
            ("Hits computed again", overview.verified),
            ("Went wrong and was healed", counts),
        ):
            if some:
                parts = ", ".join(f"{name} {count}" for name, count in sorted(some.items()))
                click.echo("\n" + tables.wrapped("", f"{title}: {parts}.", 0))
    finish(0 if lookups else NOTHING)


def _refusals(overview: Overview) -> list[dict[str, Any]]:
    return [
        {**refusal._asdict(), "count": count} for refusal, count in overview.refusals.most_common()
    ]


def _lookups_table(lookups: list[Counts]) -> str:
    heading = ("WHAT", "LOOKUPS", "ANSWERED", "STALE", "MISS", "BYPASS", "ERROR", "MS", "BYTES")
    rows = [heading, *map(_lookups_row, lookups)]
    return tables.table(rows, right="lrrrrrrrr", elastic=0)


def _lookups_row(one: Counts) -> tuple[str, ...]:
    results, share = one["results"], ratio(one)
    counted = [f"{results.get(name, 0):,}" for name in ("stale", "miss", "bypass", "error")]
    return (
        f"{one['level']} {one['name']}",
        f"{sum(results.values()):,}",
        "-" if share is None else f"{share:.0%}",
        *counted,
        f"{1000 * one['fill_seconds'] / one['fills']:.1f}" if one["fills"] else "-",
        tables.size(one["stored_bytes"] // one["stored"]) if one["stored"] else "-",
    )


@group.command("keys", epilog=codes("no entry is known"))
@click.argument("pattern", default="*")
@click.option("--whole", is_flag=True, help="Cut no key, however long the line.")
@patience
@as_json
@asks_the_cache
def keys(entries: CacheEngine, pattern: str, whole: bool, wait: float, as_json: bool) -> None:
    """List the entries that the processes know.

    The newest come first. PATTERN is as a shell's: 'page:*/products*'. A process knows what it
    stored or read itself, up to a thousand entries; LEFT is the time to an entry's expiry, and
    below 0 within its grace.
    """
    overview = merge(ask(entries, wait))
    known, complete = overview.entries, not overview.forgot_entries
    chosen = [entry for key, entry in known.items() if fnmatch.fnmatchcase(key, pattern)]
    chosen.sort(key=lambda entry: entry["stored_at"], reverse=True)
    peeks = _peek(entries, [entry["key"] for entry in chosen])
    if as_json:
        rows = [entry | _seen(peeks[entry["key"]]) for entry in chosen]
        write_json({"complete": complete, "processes": len(overview.processes), "entries": rows})
    else:
        if chosen:
            lines: list[tuple[str, ...]] = [("STATE", "AGE", "LEFT", "SIZE", "TAGS", "KEY")]
            lines += [_entry_row(peeks[entry["key"]], entry) for entry in chosen]
            click.echo(tables.table(lines, right="lrrrrl", elastic=5, whole=whole) + "\n")
        summary = f"{len(chosen)} of {len(known)} known entries. {heard(overview)}"
        click.echo(tables.wrapped("", f"{summary} {_completeness(complete)}", 0))
    finish(0 if chosen else NOTHING)


def _completeness(complete: bool) -> str:
    if complete:
        return "Complete, but for entries that no process has met since it began."
    return "Not complete: a process knows so many that it has forgotten those met longest ago."


def _peek(entries: CacheEngine, names: list[str]) -> dict[str, Inspection]:
    some = (names[at : at + _PEEKED_AT_ONCE] for at in range(0, len(names), _PEEKED_AT_ONCE))
    return {peek.key: peek for part in some for peek in entries.peek(part)}


def _seen(peek: Inspection) -> dict[str, Any]:
    """What lies in the store now, in the place of what a process remembers of it."""
    if peek.entry is None:
        return {"state": peek.state}
    now = peek.entry
    return {
        "state": peek.state,
        "invalid": peek.invalid,
        "tags": now.tags,
        "started": now.started,
        "stored_at": now.stored_at,
        "fresh_until": now.fresh_until,
        "kept_until": now.kept_until,
        "bytes": peek.bytes,
    }


def _entry_row(peek: Inspection, known: EntryFigures) -> tuple[str, ...]:
    now, entry = time.time(), peek.entry
    tags = known["tags"] if entry is None else entry.tags
    stored_at = known["stored_at"] if entry is None else entry.stored_at
    left = "-" if entry is None else tables.span(entry.fresh_until - now)
    size = "-" if entry is None else tables.size(peek.bytes)
    return peek.state, tables.span(now - stored_at), left, size, str(len(tags)), peek.key


@group.command("show", epilog=codes("there is no such entry"))
@click.argument("key")
@as_json
@asks_the_cache
def show(entries: CacheEngine, key: str, as_json: bool) -> None:
    """Show what lies under KEY.

    KEY is as `flask cache keys` writes it. It asks the store alone, and changes nothing. Values
    are not decoded: of one that is no page, the type is shown.
    """
    (peek,) = entries.peek([key])
    described = {"key": key, **_seen(peek), "bytes": peek.bytes}
    if peek.entry is not None:
        described["value"] = _preview(peek.entry.value)
    if as_json:
        write_json(described)
    else:
        click.echo("\n".join(_description(peek)))
    finish(NOTHING if peek.state == "gone" else 0)


def _description(peek: Inspection) -> Iterator[str]:
    indent, now = 12, time.time()
    yield tables.wrapped("Key", peek.key, indent)
    yield tables.wrapped("State", _STATES[peek.state], indent)
    entry = peek.entry
    if entry is None:
        return
    times = (entry.stored_at, entry.fresh_until, entry.kept_until)
    for label, at in zip(("Stored", "Fresh until", "Kept until"), times, strict=True):
        yield f"{label:<{indent}}{tables.moment(at)}, {tables.distance(at - now)}"
    began = "-" if entry.started is None else f"reading {entry.started}"
    yield f"{'Begun at':<{indent}}{began}"
    yield f"{'Size':<{indent}}{tables.size(peek.bytes)} in the store"
    value = _preview(entry.value)
    if value["kind"] == "page":
        size = tables.size(value["body_bytes"]) + (" in gzip" if value["gzipped"] else "")
        yield f"{'Page':<{indent}}status {value['status']}, a body of {size}"
        for name, text in value["headers"]:
            yield tables.wrapped("", f"{name}: {text}", indent)
    else:
        yield tables.wrapped("Value", f"{value['type']}, {tables.size(len(entry.value))}", indent)
    for label, tag in zip(["Tags"] + [""] * len(entry.tags), sorted(entry.tags), strict=False):
        dead = " (raised since, or gone)" if tag in peek.invalid else ""
        yield f"{label:<{indent}}{tables.printable(tag)}{dead}"


_STATES = {
    "fresh": "fresh",
    "stale": "stale: it is served within its grace, while it is computed anew",
    "invalid": "invalid: a tag was raised since it was begun, or is gone",
    "cleared": "invalid: all was cleared since, or the server lost its clock",
    "unreadable": "unreadable: another SECRET_KEY sealed it, or it was not sealed",
    "gone": "not there: it was never stored, has expired or was evicted",
}


def _preview(value: bytes) -> dict[str, Any]:
    """Say of what kind a value is. A pickle begins with its protocol, a page with a length."""
    try:
        if value.startswith(b"\x80"):
            return {"kind": "value", "type": type_name(value)}
        page = Page.decode(value)
    except Exception:
        # Who can seal an entry may have put anything there.
        return {"kind": "unknown", "type": "of no known form"}
    return {
        "kind": "page",
        "status": page.status,
        "headers": page.headers,
        "body_bytes": len(page.body),
        "gzipped": page.gzipped,
    }


@group.command("tags", epilog=codes("no tag is known"))
@click.argument("pattern", default="*")
@patience
@as_json
@asks_the_cache
def tags(entries: CacheEngine, pattern: str, wait: float, as_json: bool) -> None:
    """List the tags of known entries.

    With each comes how many entries depend on it: to raise it, as a write does, drops that many.
    """
    overview = merge(ask(entries, wait))
    known, complete = overview.entries, not overview.forgot_entries
    counts = Counter(tag for entry in known.values() for tag in entry["tags"])
    chosen = [(tag, n) for tag, n in counts.most_common() if fnmatch.fnmatchcase(tag, pattern)]
    if as_json:
        rows = [{"tag": tag, "entries": count} for tag, count in chosen]
        write_json({"complete": complete, "processes": len(overview.processes), "tags": rows})
    else:
        if chosen:
            lines = [("ENTRIES", "TAG"), *((f"{count:,}", tag) for tag, count in chosen)]
            click.echo(tables.table(lines, right="rl", elastic=1) + "\n")
        summary = f"{len(chosen)} tags of {len(known)} known entries. {heard(overview)}"
        click.echo(tables.wrapped("", f"{summary} {_completeness(complete)}", 0))
    finish(0 if chosen else NOTHING)


# -- to act ------------------------------------------------------------------------------


@group.command(
    "invalidate",
    epilog="Exit codes: 0 done, 2 wrong usage, 3 the cache is away, or out of a command's reach.",
)
@click.argument("names", metavar="TAG...", nargs=-1, required=True)
@as_json
@asks_the_cache
def invalidate(entries: CacheEngine, names: tuple[str, ...], as_json: bool) -> None:
    """Drop every entry that carries one of the TAGs.

    They are invalid in all processes when the command returns.

    What depends on a table's rows as well as on the table takes both: product 'product:*'.
    """
    try:
        cache.invalidate(*names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    reading = _delivered(entries).reading
    if as_json:
        write_json({"invalidated": sorted(set(names)), "reading": reading})
        return
    click.echo(f"Invalid is what carries {', '.join(map(tables.printable, sorted(set(names))))}.")
    if reading is None:
        click.echo("The server is full, so all the other entries were dropped with it.")


@group.command("clear", epilog=codes("you said no"))
@click.option("--yes", is_flag=True, help="Do not ask back.")
@as_json
@asks_the_cache
def clear(entries: CacheEngine, yes: bool, as_json: bool) -> None:
    """Drop every entry of this application.

    What others have on the same server stays.
    """
    if not yes:
        prefix = cache.settings["CACHE_KEY_PREFIX"]
        question = f"Drop every entry of {prefix}? All pages will be computed anew."
        click.confirm(question, abort=True, err=True)
    cache.clear()
    _delivered(entries)
    if as_json:
        write_json({"cleared": True})
    else:
        click.echo("Every entry is invalid; the next lookups compute anew.")


_SWITCH_CODES = (
    "Exit codes: 0 done, also where it was so before, 2 wrong usage, 3 the cache is away, or out of"
    " a command's reach."
)


@group.command("off", epilog=_SWITCH_CODES)
@as_json
@switches_the_cache
def off(entries: CacheEngine, as_json: bool) -> None:
    """Switch the cache off, in all processes within a second.

    Every lookup then goes past the cache, and nothing is stored: pages and functions are computed
    each time. `Cache-Status` says detail=off.

    It lasts until `flask cache on`, also when processes are restarted or deployed; a cache server
    that loses its data forgets it. A process that cannot reach the server goes on as it last knew.

    Invalidations are still carried out, so that what is in the cache stays right.
    """
    entries.kill_switch.switch_off()
    if as_json:
        write_json({"off": True})
    else:
        click.echo("The cache is off: every lookup goes past it, within a second in all processes.")
        click.echo("`flask cache on` switches it on again.")


@group.command("on", epilog=_SWITCH_CODES)
@as_json
@switches_the_cache
def on(entries: CacheEngine, as_json: bool) -> None:
    """Switch the cache on again, in all processes within a second.

    What was in it before is used again. That is right: what was written while it was off has
    invalidated its entries as ever. Where the entries themselves are in doubt, run `flask cache
    clear` first.
    """
    entries.kill_switch.switch_on()
    if as_json:
        write_json({"off": False})
    else:
        click.echo("The cache is on, within a second in all processes.")


def _delivered(entries: CacheEngine) -> Invalidation:
    """Return the invalidation that the store has taken; a process that ends can try no later."""
    done = [event for _, event in entries.statistics.last_events()]
    last = done[-1] if done else None
    if not isinstance(last, Invalidation):
        raise Away("The cache server did not take it, so nothing was invalidated.")
    return last


# -- to fill -----------------------------------------------------------------------------


@group.command("warm", epilog=codes("a page failed, or none is declared"))
@click.option(
    "--base-url",
    metavar="URL",
    help="Under which address visitors come, as https://www.example.com. Default: PUBLIC_URL.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Pages that are computed at the same time.",
)
@as_json
@asks_the_cache
def warm(entries: CacheEngine, base_url: str | None, concurrency: int, as_json: bool) -> None:
    """Fill the pages that views declare by `warm=`.

    The declaration is `@cache.cached(warm=...)`. The requests go through the application in this
    process, not through a server. A page's key holds scheme and host, so they have to be those
    that visitors use. Warmed are pages as HTML and without the headers of `vary=`.
    """
    # So that it is said once, and not of each page.
    entries.store.identity()
    try:
        address = warming.base(base_url or current_app.config.get("PUBLIC_URL"))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    jobs = warming.jobs(app, address)
    done = warming.run(app, entries, address, jobs, concurrency)
    with click.progressbar(done, length=len(jobs), label="Warming", file=sys.stderr) as bar:
        results = list(bar)
    failed = [result for result in results if result.outcome == "failed"]
    counts = Counter(result.outcome for result in results)
    if as_json:
        write_json({"base_url": address, **_counted(counts), "pages": [asdict(r) for r in results]})
    else:
        for result in failed:
            click.echo(tables.wrapped("failed", f"{result.path}: {result.detail}", 8))
        click.echo(", ".join(f"{count} {name}" for name, count in _counted(counts).items()) + ".")
        if not jobs:
            click.echo("No view says warm= in its @cache.cached.")
    finish(NOTHING if failed or not jobs else 0)


def _counted(counts: Counter[warming.Outcome]) -> dict[str, int]:
    return {name: counts[name] for name in warming.OUTCOMES}


# -- to find what is wrong ---------------------------------------------------------------


@group.command("doctor", epilog="Exit codes: 0 no problem, 1 problems found, 2 wrong usage.")
@patience
@as_json
def doctor(wait: float, as_json: bool) -> None:
    """Find what is wrong, and say what would do.

    Looked at are the settings, the cache server and the running processes.

    It writes a few keys of its own, and deletes them. An advice is no problem; `unknown` is what
    could not be checked.
    """
    with hushed():
        findings = checks.examine(
            current_app,
            cache.engine,
            wait,
            cache.declarations.rows(),
            settings=cache.settings,
        )
    problems = sum(finding.severity == "problem" for finding in findings)
    if as_json:
        write_json({"problems": problems, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            label = f"{finding.severity:<9}{finding.check:<13}"
            click.echo(tables.wrapped(label, finding.what, 22))
            if finding.remedy:
                click.echo(tables.wrapped(" " * 22 + "-> ", finding.remedy, 25))
        click.echo(f"\n{problems or 'No'} problem{'s' if problems != 1 else ''} found.")
    finish(1 if problems else 0)
