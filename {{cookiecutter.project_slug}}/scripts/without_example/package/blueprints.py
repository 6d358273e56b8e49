"""The parts of the application, in one place."""

from flask import Blueprint

from .ops.views import bp as ops
from .pages import bp as pages

#: What `create_app` registers.
BLUEPRINTS: tuple[Blueprint, ...] = (pages, ops)
