"""Fragments: what the body takes from around it is in the key, or nothing is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template, render_template_string
from flask_caching import make_template_fragment_key
from jinja2 import DictLoader, FileSystemBytecodeCache, Undefined, select_autoescape
from jinja2.compiler import CodeGenerator
from markupsafe import Markup
from werkzeug.local import LocalProxy

import flask_coherent_cache as caching
from flask_coherent_cache._pages import fragment_compiler
from fragment_cases import (
    COMMON,
    PERSONAL,
    REFUSED,
    SETTINGS,
    TEMPLATES,
    Thing,
    User,
    common,
    endless,
    make,
    numbers,
)


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


@pytest.mark.usefixtures("reports_again")
@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_stable_text_is_refused_by_name(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
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
    part_of = fragment_compiler.part_of

    def too_little(*args: Any) -> fragment_compiler.Part:
        return part_of(*args)._replace(names=())

    monkeypatch.setattr(fragment_compiler, "part_of", too_little)
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
        (key,) = cache.engine.seen
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


@pytest.mark.usefixtures("reports_again")
def test_what_another_version_compiled_is_not_cached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_what_the_last_version_compiled_is_rendered(caplog: pytest.LogCaptureFixture) -> None:
    app, _, _ = make({})
    (extension,) = (each for each in app.jinja_env.extensions.values() if hasattr(each, "_look_up"))
    given = [60, "f", [], "digest", {}, None, None, None]
    with app.app_context():
        assert [extension._fragment(*given, caller=lambda: "body") for _ in range(2)] == [
            "body"
        ] * 2
    assert "clear Jinja's bytecode cache" in caplog.text


def test_what_a_fragment_varies_on_is_evaluated_once() -> None:
    app, _, _ = make({})
    template = app.jinja_env.from_string("{% cache 60, 'f', n() %}{{ n() }}{% endcache %}")
    with app.test_request_context():
        assert [template.render() for _ in range(2)] == ["2", "4"]


def test_an_asynchronous_environment_renders_fragments() -> None:
    app = Flask(__name__)
    app.jinja_options = {"enable_async": True}
    caching.Cache(app, config={**SETTINGS, "CACHE_STRICT": False})
    with app.test_request_context():
        source = "{% cache 60, 'f' %}{{ 1 + 1 }}{% endcache %}"
        assert [render_template_string(source) for _ in range(2)] == ["2", "2"]


def test_a_template_has_its_own_globals_and_all_that_there_are_now() -> None:
    app, _, _ = make({})
    app.jinja_env.globals.update(own=0, common=0)
    template = app.jinja_env.from_string("{{ own }}{{ common }}{{ given }}", globals={"own": 1})
    app.jinja_env.globals.update(own=2, common=2)
    with app.test_request_context():
        assert template.render(given=3) == "123"


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


def test_a_variable_takes_the_place_of_a_global() -> None:
    app, _, _ = make({})
    source = "{% cache 60, 'f' %}{{ n() }} {{ number }}{% endcache %}"
    template = app.jinja_env.from_string(source, globals={"number": 0})
    with app.test_request_context():
        shown = [template.render(given) for given in ({}, {"number": 7}, {"number": 8}) * 2]
    assert shown == ["1 0", "2 7", "3 8"] * 2


def test_a_string_is_a_template_of_its_own() -> None:
    app, _, _ = make({})
    with app.test_request_context():
        shown = [
            render_template_string("{% cache 60 %}{{ n() }}" + text + "{% endcache %}")
            for text in "abab"
        ]
    assert shown == ["1a", "2b"] * 2
