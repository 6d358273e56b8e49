"""Views of the same site that read what is not declared, and the site itself."""

from collections.abc import Callable
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    after_this_request,
    current_app,
    g,
    make_response,
    render_template_string,
    request,
    session,
)

import flask_coherent_cache as caching
from many_routes import FILLER, ROUTES, data, page, show

# -- what is not declared, and is read all the same --------------------------------------------

#: What a view reads, and the header that it comes from.
READS: dict[str, tuple[Callable[[], object], str]] = {
    "header": (lambda: request.headers.get("X-Undeclared"), "X-Undeclared"),
    "headers": (lambda: sorted(name for name, _ in request.headers), "X-Undeclared"),
    "argument": (lambda: request.args.get("page"), ""),
    "arguments": (lambda: sorted(request.args.lists()), ""),
    "values": (lambda: request.values.get("page"), ""),
    "query-string": (lambda: request.query_string, ""),
    "environ": (lambda: request.environ.get("QUERY_STRING"), ""),
    "environ-header": (lambda: request.environ.get("HTTP_X_UNDECLARED"), "X-Undeclared"),
    "another-request": (lambda: sorted(Request(request.environ).args.lists()), ""),
    "cookie": (lambda: request.cookies.get("theme"), "Cookie"),
    "raw-cookie": (lambda: request.headers.get("Cookie"), "Cookie"),
    "session": (lambda: session.get("user"), "Cookie"),
    "address": (lambda: request.remote_addr, ""),
    "route": (lambda: list(request.access_route), "X-Forwarded-For"),
    "is-json": (lambda: request.is_json, "Content-Type"),
    "content-type": (lambda: (request.content_type, request.mimetype), "Content-Type"),
    "body": (lambda: request.data, "Content-Type"),
    "length": (lambda: request.content_length, ""),
    "accept": (lambda: request.accept_mimetypes.best, "Accept"),
    "languages": (lambda: request.accept_languages.best, "Accept-Language"),
    "encodings": (lambda: request.accept_encodings.best, "Accept-Encoding"),
    "agent": (lambda: request.user_agent.string, "User-Agent"),
    "range": (lambda: request.range and request.range.to_header(), "Range"),
    "condition": (lambda: f"{request.if_none_match}", "If-None-Match"),
    "authorization": (lambda: request.headers.get("Authorization"), "Authorization"),
    "method": (lambda: request.method in ("GET", "HEAD"), ""),
    "host": (lambda: request.host, ""),
    "secure": (lambda: request.is_secure, ""),
}


def reading(what: str) -> Callable[[], str]:
    """Make a view that shows one thing that it reads."""
    read, _ = READS[what]

    def view() -> str:
        return show(read())

    view.__name__ = view.__qualname__ = f"reads_{what.replace('-', '_')}"
    return view


for _what, (_, _header) in READS.items():
    _reads = (_header,) if _header else ()
    page(f"/reads/{_what}", hits=False, reads=_reads)(reading(_what))


@page("/effect", reads=("X-Undeclared",), hits=False)
def effect() -> str:
    echoed = request.headers.get("X-Undeclared", "none")

    @after_this_request
    def add(response: Response) -> Response:
        response.headers["X-Effect"] = echoed
        return response

    return FILLER


@page("/effect-alone", hits=False)
def effect_alone() -> str:
    @after_this_request
    def add(response: Response) -> Response:
        response.headers["X-Effect"] = "1"
        return response

    return FILLER


@page("/visit", hits=False)
def visit() -> str:
    session["visits"] = 1
    return FILLER


@page("/cookie", hits=False)
def cookie() -> Response:
    response = make_response(FILLER)
    response.set_cookie("theme", "dark")
    return response


# -- functions and fragments inside ----------------------------------------------------------


def halves(number: int) -> list[float]:
    return [number / 2, data["price"]]


def greeting(name: str) -> str:
    return f"{name}: {request.headers.get('X-Undeclared')}"


def name_in_g() -> str:
    return f"{g.name}"


@page("/memoized/<int:number>", "/memoized/1", "/memoized/2", tags=("data",))
def memoized(number: int) -> str:
    return show(current_app.extensions["halves"](number))


@page("/memoized-read/<name>", "/memoized-read/ada", hits=False, reads=("X-Undeclared",))
def memoized_read(name: str) -> str:
    return show(current_app.extensions["greeting"](name))


