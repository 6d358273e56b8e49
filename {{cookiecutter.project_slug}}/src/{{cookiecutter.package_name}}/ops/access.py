"""Who may see how the application does, and act on its cache."""

import hmac

from flask import current_app, request


def has_token() -> bool:
    """Tell whether a request brings OPS_TOKEN: as a bearer token (RFC 6750, 2.1), or as the
    password of any user name (RFC 7617), which a browser asks for."""
    token = current_app.config["OPS_TOKEN"]
    sent = request.authorization
    if not token or sent is None:
        return False
    given = sent.token if sent.type == "bearer" else sent.password
    return hmac.compare_digest((given or "").encode(), token.encode())
