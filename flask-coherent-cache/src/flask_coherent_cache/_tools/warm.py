"""Ask for the pages that views declare by `@cache.cached(warm=…)`, before anybody does."""

import logging
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from flask import Flask, url_for
from werkzeug.test import EnvironBuilder, run_wsgi_app

from .._engine.engine import CacheEngine
from .._pages.views import warm_of

Outcome = Literal["filled", "hit", "stale", "failed"]
#: ``hit``: it was there already. ``stale``: it is being computed anew in the background.
OUTCOMES: tuple[Outcome, ...] = ("filled", "hit", "stale", "failed")
_DETAIL = re.compile(r"detail=([\w-]+)")


@dataclass(frozen=True, slots=True)
class Job:
    """A page to ask for, by its path with the query; or an endpoint, and why it has none."""

    path: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a page."""

    path: str
    outcome: Outcome
    detail: str = ""


def base(address: str | None) -> str:
    """Return an address as browsers write it in a request: in lower case, without a slash.

    :raises ValueError: in words, where there is none or it is no address.
    """
    if not address:
        raise ValueError(
            "A page's key holds scheme and host: say under which address visitors come, by"
            " --base-url https://www.example.com or by PUBLIC_URL."
        )
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{address!r} is no address: https://www.example.com would do.")
    return f"{parts.scheme}://{parts.netloc}".lower()


def jobs(app: Flask, address: str) -> list[Job]:
    """List the pages of all views that declare some, each once."""
    found: dict[str, Job] = {}
    for endpoint, view in app.view_functions.items():
        if not (declared := warm_of(view)):
            continue
        try:
            values = list(declared()) if callable(declared) else [{}]
            with app.test_request_context(base_url=address + _root(app)):
                paths = [url_for(endpoint, **each) for each in values]
        except Exception as error:
            logging.getLogger(__name__).debug("warm= of %s failed.", endpoint, exc_info=True)
            found[endpoint] = Job(endpoint, f"its warm= does not name pages: {error!r}")
            continue
        found.update((path, Job(path)) for path in paths)
    return list(found.values())


def run(
    app: Flask, entries: CacheEngine, address: str, pages: Iterable[Job], concurrency: int
) -> Iterator[Result]:
    """Ask for pages, so many at a time, and yield what became of each as it is done."""
    with _as_the_owner(app, entries), ThreadPoolExecutor(concurrency, "cache-warm") as pool:
        for done in as_completed([pool.submit(_ask, app, address, page) for page in pages]):
            yield done.result()


def _root(app: Flask) -> str:
    """Return the path under which the application is mounted; empty for the root."""
    return str(app.config["APPLICATION_ROOT"]).rstrip("/")


@contextmanager
def _as_the_owner(app: Flask, entries: CacheEngine) -> Iterator[None]:
    """Without the bounds on what visitors make up, and without a log line for each page."""
    names = ("CACHE_NEW_PAGES_PER_MINUTE", "CACHE_NEW_VALUES_PER_MINUTE")
    bounds = {name: entries.config[name] for name in names}
    access = logging.getLogger(f"{app.import_name}.access")
    level = access.level
    entries.config.update(dict.fromkeys(names, 0))
    access.setLevel(logging.WARNING)
    try:
        yield
    finally:
        entries.config.update(bounds)
        access.setLevel(level)


def _ask(app: Flask, address: str, page: Job) -> Result:
    if page.problem:
        return Result(page.path, "failed", page.problem)
    root = _root(app)
    builder = EnvironBuilder(page.path.removeprefix(root), base_url=address + root)
    try:
        # A whole body: a page is stored when it has been read.
        _, status, headers = run_wsgi_app(app, builder.get_environ(), buffered=True)
    except Exception as error:
        return Result(page.path, "failed", repr(error))
    finally:
        builder.close()
    cache_status = headers.get("Cache-Status", "")
    if int(status.partition(" ")[0]) >= 400:
        return Result(page.path, "failed", f"the application answers {status}")
    if "; hit" in cache_status:
        return Result(page.path, "stale" if "detail=stale" in cache_status else "hit")
    if "; stored" in cache_status:
        return Result(page.path, "filled")
    why = _DETAIL.search(cache_status)
    return Result(page.path, "failed", "it was not stored" + (f": {why[1]}" if why else ""))
