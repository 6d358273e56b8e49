"""The inspector's pages, and what its buttons do."""

import logging
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from flask import abort, current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ..._dependencies.tags import describe, whole
from ..._engine.inspection import Inspection
from ..._keys.encoding import encodable
from ..._statistics.records import Known
from ..._stores import StoreError
from ..current import cache
from ..overview import Overview
from ..report import Report, read
from ..reporter import Reporter
from ..text import counted
from . import entries, page, table
from .access import bp, has_session
from .feed import events
from .table import Shown

if TYPE_CHECKING:
    from ..._engine.engine import CacheEngine

log = logging.getLogger(__package__)

_LONGEST_SEARCH = 200
_MOST_ENTRIES = 25
#: To inspect an entry is to read it whole, and that must not keep the store from its work.
_MOST_INSPECTED_BYTES = 512 * 1024
_TEMPLATES = "flask_coherent_cache/inspector"
#: In `app.extensions`.
REPORTER = "coherent_cache_reporter"


class Action(NamedTuple):
    """What can be done to the cache, and how the operator is asked to confirm it."""

    title: str
    question: str
    button: str
    done: str


ACTIONS = {
    "invalidate": Action(
        "Invalidate a tag?",
        "Every entry with this tag is computed again when it is next requested:",
        "Invalidate it",
        "The tag was invalidated:",
    ),
    "drop": Action(
        "Drop an entry?",
        "It and what was built from it are computed again when they are next requested:",
        "Drop it",
        "The entry was dropped:",
    ),
    "clear": Action(
        "Clear everything?",
        "Every entry of this application is computed again when it is next requested, which may"
        " be a burst of work for the database.",
        "Clear everything",
        "Everything was cleared.",
    ),
}
_ACTION = f"/<any({','.join(ACTIONS)}):name>"


# -- pages -------------------------------------------------------------------------------


@bp.get("/")
def index() -> ResponseReturnValue:
    if cache.engine is None:
        return render_template(f"{_TEMPLATES}/off.html")
    return render_template(
        f"{_TEMPLATES}/index.html",
        shown=_shown(cache.engine),
        wanted=_search(),
        actions=ACTIONS,
        declarations=cache._declarations.rows(),
    )


@bp.get("/figures.json")
def figures() -> ResponseReturnValue:
    """Answer with what `index` shows, for the script that renews it."""
    return _shown(_engine())


@bp.get("/entry")
def entry() -> ResponseReturnValue:
    engine, now = _engine(), time.time()
    overview, _ = _overview(engine)
    key = _original(overview.entries, request.args.get("key", ""))
    known, inspection = overview.entries.get(key), _inspect(engine, [key]).get(key)
    if known is None and (inspection is None or inspection.state == "gone"):
        abort(404, description="No process that answered knows this entry, or the store has it.")
    shown = entries.facts(overview, key, known, inspection, now)
    return render_template(f"{_TEMPLATES}/entry.html", shown=shown, actions=ACTIONS)


@bp.get("/tag")
def tag() -> ResponseReturnValue:
    engine, now = _engine(), time.time()
    overview, _ = _overview(engine)
    name = _original(overview.tags, request.args.get("tag", ""))
    if not name:
        abort(404)
    found = overview.depends_on(name)
    shown = {
        "tag": encodable(name),
        "words": encodable(describe(name, {*overview.tags})),
        "count": counted(len(found), "known entry", "known entries"),
        "forgot": overview.forgot_entries,
        "entries": _entry_rows(engine, found, now),
    }
    return render_template(f"{_TEMPLATES}/tag.html", shown=shown, actions=ACTIONS)


# -- actions -----------------------------------------------------------------------------


@bp.get(_ACTION)
def confirm(name: str) -> ResponseReturnValue:
    """Ask for confirmation, where no script does."""
    value = request.args.get("value", "")
    _refuse_empty(name, value)
    return render_template(
        f"{_TEMPLATES}/confirm.html", name=name, action=ACTIONS[name], value=value
    )


