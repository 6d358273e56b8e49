"""Counts in a generated project's shop what a write drops, and what of it would really differ.

Usage: python benchmarks/counted.py

The entries are the memoized functions and the pages of the shop. A write's figure is the share, in
percent, of the entries that it dropped whose bytes differ once they are computed again. It ends in
words if an entry differs that was not dropped: that would be stale. Two more figures are of 50
memoized products in one request: how many tags an entry has at most, and how many entries drop
when one product changes. The last line is JSON.
"""

import json
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from flask import Flask
from sqlalchemy import select
from starting import package

LISTS = ("", "?page=2", "?sort=price", "?sort=-price", "?sort=newest")
PRODUCT, CALLS = 40, 50
#: What a page holds of the request alone.
OF_REQUEST = re.compile(rb"nonce-[^'\"]+|nonce=\"[^\"]+\"")


class Shop:
    """The application, and all of its entries by name."""

    def __init__(self) -> None:
        """Make it."""
        self.app: Flask = import_module(package()).create_app()
        self.queries = import_module(f"{package()}.catalog.queries")
        self.models = import_module(f"{package()}.catalog.models")
        self.db = self.app.extensions["sqlalchemy"]
        (self.cache,) = self.app.extensions["cache"]
        with self.app.app_context():
            self.engine = self.cache.engine
            product = self.models.Product
            mine = self.db.session.get(product, PRODUCT)
            other = self.db.session.scalars(
                select(product).where(product.category_id != mine.category_id).order_by(product.id)
            ).first()
            self.products = [(each.id, each.slug, each.category.slug) for each in (mine, other)]
        self.number = 0

    def pages(self) -> list[str]:
        """List the URLs of pages."""
        lists = [f"/products{query}" for query in LISTS] + ["/", "/api/products"]
        for _, slug, category in self.products:
            lists += [f"/products/{slug}", f"/products?category={category}"]
            lists.append(f"/api/products?category={category}")
        return lists

    def calls(self) -> list[tuple[Any, ...]]:
        """List the calls of memoized functions."""
        queries = self.queries
        calls = [(queries.categories,), (queries.newest, 8)]
        calls += [(queries.products, *of) for of in ((1, "name", None), (5, "name", None))]
        calls += [(queries.products, 1, sort, None) for sort in ("price", "newest")]
        for number, _, category in self.products:
            calls += [(queries.products, 1, "name", category), (queries.price_range, category)]
            calls += [(queries.product, number), (queries.related, number)]
        return calls

    def fetch(self) -> dict[str, tuple[bytes, bool]]:
        """Read every entry; return its bytes, and whether it was a hit."""
        found = {}
        for function, *arguments in self.calls():
            hits = []
            with self.app.app_context():
                key = function.make_cache_key(function.uncached, *arguments)
                (lies,) = self.engine.inspect([key])
                hits.append(lies.state == "fresh")
            with self.app.app_context():
                name = f"{function.__name__}{tuple(arguments)}"
                found[name] = repr(function(*arguments)).encode(), hits[0]
        client = self.app.test_client()
        for path in self.pages():
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.status)  # noqa: S101
            hit = "; hit" in answer.headers["Cache-Status"]
            found[path] = OF_REQUEST.sub(b"", answer.data), hit
        return found

    def write(self, what: str) -> None:
        """Commit a write of one kind."""
        self.number += 1
        product = self.models.Product
        with self.app.app_context():
            session = self.db.session
            changed = session.get(product, PRODUCT)
            if what == "price":
                changed.price_cents += self.number
            elif what == "stock":
                changed.stock += self.number
            else:
                slug = f"new-{self.number}"
                session.add(
                    product(
                        **{"name": "New", "slug": slug, "price_cents": 1999, "stock": 3},
                        category_id=changed.category_id,
                    )
                )
            session.commit()

    def share(self, what: str) -> float:
        """Return the share of what a write drops that differs, in percent."""
        self.fetch()
        before = self.fetch()
        assert all(hit for _, hit in before.values()), before  # noqa: S101 - else nothing is told
        self.write(what)
        after = self.fetch()
        differs = {name for name in after if after[name][0] != before[name][0]}
        dropped = {name for name in after if not after[name][1]}
        print(f"{what}: of {len(after)} entries {len(dropped)} dropped, {len(differs)} differ")
        if stale := differs - dropped:
            raise SystemExit(f"benchmark: stale after a write of {what}: {sorted(stale)}")
        return 100 * len(differs) / len(dropped)

    def many_calls(self) -> tuple[int, int]:
        """Call for many products in one request; return an entry's tags, and what a write drops."""
        numbers = range(1, CALLS + 1)
        function: Callable[..., Any] = self.queries.product
        with self.app.app_context():
            self.cache.clear()
        with self.app.test_request_context("/"):
            for number in numbers:
                function(number)
        with self.app.app_context():
            keys = [function.make_cache_key(function.uncached, number) for number in numbers]  # type: ignore[attr-defined]
            before = self.engine.inspect(keys)
        assert {found.state for found in before} == {"fresh"}  # noqa: S101
        self.write("stock")
        with self.app.app_context():
            after = self.engine.inspect(keys)
        dropped = sum(found.state != "fresh" for found in after)
        return max(len(found.entry.tags) for found in before), dropped


def main() -> None:
    """Count, and print what was counted."""
    shop = Shop()
    figures: dict[str, float] = {
        what: shop.share(what) for what in ("price", "stock", "new product")
    }
    figures["tags"], figures["drops"] = shop.many_calls()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
