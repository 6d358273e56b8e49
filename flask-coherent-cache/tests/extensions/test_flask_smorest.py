"""Flask-Smorest and webargs: arguments that a decorator reads for the view."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache import Cache
from visits import NOT_INSTALLED, Page, Site, Verdict, Visitor, not_cached, raises

flask_smorest: Any = pytest.importorskip("flask_smorest", reason=NOT_INSTALLED)
marshmallow: Any = pytest.importorskip("marshmallow", reason=NOT_INSTALLED)
webargs: Any = pytest.importorskip("webargs.flaskparser", reason=NOT_INSTALLED)

SETTINGS = {"API_TITLE": "Pets", "API_VERSION": "v1", "OPENAPI_VERSION": "3.0.3"}
PETS = ["cat", "dog", "owl"]
TENANT = "X-Tenant"


class PetSchema(marshmallow.Schema):  # type: ignore[misc]
    """What the API shows of a pet; its secret it does not."""

    name = marshmallow.fields.String()


class PetQuery(marshmallow.Schema):  # type: ignore[misc]
    """What a list can be asked for."""

    name = marshmallow.fields.String()


class TenantHeader(marshmallow.Schema):  # type: ignore[misc]
    """A header that a view asks for."""

    tenant = marshmallow.fields.String(data_key=TENANT, load_default="nobody")


class ThemeCookie(marshmallow.Schema):  # type: ignore[misc]
    """A cookie that a view asks for."""

    theme = marshmallow.fields.String(load_default="nobody")


def found(query: dict[str, str]) -> list[dict[str, str]]:
    """Return pets as a database would."""
    wanted = [name for name in PETS if query.get("name", name) == name]
    return [{"name": name, "secret": "s"} for name in wanted]


def views(app: Flask, cache: Cache) -> None:
    """Register the API, as Flask-Smorest's documentation does."""
    api = flask_smorest.Api(app)
    blp = flask_smorest.Blueprint("pets", "pets", url_prefix="/pets")
    by_name = cache.cached(query=("name",))

    @blp.route("/above")  # type: ignore[untyped-decorator]
    @blp.arguments(PetQuery, location="query")  # type: ignore[untyped-decorator]
    @by_name
    @blp.response(200, PetSchema(many=True))  # type: ignore[untyped-decorator]
    def above(query: dict[str, str]) -> Any:
        return found(query)

    @blp.route("/below")  # type: ignore[untyped-decorator]
    @by_name
    @blp.arguments(PetQuery, location="query")  # type: ignore[untyped-decorator]
    @blp.response(200, PetSchema(many=True))  # type: ignore[untyped-decorator]
    def below(query: dict[str, str]) -> Any:
        return found(query)

    @blp.route("/undeclared")  # type: ignore[untyped-decorator]
    @blp.arguments(PetQuery, location="query")  # type: ignore[untyped-decorator]
    @cache.cached()
    @blp.response(200, PetSchema(many=True))  # type: ignore[untyped-decorator]
    def undeclared(query: dict[str, str]) -> Any:
        return found(query)

    @blp.route("/all")  # type: ignore[untyped-decorator]
    @cache.cached()
    @blp.response(200, PetSchema(many=True))  # type: ignore[untyped-decorator]
    def everything() -> Any:
        return found({})

    @blp.route("/pages")  # type: ignore[untyped-decorator]
    @cache.cached(query=("page", "page_size"))
    @blp.response(200, PetSchema(many=True))  # type: ignore[untyped-decorator]
    @blp.paginate()  # type: ignore[untyped-decorator]
    def pages(pagination_parameters: Any) -> Any:
        pagination_parameters.item_count = len(PETS)
        start = pagination_parameters.first_item
        return found({})[start : pagination_parameters.last_item + 1]

    api.register_blueprint(blp)
    webargs_views(app, cache)


