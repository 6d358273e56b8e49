"""The inspector at `/_cache/`: what the cache does, and why, for whoever operates it."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import NullSession
from flask.typing import ResponseReturnValue

from .._engine.inspection import Inspection
from .._keys.encoding import encodable
from .._stores import Facts, StoreError
from . import display
from .figures import EntryFigures, Figures, Snapshot
from .overview import Overview, merge
from .reports import read
from .requests import counted
from .shown import cache

if TYPE_CHECKING:
    from .. import Cache
    from .._engine.engine import CacheEngine

bp = Blueprint(
    "cache_inspector",
    __name__,
    url_prefix="/_cache",
    template_folder="../templates",
    static_folder="../static/inspector",
    static_url_path="/static",
)
log = logging.getLogger(__name__)

_TICK_SECONDS = 2
_LONGEST_SEARCH = 200
#: To look at an entry is to read it whole, and that must not keep the store from its work.
_MOST_PEEKED_BYTES = 512 * 1024
_SITES = ("same-origin", "none")
#: In `app.extensions`.
_AUTHORIZE = "coherent_cache_authorize"
_FIGURES = "coherent_cache_figures"


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done to the cache, and how it is asked back and told."""

    title: str
    question: str
    button: str
    done: str


ACTIONS = {
    "invalidate": Action(
        "Invalidate a tag?",
        "Every entry that carries it is computed anew when it is next asked for:",
        "Invalidate it",
        "The tag was invalidated:",
    ),
    "drop": Action(
        "Drop an entry?",
        "It and what was built from it are computed anew when they are next asked for:",
        "Drop it",
        "The entry was dropped:",
    ),
    "clear": Action(
        "Clear everything?",
        "Every entry of this application is computed anew when it is next asked for, which may be"
        " much at once for the database.",
        "Clear everything",
        "Everything was cleared.",
    ),
}
_ACTION = f"/<any({','.join(ACTIONS)}):name>"


def init_app(app: Flask, cache: "Cache", authorize: Callable[[], str]) -> None:
    """Serve the inspector, and keep figures of this process, unless CACHE_INSPECTOR is false.

    To be called before the middleware that serves cached pages, and after Flask-WTF's
    CSRFProtect, where there is one.

    :param authorize: called in each request for it. Returns a name for the log, or raises an
        HTTPException, as by `flask.abort`, that a stranger sees. Any other answer is a 403.
    """
    app.config.setdefault("CACHE_INSPECTOR", True)
    requests, ticker = counted(app, cache)
    with app.app_context():
        entries = cache.engine
    if entries is not None and app.config["CACHE_INSPECTOR"]:
        figures = Figures(entries, entries.config["RELEASE"], requests)
        app.extensions[_FIGURES] = figures
        ticker.every(_TICK_SECONDS, figures.tick)
    app.extensions[_AUTHORIZE] = authorize
    csrf: Any = app.extensions.get("csrf")
    if hasattr(csrf, "exempt"):
        # Its check would tell a stranger that there is something; `let_in` makes it after its own.
        csrf.exempt(bp)
    for hook in (let_in, keep_out_of_caches):
        cache.skip_on_hit(hook)
    app.register_blueprint(bp)


# -- who is let in -----------------------------------------------------------------------


def is_asked_for() -> bool:
    return f"{request.path}/".startswith(f"{bp.url_prefix}/")


# Of the application, not of the blueprint: what has no route tells a stranger nothing, either.
@bp.before_app_request
def let_in() -> None:
    """Refuse strangers, and what a page of another site sends with an operator's rights."""
    if not is_asked_for():
        return
    if not current_app.config["CACHE_INSPECTOR"]:
        abort(404)
    name = current_app.extensions[_AUTHORIZE]()
    # What answers "no" instead of raising must not let anybody in.
    if not isinstance(name, str) or not name:
        abort(403)
    g.operator = name
    if request.method not in {"GET", "HEAD"}:
        # A browser says where a form comes from (Fetch Metadata, 2.4); the token is for all others.
        if request.headers.get("Sec-Fetch-Site", "none") not in _SITES:
            abort(403, description="This was sent by a page of another site.")
        _check_csrf()


