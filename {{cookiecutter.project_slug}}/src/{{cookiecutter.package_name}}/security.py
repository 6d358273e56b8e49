"""Security headers on every response, and which proxies to trust.

A response class adds the headers, so they cost nothing on a page that the cache serves before
Flask: its headers are written once. It reads no session, which would make each page a private one.
"""

from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import Authorization, Headers
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from .extensions import cache

HEADERS = {
    # No inline script or style, nothing of another host, no frames (Content Security Policy 3).
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Machines ask for them by an address, which no list of hosts could know.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})


class SecureResponse(Response):
    """Adds each security header that a response does not already have."""

    #: In seconds; 0 sends no Strict-Transport-Security.
    hsts_seconds = 0

    @cache.skip_on_hit
    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        wanted = [*HEADERS.items()]
        # Only to answers that came over HTTPS (RFC 6797, 7.2).
        if self.hsts_seconds and environ["wsgi.url_scheme"] == "https":
            wanted.append(("Strict-Transport-Security", f"max-age={self.hsts_seconds}"))
        headers.extend((name, value) for name, value in wanted if name not in headers)
        return headers


def sent_credentials() -> Authorization | None:
    """Return the request's Authorization; `None` also for one that Werkzeug cannot read."""
    try:
        return request.authorization
    except (ValueError, LookupError):
        return None


def sent_token() -> str:
    """Return the request's bearer token (RFC 6750, 2.1); empty without one."""
    sent = sent_credentials()
    # Not `sent.token`, which is empty for a token with "=" in it.
    is_bearer = sent is not None and sent.type == "bearer"
    return request.headers["Authorization"].partition(" ")[2].strip() if is_bearer else ""


def init_app(app: Flask) -> None:
    """Add the headers to all that `app` answers."""
    members: dict[str, Any] = {"hsts_seconds": app.config["HSTS_SECONDS"]}
    app.response_class = type("SecureResponse", (SecureResponse,), members)


def trust_proxies(app: Flask) -> None:
    """Trust the X-Forwarded-… headers of as many proxies as PROXY_COUNT says, and no more."""
    if count := app.config["PROXY_COUNT"]:
        trusted = dict.fromkeys(("x_for", "x_proto", "x_host", "x_port"), count)
        cache.add_middleware(app, lambda wsgi_app: ProxyFix(wsgi_app, **trusted, x_prefix=0))


def mount(app: Flask) -> None:
    """Serve the application under APPLICATION_ROOT, and its health for any host and prefix."""
    root = app.config["APPLICATION_ROOT"]

    def wrap(wsgi_app: Any) -> Any:
        dispatcher = DispatcherMiddleware(NotFound(), {root: wsgi_app})

        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            if is_health := environ["PATH_INFO"] in HEALTH_PATHS:
                environ["HTTP_HOST"] = "localhost"
            is_served = is_health or root in ("/", environ.get("SCRIPT_NAME"))  # by mod_wsgi
            return (wsgi_app if is_served else dispatcher)(environ, start_response)

        return answer

    cache.add_middleware(app, wrap)
