"""Who may use the inspector: each request to it is authorized, and each form checked."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, current_app, g, request, session
from flask.sessions import NullSession

bp = Blueprint(
    "cache_inspector",
    __name__,
    url_prefix="/_cache",
    template_folder="../../templates",
    static_folder="../../static/inspector",
    static_url_path="/static",
)
_SITES = ("same-origin", "none")
#: In `app.extensions`.
AUTHORIZE = "coherent_cache_authorize"


def _is_asked_for() -> bool:
    return f"{request.path}/".startswith(f"{bp.url_prefix}/")


# Of the application, not of the blueprint: what has no route tells a stranger nothing, either.
@bp.before_app_request
def let_in() -> None:
    """Refuse strangers, and what a page of another site sends with an operator's rights."""
    if not _is_asked_for():
        return
    if not current_app.config["CACHE_INSPECTOR"]:
        abort(404)
    authorize: Callable[[], str] = current_app.extensions[AUTHORIZE]
    name: Any = authorize()
    # What answers "no" instead of raising must not let anybody in.
    if not isinstance(name, str) or not name:
        abort(403)
    g.operator = name
    if request.method not in {"GET", "HEAD"}:
        # A browser says where a form comes from (Fetch Metadata, 2.4); the token is for all others.
        if request.headers.get("Sec-Fetch-Site", "none") not in _SITES:
            abort(403, description="This was sent by a page of another site.")
        _check_csrf()


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


def _flask_wtf() -> Any:
    """Return Flask-WTF's CSRFProtect, if it is there and has a session to keep its token in."""
    csrf = current_app.extensions.get("csrf")
    return csrf if hasattr(csrf, "protect") and has_session() else None


def has_session() -> bool:
    """Tell whether there is a session: without a SECRET_KEY there is none."""
    return not isinstance(session._get_current_object(), NullSession)  # type: ignore[attr-defined]


@bp.after_app_request
def keep_out_of_caches(response: Response) -> Response:
    """Forbid storing (RFC 9111, 5.2.2.5) and indexing, also of a refusal."""
    if _is_asked_for():
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


@bp.context_processor
def layout() -> dict[str, Any]:
    """Name the site for the layout, and give forms what makes their token."""
    site = current_app.config.get("SITE_NAME") or current_app.name
    return {"site": site, "form_token": _form_token}


def _form_token() -> str:
    """Return Flask-WTF's token for a form, which makes a session; empty where none is needed."""
    if _flask_wtf() is None:
        return ""
    from flask_wtf.csrf import generate_csrf  # noqa: PLC0415 - it need not be there

    token: str = generate_csrf()
    return token