def _flask_wtf() -> Any:
    """Return Flask-WTF's CSRFProtect, if it is there and has a session to keep its token in."""
    csrf = current_app.extensions.get("csrf")
    return csrf if hasattr(csrf, "protect") and _has_session() else None


def _has_session() -> bool:
    """Tell whether there is a session: without a SECRET_KEY there is none."""
    return not isinstance(session._get_current_object(), NullSession)  # type: ignore[attr-defined]


def _check_csrf() -> None:
    """Ask Flask-WTF for its token; without Flask-WTF, the browser must say where a form is from."""
    if csrf := _flask_wtf():
        if current_app.config["WTF_CSRF_ENABLED"]:
            csrf.protect()
    elif request.headers.get("Sec-Fetch-Site", request.headers.get("Origin")) not in (
        *_SITES,
        request.host_url.rstrip("/"),
    ):
        abort(403, description="This does not say which page it was sent by.")


@bp.after_app_request
def keep_out_of_caches(response: Response) -> Response:
    """Forbid storing (RFC 9111, 5.2.2.5) and indexing, also of a refusal."""
    if is_asked_for():
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


@bp.context_processor
def layout() -> dict[str, Any]:
    """Name the site for the layout, and give forms what makes their token."""
    site = current_app.config.get("SITE_NAME") or current_app.name
    return {"site": site, "form_token": form_token}


def form_token() -> str:
    """Return Flask-WTF's token for a form, which makes a session; empty where none is needed."""
    if _flask_wtf() is None:
        return ""
    from flask_wtf.csrf import generate_csrf  # noqa: PLC0415 - it need not be there

    token: str = generate_csrf()
    return token


# -- what is shown -----------------------------------------------------------------------


@bp.get("/")
def index() -> ResponseReturnValue:
    if cache.engine is None:
        return render_template("flask_coherent_cache/inspector/off.html")
    return render_template(
        "flask_coherent_cache/inspector/index.html",
        shown=_shown(cache.engine),
        wanted=_search(),
        actions=ACTIONS,
        declarations=display.declarations(cache.declarations.rows()),
    )


@bp.get("/figures.json")
def figures() -> ResponseReturnValue:
    """Answer with what `index` shows, for the script that renews it."""
    return _shown(_entries())


@bp.get("/entry")
def entry() -> ResponseReturnValue:
    entries, now = _entries(), time.time()
    overview, _ = _overview(entries)
    key = _key(overview, request.args.get("key", ""))
    known, peek = overview.entries.get(key), _peek(entries, [key]).get(key)
    if known is None and (peek is None or peek.state == "gone"):
        abort(404, description="No process that answered knows this entry, or the store has it.")
    shown = display.entry_facts(overview, key, known, peek, now)
    return render_template(
        "flask_coherent_cache/inspector/entry.html", shown=shown, actions=ACTIONS
    )


@bp.get("/tag")
def tag() -> ResponseReturnValue:
    entries, now = _entries(), time.time()
    overview, _ = _overview(entries)
    name = _tag(overview, request.args.get("tag", ""))
    if not name:
        abort(404)
    found = overview.depends_on(name)
    shown = {
        "tag": encodable(name),
        "count": display.counted(len(found), "known entry", "known entries"),
        "forgot": overview.forgot_entries,
        "entries": _entry_rows(entries, overview, found, now),
    }
    return render_template("flask_coherent_cache/inspector/tag.html", shown=shown, actions=ACTIONS)


# -- what is done ------------------------------------------------------------------------


@bp.get(_ACTION)
def ask_back(name: str) -> ResponseReturnValue:
    """Ask whether it is meant, where no script does."""
    value = request.args.get("value", "")
    _refuse_empty(name, value)
    return render_template(
        "flask_coherent_cache/inspector/confirm.html", name=name, action=ACTIONS[name], value=value
    )


