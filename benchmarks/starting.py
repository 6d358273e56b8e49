"""Starts the generated application once; prints seconds of import and `create_app`, and bytes.

Usage: python benchmarks/starting.py ours|same

"same" is the same application with Flask-Caching's own cache in the place of the library's: what
else the application and the library's tools take from it does nothing.
"""

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

LIBRARY = "flask_coherent_cache"
#: What the tools and the log handler are, and need.
REAL = tuple(f"{LIBRARY}.{name}." for name in ("tools", "_tools", "logs", "_clock", "_forks"))


def resident_bytes() -> int:
    """Return the memory of this process that is in use; where the system tells none, the most."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def package(project: Path | None = None) -> str:
    """Name a generated project's package."""
    project = project or Path(os.environ["BENCHMARK_PROJECT"])
    (found,) = project.glob("src/*/__init__.py")
    return found.parent.name


class Stock(MetaPathFinder, Loader):
    """Finds stock Flask-Caching where the library would be; the library's tools are real."""

    def __init__(self) -> None:
        """Stand in for the library."""
        self.folder = str(Path(find_spec(LIBRARY).origin).parent)  # type: ignore[union-attr, arg-type]

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        """Find what is in the library."""
        if name != LIBRARY and not name.startswith(f"{LIBRARY}."):
            return None
        if f"{name}.".startswith(REAL):
            return None
        spec = ModuleSpec(name, self, is_package=True)
        if name == LIBRARY:
            spec.submodule_search_locations = [self.folder]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        module.__dict__["__getattr__"] = idle
        if module.__name__ == LIBRARY:
            module.__dict__["Cache"] = stock_cache()
            module.__dict__["settings"] = SimpleNamespace(read=read_settings)


def idle(name: str) -> Any:
    """Return what does nothing or holds nothing, for any name but those of Python itself."""
    if name.startswith("__"):
        raise AttributeError(name)
    if name.isupper():
        return frozenset()
    if name[0].isupper():
        return type(name, (Exception,), {})
    return lambda *_args, **_kwargs: None


def read_settings(
    source: Mapping[str, Any], *, production: bool = False, **defaults: Any
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the cache as they are."""
    given = {name: value for name, value in source.items() if name.startswith("CACHE_")}
    return {**defaults, **given}, []


def stock_cache() -> type:
    """Return Flask-Caching's class; what only ours takes or has, it takes and has in vain."""
    flask_caching = import_module("flask_caching")

    class Cache(flask_caching.Cache):  # type: ignore[misc, name-defined]
        #: What ours has with CACHE_TYPE=NullCache, too.
        engine = None
        settings: ClassVar[defaultdict[str, str]] = defaultdict(str)

        def cached(self, timeout: Any = None, **options: Any) -> Any:
            return super().cached(timeout, query_string="query" in options)

        def memoize(self, timeout: Any = None, **_options: Any) -> Any:
            return super().memoize(timeout)

        def __getattr__(self, name: str) -> Any:
            return idle(name)

    return Cache


def main(subject: str) -> None:
    """Start it."""
    if subject == "same":
        sys.meta_path.insert(0, Stock())
    began = time.perf_counter()
    import_module(package()).create_app()
    print(time.perf_counter() - began, resident_bytes())


if __name__ == "__main__":
    main(sys.argv[1])