@bp.post(_ACTION)
def act(name: str) -> ResponseReturnValue:
    engine, value = _engine(), request.form.get("value", "")
    _refuse_empty(name, value)
    if name == "clear":
        engine.clear()
        value = ""
    elif name == "drop":
        engine.delete([_original(_overview(engine)[0].entries, value)])
    else:
        engine.invalidate(whole([_original(_overview(engine)[0].tags, value)]))
    log.warning("The cache inspector, by %s: %s %s", g.operator, name, ascii(value)[1:-1])
    if has_session():
        done, tone = f"{ACTIONS[name].done} {encodable(value)}".rstrip(), "good"
        if engine.store.breaker.is_open:
            done += " The store is away; it is invalidated before any process trusts it again."
            tone = "warn"
        flash(done, tone)
    return redirect(url_for(".index"), HTTPStatus.SEE_OTHER)


def _refuse_empty(name: str, value: str) -> None:
    if name != "clear" and not value:
        abort(400, description="Say what: a tag, or the key of an entry.")


# -- where it comes from -----------------------------------------------------------------


def _engine() -> "CacheEngine":
    engine = cache.engine
    if engine is None:
        abort(404, description="Caching is switched off.")
    return engine


def _overview(engine: "CacheEngine") -> tuple[Overview, str]:
    """Put all reports together, and say why there are none of other processes, if so."""
    reporter: Reporter = current_app.extensions[REPORTER]
    own, others, alone = reporter.report(), list[Report](), ""
    if engine.store.shared:
        try:
            engine.reports.watch()
            others = read(engine.reports)
        except StoreError:
            alone = "The store does not answer, so no other process is heard."
        else:
            alone = "" if others else "Other processes are heard within a few seconds."
    # This process may be among them, with what it reported earlier.
    others = [one for one in others if (one.host, one.pid) != (own.host, own.pid)]
    return Overview([own, *others]), alone


def _shown(engine: "CacheEngine") -> Shown:
    now, sort = time.time(), request.args.get("sort", "")
    if sort.removeprefix("-") not in table.COLUMNS:
        sort = table.DEFAULT_SORT
    overview, alone = _overview(engine)
    try:
        facts = engine.store.facts()
    except StoreError:
        facts = None
    found = overview.search(_search())
    count = counted(len(found), "entry", "entries")
    return {
        "processes": page.processes(overview, now, alone),
        "tiles": page.tiles(overview, now),
        "charts": page.charts(overview, now),
        "columns": table.columns(sort),
        "rows": table.rows(overview, sort),
        "refusals": table.refusals(overview),
        "events": events(overview),
        "entries_known": page.entries_known(overview),
        "entries": _entry_rows(engine, found, now),
        "found": f"The {_MOST_ENTRIES} latest of {count}."
        if len(found) > _MOST_ENTRIES
        else f"{count}.",
        "health": page.health(overview, facts, off=engine.kill_switch.ask_again()),
    }


def _entry_rows(engine: "CacheEngine", found: Sequence[Known], now: float) -> list[Shown]:
    shown = found[:_MOST_ENTRIES]
    sizes = accumulate(one.bytes for one in shown)
    sized = zip(shown, sizes, strict=True)
    few = [one.key for one, size in sized if size <= _MOST_INSPECTED_BYTES]
    inspections = _inspect(engine, few)
    return [entries.row(one, inspections.get(one.key), now) for one in shown]


def _inspect(engine: "CacheEngine", keys: Sequence[str]) -> dict[str, Inspection]:
    try:
        return {inspection.key: inspection for inspection in engine.inspect(keys)}
    except StoreError:
        return {}


def _search() -> str:
    return request.args.get("q", "").strip()[:_LONGEST_SEARCH]


def _original(names: Iterable[str], text: str) -> str:
    """Find the key or tag that is shown as a text, which may have lost what no page can hold."""
    return next((name for name in names if encodable(name) == text), text)
