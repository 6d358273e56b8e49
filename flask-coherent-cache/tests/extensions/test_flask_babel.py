"""Flask-Babel: no text reaches a visitor of another language."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g, render_template, request, session

from flask_coherent_cache import Cache
from visits import (
    CACHED,
    NO_PAGE,
    NOT_INSTALLED,
    PER_USER,
    Page,
    Site,
    Verdict,
    Visitor,
    cached_by,
    not_cached,
    raises,
)

flask_babel: Any = pytest.importorskip("flask_babel", reason=NOT_INSTALLED)
catalogs: Any = pytest.importorskip("babel.messages", reason=NOT_INSTALLED)
mofile: Any = pytest.importorskip("babel.messages.mofile", reason=NOT_INSTALLED)

HELLO = {"en": "Hello", "de": "Hallo", "fr": "Bonjour"}
MOMENT = datetime(2024, 2, 1, 12, 0)
DATES = {"en": "Feb 1, 2024", "de": "01.02.2024", "fr": "1 févr. 2024"}

TEMPLATES = {
    "hello.html": "<p>{{ _('Hello') }}</p>",
    "trans.html": "<p>{% trans %}Hello{% endtrans %}</p>",
    "lazy.html": "<p>{{ title }}</p>",
    "date.html": "<p>{{ moment|dateformat }}</p>",
    "public.html": "<p>All</p>",
    "fragment.html": "{% cache 60, 'hello' %}{{ _('Hello') }}{% endcache %}",
    "by_language.html": "{% cache 60, 'hello', language %}{% endcache %}{{ _('Hello') }}",
}

LANGUAGE = "Accept-Language"
REFUSED, RAISES = not_cached(LANGUAGE), raises(LANGUAGE)
PER_LANGUAGE = cached_by(entries=3)

PAGES = [
    Page("/plain", "All", CACHED),
    Page("/public", "<p>All</p>", CACHED),
    Page("/hello", "<p>{name}</p>", PER_LANGUAGE),
    Page("/trans", "<p>{name}</p>", PER_LANGUAGE),
    Page("/lazy", "<p>{name}</p>", PER_LANGUAGE),
    Page("/in-view", "{name}", PER_LANGUAGE),
    Page("/shared", "<p>{name}</p>", REFUSED, RAISES),
    Page("/shared-lazy", "<p>{name}</p>", REFUSED, RAISES),
    Page("/shared-in-view", "{name}", REFUSED, RAISES),
    Page("/fragment", "{name}", NO_PAGE, RAISES),
    Page("/memoized", "{name}", PER_LANGUAGE, RAISES),
    Page("/memoized-later", "{name}, {name}", PER_LANGUAGE),
    Page("/forced", "{name} ann", PER_LANGUAGE),
]


@pytest.fixture(scope="module")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with catalogs in German and French."""
    folder = tmp_path_factory.mktemp("translations")
    for language in ("de", "fr"):
        catalog = catalogs.Catalog(locale=language)
        catalog.add("Hello", HELLO[language])
        path = folder / language / "LC_MESSAGES" / "messages.mo"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            mofile.write_mo(file, catalog)
    return folder


@pytest.fixture
def settings(translations: Path) -> dict[str, str]:
    """What Flask-Babel has to know."""
    return {"BABEL_TRANSLATION_DIRECTORIES": str(translations)}


def readers(site: Site, shown: dict[str, str] = HELLO) -> list[Visitor]:
    """A visitor for each language, twice for English, once without a header."""
    visitors = []
    for language, text in shown.items():
        visitors.append(site.visitor(language))
        visitors[-1].shown, visitors[-1].headers = text, {LANGUAGE: language}
    return visitors


def by_header() -> str | None:
    """Choose the language as Flask-Babel's documentation does."""
    return request.accept_languages.best_match(["en", "de", "fr"])


def rendered(app: Flask, path: str, template: str, decorate: Callable[..., Any], **context: Any):  # type: ignore[no-untyped-def]
    """Register a view that renders a template."""

    def view() -> str:
        return render_template(template, **context)

    view.__name__ = view.__qualname__ = path.strip("/").replace("-", "_")
    app.add_url_rule(path, view_func=decorate(view))


