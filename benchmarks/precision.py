"""Counts what a write drops of the shop's entries, and how many of them really differ.

Usage: python benchmarks/precision.py PROJECT

PROJECT is a generated project, and Python one that has its requirements. The shop is filled into a
file of SQLite. For each write all entries are made, the write is done, and each entry is asked for
again with the cache and without it. The last line says it all in JSON, by the name of the write:
how many entries it dropped, how many differ, and how many there are. An entry that differs and
was not dropped ends the program with an error.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from starting import package

TOKEN = "t" * 40
#: What differs in each answer: the nonces of the Content-Security-Policy.
NONCE = re.compile(rb"nonce-[^'\"]+|nonce=\"[^\"]+\"")
WRITTEN, GONE = 40, 9

Read = Callable[[], Any]


shops: list["Shop"] = []


def wishes_of(user: int) -> Any:
    """Read what a user's page of wishes shows."""
    (shop,) = shops
    wish, product = shop.account.wish, shop.models.Product
    wished = shop.queries.select_products().join(wish).where(wish.c.user_id == user)
    return shop.queries.fetch(wished.order_by(product.name, product.id))


def product_by_slug(slug: str) -> Any:
    """Read what a product's page shows first."""
    (shop,) = shops
    return shop.queries.product_by_slug(slug)


