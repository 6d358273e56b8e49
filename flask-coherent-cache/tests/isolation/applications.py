"""The application of a cell: the place reads, and a page, a function or a fragment shows it.

What is memoized stands at the level of the module and looks at ``now``: a closure would be one
more way by which an input can come into it.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from flask import (
    Blueprint,
    Flask,
    abort,
    after_this_request,
    g,
    render_template_string,
    request,
    request_started,
)
from werkzeug.routing import BaseConverter

from flask_coherent_cache import Cache
from isolation.cells import DECLARABLE, PUT, Cell
from isolation.visitors import (
    CERTIFICATE,
    ENVIRON_KEY,
    EXPRESSIONS,
    READ,
    READ_ENVIRON,
    who_variable,
)

SAME = "the same for all"
SHOWN_HEADER = "X-Shown"
MINUTE = 60
#: How a template looks at what a place put somewhere.
_AT = {
    "g": "g.who",
    "contextvar": "whose()",
    "view_args": "request.view_args.who",
    "attribute": "request.who",
    "environ": f"request.environ['{ENVIRON_KEY}']",
    "variable": "who",
}
_TAKE: dict[str, Callable[[], Any]] = {
    "g": lambda: g.who,
    "contextvar": who_variable.get,
    "view_args": lambda: (request.view_args or {})["who"],
    "attribute": lambda: request.who,  # type: ignore[attr-defined]
    "environ": lambda: request.environ[ENVIRON_KEY],
}


class Now:
    """The cell that is running: what is memoized, and how often each level was filled."""

    make: Callable[[], str]
    remembered: Callable[..., str]

    def __init__(self) -> None:
        self.fills: Counter[str] = Counter()


now = Now()


def remember() -> str:
    """The memoized function: it takes what it shows from somewhere."""
    now.fills["memoized"] += 1
    return now.make()


def remember_argument(who: str) -> str:
    """The memoized function where its argument is what it shows."""
    now.fills["memoized"] += 1
    return who


def count_fragment() -> str:
    """Count a fill of a fragment, from within it."""
    now.fills["fragment"] += 1
    return ""


def build(cell: Cell, make_cache: Callable[[Flask], Any] = Cache, **settings: Any) -> Flask:
    """Make the application of a cell.

    :param settings: of the cache; ``MAX_AGE`` is what its pages tell caches outside.
    """
    app = Flask("cell", root_path=".", static_folder=None)
    app.config.update(SECRET_KEY="k" * 40, CACHE_TYPE=cell.store)
    app.config.update(settings)
    app.debug = app.testing = cell.mode == "development"
    cache = make_cache(app)
    now.fills.clear()
    globals_ = app.jinja_env.globals
    globals_.update(whose=_TAKE["contextvar"], count_fragment=count_fragment)
    now.remembered = globals_["remembered"] = _remembered(cell, cache)
    app.url_map.converters["who"] = _converter(cell)
    if place := _INSTALL.get(cell.place):
        place(app, cache, cell)
    _add_view(app, cache, cell)
    return app


def path_of(cell: Cell) -> str:
    """The path of the cell's page."""
    return "/somebody" if cell.place == "converter" else "/page"


# -- where what was read goes ----------------------------------------------------------------


def _somewhere(cell: Cell) -> str:
    """Name where the place puts what it read, for who shows it."""
    if cell.input in PUT:
        return cell.input
    if cell.use in ("aside", "aside_shown"):
        return "g"
    if cell.place in ("converter", "url_value_preprocessor"):
        return "view_args"
    if cell.place in ("template", "context_processor"):
        return "variable"
    if cell.place in ("view", "error_handler"):
        return "variable" if cell.level == "fragment" else "g"
    return {"wsgi_middleware": "environ", "before_app_request": "attribute"}.get(cell.place, "g")


def _put(cell: Cell, who: Any) -> Any:
    """Put what was read where who shows it looks; return it."""
    where = _somewhere(cell)
    if where == "g":
        g.who = who
    elif where == "contextvar":
        who_variable.set(who)
    elif where == "attribute":
        request.who = who  # type: ignore[attr-defined]
    return who


def _read_and_put(cell: Cell) -> Any:
    return _put(cell, READ[cell.input]())


def _taken(cell: Cell) -> Any:
    return SAME if cell.use in ("unused", "aside") else _TAKE[_somewhere(cell)]()


# -- the places before and after the view ----------------------------------------------------


