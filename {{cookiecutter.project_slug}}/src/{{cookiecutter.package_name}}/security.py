"""Security headers on every response, and whom of the proxies to believe.

A response class adds them, so they cost nothing on a page that the cache serves before Flask: its
headers are written once. It looks at no session: that would make each page a personal one.
"""

from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.datastructures import Authorization, Headers
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: No inline script or style, nothing of another host, no frames (Content Security Policy 3).
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Only to answers that came over HTTPS (RFC 6797, 7.2).
HSTS = "Strict-Transport-Security"


class SecureResponse(Response):
    """Adds each security header that a response does not already have."""

    #: In seconds; 0 sends no Strict-Transport-Security.
    hsts_seconds = 0

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """Return the headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        wanted = list(HEADERS.items())
        if self.hsts_seconds and environ["wsgi.url_scheme"] == "https":
            wanted.append((HSTS, f"max-age={self.hsts_seconds}"))
        present = {name.lower() for name, _ in headers}
        for name, value in wanted:
            if name.lower() not in present:
                headers.add(name, value)
        return headers


def sent_credentials() -> Authorization | None:
    """Return what a request's Authorization says; `None` also for what nobody can read.

    Werkzeug raises for some of that, such as base64 with bytes beyond ASCII.
    """
    try:
        return request.authorization
    except (ValueError, LookupError):
        return None


def init_app(app: Flask) -> None:
    """Add the headers to all that `app` answers, also to what it refuses."""
    members: dict[str, Any] = {"hsts_seconds": app.config["HSTS_SECONDS"]}
    app.response_class = type("SecureResponse", (SecureResponse,), members)


def trust_proxies(app: Flask) -> None:
    """Believe the X-Forwarded-… headers of as many proxies as PROXY_COUNT says, and no more."""
    if count := app.config["PROXY_COUNT"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=0
        )
