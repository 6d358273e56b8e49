"""What a template shows without a word of the view: filters, globals and context processors."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, before_render_template, g, render_template, request
from jinja2 import DictLoader, pass_context
from werkzeug.local import LocalProxy

from isolation.alternating import ANN, BOB, come, details, hits, texts

#: Pages that show ``who``, which a context processor returns.
USING = {
    "plain": "{{ who }}",
    "in a test": "{% if who == 'ann' %}ann{% else %}bob{% endif %}",
    "with a default": "{{ who|default('nobody') }}",
    "set": "{% set name = who %}{{ name }}",
    "included": "{% include 'part' %}",
    "extended": "{% extends 'base' %}",
    "in a block": "{% extends 'base' %}{% block more %}{{ who }}{% endblock %}",
    "imported with context": "{% from 'macros' import show with context %}{{ show() }}",
    "in a macro": "{% macro show() %}{{ who }}{% endmacro %}{{ show() }}",
    "in a loop": "{% for letter in who %}{{ letter }}{% endfor %}",
    "by with": "{% with name = who %}{{ name }}{% endwith %}",
    "in a call": "{% call outer() %}{{ who }}{% endcall %}",
    "in a filter": "{% filter lower %}{{ who }}{% endfilter %}",
    "scoped": "{% for _ in [1] %}{% include 'part' %}{% endfor %}",
}
PARTS = {
    "part": "{{ who }}",
    "base": "{{ who }}{% block more %}{% endblock %}",
    "macros": "{% macro show() %}{{ who }}{% endmacro %}",
}
_CALL = "{% macro outer() %}{{ caller() }}{% endmacro %}"


def _add_templates(app: Flask, **templates: str) -> None:
    app.jinja_loader = DictLoader(PARTS | templates)  # type: ignore[misc]


def _add_page(app: Flask, cache: Any, template: str) -> None:
    _add_templates(app, page=_CALL * ("outer" in template) + template)
    app.add_url_rule("/page", "page", cache.cached(60)(lambda: render_template("page")))


def _each_own(app: Flask) -> None:
    answers = come(app, ANN, BOB)
    assert ["ann" in text for text in texts(answers)] == [True, False] * 2, texts(answers)
    assert ["bob" in text for text in texts(answers)] == [False, True] * 2, texts(answers)
    assert hits(answers) == 0
    assert all("X-Who" in detail for detail in details(answers)), details(answers)


@pytest.mark.parametrize("template", USING.values(), ids=USING)
def test_a_name_of_a_context_processor_is_used(app: Flask, cache: Any, template: str) -> None:
    app.context_processor(lambda: {"who": request.headers["X-Who"]})
    _add_page(app, cache, template)
    _each_own(app)


@pass_context
def by_get(context: Any) -> Any:
    return context.get("who")


@pass_context
def by_item(context: Any) -> Any:
    return context["who"]


@pass_context
def by_resolve(context: Any) -> Any:
    return context.resolve("who")


@pass_context
def by_all(context: Any) -> Any:
    return context.get_all()["who"]


@pass_context
def by_items(context: Any) -> Any:
    return dict(context.items())["who"]


@pass_context
def by_containing(context: Any) -> Any:
    return "who" in context and context["who"]


LOOKS = [by_get, by_item, by_resolve, by_all, by_items, by_containing]


@pytest.mark.parametrize("look", LOOKS)
def test_a_name_is_looked_up_by_a_function_of_the_context(
    app: Flask, cache: Any, look: Callable[[Any], Any]
) -> None:
    app.context_processor(lambda: {"who": request.headers["X-Who"]})
    app.add_template_global(look, "look")
    _add_page(app, cache, "{{ look() }}")
    _each_own(app)


@pytest.mark.parametrize("register", ["context_processor", "app_context_processor"])
def test_a_context_processor_of_a_blueprint(app: Flask, cache: Any, register: str) -> None:
    part = Blueprint("part", __name__)
    getattr(part, register)(lambda: {"who": request.headers["X-Who"]})
    _add_templates(app, page="{{ who }}")
    part.add_url_rule("/page", "page", cache.cached(60)(lambda: render_template("page")))
    app.register_blueprint(part)
    _each_own(app)


def test_a_receiver_that_adds_a_name(app: Flask, cache: Any) -> None:
    def add(_: Flask, context: dict[str, Any], **__: Any) -> None:
        context["who"] = request.headers["X-Who"]

    _add_page(app, cache, "{{ who }}")
    with before_render_template.connected_to(add, app):
        _each_own(app)


@pytest.mark.parametrize(
    "value",
    [
        lambda: {"who": LocalProxy(lambda: request.headers["X-Who"])},
        lambda: {"who": LocalProxy(lambda: g.who)},
    ],
)
def test_a_proxy_of_a_context_processor(
    app: Flask, cache: Any, value: Callable[[], dict[str, Any]]
) -> None:
    app.before_request(lambda: setattr(g, "who", request.headers["X-Who"]))
    app.context_processor(value)
    _add_page(app, cache, "{{ who }}")
    _each_own(app)


def test_a_function_of_a_context_processor(app: Flask, cache: Any) -> None:
    app.context_processor(lambda: {"who": lambda: request.headers["X-Who"]})
    _add_page(app, cache, "{{ who() }}")
    _each_own(app)


@pytest.mark.parametrize("template", ["same", "{{ 1 + 1 }}", "{% include 'other' %}"])
def test_a_name_that_nobody_uses_lets_the_page_be_cached(
    app: Flask, cache: Any, template: str
) -> None:
    app.context_processor(lambda: {"who": request.headers["X-Who"]})
    _add_page(app, cache, template)
    _add_templates(app, page=template, other="other")
    answers = come(app, ANN, BOB)
    assert hits(answers) == 3, details(answers)


def test_a_name_of_another_context_processor_is_used(app: Flask, cache: Any) -> None:
    app.context_processor(lambda: {"who": request.headers["X-Who"]})
    app.context_processor(lambda: {"title": "shop"})
    _add_page(app, cache, "{{ title }}")
    answers = come(app, ANN, BOB)
    assert texts(answers) == ["shop"] * 4
    assert hits(answers) == 3, details(answers)


def test_a_name_that_is_returned_to_some_visitors_only(app: Flask, cache: Any) -> None:
    @app.context_processor
    def known() -> dict[str, Any]:
        return {"who": request.headers["X-Who"]} if "X-Who" in request.headers else {}

    _add_page(app, cache, "{{ who|default('nobody') }}")
    answers = come(app, {}, ANN)
    assert texts(answers) == ["nobody", "ann"] * 2
    assert hits(answers) == 0


@pytest.mark.parametrize("level", ["page", "fragment"])
@pytest.mark.parametrize("kind", ["filter", "test", "global"])
def test_a_part_of_the_environment_that_reads(
    app: Flask, cache: Any, level: str, kind: str
) -> None:
    app.add_template_filter(lambda text: f"{text} {request.headers['X-Who']}", "signed")
    app.add_template_test(lambda name: request.headers["X-Who"] == name, "here")
    app.add_template_global(lambda: request.headers["X-Who"], "visitor")
    template = {
        "filter": "{{ by|signed }}",
        "test": "{{ 'ann' if first is here else 'bob' }}",
        "global": "{{ visitor() }}",
    }[kind]
    fragment = f"{{% cache 60, 'part' %}}{template}{{% endcache %}}"
    _add_templates(app, page=template if level == "page" else fragment)

    def page() -> str:
        # Jinja calls a filter of a constant when it compiles.
        return render_template("page", by="by", first="ann")

    app.add_url_rule("/page", "page", cache.cached(60)(page) if level == "page" else page)
    answers = come(app, ANN, BOB)
    assert ["ann" in text for text in texts(answers)] == [True, False] * 2
    assert hits(answers) == 0
