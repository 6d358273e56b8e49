"""The parts of the application, in one place: its blueprints, and who is signed in."""

from flask import Blueprint

from .account.commands import bp as account
from .account.session import signed_in_name
from .catalog.api import bp as catalog_api
from .catalog.views import bp as catalog
from .ops.views import bp as ops

__all__ = ["BLUEPRINTS", "signed_in_name"]

#: What `create_app` registers.
BLUEPRINTS: tuple[Blueprint, ...] = (catalog, catalog_api, account, ops)
