"""How `flask db` runs the migrations: on the application's own database and models."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from alembic import context
from alembic.util import CommandError
from flask import current_app

VERSIONS = Path(__file__).parent / "versions"
READ_ONLY = (
    "This container's files are read-only. Write a migration where the sources are, with"
    " `.venv/bin/flask db migrate`, or with Docker alone as docs/maintenance.md says."
)


def run() -> None:
    """Run them on a connection, or with `--sql` print what they would run."""
    migrate = current_app.extensions["migrate"]
    options = {"target_metadata": migrate.db.metadata, **migrate.configure_args}
    options.setdefault("process_revision_directives", refuse_read_only)
    applied: list[object] = []
    options["on_version_apply"] = lambda **version: applied.append(version)
    prints, engine = context.is_offline_mode(), migrate.db.engine
    with nullcontext() if prints else engine.connect() as connection:
        context.configure(connection, None, engine.dialect.name, literal_binds=prints, **options)
        with context.begin_transaction():
            context.run_migrations()
    # The cache cannot see what a migration changes: raw SQL, and columns of another meaning.
    for cache in current_app.extensions["cache"] if applied and not prints else ():
        cache.clear()


def refuse_read_only(*_: Any) -> None:
    """Say why no file can be written here, before Alembic tries to."""
    if not os.access(VERSIONS if VERSIONS.is_dir() else VERSIONS.parent, os.W_OK):
        raise CommandError(READ_ONLY)


run()