def _install_hook(app: Flask, cache: Any, cell: Cell) -> None:
    def hook(*_: Any, **__: Any) -> None:
        _read_and_put(cell)

    def preprocess(_: str | None, values: dict[str, Any] | None) -> None:
        who = _read_and_put(cell)
        if _somewhere(cell) == "view_args" and values is not None:
            values["who"] = who

    function = preprocess if cell.place == "url_value_preprocessor" else hook
    if cell.place in DECLARABLE and cell.use in ("aside", "aside_shown"):
        cache.influences_only_through(function, g="who", reason="it puts the visitor on g")
    if cell.place == "before_app_request":
        blueprint = Blueprint("part", __name__)
        blueprint.before_app_request(function)
        app.register_blueprint(blueprint)
    elif cell.place == "signal":
        app.extensions["receiver"] = function  # A signal holds it weakly.
        request_started.connect(function, app)
    else:
        getattr(app, cell.place)(function)


def _install_middleware(app: Flask, cache: Any, cell: Cell) -> None:
    if cell.use == "aside":
        cache.influences_only_through(who_variable, reason="log lines show it, pages do not")
    inner: Any = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        who = READ_ENVIRON[cell.input](environ)
        if cell.input == "contextvar":
            who_variable.set(who)
        elif cell.use != "unused":
            environ[ENVIRON_KEY] = who

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            shown = [(SHOWN_HEADER, who)] if cell.use == "unused" else []
            return start_response(status, headers + shown, *rest)

        body: Iterable[bytes] = inner(environ, start)
        return body

    app.wsgi_app = middleware  # type: ignore[method-assign]


def _install_context_processor(app: Flask, cache: Any, cell: Cell) -> None:
    @app.context_processor
    def who() -> dict[str, Any]:
        return {"who": _read_and_put(cell)}


def _install_error_handler(app: Flask, cache: Any, cell: Cell) -> None:
    @app.errorhandler(404)
    def not_found(_: Exception) -> tuple[str, int]:
        who = _read_and_put(cell)
        if cell.is_page:
            return (SAME if cell.use == "unused" else who), 404
        return _answer(cell, who), 404


def _install_after_request(app: Flask, cache: Any, cell: Cell) -> None:
    @app.after_request
    def show(response: Any) -> Any:
        who = _read_and_put(cell)
        shown = who if cell.is_page else _answer(cell, who)
        if cell.use != "unused" or not cell.is_page:
            response.headers[SHOWN_HEADER] = shown
        return response


_INSTALL: dict[str, Callable[[Flask, Any, Cell], None]] = {
    "wsgi_middleware": _install_middleware,
    "signal": _install_hook,
    "url_value_preprocessor": _install_hook,
    "before_request": _install_hook,
    "before_app_request": _install_hook,
    "context_processor": _install_context_processor,
    "error_handler": _install_error_handler,
    "after_request": _install_after_request,
}


def _converter(cell: Cell) -> type[BaseConverter]:
    class Who(BaseConverter):
        def to_python(self, value: str) -> Any:
            return _read_and_put(cell)

    return Who


def _decorated(cell: Cell, function: Callable[..., Any]) -> Callable[..., Any]:
    """Put the decorator above what is cached, where that is the place."""
    if cell.place != "decorator":
        return function

    @wraps(function)
    def reading(*args: Any, **kwargs: Any) -> Any:
        who = _read_and_put(cell)
        if cell.level == "memoized" and cell.use == "declared":
            return function(who)
        return function(*args, **kwargs)

    return reading


# -- what is cached --------------------------------------------------------------------------


def _add_view(app: Flask, cache: Any, cell: Cell) -> None:
    if cell.is_page:
        view = cache.cached(MINUTE, **_page_options(app, cell))(_page_of(cell))
    else:
        view = _uncached_of(cell)
    if cell.level != "memoized":
        view = _decorated(cell, view)
    rule = "/<who:who>" if cell.place == "converter" else "/page"
    app.add_url_rule(rule, "page", view, methods=["GET", "POST"])


def _page_options(app: Flask, cell: Cell) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if cell.level == "private_page":
        options["private"] = True
    if cell.use == "declared":
        options.update(_declarations(cell))
    if cell.place == "error_handler":
        options["not_found_timeout"] = MINUTE
    if seconds := app.config.get("MAX_AGE"):
        options["max_age"] = seconds
    return options


