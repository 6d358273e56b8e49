"""Bring the database up to date: say in words why it cannot be used, migrate, seed.

`make dev` and the service `migrate` of compose.yaml run it; to run it again changes nothing.
"""

import logging
import os
import sys

import flask_migrate
from flask import Flask
from flask.cli import ScriptInfo, load_dotenv
from sqlalchemy.exc import DBAPIError

OLDER_VOLUME = """\
The database refuses the password that .env gives. Most likely its volume is older than .env: a
project of the same name made it, with a password of its own. Either
- put that project's POSTGRES_PASSWORD into this folder's .env, which keeps its data, or
- delete the volume with all that is in it: docker compose down --volumes"""

UNREACHABLE = "The database cannot be reached: {error}"

OTHER_TABLES = """\
The migrations stopped: {error}
If another project of the same name made the database, or another version of this one, and nothing
in it is needed, delete it: docker compose down --volumes, or this folder's instance/."""


def main() -> None:
    """Migrate the application's database and fill the example's tables where they are empty."""
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
    with app.app_context():
        connect(app)
        migrate()
    # The example brings the command; without the example there is nothing to fill.
    if seed := app.cli.commands.get("seed"):
        seed.main(args=[], obj=info, standalone_mode=False)


def connect(app: Flask) -> None:
    """Open a connection once; end the process with the reason if there is none to be had."""
    try:
        app.extensions["migrate"].db.engine.connect().close()
    except DBAPIError as error:
        refused = "password authentication failed" in str(error.orig)
        sys.exit(OLDER_VOLUME if refused else UNREACHABLE.format(error=error.orig))


def migrate() -> None:
    """Run the migrations that the database has not seen."""
    try:
        flask_migrate.upgrade()
    except DBAPIError as error:
        sys.exit(OTHER_TABLES.format(error=error.orig))
    except SystemExit:
        # Flask-Migrate has logged what Alembic objects to, such as a revision it does not know.
        sys.exit(OTHER_TABLES.format(error="see the line above."))


if __name__ == "__main__":
    main()
