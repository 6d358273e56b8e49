"""How `flask db` runs the migrations: on the application's own database and models."""

from alembic import context
from flask import current_app


def run() -> None:
    """Run them on a connection, or with `--sql` print what they would run."""
    migrate = current_app.extensions["migrate"]
    options = {"target_metadata": migrate.db.metadata, **migrate.configure_args}
    if context.is_offline_mode():
        dialect = migrate.db.engine.dialect.name
        context.configure(dialect_name=dialect, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    applied: list[object] = []
    options["on_version_apply"] = lambda **version: applied.append(version)
    with migrate.db.engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
    # What a migration changes, it says to nobody: raw SQL, and columns of another meaning.
    for cache in current_app.extensions["cache"] if applied else ():
        cache.clear()


run()
