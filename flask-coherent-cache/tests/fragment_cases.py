"""Templates with fragments, and an application that shows them to visitors."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, render_template
from jinja2 import DictLoader, nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser

import flask_coherent_cache as caching

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
