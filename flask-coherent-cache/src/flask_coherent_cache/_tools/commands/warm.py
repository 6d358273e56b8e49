"""`flask cache warm`: request the pages that views declare by `@cache.cached(warm=…)`."""

import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args
from urllib.parse import urlsplit

import click
from flask import Flask, current_app, url_for
from werkzeug.test import EnvironBuilder, run_wsgi_app

from ..._engine.engine import CacheEngine
from ..._pages.view_functions import warm_of
from .base import command, write
from .terminal import wrapped

#: ``hit``: it was there already. ``stale``: it is being computed again in the background.
Outcome = Literal["filled", "hit", "stale", "failed"]


class Result(NamedTuple):
    """What became of a page."""

    path: str
    outcome: Outcome
    detail: str = ""


@command("warm", "a page failed, or none is declared")
@click.option(
    "--base-url",
    metavar="URL",
    help="The address that visitors use, as https://www.example.com. Default: PUBLIC_URL.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Pages that are computed at the same time.",
)
def warm(engine: CacheEngine, base_url: str | None, concurrency: int, json: bool) -> None:
    """Fill the pages that views declare by `warm=`.

    The declaration is `@cache.cached(warm=...)`. The requests go through the application in this
    process, not through a server. A page's key holds scheme and host, so they have to be those
    that visitors use. Warmed are pages as HTML and without the headers of `vary=`.
    """
    # So that it is said once, and not of each page.
    engine.store.identity()
    address = _base(base_url or current_app.config.get("PUBLIC_URL"))
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    base = address + app.config["APPLICATION_ROOT"].rstrip("/")
    pages = _declared(app, base)
    done = _run(app, engine, base, pages, concurrency)
    with click.progressbar(done, length=len(pages), label="Warming", file=sys.stderr) as bar:
        results = list(bar)
    failed = [result for result in results if result.outcome == "failed"]
    found = Counter(result.outcome for result in results)
    counts = {name: found[name] for name in get_args(Outcome)}
    texts = [wrapped("failed", f"{result.path}: {result.detail}", 8) for result in failed]
    texts.append(", ".join(f"{count} {name}" for name, count in counts.items()) + ".")
    if not pages:
        texts.append("No view says warm= in its @cache.cached.")
    data = {"base_url": address, **counts, "pages": [page._asdict() for page in results]}
    write(json, data, *texts, ok=bool(pages) and not failed)


def _base(address: str | None) -> str:
    """Return an address as browsers write it in a request: in lower case, without a slash.

    :raises UsageError: where there is none or it is no address.
    """
    if not address:
        raise click.UsageError(
            "A page's key holds scheme and host: say which address visitors use, by"
            " --base-url https://www.example.com or by PUBLIC_URL."
        )
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise click.UsageError(f"{address!r} is no address like https://www.example.com.")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _declared(app: Flask, base: str) -> dict[str, str]:
    """Return the paths of all pages that views declare, and why a view's are not known."""
    found: dict[str, str] = {}
    for endpoint, view in app.view_functions.items():
        if not (declared := warm_of(view)):
            continue
        try:
            values = list(declared()) if callable(declared) else [{}]
            with app.test_request_context(base_url=base):
                found |= dict.fromkeys((url_for(endpoint, **each) for each in values), "")
        except Exception as error:
            logging.getLogger(__name__).debug("warm= of %s failed.", endpoint, exc_info=True)
            found[endpoint] = f"its warm= does not name pages: {error!r}"
    return found


def _run(
    app: Flask, engine: CacheEngine, base: str, pages: Mapping[str, str], concurrency: int
) -> Iterator[Result]:
    """Request pages, so many at a time, and yield what became of each as it is done."""
    with _as_the_owner(app, engine), ThreadPoolExecutor(concurrency, "cache-warm") as pool:
        jobs = [pool.submit(_request, app, base, *page) for page in pages.items()]
        for done in as_completed(jobs):
            yield done.result()


@contextmanager
def _as_the_owner(app: Flask, engine: CacheEngine) -> Iterator[None]:
    """Without the bounds on what visitors make up, and without a log line for each page."""
    names = ("CACHE_NEW_PAGES_PER_MINUTE", "CACHE_NEW_VALUES_PER_MINUTE")
    bounds = {name: engine.config[name] for name in names}
    access = logging.getLogger(f"{app.import_name}.access")
    level = access.level
    engine.config.update(dict.fromkeys(names, 0))
    access.setLevel(logging.WARNING)
    try:
        yield
    finally:
        engine.config.update(bounds)
        access.setLevel(level)


def _request(app: Flask, base: str, path: str, problem: str) -> Result:
    if problem:
        return Result(path, "failed", problem)
    root = urlsplit(base).path
    builder = EnvironBuilder(path.removeprefix(root), base_url=base)
    try:
        # A whole body: a page is stored when it has been read.
        _, status, headers = run_wsgi_app(app, builder.get_environ(), buffered=True)
    except Exception as error:
        return Result(path, "failed", repr(error))
    finally:
        builder.close()
    cache_status = headers.get("Cache-Status", "")
    if int(status.partition(" ")[0]) >= 400:
        return Result(path, "failed", f"the application answers {status}")
    if "; hit" in cache_status:
        return Result(path, "stale" if "detail=stale" in cache_status else "hit")
    if "; stored" in cache_status:
        return Result(path, "filled")
    why = re.search(r"detail=([\w-]+)", cache_status)
    return Result(path, "failed", "it was not stored" + (f": {why[1]}" if why else ""))