@bp.post(_ACTION)
def act(name: str) -> ResponseReturnValue:
    entries, value = _entries(), request.form.get("value", "")
    _refuse_empty(name, value)
    if name == "clear":
        entries.clear()
        value = ""
    elif name == "drop":
        entries.delete([_key(_overview(entries)[0], value)])
    else:
        entries.invalidate([_tag(_overview(entries)[0], value)])
    log.warning("The cache inspector, by %s: %s %s", g.operator, name, ascii(value)[1:-1])
    waits = entries.store.breaker.is_open
    told = f"{ACTIONS[name].done} {encodable(value)}".rstrip()
    later = " The store is away; it is told before any process trusts it again."
    if _has_session():
        flash(told + (later if waits else ""), "warn" if waits else "good")
    return redirect(url_for(".index"), HTTPStatus.SEE_OTHER)


def _refuse_empty(name: str, value: str) -> None:
    if name != "clear" and not value:
        abort(400, description="Say what: a tag, or the key of an entry.")


# -- where it comes from -----------------------------------------------------------------


def _entries() -> "CacheEngine":
    entries = cache.engine
    if entries is None:
        abort(404, description="Caching is switched off.")
    return entries


def _overview(entries: "CacheEngine") -> tuple[Overview, str | None]:
    """Put together what all processes tell; says why none but this one is heard, if so."""
    figures: Figures = current_app.extensions[_FIGURES]
    own, alone, told = figures.snapshot(), None, []
    if entries.store.shared:
        try:
            entries.board.watch()
            told = read(entries.board)
        except StoreError:
            alone = "The store does not answer, so no other process is heard."
        else:
            alone = None if told else "Other processes are heard within a few seconds."
    return merge([own, *_others(own, told)]), alone


def _others(own: Snapshot, told: Iterable[Snapshot]) -> list[Snapshot]:
    """Leave out what this process told earlier."""
    this = own["host"], own["pid"]
    return [one for one in told if (one["host"], one["pid"]) != this]


def _shown(entries: "CacheEngine") -> display.Shown:
    now, sort = time.time(), _sort()
    overview, alone = _overview(entries)
    facts, failure = _facts(entries)
    found = overview.search(_search())
    return display.page(overview, now) | {
        "processes": display.processes(overview, now, alone),
        "columns": display.columns(sort),
        "rows": display.rows(overview, sort),
        "refusals": display.refusals(overview),
        "health": display.health(overview, facts, failure, off=entries.kill_switch.ask_again()),
        "entries": _entry_rows(entries, overview, found, now),
        "found": _found(len(found)),
    }


def _found(count: int) -> str:
    found = display.counted(count, "entry", "entries")
    return f"The {display.ENTRIES} latest of {found}." if count > display.ENTRIES else f"{found}."


def _entry_rows(
    entries: "CacheEngine", overview: Overview, found: Sequence[EntryFigures], now: float
) -> list[display.Shown]:
    shown = found[: display.ENTRIES]
    sizes = accumulate(one["bytes"] for one in shown)
    few = [one["key"] for one, size in zip(shown, sizes, strict=True) if size <= _MOST_PEEKED_BYTES]
    peeks = _peek(entries, few)
    return display.entry_rows(overview, shown, peeks, now)


def _peek(entries: "CacheEngine", keys: Sequence[str]) -> dict[str, Inspection]:
    try:
        return {peek.key: peek for peek in entries.peek(keys)}
    except StoreError:
        return {}


def _facts(entries: "CacheEngine") -> tuple[Facts | None, str | None]:
    try:
        return entries.store.facts(), None
    except StoreError as error:
        return None, error.failure


def _sort() -> str:
    sort = request.args.get("sort", "")
    return sort if sort.removeprefix("-") in display.COLUMNS else display.DEFAULT_SORT


def _search() -> str:
    return request.args.get("q", "").strip()[:_LONGEST_SEARCH]


def _key(overview: Overview, text: str) -> str:
    """Find the key that is shown as a text, which may have lost what no page can hold."""
    return next((key for key in overview.entries if encodable(key) == text), text)


def _tag(overview: Overview, text: str) -> str:
    """Find the tag that is shown as a text."""
    tags = (name for entry in overview.entries.values() for name in entry["tags"])
    return next((name for name in tags if encodable(name) == text), text)