def header_views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table."""
    flask_babel.Babel(app, locale_selector=by_header)
    public, varied = cache.cached(), cache.cached(vary=(LANGUAGE,))
    title = flask_babel.lazy_gettext("Hello")
    rendered(app, "/public", "public.html", public)
    rendered(app, "/hello", "hello.html", varied)
    rendered(app, "/trans", "trans.html", varied)
    rendered(app, "/lazy", "lazy.html", varied, title=title)
    rendered(app, "/shared", "hello.html", public)
    rendered(app, "/shared-lazy", "lazy.html", public, title=title)
    rendered(app, "/fragment", "fragment.html", lambda view: view)

    @app.get("/plain")
    @public
    def plain() -> str:
        return "All"

    @app.get("/in-view")
    @varied
    def in_view() -> str:
        return str(flask_babel.gettext("Hello"))

    @app.get("/shared-in-view")
    @public
    def shared_in_view() -> str:
        return str(flask_babel.gettext("Hello"))

    memoized_views(app, cache, varied)


def memoized_views(app: Flask, cache: Cache, varied: Callable[..., Any]) -> None:
    """Register pages whose functions are memoized."""

    @cache.memoize(make_name=lambda _: "hello")
    def hello() -> str:
        return str(flask_babel.gettext("Hello"))

    @cache.memoize(make_name=lambda _: "greet")
    def greet(name: str, language: str) -> str:
        with flask_babel.force_locale(language):
            return f"{flask_babel.gettext('Hello')} {name}"

    @app.get("/memoized")
    @varied
    def memoized() -> str:
        return hello()

    @app.get("/memoized-later")
    @varied
    def memoized_later() -> str:
        # Flask-Babel keeps the language on `g`: the function reads no header any more.
        return f"{flask_babel.gettext('Hello')}, {hello()}"

    @app.get("/forced")
    @varied
    def forced() -> str:
        return greet("ann", str(flask_babel.get_locale()))


def test_by_the_browsers_language(build: Callable[..., Site], settings: dict[str, str]) -> None:
    site = build(header_views, TEMPLATES, **settings)
    site.tour(PAGES, readers(site))


def test_dates_are_written_as_the_visitor_does(
    build: Callable[..., Site], settings: dict[str, str]
) -> None:
    def register(app: Flask, cache: Cache) -> None:
        flask_babel.Babel(
            app, locale_selector=by_header, timezone_selector=lambda: request.headers.get("X-Zone")
        )
        varied = cache.cached(vary=(LANGUAGE, "X-Zone"))
        rendered(app, "/date", "date.html", varied, moment=MOMENT)
        rendered(app, "/shared", "date.html", cache.cached(), moment=MOMENT)

        @app.get("/time")
        @varied
        def time() -> str:
            return str(flask_babel.format_datetime(MOMENT, "d.M. HH:mm"))

        @app.get("/time-without-zone")
        @cache.cached(vary=(LANGUAGE,))
        def time_without_zone() -> str:
            return str(flask_babel.format_datetime(MOMENT, "HH:mm"))

    site = build(register, TEMPLATES, **settings)
    pages = [
        Page("/date", "<p>{name}</p>", PER_LANGUAGE),
        Page("/shared", "<p>{name}</p>", not_cached("X-Zone"), raises("X-Zone")),
    ]
    site.tour(pages, readers(site, DATES))
    here, there = site.visitors("12:00", "21:00")
    there.headers = {"X-Zone": "Asia/Tokyo"}
    pages = [
        Page("/time", "1.2. {name}", cached_by(entries=2)),
        Page("/time-without-zone", "{name}", not_cached("X-Zone"), raises("X-Zone")),
    ]
    site.tour(pages, [here, there])


def with_language(site: Site, language: str) -> Visitor:
    """A visitor who chose a language."""
    visitor = site.visitor(language)
    visitor.shown = HELLO[language]
    visitor.post("/language", language=language)
    return visitor


def test_by_the_session(build: Callable[..., Site], settings: dict[str, str]) -> None:
    def register(app: Flask, cache: Cache) -> None:
        flask_babel.Babel(app, locale_selector=lambda: session.get("language"))
        session_views(app, cache)

    site = build(register, TEMPLATES, **settings)
    visitors = [*(with_language(site, language) for language in HELLO), site.visitor("nobody")]
    visitors[-1].shown = "Hello"
    site.tour(_pages_by("session"), visitors)


def test_by_the_user(build: Callable[..., Site], settings: dict[str, str]) -> None:
    """As Flask-Babel's documentation has it: the user is on ``g``."""

    def register(app: Flask, cache: Cache) -> None:
        @app.before_request
        def load_user() -> None:
            g.user = {"language": session.get("language")}

        def locale() -> str | None:
            user = getattr(g, "user", None)
            return user["language"] if user is not None else None

        flask_babel.Babel(app, locale_selector=locale)
        declare: Any = cache.influences_only_through
        declare(load_user, g="user", reason="it loads the user, and does no more")
        session_views(app, cache)

    site = build(register, TEMPLATES, **settings)
    visitors = [*(with_language(site, language) for language in HELLO), site.visitor("nobody")]
    visitors[-1].shown = "Hello"
    site.tour(_pages_by("session"), visitors)


def _pages_by(named: str) -> list[Page]:
    return [
        Page("/plain", "All", CACHED),
        Page("/public", "<p>All</p>", CACHED),
        Page("/shared", "<p>{name}</p>", not_cached(named), raises(named)),
        Page("/private", "<p>{name}</p>", PER_USER),
        Page("/fragment", "{name}", NO_PAGE, raises(named)),
        Page("/memoized", "{name}", Verdict(), raises(named)),
        Page("/memoized-later", "{name}, {name}", Verdict()),
        Page("/forced", "{name} ann", Verdict()),
    ]


def session_views(app: Flask, cache: Cache) -> None:
    """Register pages for a language that the visitor chose."""

    @app.post("/language")
    def language() -> str:
        session["language"] = request.form["language"]
        return "done"

    @app.get("/plain")
    @cache.cached()
    def plain() -> str:
        return "All"

    private = cache.cached(private=True)
    rendered(app, "/public", "public.html", cache.cached())
    rendered(app, "/shared", "hello.html", cache.cached())
    rendered(app, "/private", "hello.html", private)
    rendered(app, "/fragment", "fragment.html", lambda view: view)
    memoized_views(app, cache, private)
