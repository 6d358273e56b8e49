"""Measures what watching adds to statements, as a share of the time that they take by themselves.

Usage: python benchmarks/statements.py [ROUNDS]

Two engines of the same database run the same statements in turn: one is watched, and what is read
becomes an entry's tags, as in a fill. It uses a file of SQLite, and a PostgreSQL of its own where
one is installed. The last line says it all in JSON.
"""

import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Engine, ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_coherent_cache import Cache
from flask_coherent_cache._dependencies.dependencies import Dependencies, replaced_dependencies

BATCH = 40


class Base(DeclarativeBase):
    """The classes of the shop."""


class Category(Base):
    """Twelve of them."""

    __tablename__ = "category"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Product(Base):
    """Of each category 24."""

    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    price_cents: Mapped[int]
    stock: Mapped[int] = mapped_column(default=1)
    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"), index=True)


COLUMNS = (Product.id, Product.name, Product.slug, Product.price_cents, Product.stock)
LISTED = select(*COLUMNS, Category.id, Category.name).join(Category)
SORTED = LISTED.order_by(Product.name, Product.id).limit(24)
BY_KEY = select(*COLUMNS).where(Product.id == 40)


def flush(session: Session) -> None:
    """Change one row."""
    session.get_one(Product, 40).stock += 1
    session.flush()


STATEMENTS: dict[str, Callable[[Session], object]] = {
    "24 rows": lambda session: session.execute(SORTED).all(),
    "one row by its key": lambda session: session.execute(BY_KEY).all(),
    "288 rows": lambda session: session.execute(LISTED).all(),
    "a row read and an UPDATE flushed": flush,
}


def fill(engine: Engine) -> None:
    """Create the tables and their rows."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for number in range(1, 13):
            session.add(Category(id=number, name=f"Category {number}"))
        session.flush()
        for number in range(288):
            product = Product(name=f"Product {number:03}", slug=f"product-{number}")
            product.price_cents, product.category_id = number * 7 % 5000, number % 12 + 1
            session.add(product)
        session.commit()


def timed(engine: Engine, statement: Callable[[Session], object], *, watched: bool) -> float:
    """Return the least seconds of a batch; a watched statement's tags are collected."""
    seconds = []
    for _ in range(BATCH):
        with Session(engine) as session:
            dependencies = Dependencies()
            with replaced_dependencies(dependencies) if watched else nullcontext():
                session.connection()
                began = time.perf_counter()
                statement(session)
                if watched:
                    dependencies.collected()
                seconds.append(time.perf_counter() - began)
                session.rollback()
    # Others use the machine, too: the fastest one was disturbed the least.
    return min(seconds)


def shares(plain: Engine, watched: Engine, rounds: int) -> Iterator[tuple[str, float]]:
    """Yield by how much each statement takes longer: the median of rounds, in percent."""
    for name, statement in STATEMENTS.items():
        found = []
        for number in range(rounds + 1):
            # The order alternates: whatever else the machine does hits both.
            pair = {}
            for is_watched in (number % 2 == 0, number % 2 == 1):
                engine = watched if is_watched else plain
                pair[is_watched] = timed(engine, statement, watched=is_watched)
            found.append(pair[True] / pair[False] - 1)
        yield name, 100 * statistics.median(found[1:])


def run(*command: str) -> None:
    """Run a program of PostgreSQL's."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def urls(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the databases' URLs: SQLite's, and that of a PostgreSQL on a socket of its own."""
    found = {"SQLite": f"sqlite:///{folder}/shop.sqlite3"}
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [None]
    on_path = shutil.which("initdb")
    bin_ = Path(on_path).parent if on_path else programs[-1]
    if bin_ is None:
        yield found
        return
    data, options = folder / "data", f"-c listen_addresses= -k {folder}"
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder.chmod(0o777)
    control = [*as_user, str(bin_ / "pg_ctl"), "-D", str(data), "-w"]
    make = [*as_user, str(bin_ / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]
    run(*make)
    run(*control, "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield found | {"PostgreSQL": f"postgresql+psycopg://postgres@/postgres?host={folder}"}
    finally:
        run(*control, "-m", "fast", "stop")


def main() -> None:
    """Measure, and print the shares."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    app = Flask("statements")
    app.config.update(CACHE_TYPE="SimpleCache", SECRET_KEY="k" * 40)
    cache = Cache(app)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, urls(Path(name)) as databases:
        for database, url in databases.items():
            plain, watched = create_engine(url), create_engine(url)
            fill(plain)
            cache.watch(watched, metadata=Base.metadata)
            gc.collect()
            gc.disable()
            found[database] = dict(shares(plain, watched, rounds))
            gc.enable()
            for statement, percent in found[database].items():
                print(f"{database:12}{statement:34}{percent:+6.1f} %")
            plain.dispose()
            watched.dispose()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
