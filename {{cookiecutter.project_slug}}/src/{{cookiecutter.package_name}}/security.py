"""Security headers on every response, and whom of the proxies to believe.

As WSGI middleware it also covers requests that Flask refuses, and pages that the cache serves
before Flask. It looks at no session: that would make each page a personal one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask
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
#: Only to answers that came over HTTPS (RFC 6797, 7.2).
HSTS = "Strict-Transport-Security"


def init_app(app: Flask) -> None:
    """Add the headers to what `app` answers, also to pages that are served before Flask."""
    app.wsgi_app = SecurityHeaders(  # type: ignore[method-assign]
        app.wsgi_app, app.config["HSTS_SECONDS"]
    )


def trust_proxies(app: Flask) -> None:
    """Believe the X-Forwarded-… headers of as many proxies as PROXY_COUNT says, and no more."""
    if count := app.config["PROXY_COUNT"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=0
        )


class SecurityHeaders:
    """Adds each header that a response does not already have."""

    def __init__(self, wsgi_app: "WSGIApplication", hsts_seconds: int) -> None:
        """Wrap `wsgi_app`; `hsts_seconds` of 0 sends no Strict-Transport-Security."""
        self.wsgi_app = wsgi_app
        self.plain = tuple(HEADERS.items())
        hsts = ((HSTS, f"max-age={hsts_seconds}"),) if hsts_seconds else ()
        self.secure = self.plain + hsts

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            complete = self.complete(environ["wsgi.url_scheme"], headers)
            return start_response(status, complete, *exc_info)

        return self.wsgi_app(environ, start)

    def complete(self, scheme: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers of a response, and those that it lacks."""
        wanted = self.secure if scheme == "https" else self.plain
        present = {name.lower() for name, _ in headers}
        return headers + [header for header in wanted if header[0].lower() not in present]
