"""The parts of the application, in one place: its blueprints, and who is signed in."""

from flask import Blueprint

from .ops.views import bp as ops
from .pages import bp as pages

#: What `create_app` registers.
BLUEPRINTS: tuple[Blueprint, ...] = (pages, ops)


def signed_in_name() -> str | None:
    """Name who is signed in, by what no two users share, for OPS_USERS; nobody signs in yet."""
    return None
