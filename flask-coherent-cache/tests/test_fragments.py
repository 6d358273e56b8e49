"""Fragments: what the body takes from around it is in the key, or nothing is stored."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template, render_template_string
from flask_caching import make_template_fragment_key
from flask_sqlalchemy import SQLAlchemy
from jinja2 import (
    DictLoader,
    FileSystemBytecodeCache,
    Undefined,
    nodes,
    pass_context,
    select_autoescape,
)
from jinja2.compiler import CodeGenerator
from jinja2.ext import Extension
from jinja2.parser import Parser
from markupsafe import Markup
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship
from werkzeug.local import LocalProxy

import flask_coherent_cache as caching
from flask_coherent_cache._dependencies.dependencies import current_dependencies
from flask_coherent_cache._pages import fragment_names

SETTINGS = {"SECRET_KEY": "k" * 40, "CACHE_STRICT": True}

TEMPLATES = {
    "name.html": "{{ user.name }}",
    "by_way.html": "{% include 'name.html' %}",
    "greet.html": "{% macro greet() %}{{ user.name }}{% endmacro %}"
    "{% macro plain(x) %}{{ x }}{{ missing_here }}{% endmacro %}",
    "text.html": "{{ user.name }}{% macro nothing() %}{% endmacro %}",
    "layout.html": "{% block main %}base {{ user.name }}{% endblock %}",
    "cached_layout.html": "{% cache 60, 'f' %}{{ n() }} {% block main %}{% endblock %}"
    "{% endcache %}",
    "child.html": "{% extends 'cached_layout.html' %}{% block main %}{{ user.name }}{% endblock %}",
    "other_child.html": "{% extends 'cached_layout.html' %}{% block main %}other{% endblock %}",
    "widget.html": "{{ x }}{{ absent }}",
    "sets.html": "{% set ns.a = 1 %}",
}

#: Bodies and what is around them that show the name of a visitor.
PERSONAL = {
    "outer variable": "{% cache 60, 'f' %}{{ n() }} Hello {{ user.name }}{% endcache %}",
    "set": "{% set name = user.name %}{% cache 60, 'f' %}{{ n() }} {{ name }}{% endcache %}",
    "with": "{% with name = user.name %}{% cache 60, 'f' %}{{ n() }} {{ name }}{% endcache %}"
    "{% endwith %}",
    "loop": "{% for one in [user] %}{% cache 60, 'f' %}{{ n() }} {{ one.name }}{% endcache %}"
    "{% endfor %}",
    "condition": "{% cache 60, 'f' %}{{ n() }} {% if 0 %}{% set user = 1 %}{% endif %}"
    "{{ user.name }}{% endcache %}",
    "set in the body after": "{% cache 60, 'f' %}{{ n() }} {{ user.name }}{% set user = 1 %}"
    "{% endcache %}",
    "namespace": "{% set ns = namespace(name=user.name) %}"
    "{% cache 60, 'f' %}{{ n() }} {{ ns.name }}{% endcache %}",
    "include": "{% cache 60, 'f' %}{{ n() }} {% include 'name.html' %}{% endcache %}",
    "include by way": "{% cache 60, 'f' %}{{ n() }} {% include 'by_way.html' %}{% endcache %}",
    "include of a list": "{% cache 60, 'f' %}{{ n() }} {% include ['none.html', 'name.html'] %}"
    "{% endcache %}",
    "include of a loop's": "{% for user in [user] %}{% cache 60, 'f' %}{{ n() }} "
    "{% include 'name.html' %}{% endcache %}{% endfor %}",
    "include of what extends": "{% cache 60, 'f' %}{{ n() }} {% include 'layout.html' %}"
    "{% endcache %}",
    "import": "{% from 'greet.html' import greet with context %}"
    "{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}",
    "import of all": "{% import 'greet.html' as m with context %}"
    "{% cache 60, 'f' %}{{ n() }} {{ m.greet() }}{% endcache %}",
    "import in the body": "{% cache 60, 'f' %}{% from 'greet.html' import greet with context %}"
    "{{ n() }} {{ greet() }}{% endcache %}",
    "text of an import": "{% import 'text.html' as m with context %}"
    "{% cache 60, 'f' %}{{ n() }} {{ m }}{% endcache %}",
    "macro": "{% macro greet() %}{{ user.name }}{% endmacro %}"
    "{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}",
    "macro by way": "{% macro a() %}{{ user.name }}{% endmacro %}{% macro b() %}"
    "{{ a() }}{% endmacro %}"
    "{% cache 60, 'f' %}{{ n() }} {{ b() }}{% endcache %}",
    "macro that is set": "{% macro a() %}{{ user.name }}{% endmacro %}{% set b = [a] %}"
    "{% cache 60, 'f' %}{{ n() }} {{ b[0]() }}{% endcache %}",
    "macro of a loop": "{% for one in [user] %}{% macro greet() %}{{ one.name }}{% endmacro %}"
    "{% for one in [1] %}{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}{% endfor %}"
    "{% endfor %}",
    "macro that includes": "{% macro greet() %}{% include 'name.html' %}{% endmacro %}"
    "{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}",
    "default of a macro": "{% macro greet(name=user.name) %}{{ name }}{% endmacro %}"
    "{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}",
    "inside a macro": "{% macro greet(one) %}{% cache 60, 'f' %}{{ n() }} {{ one.name }}"
    "{% endcache %}"
    "{% endmacro %}{{ greet(user) }}",
    "call": "{% macro box() %}({{ caller() }}){% endmacro %}{% cache 60, 'f' %}{{ n() }} "
    "{% call box() %}{{ user.name }}{% endcall %}{% endcache %}",
    "caller": "{% macro box() %}{% set inner = caller %}{% cache 60, 'f' %}{{ n() }} {{ inner() }}"
    "{% endcache %}{% endmacro %}{% call box() %}{{ user.name }}{% endcall %}",
    "block": "{% block main %}{% cache 60, 'f' %}{{ n() }} {{ user.name }}{% endcache %}"
    "{% endblock %}",
    "super": "{% extends 'layout.html' %}{% block main %}{% cache 60, 'f' %}{{ n() }} {{ super() }}"
    "{% endcache %}{% endblock %}",
    "self": "{% block main %}{{ user.name }}{% endblock %}"
    "{% cache 60, 'f' %}{{ n() }} {{ self.main() }}{% endcache %}",
    "nested": "{% cache 60, 'f' %}{{ n() }} {% cache 60, 'g' %}{{ user.name }}{% endcache %}"
    "{% endcache %}",
    "filter block": "{% cache 60, 'f' %}{{ n() }} {% filter upper %}{{ user.name }}{% endfilter %}"
    "{% endcache %}",
    "vary": "{% cache 60, 'f', user %}{{ n() }} {{ user.name }}{% endcache %}",
    "context processor": "{% cache 60, 'f' %}{{ n() }} {{ visitor }}{% endcache %}",
    "child": "{% extends 'child.html' %}",
}

#: Bodies that show everyone the same.
COMMON = {
    "literals": "{% cache 60, 'f' %}{{ n() }} {{ 'a' ~ 1 }}{% endcache %}",
    "globals": "{% cache 60, 'f' %}{{ n() }} {{ url_for('static', filename='x') }}"
    "{{ config.DEBUG }}"
    "{{ range(3)|list }}{% endcache %}",
    "own variables": "{% cache 60, 'f' %}{{ n() }}{% set a = 1 %}{{ a }}"
    "{% for user in [1, 2] %}{{ user }}{{ loop.index }}{% endfor %}{% endcache %}",
    "own macro": "{% cache 60, 'f' %}{{ n() }}{% macro a(user) %}{{ user }}{% endmacro %}{{ a(1) }}"
    "{% endcache %}",
    "macro": "{% macro a(x) %}{{ x }}{% endmacro %}{% cache 60, 'f' %}{{ n() }}"
    "{{ a(1) }}{% endcache %}",
    "import": "{% from 'greet.html' import plain %}{% cache 60, 'f' %}{{ n() }}{{ plain(1) }}"
    "{% endcache %}",
    "import in the body": "{% cache 60, 'f' %}{% import 'greet.html' as m %}{{ n() }}"
    "{{ m.plain(1) }}"
    "{% endcache %}",
    "page of its own": "{% cache 60, 'f' %}{{ n() }}{{ widget() }}{% endcache %}",
    "missing include": "{% cache 60, 'f' %}{{ n() }}{% include 'none.html' ignore missing %}"
    "{% endcache %}",
    "undefined": "{% cache 60, 'f' %}{{ n() }}{{ nobody }}{% if no is defined %}1"
    "{% endif %}{% endcache %}",
    "function": "{% cache 60, 'f' %}{{ n() }}{{ common() }}{% endcache %}",
    "filters": "{% cache 60, 'f' %}{{ n() }}{{ [1, 2]|map('string')|select('defined')|join }}"
    "{{ [{'a': 1}]|map(attribute='a')|list }}{% endcache %}",
    "other child": "{% extends 'other_child.html' %}",
    "nameless": "{% cache 60 %}{{ n() }}{% endcache %}",
    "around": "{{ user.name[:0] }}{% cache 60, 'f' %}{{ n() }}{% endcache %}",
}

REFUSED = {
    "object": ("{% cache 60, 'f' %}{{ n() }} {{ thing }}{% endcache %}", "variable 'thing' is a"),
    "inside": ("{% cache 60, 'f' %}{{ n() }} {{ things }}{% endcache %}", "variable 'things' is a"),
    "function": (
        "{% cache 60, 'f' %}{{ n() }} {{ local() }}{% endcache %}",
        "variable 'local' is a",
    ),
    "vary": ("{% cache 60, 'f', thing %}{{ n() }}{% endcache %}", "a part of its name is a"),
    "macro": (
        "{% macro m() %}{{ thing }}{% endmacro %}{% cache 60, 'f' %}{{ n() }} {{ m() }}"
        "{% endcache %}",
        "variable 'thing' is a",
    ),
    "enclosed": (
        "{% set one = thing %}{% macro m() %}{{ one }}{% endmacro %}"
        "{% cache 60, 'f' %}{{ n() }} {{ m() }}{% endcache %}",
        "variable 'm.one' is a",
    ),
    "loop": (
        "{% for a in [1] %}{% cache 60, 'f' %}{{ n() }} {{ loop.index }}{% endcache %}{% endfor %}",
        "variable 'loop' is a",
    ),
    "recursion": (
        "{% cache 60, 'f' %}{{ n() }} {{ endless }}{% endcache %}",
        "variable 'endless' contains itself",
    ),
    "dynamic include": (
        "{% cache 60, 'f' %}{{ n() }} {% include which %}{% endcache %}",
        "known at run time only",
    ),
    "dynamic import": (
        "{% cache 60, 'f' %}{% import which as m with context %}{{ n() }}{% endcache %}",
        "known at run time only",
    ),
    "macro with a dynamic include": (
        "{% macro m() %}{% include which %}{% endmacro %}"
        "{% cache 60, 'f' %}{{ n() }} {{ m() }}{% endcache %}",
        "variable 'm' includes a template whose name is known at run time only",
    ),
    "filter": ("{% cache 60, 'f' %}{{ n() }} {{ 1|sneak }}{% endcache %}", "calls 'sneak'"),
    "filter by name": (
        "{% cache 60, 'f' %}{{ n() }} {{ [1]|map('sneak')|list }}{% endcache %}",
        "calls 'sneak'",
    ),
    "filter by a variable": (
        "{% cache 60, 'f' %}{{ n() }} {{ [1]|map(which)|list }}{% endcache %}",
        "known at run time only",
    ),
    "filter by arguments": (
        "{% cache 60, 'f' %}{{ n() }} {{ [1]|map(*[which])|list }}{% endcache %}",
        "known at run time only",
    ),
    "test": ("{% cache 60, 'f' %}{{ n() }} {{ 1 is sneaky }}{% endcache %}", "calls 'sneaky'"),
    "function with context": (
        "{% cache 60, 'f' %}{{ n() }} {{ sneak() }}{% endcache %}",
        r"used all variables \(by sneak\)",
    ),
    "tag with context": (
        "{% cache 60, 'f' %}{{ n() }} {% everything %}{% endcache %}",
        "gets all variables",
    ),
    "namespace": (
        "{% set ns = namespace() %}{% cache 60, 'f' %}{{ n() }}{% set ns.a = 1 %}{% endcache %}",
        r"sets ns\.a",
    ),
    "namespace by way": (
        "{% set ns = namespace() %}{% cache 60, 'f' %}{{ n() }}{% include 'sets.html' %}"
        "{% endcache %}",
        r"sets ns\.a",
    ),
}


@dataclass(frozen=True)
class User:
    name: str


class Thing:
    """Without a stable text."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Everything(Extension):
    """Hands its tag all variables, as Jinja's own debugging tag does."""

    tags = {"everything"}  # noqa: RUF012 - Jinja's

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        call = self.call_method("_show", [nodes.ContextReference()])
        return nodes.Output([call]).set_lineno(line)

    def _show(self, context: Any) -> str:
        return f"{context['user'].name}"