class Shop:
    """The shop's application, with what is read from it and written to it."""

    def __init__(self, name: str) -> None:
        """Make the application, with its tables and products."""
        self.app = import_module(name).create_app()
        self.queries = import_module(f"{name}.catalog.queries")
        self.models = import_module(f"{name}.catalog.models")
        self.account = import_module(f"{name}.account.models")
        extensions = import_module(f"{name}.extensions")
        self.cache, self.db = extensions.cache, extensions.db
        self.client = self.app.test_client()
        self.number = 0
        with self.app.app_context():
            self.db.create_all()
            self.app.test_cli_runner().invoke(args=["seed"])
            self._add_wishes()

    def _add_wishes(self) -> None:
        session, product = self.db.session, self.models.Product
        for number in (1, 2):
            user = self.account.User(name=f"user {number}", password_hash="none")  # noqa: S106
            user.wishes = {session.get(product, key) for key in (number, number + 10, number + 30)}
            session.add(user)
        session.commit()

    # -- reads

    def page(self, path: str) -> Read:
        """Return what asks for a page: its bytes."""

        def read() -> bytes:
            answer = self.client.get(path)
            if answer.status_code != 200:
                sys.exit(f"benchmark: {path} answers {answer.status}")
            return NONCE.sub(b"", answer.data)

        return read

    def call(self, function: Any, *arguments: Any) -> Read:
        """Return what calls a query in a context of its own."""

        def read() -> Any:
            with self.app.app_context():
                return function(*arguments)

        return read

    def entries(self) -> dict[str, Read]:
        """Return the reads of pages and queries, of the written product and of another one."""
        queries, product = self.queries, self.models.Product
        with self.app.app_context():
            one = self.db.session.get(product, WRITTEN)
            query = self.db.select(product).where(product.category_id != one.category_id)
            other = self.db.session.scalars(query.order_by(product.name)).first()
            shelf, other_shelf = one.category, other.category
        memoize = self.cache.memoize(timeout=300)
        wishes, by_slug = memoize(wishes_of), memoize(product_by_slug)
        pages = ("/", "/products", "/products?page=2", *self.sorted_pages())
        pages += tuple(f"/products?category={each.slug}" for each in (shelf, other_shelf))
        pages += tuple(f"/products/{each.slug}" for each in (one, other))
        pages += ("/api/products", f"/api/products?category={other_shelf.slug}")
        calls = [(queries.categories, ()), (queries.newest, (8,)), (queries.related, (other.id,))]
        calls += [(queries.product, (each.id,)) for each in (one, other)]
        calls += [(by_slug, (each.slug,)) for each in (one, other)]
        calls += [(queries.price_range, (each.id,)) for each in (shelf, other_shelf)]
        calls += [(wishes, (user,)) for user in (1, 2)]
        lists = [(1, "name", None), (5, "name", None), (1, "price", None), (1, "newest", None)]
        lists += [(1, "name", each.id) for each in (shelf, other_shelf)]
        calls += [(queries.products, arguments) for arguments in lists]
        return {f"page {path}": self.page(path) for path in pages} | {
            f"{function.__name__}{arguments}": self.call(function, *arguments)
            for function, arguments in calls
        }

    def sorted_pages(self) -> tuple[str, ...]:
        """Return the paths of the list in its other orders."""
        return tuple(f"/products?sort={sort}" for sort in ("price", "-price", "newest"))

    # -- writes

    def send(self, method: str, path: str, **body: Any) -> None:
        """Write by the API."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = self.client.open(path, method=method, json=body, headers=headers)
        if answer.status_code >= 300:
            sys.exit(f"benchmark: {method} {path} answers {answer.status}")

    def change(self, key: int, **values: Any) -> None:
        """Change a row by its object."""
        with self.app.app_context():
            row = self.db.session.get(self.models.Product, key)
            for name, value in values.items():
                setattr(row, name, value)
            self.db.session.commit()

    def writes(self) -> dict[str, Callable[[], None]]:
        """Return the writes by their names."""
        one = f"/api/products/{WRITTEN}"
        with self.app.app_context():
            row = self.db.session.get(self.models.Product, WRITTEN)
            shelf, stock = row.category.slug, row.stock
        new = {"name": "New", "slug": "new", "price_cents": 1999, "stock": 3, "category": shelf}
        return {
            "price": lambda: self.send("PATCH", one, price_cents=4242),
            "stock": lambda: self.change(WRITTEN, stock=stock + 1),
            "new product": lambda: self.send("POST", "/api/products", **new),
            "name": lambda: self.send("PATCH", one, name="Another name"),
            "deletion": lambda: self.send("DELETE", f"/api/products/{GONE}"),
        }


def keys_of(shop: Shop, entries: dict[str, Read]) -> dict[str, str]:
    """Return the key of each entry: that of the last fill where nothing is cached."""
    found = {}
    with shop.app.app_context():
        engine = shop.cache.engine
    for name, read in entries.items():
        with shop.app.app_context():
            shop.cache.clear()
        read()
        fills = [event for _, event in engine.statistics.last_events() if hasattr(event, "level")]
        found[name] = fills[-1].key
    return found


def measure(shop: Shop) -> Iterator[tuple[str, dict[str, int]]]:
    """Do each write, and count what it dropped and what differs."""
    entries = shop.entries()
    keys = keys_of(shop, entries)
    names = {key: name for name, key in keys.items()}

    def read_all() -> dict[str, Any]:
        with shop.app.app_context():
            shop.cache.clear()
        return {name: read() for name, read in entries.items()}

    for write_name, write in shop.writes().items():
        before = read_all()
        write()
        with shop.app.app_context():
            looked = shop.cache.engine.inspect([*names])
        dropped = {names[each.key] for each in looked if each.state != "fresh"}
        after = read_all()
        differ = {name for name in entries if before[name] != after[name]}
        if stale := differ - dropped:
            sys.exit(f"benchmark: {write_name} leaves what differs: {sorted(stale)}")
        if "-v" in sys.argv:
            print(f"{write_name} drops without need: {', '.join(sorted(dropped - differ))}")
        counts = {"dropped": len(dropped), "differ": len(differ), "entries": len(entries)}
        yield write_name, counts


def main(project: str) -> None:
    """Measure, and print what each write drops."""
    source = Path(project).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            APP_ENV="development",
            API_TOKEN=TOKEN,
            CACHE_TYPE="SimpleCache",
            DATABASE_URL=f"sqlite:///{folder}/shop.sqlite3",
            FLASK_APP=package(source),
        )
        sys.path.insert(0, str(source / "src"))
        shops.append(Shop(package(source)))
        found = {}
        for name, counts in measure(shops[0]):
            found[name] = counts
            print("{:14}{dropped:3} dropped, {differ:3} differ of {entries}".format(name, **counts))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
