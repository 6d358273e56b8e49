"""The parts of the application, in one place."""

from flask import Blueprint

from .account.commands import bp as account
from .catalog.api import bp as catalog_api
from .catalog.views import bp as catalog
from .ops.views import bp as ops

#: What `create_app` registers.
BLUEPRINTS: tuple[Blueprint, ...] = (catalog, catalog_api, account, ops)
