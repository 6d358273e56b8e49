"""Error pages, which read no session: HTML for people, problem details (RFC 9457) for programs."""

import json
import logging

from flask import Flask, Response, render_template, request
from flask_coherent_cache.negotiation import prefers_json
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, SecurityError, ServiceUnavailable

from .database import RETRY_SECONDS, DatabaseAway, is_unavailable
from .logs import request_id

log = logging.getLogger(__name__)

#: In place of Werkzeug's words, where a view gave none of its own.
WORDS = {
    404: "There is nothing at this address, or no longer.",
    500: "Something went wrong on our side. It has been noted.",
    503: "This cannot be answered at the moment. Try again soon.",
}


def init_app(app: Flask) -> None:
    """Answer every HTTP exception here; Flask turns what is unexpected into a 500 first."""
    app.register_error_handler(HTTPException, render)
    app.register_error_handler(SQLAlchemyError, render_database_error)


def render(error: HTTPException) -> Response:
    """Return the response of an error, with the headers that belong to it (Allow, Retry-After)."""
    if isinstance(request.routing_exception, SecurityError):
        error = request.routing_exception  # A hook may have refused the request first.
    headers = error.get_response(request.environ).headers
    response = Response(status=error.code or 500, headers=headers)
    if isinstance(error, SecurityError):
        host = request.environ.get("HTTP_HOST", "")[:80]
        log.warning("Refused: the host %a is not in TRUSTED_HOSTS, nor that of PUBLIC_URL.", host)
    is_api = request.path.startswith("/api/")
    if is_api or prefers_json():
        response.data = json.dumps(problem(error))
        response.content_type = "application/problem+json"
    elif isinstance(error, SecurityError):
        # Flask builds no URL for a host that is not trusted, so there can be no page.
        response.data = "This host is not served here.\n"
        response.content_type = "text/plain; charset=utf-8"
    else:
        response.data = render_template("errors/error.html", **problem(error))
        response.content_type = "text/html; charset=utf-8"
    if not is_api:
        response.vary.add("Accept")
    if "Cache-Control" not in response.headers and response.status_code not in (404, 410):
        response.cache_control.no_store = True
    return response


def render_database_error(error: SQLAlchemyError) -> Response:
    """Return a 503 if the database cannot answer now (RFC 9110, 15.6.4); else raise the error."""
    if not is_unavailable(error):
        raise error
    if not isinstance(error, DatabaseAway):
        log.warning("The database did not answer: %s", getattr(error, "orig", None) or error)
    return render(ServiceUnavailable(retry_after=RETRY_SECONDS))


def problem(error: HTTPException) -> dict[str, object]:
    """Return the members of a problem (RFC 9457, 3.1); a server's fault has the request's id."""
    status = error.code or 500
    own_words = error.description != type(error).description
    detail = error.description if own_words else WORDS.get(status, error.description)
    members = {"type": "about:blank", "title": error.name, "status": status, "detail": detail}
    # A 4xx may be cached, and the id is of one request only.
    return members | {"request_id": request_id()} if status >= 500 else members
