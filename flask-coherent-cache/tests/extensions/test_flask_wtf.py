"""Flask-WTF: a form's token belongs to one session, and to no page that is cached for others."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, render_template

from flask_coherent_cache import Cache, UndeclaredInput
from visits import CACHED, NOT_INSTALLED, Page, Site, Verdict, Visitor, not_cached, raises

flask_wtf: Any = pytest.importorskip("flask_wtf", reason=NOT_INSTALLED)
wtforms: Any = pytest.importorskip("wtforms", reason=NOT_INSTALLED)

TEMPLATES = {
    "public.html": "<p>Hello all</p>",
    "token.html": "<input name=csrf_token value='{{ csrf_token() }}'>",
    "form.html": "<form>{{ form.hidden_tag() }}</form>",
    "no_token.html": "<form>{{ form.text.label }}</form>",
    "in_fragment.html": "{% cache 60, 'token' %}<input name=csrf_token"
    " value='{{ csrf_token() }}'>{% endcache %}",
    "beside.html": "{% cache 60, 'all' %}Hello all{% endcache %}<input name=csrf_token"
    " value='{{ csrf_token() }}'>",
}
VALUE = r"""value=['"][^'"]+['"]"""
TOKEN = "<input name=csrf_token *>"
FIELD = '<form><input id="csrf_token" name="csrf_token" type="hidden" *></form>'

#: The first page writes the session, for which it is refused already.
RAISES = raises("session", rounds=1)
#: With ``private=True``: the first page of a session starts it, and only then is there one.
PAGES = [
    Page("/", "<p>Hello all</p>", CACHED),
    Page("/plain", "Hello all", CACHED),
    Page("/no-token", '<form><label for="text">Text</label></form>', CACHED),
    Page("/token", TOKEN, not_cached("session"), RAISES, blurred=VALUE),
    Page("/form", FIELD, not_cached("session"), RAISES, blurred=VALUE),
    Page("/own-form", FIELD, Verdict(rounds=2), blurred=VALUE),
]


def views(app: Flask, cache: Cache) -> None:
    """Register the pages of the table, as Flask-WTF's documentation does."""
    flask_wtf.CSRFProtect(app)

    class NoteForm(flask_wtf.FlaskForm):  # type: ignore[misc]
        text = wtforms.StringField("Text")

    @app.get("/")
    @cache.cached()
    def index() -> str:
        return render_template("public.html")

    @app.get("/plain")
    @cache.cached()
    def plain() -> str:
        return "Hello all"

    @app.get("/no-token")
    @cache.cached()
    def no_token() -> str:
        return render_template("no_token.html", form=NoteForm(meta={"csrf": False}))

    @app.get("/token")
    @cache.cached()
    def token() -> str:
        return render_template("token.html")

    @app.route("/form", methods=["GET", "POST"])
    @cache.cached()
    def form() -> str:
        note = NoteForm()
        if note.validate_on_submit():
            return f"Noted: {note.text.data}"
        return render_template("form.html", form=note)

    @app.route("/own-form", methods=["GET", "POST"])
    @cache.cached(private=True)
    def own_form() -> str:
        return form.uncached()  # type: ignore[attr-defined, no-any-return]

    @app.get("/in-fragment")
    def in_fragment() -> str:
        return render_template("in_fragment.html")

    @app.get("/beside")
    def beside() -> str:
        return render_template("beside.html")


@pytest.fixture
def site(build: Callable[..., Site]) -> Site:
    """The site of the table."""
    return build(views, TEMPLATES)


def token_of(visitor: Visitor, path: str) -> str:
    """Return the token in a page."""
    (token,) = re.findall(r"""value=['"]([^'"]+)['"]""", visitor.get(path).text)
    return str(token)


def test_a_token_is_never_stored_for_others(site: Site) -> None:
    site.tour(PAGES, site.visitors("ann", "bob", "eve"))


def test_each_visitors_token_is_their_own(site: Site) -> None:
    if site.is_strict and site.has_cache:
        paths = ["/own-form", "/beside"]
    else:
        paths = ["/token", "/form", "/own-form", "/in-fragment", "/beside"]
    for path in paths:
        for _ in range(3):
            ann, bob = site.visitors("ann", "bob")
            tokens = {visitor.name: token_of(visitor, path) for visitor in (ann, bob)}
            again = {visitor.name: token_of(visitor, path) for visitor in (ann, bob)}
            for own in (tokens, again):
                for visitor in (ann, bob):
                    mine = visitor.post("/form", csrf_token=own[visitor.name], text="x")
                    assert (mine.status_code, mine.text) == (200, "Noted: x"), path
            assert ann.post("/form", csrf_token=tokens["bob"], text="x").status_code == 400


@pytest.mark.parametrize("path", ["/in-fragment"])
def test_a_token_in_a_fragment_is_refused(site: Site, path: str) -> None:
    ann, bob = site.visitors("ann", "bob")
    if site.is_strict and site.has_cache:
        with pytest.raises(UndeclaredInput, match="session"):
            ann.get(path)
    else:
        assert token_of(ann, path) != token_of(bob, path)


def test_a_post_without_a_token_is_refused_where_the_page_is_cached(site: Site) -> None:
    ann = site.visitor("ann")
    for _ in range(3):
        assert ann.get("/own-form").status_code == 200
        assert ann.post("/own-form", text="x").status_code == 400