BOX = '{% cache 60, "box", a, b %}<b>{{ a }}|{{ b }}</b>{% endcache %}'
NAMED_BOX = '{% cache 60, "box_a", b %}<b>a box with {{ b }}</b>{% endcache %}'
LINKS = '{% cache 60, "links" %}{{ url_for("plain") }}{% endcache %}'
HELLO = '{% cache 60, "hello" %}Hello {{ name }}{% endcache %}'


@page("/box/<a>/<b>", "/box/a_/b", "/box/a/_b", "/box/a/b", "/box/1/b")
def box(a: str, b: str) -> str:
    return render_template_string(BOX, a=a, b=b) + FILLER


@page("/box-alone/<a>/<b>", "/box-alone/a_/c", "/box-alone/a/_c", cached=False, hits=False)
def box_alone(a: str, b: str) -> str:
    return render_template_string(BOX, a=a, b=b) + FILLER


@page("/named-box/<b>", "/named-box/b", "/named-box/c", cached=False, hits=False)
def named_box(b: str) -> str:
    return render_template_string(NAMED_BOX, b=b) + FILLER


@page("/links-alone", cached=False, hits=False)
def links_alone() -> str:
    return render_template_string(LINKS) + FILLER


@page("/hello", cached=False, hits=False, reads=("X-Undeclared",))
def hello() -> str:
    name = request.headers.get("X-Undeclared")
    return render_template_string(HELLO, name=name) + FILLER


@page("/from-g", cached=False, hits=False, reads=("X-Undeclared",))
def from_g() -> str:
    g.name = request.headers.get("X-Undeclared")
    return show(current_app.extensions["name_in_g"]())


# -- below a blueprint with hooks ----------------------------------------------------------------


@page("/plain", hooked=True, reads=("X-Wants-Cookie", "X-Undeclared"))
def hooked_plain() -> str:
    return FILLER


@page("/lasting", hooked=True, reads=("X-Wants-Cookie", "X-Undeclared"), max_age=60)
def hooked_lasting() -> str:
    return FILLER


@page("/tenant", hooked=True, reads=("X-Tenant",), hits=False)
def hooked_tenant() -> str:
    return show(g.tenant)


@page("/tenant-declared", hooked=True, reads=("X-Tenant", "X-Wants-Cookie"), vary=("X-Tenant",))
def hooked_tenant_declared() -> str:
    return show(g.tenant)


@page("/api-key", hooked=True, reads=("X-API-Key",), hits=False)
def hooked_api_key() -> str:
    return show(getattr(g, "caller", None))


def read_tenant() -> None:
    if request.path.startswith("/hooked/tenant"):
        g.tenant = request.headers.get("X-Tenant")


def read_api_key() -> Any:
    if request.path != "/hooked/api-key":
        return None
    g.caller = request.headers.get("X-API-Key")
    return None if g.caller != "wrong" else ("wrong key", 401)


def echo(response: Response) -> Response:
    response.headers["X-Echo"] = request.headers.get("X-Undeclared", "none")
    if "X-Wants-Cookie" in request.headers:
        response.set_cookie("wanted", "1")
    return response


# -- the application -----------------------------------------------------------------------------


def make_site(settings: dict[str, Any]) -> tuple[Flask, Any]:
    """Make the application as it runs in production, with a cache of its own."""
    app = Flask("site", static_folder=None)
    app.config.update(settings, TESTING=False, DEBUG=False)
    app.logger.disabled = True
    cache = caching.Cache(app)
    app.extensions["halves"] = cache.memoize(60, tags=("data",))(halves)
    app.extensions["greeting"] = cache.memoize(60)(greeting)
    app.extensions["name_in_g"] = cache.memoize(60)(name_in_g)
    hooked = Blueprint("hooked", __name__, url_prefix="/hooked")
    hooked.before_request(read_tenant)
    hooked.before_request(read_api_key)
    hooked.after_request(echo)
    for route in ROUTES:
        view = route.view
        if route.options is not None:
            view = cache.cached(60, **route.options)(view)
        scaffold = hooked if route.hooked else app
        scaffold.add_url_rule(
            route.rule, endpoint=route.view.__name__, view_func=view, methods=list(route.methods)
        )
    app.register_blueprint(hooked)
    cache.serve_before_flask(app)
    return app, cache
