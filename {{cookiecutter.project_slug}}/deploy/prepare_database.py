"""Bring the database up to date: say in words why it cannot be used, migrate, seed.

`make dev` and the service `migrate` of compose.yaml run it; to run it again changes nothing.
"""

import logging
import os
import sqlite3
import sys

from alembic import command
from alembic.script.revision import MultipleHeads, ResolutionError
from alembic.util import CommandError
from click import Context
from flask import Flask
from flask.cli import ScriptInfo, load_dotenv
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

OLDER_VOLUME = """\
The database refuses the password that .env gives. Most likely its volume is older than .env: a
project of the same name made it, with a password of its own. Either
- put that project's POSTGRES_PASSWORD into this folder's .env, which keeps its data, or
- delete the volume with all that is in it: docker compose down --volumes"""

UNREACHABLE = "The database cannot be reached: {error}"

#: compose.yaml's own server, by its name in the network of the containers.
NOT_STARTED = """\
DATABASE_URL names the host `database`, the PostgreSQL of compose.yaml, and that does not run.
With a DATABASE_URL in .env, it is started only by COMPOSE_PROFILES=postgresql, also in .env."""

STOPPED = "The migrations stopped: {error}"

OTHER_TABLES = f"""\
{STOPPED}
If another project of the same name made the database, or another version of this one, and nothing
in it is needed, delete it: docker compose down --volumes, or this folder's instance/."""

TWO_HEADS = f"""\
{STOPPED}
Two migrations follow the same one, most likely from two branches: join them by
`flask db merge heads`, and commit the file that it writes."""


def main() -> None:
    """Migrate the application's database and fill the example's tables where they are empty."""
    # As the flask command does, which config.py wants to know.
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    load_dotenv()
    # A migration takes as long as it takes.
    os.environ["DATABASE_TIMEOUT_SECONDS"] = "0"
    info = ScriptInfo(os.environ["FLASK_APP"])
    try:
        app = info.load_app()
    except ValueError as error:
        # config.py names every setting that is wrong.
        sys.exit(str(error))
    # The server starts after this: none runs beside it that would not hear of what is written.
    logging.getLogger("flask_coherent_cache").setLevel(logging.ERROR)
    app.cli.get_command(Context(app.cli), "db")  # Makes app.extensions["migrate"].
    with app.app_context():
        connect(app)
        migrate(app)
    # The example brings the command; without the example there is nothing to fill.
    if seed := app.cli.commands.get("seed"):
        seed.main(args=[], obj=info, standalone_mode=False)


def connect(app: Flask) -> None:
    """Open a connection once; end the process with the reason if there is none to be had."""
    engine = app.extensions["migrate"].db.engine
    try:
        engine.connect().close()
    except (DBAPIError, sqlite3.Error) as error:
        sys.exit(why_unreachable(engine.url, error))


def why_unreachable(url: URL, error: Exception) -> str:
    """Say why there is no connection, and what to do where that is known."""
    text = str(getattr(error, "orig", None) or error).strip()
    if url.host == "database" and "password authentication failed" in text:
        return OLDER_VOLUME
    if url.host == "database" and "resolve host" in text:
        return f"{UNREACHABLE.format(error=text)}\n{NOT_STARTED}"
    return UNREACHABLE.format(error=text)


def migrate(app: Flask) -> None:
    """Run the migrations that the database has not seen."""
    config = app.extensions["migrate"].migrate.get_config()
    try:
        # Not by Flask-Migrate, which logs an error and hides which it was.
        command.upgrade(config, "head")
    except (CommandError, DBAPIError) as error:
        sys.exit(why_stopped(error))


def why_stopped(error: CommandError | DBAPIError) -> str:
    """Say what stopped the migrations; advise to delete a database only if it is another's."""
    if isinstance(error, DBAPIError):
        # PostgreSQL's duplicate_table; SQLite has words only.
        state, words = getattr(error.orig, "sqlstate", None), str(error.orig)
        exists = state == "42P07" or (words.startswith("table ") and "already exists" in words)
        return (OTHER_TABLES if exists else STOPPED).format(error=words.strip())
    if isinstance(error.__cause__, MultipleHeads):
        return TWO_HEADS.format(error=error)
    unknown = isinstance(error.__cause__, ResolutionError)
    return (OTHER_TABLES if unknown else STOPPED).format(error=error)


if __name__ == "__main__":
    main()
