"""Security headers on every response, and whom of the proxies to believe.

A response class adds them, so they cost nothing on a page that the cache serves before Flask: its
headers are written once. It looks at no session: that would make each page a personal one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.datastructures import Authorization, Headers
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

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
#: Machines ask for them by an address, which no list of hosts could know.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
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
    app.wsgi_app = HealthForAnyHost(app.wsgi_app)  # type: ignore[method-assign]
    members: dict[str, Any] = {"hsts_seconds": app.config["HSTS_SECONDS"]}
    app.response_class = type("SecureResponse", (SecureResponse,), members)


def trust_proxies(app: Flask) -> None:
    """Believe the X-Forwarded-… headers of as many proxies as PROXY_COUNT says, and no more."""
    if count := app.config["PROXY_COUNT"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=0
        )


def mount(app: Flask) -> None:
    """Serve the application under APPLICATION_ROOT, unless that is the root."""
    if (root := app.config["APPLICATION_ROOT"]) != "/":
        app.wsgi_app = Mounted(app.wsgi_app, root)  # type: ignore[method-assign]


class HealthForAnyHost:
    """WSGI middleware: health does not depend on TRUSTED_HOSTS, and shows nothing of a host."""

    def __init__(self, wsgi_app: "WSGIApplication") -> None:
        self.wsgi_app = wsgi_app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] in HEALTH_PATHS:
            environ["HTTP_HOST"] = "localhost"
        return self.wsgi_app(environ, start_response)


class Mounted:
    """WSGI middleware: takes a prefix off each path, and refuses what is outside of it.

    Where the server has done so already, as mod_wsgi does, there is nothing to do. Health is asked
    for without the prefix, too: by machines that know the server only.
    """

    def __init__(self, wsgi_app: "WSGIApplication", root: str) -> None:
        self.wsgi_app = wsgi_app
        self.root = root

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if environ.get("SCRIPT_NAME") == self.root:
            return self.wsgi_app(environ, start_response)
        if f"{path}/".startswith(f"{self.root}/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + self.root
            environ["PATH_INFO"] = path[len(self.root) :]
        elif path not in HEALTH_PATHS:
            start_response("404 Not Found", [("Content-Length", "0")])
            return ()
        return self.wsgi_app(environ, start_response)
