"""Commands of the shop: `flask seed` and `flask user create`."""

import sys

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import func, inspect, select

from ..catalog import seed as shop
from ..extensions import db
from .models import MAX_PASSWORD_LENGTH, MAX_USER_NAME_LENGTH, MIN_PASSWORD_LENGTH, User
from .views import bp

#: Opens nothing but an example: only development has this user.
DEMO_NAME = "demo"
DEMO_PASSWORD = "demo-shop"  # noqa: S105  # pragma: allowlist secret

__all__ = ["bp"]

users = AppGroup("user", help="Manage who can sign in.")
bp.cli.add_command(users)


@bp.cli.command("seed")
def seed() -> None:
    """Fill the shop's empty tables; in development with a user too."""
    _require_tables()
    click.echo(shop.fill())
    if current_app.config["APP_ENV"] != "development":
        return
    if db.session.scalar(select(func.count(User.id))):
        click.echo("There are users already: no demo user was made.")
        return
    _add_user(DEMO_NAME, DEMO_PASSWORD)
    click.echo(f"Made a user to sign in with: {DEMO_NAME}, password {DEMO_PASSWORD}")


@users.command("create")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
def create(name: str, password_stdin: bool) -> None:
    """Make a user who can sign in as NAME."""
    _require_tables()
    name = name.strip()
    if not 1 <= len(name) <= MAX_USER_NAME_LENGTH or not name.isprintable():
        raise click.BadParameter(f"Use 1 to {MAX_USER_NAME_LENGTH} characters that can be printed.")
    if db.session.scalar(select(User.id).filter_by(name=name)) is not None:
        raise click.ClickException(f"There is a user {name} already.")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise click.ClickException(
            f"Use a password of {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters."
        )
    _add_user(name, password)
    click.echo(f"Made the user {name}.")


def _require_tables() -> None:
    if not inspect(db.engine).has_table(User.__tablename__):
        raise click.ClickException("The database has no tables: run `flask db upgrade` first.")


def _add_user(name: str, password: str) -> None:
    user = User(name=name)
    user.set_password(password)
    db.session.add(user)
    db.session.commit()