def _declarations(cell: Cell) -> dict[str, Any]:
    if cell.place == "wsgi_middleware":
        return {"vary_environ": (ENVIRON_KEY,)}
    if cell.input in ("session", "authorization"):
        return {"private": READ[cell.input]}
    return {
        "query": {"query": ("who",)},
        "cookie": {"vary_cookies": ("who",)},
        "remote_addr": {"vary_environ": ("REMOTE_ADDR",)},
        "remote_user": {"vary_environ": ("REMOTE_USER",)},
        "environ": {"vary_environ": (CERTIFICATE,)},
    }.get(cell.input, {"vary": ("X-Who",)})


def _page_of(cell: Cell) -> Callable[..., Any]:
    def page(**_: Any) -> Any:
        now.fills[cell.level] += 1
        return _page_text(cell)

    return page


def _page_text(cell: Cell) -> Any:
    if cell.place == "view":
        who = _read_and_put(cell)
        return SAME if cell.use == "unused" else who
    if cell.place == "error_handler":
        abort(404)
    if cell.place == "after_request":
        return SAME
    if cell.place == "fragment":
        return render_template_string(_fragment(EXPRESSIONS[cell.input]))
    if cell.place == "memoized":
        return now.remembered()
    return _text_within(cell)


def _text_within(cell: Cell) -> Any:
    """What a page or a memoized function shows."""
    if cell.place == "after_this_request":
        after_this_request(lambda response: _show(cell, response))
        return SAME
    if cell.place == "template":
        return render_template_string(f"{{{{ {EXPRESSIONS[cell.input]} }}}}")
    if cell.place == "context_processor":
        return render_template_string(SAME if cell.use == "unused" else _expression(cell))
    return _taken(cell)


def _expression(cell: Cell) -> str:
    where = cell.input if cell.input in PUT else "variable"
    return f"{{{{ {_AT[where]} }}}}"


def _show(cell: Cell, response: Any) -> Any:
    who = _read_and_put(cell)
    if cell.use != "unused":
        response.headers[SHOWN_HEADER] = who
    return response


def _uncached_of(cell: Cell) -> Callable[..., Any]:
    """The view that is not cached, and calls or renders what is."""

    def page(**_: Any) -> Any:
        if cell.place == "error_handler":
            abort(404)
        if cell.place == "after_request":
            return SAME
        return _answer(cell, _read_and_put(cell) if cell.place == "view" else None)

    return page


def _answer(cell: Cell, who: Any) -> Any:
    """Call or render what is cached."""
    if cell.level == "fragment":
        # A context processor's name gives way to one that is passed.
        passed = {} if who is None else {"who": who}
        return render_template_string(_fragment_template(cell), **passed)
    if cell.use == "declared" and cell.place != "decorator":
        return now.remembered(who or _taken(cell))
    return now.remembered()


def _remembered(cell: Cell, cache: Any) -> Callable[..., str]:
    inside = cell.level == "memoized" and cell.place != "memoized"
    now.make = (lambda: _memoized_text(cell)) if inside else (lambda: _read_inside(cell))
    function = remember_argument if inside and cell.use == "declared" else remember
    remembered: Callable[..., str] = cache.memoize(MINUTE)(function)
    return _decorated(cell, remembered) if cell.level == "memoized" else remembered


def _read_inside(cell: Cell) -> Any:
    who = _read_and_put(cell)
    return _TAKE[cell.input]() if cell.input in PUT else who


def _memoized_text(cell: Cell) -> Any:
    if cell.place == "fragment":
        return render_template_string(_fragment(EXPRESSIONS[cell.input]))
    return _text_within(cell)


def _fragment_template(cell: Cell) -> str:
    if cell.use in ("unused", "aside"):
        return _fragment("", SAME)
    if cell.place == "fragment":
        return _fragment(EXPRESSIONS[cell.input])
    if cell.place == "memoized":
        return _fragment("remembered()")
    shown = _AT[_somewhere(cell)]
    if cell.place == "template":
        return _set(EXPRESSIONS[cell.input]) + _fragment("who", key=_key(cell))
    if cell.use == "declared" and cell.input != "contextvar":
        return _set(shown) + _fragment("who", key=_key(cell))
    return _fragment(shown, key=_key(cell))


def _set(expression: str) -> str:
    return f"{{% set who = {expression} %}}"


def _key(cell: Cell) -> str:
    return ", who" if cell.use == "declared" and cell.input != "contextvar" else ""


def _fragment(expression: str, text: str = "", key: str = "") -> str:
    shown = f"{{{{ {expression} }}}}" if expression else text
    return f"{{% cache {MINUTE}, 'part'{key} %}}{{{{ count_fragment() }}}}{shown}{{% endcache %}}"
