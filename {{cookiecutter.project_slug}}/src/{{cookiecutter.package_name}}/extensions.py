"""The extensions: one instance each, bound to an application by `init_app`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from flask_coherent_cache import Cache
from flask_coherent_cache.tools import Metrics
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import MetaData, event
from sqlalchemy.orm import DeclarativeBase

from .database import guard

# Constraints have names, so that a migration can drop them on every database.
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What every model is built on."""

    metadata = MetaData(naming_convention=NAMING)


db = SQLAlchemy(model_class=Base)
csrf = CSRFProtect()
cache = Cache()
# Queries become the tags of what is cached, and a commit invalidates what it changed.
cache.watch(db)
metrics = Metrics(cache)

# Models are subclasses of `Model`: Flask-SQLAlchemy's, which type checkers cannot follow.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def init_app(app: Flask) -> None:
    """Bind every extension to `app`."""
    db.init_app(app)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", _prepare_sqlite)
        guard(db.engine, app.config["DATABASE_TIMEOUT_SECONDS"])

    def get_command(context: click.Context, name: str) -> click.Command | None:
        """Import what is behind `flask db` when it is called: no server needs Alembic."""
        if name == "db" and "migrate" not in app.extensions:
            from flask_migrate import Migrate  # noqa: PLC0415

            Migrate(app, db, directory=Path(__file__).parent / "migrations")
        return app.cli.commands.get(name)

    app.cli.add_command(click.Group("db", help="Perform database migrations."))
    app.cli.get_command = get_command  # type: ignore[assignment, method-assign]
    csrf.init_app(app)
    for hook in app.before_request_funcs.get(None, []):
        # It checks only requests that write, and a cached page answers none of them.
        if hook.__module__ == CSRFProtect.__module__:
            cache.skip_on_hit(hook)
    cache.init_app(app)
    # Middleware that wraps the application later also runs for pages served here.
    cache.serve_before_flask(app)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Enforce foreign keys, and let readers and one writer work at once (a write-ahead log)."""
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()