def common() -> str:
    return "common"


@pass_context
def sneak(context: Any, *_: Any) -> str:
    return f"{context['user'].name}"


def endless() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


Show = Callable[..., str]


def make(templates: dict[str, str], **settings: Any) -> tuple[Flask, Any, Show]:
    """Make an application of templates, and what shows one to a visitor, with a new number."""
    app = Flask("shop", template_folder=None)
    app.config.update(SETTINGS, **settings)
    cache = caching.Cache(app)
    app.jinja_env.loader = DictLoader(templates)
    app.jinja_env.autoescape = True
    app.jinja_env.add_extension(Everything)
    counted: Counter[str] = Counter()

    @app.template_global()
    def n() -> int:
        counted["n"] += 1
        return counted["n"]

    app.template_global("widget")(lambda: render_template("widget.html", x=5))
    app.template_global("sneak")(sneak)
    app.template_filter("sneak")(sneak)
    app.template_test("sneaky")(sneak)
    shown_to: dict[str, str] = {}
    app.context_processor(lambda: {"visitor": shown_to.get("name")})

    def show(name: str, visitor: str = "Ann", **more: Any) -> str:
        with app.test_request_context():
            shown_to["name"] = visitor
            return render_template(name, user=User(visitor), **more)

    return app, cache, show