def webargs_views(app: Flask, cache: Cache) -> None:
    """Register views whose arguments webargs reads from a header or a cookie."""

    def register(path: str, view: Callable[..., Any]) -> None:
        app.add_url_rule(path, path.strip("/"), view_func=view)

    def tenant(arguments: dict[str, str]) -> str:
        return f"Tenant {arguments['tenant']}"

    def theme(arguments: dict[str, str]) -> str:
        return f"Theme {arguments['theme']}"

    header = webargs.use_args(TenantHeader, location="headers")
    cookie = webargs.use_args(ThemeCookie, location="cookies")
    register("/tenant-above", header(cache.cached()(tenant)))
    register("/tenant-below", cache.cached()(header(tenant)))
    register("/tenant-declared", header(cache.cached(vary=(TENANT,))(tenant)))
    register("/theme-above", cookie(cache.cached()(theme)))
    register("/theme-below", cache.cached()(cookie(theme)))
    register("/theme-declared", cookie(_by_theme(cache)(theme)))


def _by_theme(cache: Cache) -> Callable[..., Any]:
    cached: Any = cache.cached
    return cached(vary_cookies=("theme",))  # type: ignore[no-any-return]


@pytest.fixture
def site(build: Callable[..., Site]) -> Site:
    """The API."""
    return build(views, **SETTINGS)


def names(visitor: Visitor, path: str) -> list[str]:
    """Return the names of the pets that a visitor gets, and nothing else of them."""
    pets: Any = visitor.get(path).json
    assert all(set(pet) == {"name"} for pet in pets)
    return [pet["name"] for pet in pets]


@pytest.mark.parametrize("path", ["/pets/above", "/pets/below"])
def test_a_declared_query_is_in_the_key(site: Site, path: str) -> None:
    one, other = site.visitors("one", "other")
    for number in range(3):
        for visitor in (one, other):
            assert names(visitor, path) == PETS
            for name in (*PETS, "unicorn"):
                asked = f"{path}?name={name}&utm_source=mail{number}"
                assert names(visitor, asked) == [each for each in PETS if each == name]
                assert site.is_hit(visitor.get(asked))
    assert site.is_hit(one.get(path))


def test_a_query_that_is_not_declared_is_named(site: Site) -> None:
    one = site.visitor()
    for _ in range(2):
        for name in PETS:
            assert names(one, f"/pets/undeclared?name={name}") == [name]
    if site.has_cache:
        status = one.get("/pets/undeclared?name=cat").headers["Cache-Status"]
        assert "; hit" not in status
        assert "name" in status


def test_a_response_without_arguments_is_cached(site: Site) -> None:
    for number in range(3):
        for visitor in site.visitors("one", "other"):
            assert names(visitor, "/pets/all") == PETS
            assert number == 0 or site.is_hit(visitor.get("/pets/all"))


def test_each_page_of_a_list_is_cached(site: Site) -> None:
    one, other = site.visitors("one", "other")
    for number in range(3):
        for visitor in (one, other):
            for page, name in enumerate(PETS, 1):
                answer = visitor.get(f"/pets/pages?page={page}&page_size=1")
                assert answer.json == [{"name": name}]
                assert f'"page": {page}' in answer.headers["X-Pagination"]
                assert number == 0 or site.is_hit(answer)


def test_a_header_that_webargs_reads_is_named(site: Site) -> None:
    red, blue, nobody = site.visitors("red", "blue", "nobody")
    red.headers, blue.headers = {TENANT: "red"}, {TENANT: "blue"}
    pages = [
        Page("/tenant-above", "Tenant {name}", not_cached(TENANT)),
        Page("/tenant-below", "Tenant {name}", not_cached(TENANT), raises(TENANT)),
        Page("/tenant-declared", "Tenant {name}", Verdict(entries=3)),
    ]
    site.tour(pages, [red, blue, nobody])


def test_a_cookie_that_webargs_reads_is_named(site: Site) -> None:
    dark, light, nobody = site.visitors("dark", "light", "nobody")
    for visitor in (dark, light):
        visitor.client.set_cookie("theme", visitor.name)
        visitor.client.set_cookie("other", visitor.name)
    pages = [
        Page("/theme-above", "Theme {name}", not_cached("theme")),
        Page("/theme-below", "Theme {name}", not_cached("theme"), raises("theme")),
        Page("/theme-declared", "Theme {name}", Verdict(entries=3)),
    ]
    site.tour(pages, [dark, light, nobody])
