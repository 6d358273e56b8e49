"""Who may see how the application does, and act on its cache."""

import hmac
import logging
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, request
from flask_coherent_cache._tools.findings import Finding
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import NotFound, Unauthorized

from ..security import sent_credentials

log = logging.getLogger(__name__)

#: Where in `app.extensions` whatever signs users in may leave a function that names who is signed
#: in, by what no two users share, and returns `None` where nobody is. OPS_USERS needs it.
_SIGNED_IN = "ops_signed_in"
_LONGEST_NAME = 60


def has_token() -> bool:
    """Tell whether a request brings OPS_TOKEN: as a bearer token (RFC 6750, 2.1), or as the
    password of any user name (RFC 7617), which a browser asks for."""
    token = current_app.config["OPS_TOKEN"]
    sent = sent_credentials()
    if not token or sent is None:
        return False
    if sent.type == "bearer":
        # Not `sent.token`, which a token with "=" in it does not become.
        given = request.headers["Authorization"].partition(" ")[2].strip()
    else:
        given = sent.password or ""
    return hmac.compare_digest(given.encode(), token.encode())


def operator() -> str:
    """Name who asks, for the log, if they may operate.

    :raises HTTPException: if not: a browser is asked for the token where there is one, and else
        nothing tells that there is something to be seen.
    """
    config = current_app.config
    if is_developer():
        return f"a developer at {request.remote_addr}"
    if config["APP_ENV"] == "development" and not has_token():
        abort(403, description="In development this is for localhost, or for OPS_TOKEN.")
    if has_token():
        sent = sent_credentials()
        name = sent.username if sent is not None else None
        return f"the holder of OPS_TOKEN{f' ({name[:_LONGEST_NAME]!a})' if name else ''}"
    if user := _signed_in_operator():
        return f"the user {user}"
    if config["OPS_TOKEN"]:
        challenge = WWWAuthenticate("basic", {"realm": "operations", "charset": "UTF-8"})
        raise Unauthorized(www_authenticate=challenge)
    raise NotFound


def check_token(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield whether somebody can be let in, for `flask cache doctor`."""
    if config["OPS_TOKEN"]:
        yield Finding("ops-token", "ok", "OPS_TOKEN is set.")
    elif config["APP_ENV"] == "production":
        yield Finding(
            "ops-token",
            "advice",
            "OPS_TOKEN is not set: in production nobody can see metrics and inspector.",
            "Set it to a random text; `make .env` does.",
        )


def is_developer() -> bool:
    """Tell whether a request in development comes from this machine, by a name of it.

    By another name, a page of another host that was made to lead here could read the answer
    (DNS rebinding).
    """
    return (
        current_app.config["APP_ENV"] == "development"
        and is_local(request.host)
        and _is_loopback(request.remote_addr or "")
    )


def is_local(host: str) -> bool:
    """Tell whether a host, with its port, is a name of this machine that no DNS can give away."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    # Browsers ask nobody for these (RFC 6761, 6.3).
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _signed_in_operator() -> str | None:
    operators = current_app.config["OPS_USERS"]
    name_user = current_app.extensions.get(_SIGNED_IN)
    # The session is looked at only where it can let somebody in.
    if not operators or name_user is None:
        return None
    try:
        user: str | None = name_user()
    except Exception:
        # As while the database is away; who has the token is let in.
        log.exception("Who is signed in could not be told, so nobody is.")
        return None
    return user if user in operators else None