def numbers(shown: list[str]) -> list[str]:
    """Return the numbers of the fills that were shown."""
    return ["".join(filter(str.isdigit, text.split()[0])) for text in shown]


@pytest.mark.parametrize("case", PERSONAL)
def test_what_a_body_uses_is_in_the_key(case: str) -> None:
    _, _, show = make({**TEMPLATES, "page.html": PERSONAL[case]})
    shown = [show("page.html", visitor) for visitor in ("Ann", "Bob") * 2]
    assert all("Ann" in text or "ANN" in text for text in shown[::2])
    assert all("Bob" in text or "BOB" in text for text in shown[1::2])
    # And it is cached for each.
    assert shown[:2] == shown[2:]


@pytest.mark.parametrize("case", COMMON)
def test_what_is_the_same_for_everyone_is_cached_once(case: str) -> None:
    _, _, show = make({**TEMPLATES, "page.html": COMMON[case]})
    shown = [show("page.html", visitor, common=common) for visitor in ("Ann", "Bob") * 2]
    assert len(set(shown)) == 1


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_stable_text_is_refused_by_name(
    case: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache._dependencies.inputs._reported", set())
    source, words = REFUSED[case]
    values = {
        "thing": Thing(),
        "things": [{"a": Thing()}],
        "local": lambda: 1,
        "endless": endless(),
        "which": "upper" if "filter" in case else "name.html",
    }
    app, _, show = make({**TEMPLATES, "page.html": source})
    with pytest.raises(caching.UnstableArgument, match=rf"The fragment f\b.*{words}"):
        show("page.html", **values)
    app.config["CACHE_STRICT"] = False
    shown = [show("page.html", visitor, **values) for visitor in ("Ann", "Bob") * 2]
    assert len(set(numbers(shown))) == 4
    assert "The fragment f" in caplog.text


def test_a_name_that_nobody_foresaw_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch over look-ups holds where what was found at compile time is too little."""
    part_of = fragment_names.part_of

    def too_little(*args: Any) -> fragment_names.Part:
        return part_of(*args)._replace(names=())

    monkeypatch.setattr(fragment_names, "part_of", too_little)
    for case in ("include", "import in the body", "macro", "macro that includes", "self", "super"):
        app, _, show = make({**TEMPLATES, "page.html": PERSONAL[case]})
        with pytest.raises(
            caching.UnstableArgument, match="used user, which its key does not hold"
        ):
            show("page.html")
        app.config["CACHE_STRICT"] = False
        shown = [show("page.html", visitor) for visitor in ("Ann", "Bob") * 2]
        assert len(set(shown)) == 4


def test_names_and_what_they_vary_on_are_not_taken_for_each_other() -> None:
    parts = ["'a_', 'b'", "'a', '_b'", "'user', 'menu'", "'user_menu'", "'f', None", "'f', 'None'"]
    parts += ["'f', 1", "'f', '1'", "'f', true", "'f', ''", "'f', '', ''", "'f', ['', '']", "'f'"]
    templates = {part: f"{{% cache 60, {part} %}}{{{{ n() }}}}{{% endcache %}}" for part in parts}
    _, _, show = make(templates)
    assert len({show(part) for part in parts * 2}) == len(parts)


def test_two_bodies_under_one_name_are_two_fragments() -> None:
    _, _, show = make(
        {
            **TEMPLATES,
            "a": "{% cache 60 %}{{ n() }} a{% endcache %}",
            "b": "{% cache 60 %}{{ n() }} b{% endcache %}",
            "third_child.html": "{% extends 'cached_layout.html' %}"
            "{% block main %}third{% endblock %}",
            "html": "{% cache 60, 'f' %}{{ '<' }}{% endcache %}",
            "text": "{% autoescape false %}{% cache 60, 'f' %}{{ '<' }}{% endcache %}"
            "{% endautoescape %}",
        }
    )
    assert [show("a"), show("b"), show("a")] == ["1 a", "2 b", "1 a"]
    assert [show("child.html"), show("other_child.html")] == ["3 Ann", "4 other"]
    assert [show("third_child.html"), show("other_child.html")] == ["5 third", "4 other"]
    assert [show("html"), show("text"), show("html")] == ["&lt;", "<", "&lt;"]


def test_escaping_is_that_of_the_template_that_a_body_stands_in() -> None:
    body = "{% block main %}{% cache 60, 'f' %}{{ '<' }}{% endcache %}{% endblock %}"
    app, _, show = make(
        {
            "one.html": "{% extends 'base.html' %}",
            "other.html": "{% extends 'base.txt' %}",
            "base.html": body,
            "base.txt": body,
        }
    )
    app.jinja_env.autoescape = select_autoescape()
    assert [show("one.html"), show("other.html"), show("one.html")] == ["&lt;", "<", "&lt;"]


def test_a_relative_name_means_what_it_does_where_it_stands() -> None:
    for body in ("{% include 'part' %}", "{% import 'part' as part %}{{ part }}"):
        page = "{% cache 60, 'f' %}" + body + "{% endcache %}"
        app, _, show = make({"a/page": page, "b/page": page, "a/part": "1", "b/part": "2"})
        app.jinja_env.join_path = lambda template, parent: f"{parent[0]}/{template}"
        assert [show("a/page"), show("b/page"), show("a/page")] == ["1", "2", "1"]


def test_a_module_that_was_imported_before_is_known() -> None:
    page = "{% import 'greet.html' as m %}{{ n() }}{{ m.plain(1) }}"
    page = "{% cache 60, 'f', x %}" + page + "{% endcache %}"
    _, _, show = make({**TEMPLATES, "page": page})
    assert [show("page", x=x) for x in (1, 2, 1, 2)] == ["11", "21", "11", "21"]


def test_what_was_compiled_before_the_cache_was_there_is_compiled_again() -> None:
    app = Flask("shop")
    app.config.update(SETTINGS)
    app.jinja_env.loader = DictLoader({**TEMPLATES, "page": PERSONAL["include"]})
    app.template_global("n")(lambda: "")
    app.jinja_env.get_template("name.html")
    caching.Cache(app)
    with app.test_request_context():
        for name in ("Ann", "Bob") * 2:
            assert render_template("page", user=User(name)).strip() == name


@pytest.mark.parametrize(
    "source",
    [
        "{% for user in [b] %}{% cache 60, 'f' %}{% include 'name.html' %}{% include 'm' %}"
        "{% endcache %}{% endfor %}",
        "{% set user = a %}{% import 'm' as one with context %}"
        "{% set user = b %}{% import 'm' as two with context %}"
        "{% cache 60, 'f' %}{{ one.show() }}{{ two.show() }}{% endcache %}",
        "{% set made = [] %}{% for one in [a, b] %}{% macro m() %}{{ one.name }}{% endmacro %}"
        "{% if made.append(m) %}{% endif %}{% endfor %}"
        "{% cache 60, 'f' %}{{ made[0]() }}{{ made[1]() }}{% endcache %}",
        "{% set made = [] %}{% for one in [a, b] %}{% macro m() %}{{ one.name }}{% endmacro %}"
        "{% if made.append(m) %}{% endif %}{% endfor %}{% set third = made[0 if short else 1] %}"
        "{% cache 60, 'f' %}{{ made[0]() }}{{ third() }}{{ made[1]() }}{% endcache %}",
        "{% set user = a %}{% from 'm' import show as x with context %}"
        "{% set user = b %}{% from 'm' import show as y with context %}"
        "{% set third = x if short else y %}"
        "{% cache 60, 'f' %}{{ x() }}{{ third() }}{{ y() }}{% endcache %}",
        "{% if short %}{% macro m() %}1{{ a.name }}{% endmacro %}{% else %}"
        "{% macro m() %}2{{ a.name }}{% endmacro %}{% endif %}"
        "{% cache 60, 'f' %}{{ m() }}{% endcache %}",
        "{% for x in [a] %}{% macro m(y) %}{{ x.name }}{% endmacro %}"
        "{% for x in [b] %}{% macro o() %}{{ m(1) }}{{ x.name }}{% endmacro %}"
        "{% cache 60, 'f' %}{{ o() }}{% endcache %}{% endfor %}{% endfor %}",
    ],
)
def test_values_that_change_places_are_not_taken_for_each_other(source: str) -> None:
    module = "{% macro show() %}{{ user.name }}{% endmacro %}{{ show() }}"
    templates = {"name.html": "{{ user.name }}", "m": module}
    _, _, cached = make({**templates, "page": source})
    bare = source.replace("{% cache 60, 'f' %}", "").replace("{% endcache %}", "")
    _, _, plain = make({**templates, "page": bare})
    ann, bob = User("Ann"), User("Bob")
    for _ in range(2):
        for a, b in ((ann, bob), (bob, ann), (ann, ann), (bob, bob)):
            for short in (True, False):
                values = {"a": a, "b": b, "short": short}
                assert cached("page", a.name, **values) == plain("page", a.name, **values)


def test_a_proxy_stands_for_what_it_is_of() -> None:
    source = "{% cache 60, 'f' %}{{ n() }} {{ one.name }}{% endcache %}"
    _, _, show = make({"page": source})
    found: list[User] = []
    proxy = LocalProxy(lambda: found[0])
    for name in ("Ann", "Bob") * 2:
        found[:] = [User(name)]
        assert show("page", one=proxy) == {"Ann": "1 Ann", "Bob": "2 Bob"}[name]

    def nobody() -> User:
        raise RuntimeError

    with pytest.raises(caching.UnstableArgument, match="variable 'one' is a proxy of nothing"):
        show("page", one=LocalProxy(nobody))


def test_an_undefined_variable_is_a_value_of_its_own() -> None:
    source = "{% cache 60, 'f' %}{{ n() }}{{ x is defined }}{{ x or '' }}{% endcache %}"
    _, _, show = make({"page": source})
    for _ in range(2):
        assert show("page") == "1False"
        assert show("page", x="undefined") == "2Trueundefined"
        assert show("page", x=None) == "3True"
        assert show("page", x="") == "4True"
        assert show("page", x=Markup("")) == "5True"
    assert show("page", x=Undefined(name="y")) == "1False"


@pytest.mark.parametrize(
    "drop",
    [
        lambda cache, show: show("del"),
        lambda cache, show: cache.delete(make_template_fragment_key("f")),
        lambda cache, show: cache.delete_many(make_template_fragment_key("f")),
    ],
)
def test_a_fragment_is_deleted_by_name_with_all_its_variants(drop: Callable[..., Any]) -> None:
    body = "{{ n() }} {{ user.name }}{% endcache %}"
    templates = {
        "plain": "{% cache 60, 'f' %}" + body,
        "vary": "{% cache 60, 'f', x %}" + body,
        "other": "{% cache 60, 'g' %}" + body,
        "del": "{% cache 'del', 'f' %}{% endcache %}",
        "del one": "{% cache 'del', 'f', x %}{% endcache %}",
    }
    app, cache, show = make(templates)

    def visit() -> list[str]:
        shown = [
            show("plain", "Ann"),
            show("plain", "Bob"),
            show("vary", x="1"),
            show("vary", x="2"),
        ]
        return numbers([*shown, show("other")])

    assert visit() == visit() == ["1", "2", "3", "4", "5"]
    with app.app_context():
        drop(cache, show)
    assert visit() == visit() == ["6", "7", "8", "9", "5"]
    with app.app_context():
        cache.delete(make_template_fragment_key("f", vary_on=["1"]))
    assert visit() == ["6", "7", "10", "9", "5"]
    show("del one", x=2)
    assert visit() == ["6", "7", "10", "11", "5"]


def test_the_key_tells_the_names_of_variables_and_no_values() -> None:
    app, cache, show = make({"page": "{% cache 60, 'f', 1 %}{{ user.name }}{% endcache %}"})
    show("page", "ann@example.org")
    with app.app_context():
        (key,) = cache.engine._tags_of
    assert key.startswith("fragment:'f'(1)#")
    assert "{user}" in key
    assert "ann" not in key


def test_a_template_is_edited() -> None:
    templates = dict(TEMPLATES, page=PERSONAL["include"])
    app, _, show = make(templates)
    app.jinja_env.auto_reload = True
    assert show("page") == "1 Ann"
    templates["name.html"] = "{{ shop }} {{ user.name }}"
    assert [show("page", shop="a"), show("page", shop="b")] == ["2 a Ann", "3 b Ann"]
    templates["name.html"] += "!"
    assert [show("page", shop="a"), show("page", shop="a")] == ["4 a Ann!"] * 2
    templates["page"] = "{% cache 60, 'f' %}{{ n() }} {{ shop }}{% endcache %}"
    assert [show("page", shop="a"), show("page", shop="b")] == ["5 a", "6 b"]
    assert [show("page", shop="a"), show("page", shop="b")] == ["5 a", "6 b"]


def test_a_bytecode_cache_holds_what_was_found(tmp_path: Path) -> None:
    for _ in range(2):
        app, _, show = make({**TEMPLATES, "page.html": PERSONAL["macro that includes"]})
        app.jinja_env.bytecode_cache = FileSystemBytecodeCache(str(tmp_path))
        shown = [show("page.html", visitor) for visitor in ("Ann", "Bob") * 2]
        assert shown == ["1 Ann", "2 Bob"] * 2
    assert list(tmp_path.iterdir())


def test_what_another_version_compiled_is_not_cached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_coherent_cache._dependencies.inputs._reported", set())
    templates = {
        "include": PERSONAL["include"],
        "macro": "{% from 'greet.html' import greet with context %}"
        "{% cache 60, 'f' %}{{ n() }} {{ greet() }}{% endcache %}",
        "outer": PERSONAL["outer variable"],
    }
    for name in templates:
        for compiled in ("name.html", "greet.html", "outer"):
            app, _, show = make({**TEMPLATES, **templates}, CACHE_STRICT=False)
            app.jinja_env.bytecode_cache = FileSystemBytecodeCache(str(tmp_path / name))
            (tmp_path / name).mkdir(exist_ok=True)
            ours, app.jinja_env.code_generator_class = (
                app.jinja_env.code_generator_class,
                CodeGenerator,
            )
            app.jinja_env.get_template(compiled)
            app.jinja_env.code_generator_class = ours
        shown = [show(name, visitor) for visitor in ("Ann", "Bob") * 2]
        assert len(set(shown)) == 4
    assert caplog.text.count("clear Jinja's bytecode cache") >= 2


def test_a_second_cache_changes_nothing() -> None:
    app, _, show = make({**TEMPLATES, "page.html": PERSONAL["include"]})
    caching.Cache(app)
    assert [show("page.html", visitor) for visitor in ("Ann", "Bob") * 2] == ["1 Ann", "2 Bob"] * 2


def test_the_globals_of_one_template_are_not_variables() -> None:
    app, _, _ = make({})
    source = "{% cache 60, 'f' %}{{ n() }}{{ thing is defined }}{% endcache %}"
    template = app.jinja_env.from_string(source, globals={"thing": Thing()})
    with app.test_request_context():
        assert [template.render(), template.render()] == ["1True", "1True"]
        with pytest.raises(caching.UnstableArgument, match="variable 'thing'"):
            template.render(thing=Thing())


def test_a_string_is_a_template_of_its_own() -> None:
    app, _, _ = make({})
    with app.test_request_context():
        shown = [
            render_template_string("{% cache 60 %}{{ n() }}" + text + "{% endcache %}")
            for text in "abab"
        ]
    assert shown == ["1a", "2b"] * 2


# -- rows of the database -----------------------------------------------------------------------

db = SQLAlchemy()


class Shop(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(db.JSON, default=list)
    shout: Mapped[str] = column_property(db.func.upper(db.literal("x")), deferred=True)
    parent_id: Mapped[int | None] = mapped_column(db.ForeignKey("shop.id"))
    parent: Mapped["Shop | None"] = relationship(remote_side="Shop.id")


@pytest.fixture
def shop() -> Iterator[tuple[Flask, Show]]:
    """An application with two rows, and what shows a template with the row of a number."""
    body = "{{ n() }} {{ shop.name }}{% endcache %}"
    templates = {"page": "{% cache 60, 'f' %}" + body, "vary": "{% cache 60, 'f', shop %}" + body}
    templates["list"] = (
        "{% cache 60, 'l' %}{{ n() }} {% for s in shops %}{{ s.name }}{% endfor %}{% endcache %}"
    )
    app, cache, _ = make(templates, SQLALCHEMY_DATABASE_URI="sqlite://")
    db.init_app(app)
    with app.app_context():
        db.create_all()
        db.session.add_all([Shop(id=1, name="a"), Shop(id=2, name="b", parent_id=1)])
        db.session.commit()
    cache.watch(db)

    def show_row(number: int, name: str = "page", change: Callable[[Shop], object] = repr) -> str:
        with app.test_request_context():
            row = db.session.get(Shop, number)
            change(row)
            # It depends on the row by itself, not because something read it here.
            current_dependencies().rows.clear()
            return render_template(name, shop=row, shops=[row])

    yield app, show_row
    with app.app_context():
        db.drop_all()
        for engine in db.engines.values():
            engine.dispose()


def rename(app: Flask, number: int, name: str) -> None:
    with app.app_context():
        db.session.get(Shop, number).name = name
        db.session.commit()


@pytest.mark.parametrize("template", ["page", "vary", "list"])
def test_a_row_joins_by_its_identity_and_its_tags(shop: tuple[Flask, Show], template: str) -> None:
    app, show = shop
    assert [show(1, template), show(2, template)] * 2 == [
        show(number, template) for number in (1, 2) * 2
    ]
    assert show(1, template).startswith("1 ")
    rename(app, 1, "c")
    assert [show(1, template), show(2, template)] == ["3 c", "2 b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: setattr(row, "viewer", "Ann"), "holds 'viewer' beside its columns"),
        (lambda row: row.shout, "holds 'shout' beside its columns"),
        (lambda row: row.parent, "holds 'parent' beside its columns"),
        (lambda row: setattr(row, "name", "z"), "changes that are not committed"),
        (db.session.expunge, "changes that are not committed"),
    ],
)
def test_a_row_that_carries_more_is_refused(
    shop: tuple[Flask, Show], change: Callable[[Shop], object], words: str
) -> None:
    app, show = shop
    with pytest.raises(
        caching.UnstableArgument, match=rf"variable 'shop' is a row, Shop, .*{words}"
    ):
        show(2, "page", change)
    app.config["CACHE_STRICT"] = False
    show(2, "page", change)
    assert show(2) == "2 b"


def test_what_is_changed_inside_a_column_is_seen(shop: tuple[Flask, Show]) -> None:
    _, show = shop
    assert show(1) == "1 a"
    assert show(1, "page", lambda row: row.tags.append("x")) == "2 a"
    assert show(1) == "1 a"


def test_a_row_of_whose_changes_nobody_tells_is_refused() -> None:
    app, _, _ = make({"page": "{% cache 60, 'f' %}{{ shop.name }}{% endcache %}"})
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app)
    with app.test_request_context():
        db.create_all()
        db.session.add(Shop(id=1, name="a"))
        db.session.commit()
        with pytest.raises(caching.UnstableArgument, match="nobody tells"):
            render_template("page", shop=db.session.get(Shop, 1))
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
