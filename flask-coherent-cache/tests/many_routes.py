"""A site with many kinds of cached views, each of which answers by the request and `data` alone."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import (
    Response,
    abort,
    jsonify,
    redirect,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)

from flask_coherent_cache.negotiation import prefers_json

FILLER = "<p>" + "a page of some length. " * 80
#: What views read beside the request; whoever changes it invalidates the tag ``data``.
data = {"price": 1}


@dataclass(frozen=True, slots=True)
class Route:
    """A view, and how it is cached.

    :param paths: addresses to ask for, percent-encoded.
    :param hits: whether a plain GET that was just answered has to be a hit.
    :param options: of ``cache.cached``; ``None`` where the view is not cached.
    :param reads: request headers that are worth sending to it.
    """

    rule: str
    view: Callable[..., Any]
    paths: tuple[str, ...]
    hits: bool
    options: dict[str, Any] | None = field(default_factory=dict)
    methods: tuple[str, ...] = ("GET",)
    hooked: bool = False
    reads: tuple[str, ...] = ()


ROUTES: list[Route] = []


def page(
    rule: str,
    *paths: str,
    hits: bool = True,
    cached: bool = True,
    hooked: bool = False,
    methods: tuple[str, ...] = ("GET",),
    reads: tuple[str, ...] = (),
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a view; ``paths`` are asked for, by default the rule itself."""

    def register(view: Callable[..., Any]) -> Callable[..., Any]:
        asked = paths or (rule,)
        if hooked:
            asked = tuple(f"/hooked{path}" for path in asked)
        said = options if cached else None
        ROUTES.append(Route(rule, view, asked, hits, said, methods, hooked, reads))
        return view

    return register


def show(*values: object) -> str:
    return f"{values!r}{FILLER}"


# -- constant pages, and what they say of themselves -------------------------------------------


@page("/plain")
def plain() -> str:
    return FILLER


@page("/short")
def short() -> str:
    return "short"


@page("/empty")
def empty() -> str:
    return ""


@page("/json")
def json_page() -> Response:
    return jsonify(numbers=list(range(400)), text="é")


@page("/price", tags=("data",))
def price() -> str:
    return show(data["price"])


@page("/max-age", max_age=60, stale_while_revalidate=5, stale_if_error=5)
def with_max_age() -> str:
    return FILLER


CACHE_CONTROLS: dict[str, tuple[str, ...]] = {
    "lasting": ("public, max-age=60",),
    "proxies": ("s-maxage=60, max-age=5",),
    "asking": ("no-cache",),
    "two": ("max-age=60", "must-revalidate"),
}
KEPT_APART: dict[str, tuple[str, ...]] = {
    "no-store": ("no-store",),
    "upper": ("NO-STORE",),
    "private": ("private, max-age=60",),
    "named": ('PRIVATE="x"',),
    "second": ("max-age=60", "no-store"),
}


@page("/control/<kind>", *(f"/control/{kind}" for kind in CACHE_CONTROLS))
def control(kind: str) -> Response:
    response = Response(FILLER)
    for value in CACHE_CONTROLS[kind]:
        response.headers.add("Cache-Control", value)
    return response


@page("/apart/<kind>", *(f"/apart/{kind}" for kind in KEPT_APART), hits=False)
def kept_apart(kind: str) -> Response:
    response = Response(FILLER)
    for value in KEPT_APART[kind]:
        response.headers.add("Cache-Control", value)
    return response


@page("/vary-two", reads=("X-One", "X-Two"), vary=("X-One", "X-Two"))
def two_vary_fields() -> Response:
    response = Response(show(request.headers.get("X-One"), request.headers.get("X-Two")))
    response.headers.add("Vary", "X-One")
    response.headers.add("Vary", "X-Two")
    return response


@page("/vary-hidden", reads=("X-Undeclared",), hits=False)
def hidden_vary() -> Response:
    response = Response(FILLER)
    response.headers.add("Vary", "Accept-Encoding")
    response.headers.add("Vary", "X-Undeclared")
    return response


@page("/vary-star", hits=False)
def vary_star() -> tuple[str, dict[str, str]]:
    return FILLER, {"Vary": "*"}


@page("/etag/<kind>", "/etag/strong", "/etag/weak", "/etag/malformed")
def own_etag(kind: str) -> Response:
    tag = {"strong": '"own"', "weak": 'W/"own"', "malformed": "own"}[kind]
    return Response(FILLER, headers={"ETag": tag})


