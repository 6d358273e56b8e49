"""Who may see how the application does, and act on its cache."""

import hmac
import logging
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, request
from flask_coherent_cache.tools import Finding
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import NotFound, Unauthorized

from ..security import sent_credentials, sent_token

log = logging.getLogger(__name__)


def operators(name_user: Callable[[], str | None]) -> Callable[[], str]:
    """Return a function that names who asks, for the log, and raises if they may not operate.

    `name_user` names the user who is signed in, by what no two users share; see OPS_USERS.
    """

    def operator() -> str:
        config = current_app.config
        if is_developer():
            return f"a developer at {request.remote_addr}"
        if has_token():
            name = getattr(sent_credentials(), "username", None)
            return f"the holder of OPS_TOKEN{f' ({name[:60]!a})' if name else ''}"
        if config["APP_ENV"] == "development":
            abort(403, description="In development this is for localhost, or for OPS_TOKEN.")
        if user := _operator_among(config["OPS_USERS"], name_user):
            return f"the user {user}"
        if config["OPS_TOKEN"]:
            challenge = WWWAuthenticate("basic", {"realm": "operations", "charset": "UTF-8"})
            raise Unauthorized(www_authenticate=challenge)
        raise NotFound  # Nothing tells a stranger that there is something to see.

    return operator


def _operator_among(names: list[str], name_user: Callable[[], str | None]) -> str | None:
    try:
        # The session is read only if it can let somebody in.
        user = name_user() if names else None
    except Exception:
        # The database may be away; a holder of the token is still let in.
        log.exception("Who is signed in could not be told, so nobody is.")
        return None
    return user if user in names else None


def has_token() -> bool:
    """Tell whether a request brings OPS_TOKEN: as a bearer token (RFC 6750, 2.1), or as the
    password of any user name (RFC 7617), which a browser asks for."""
    token = current_app.config["OPS_TOKEN"]
    sent = sent_credentials()
    given = sent_token() or (sent and sent.password) or ""
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def check_ops_token(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Report to `flask cache doctor` whether OPS_TOKEN is set."""
    if config["OPS_TOKEN"]:
        yield Finding("ops-token", "ok", "OPS_TOKEN is set.")
    elif config["APP_ENV"] == "production":
        unset = "OPS_TOKEN is not set: in production nobody can see metrics and inspector."
        yield Finding("ops-token", "advice", unset, "Set it to a random text; `make .env` does.")


def is_developer() -> bool:
    """Tell whether a request in development comes from this machine, by a name of it.

    By another name, a page of another host that was made to lead here could read the answer
    (DNS rebinding).
    """
    in_development = current_app.config["APP_ENV"] == "development"
    return in_development and is_local(request.host) and _is_loopback(request.remote_addr or "")


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