@page("/modified")
def modified() -> Response:
    response = Response(FILLER)
    response.last_modified = datetime(2020, 1, 1, tzinfo=UTC)
    return response


@page("/links")
def several_fields() -> Response:
    response = Response(FILLER, 203)
    for number in range(3):
        response.headers.add("Link", f"</{number}>; rel=preload")
    response.headers["X-Unicode"] = "\xe9"
    return response


@page("/own-condition", reads=("If-None-Match",), hits=False)
def own_condition() -> Response:
    response = Response(FILLER, headers={"ETag": '"own"'})
    return response.make_conditional(request)


# -- statuses ------------------------------------------------------------------------------------


@page("/moved/<int:status>", "/moved/301", "/moved/308")
def moved(status: int) -> Any:
    return redirect(url_for("plain"), status)


@page("/found", hits=False)
def found() -> Any:
    return redirect("/elsewhere?a=1")


@page("/item/<int:number>", "/item/1", "/item/2", not_found_timeout=60)
def item(number: int) -> str:
    if number % 2:
        abort(404)
    return show(number)


@page("/refused/<int:status>", *(f"/refused/{n}" for n in (400, 403, 404, 410, 500)), hits=False)
def refused(status: int) -> Any:
    abort(status)


@page("/broken", hits=False)
def broken() -> str:
    raise RuntimeError("broken")


@page("/status/<int:status>", *(f"/status/{n}" for n in (201, 204, 206, 404, 503)), hits=False)
def any_status(status: int) -> tuple[str, int]:
    return "" if status == 204 else "status", status


# -- streams, files and other methods --------------------------------------------------------


@page("/stream", hits=False)
def stream() -> Response:
    return Response(stream_with_context(f"{n}," for n in range(300)), mimetype="text/plain")


@page("/file", reads=("Range",), hits=False)
def file() -> Response:
    return send_file(
        io.BytesIO(b"0123456789" * 200),
        mimetype="text/plain",
        etag="file",
        last_modified=datetime(2020, 1, 1, tzinfo=UTC),
    )


@page("/form", methods=("GET", "POST", "PUT", "DELETE"))
def form() -> str:
    return show(request.method) if request.method == "POST" else FILLER


@page("/uncached", hits=False, cached=False)
def uncached() -> str:
    return show(sorted(request.args.lists()))


# -- addresses -----------------------------------------------------------------------------------


@page("/text/<text>", "/text/a", "/text/%C3%A9", "/text/a%20b", "/text/a+b", "/text/%25", "/text/~")
def text(text: str) -> str:
    return show(text)


@page("/deep/<path:path>", "/deep/a/b", "/deep/a%2Fb", "/deep/a%3Fb", "/deep/a//b", "/deep/%FF")
def deep(path: str) -> str:
    return show(path)


@page("/float/<float:number>", "/float/1.0", "/float/1.00", "/float/10.5")
def number_of(number: float) -> str:
    return show(number)


@page("/any/<any(a, b):kind>/<uuid:id>", "/any/a/12345678-1234-5678-1234-567812345678")
def typed(kind: str, id: object) -> str:
    return show(kind, id)


@page("/schnäpse", "/schn%C3%A4pse")
def unicode_rule() -> str:
    return show("ä")


@page("/slash/", "/slash/", "/slash", hits=False)
def slash() -> str:
    return FILLER


@page("/path")
def own_path() -> str:
    return show(request.path, request.script_root, url_for("plain"))


@page("/external", hits=False)
def external() -> str:
    return show(url_for("plain", _external=True), request.host, request.scheme)


@page("/url", hits=False)
def own_url() -> str:
    return show(request.url, request.full_path)


# -- what is declared ----------------------------------------------------------------------------


@page("/query", query=("page", "sort"))
def query() -> str:
    return show([request.args.getlist(name) for name in ("page", "sort")])


@page("/all", query_string=True)
def all_of_the_query() -> str:
    return show(sorted(request.args.lists()))


@page("/language", reads=("Accept-Language",), vary=("Accept-Language",))
def language() -> str:
    return show(request.headers.get("Accept-Language"))


@page("/negotiated", reads=("Accept",))
def negotiated() -> Any:
    if prefers_json():
        return jsonify(json=True)
    return FILLER


@page("/private", reads=("Cookie", "Authorization"), private=True)
def private() -> str:
    return show(session.get("user"), request.headers.get("Authorization"))


@page("/private-by", reads=("X-User",), private=lambda: request.headers.get("X-User"))
def private_by() -> str:
    return show(request.headers.get("X-User"))
