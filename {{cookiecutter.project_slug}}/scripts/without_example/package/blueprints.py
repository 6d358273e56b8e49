"""The parts of the application, in one place."""

from flask import Blueprint

from .ops.commands import bp as ops
from .ops.inspector import bp as inspector
from .pages import bp as pages

#: What `create_app` registers.
BLUEPRINTS: tuple[Blueprint, ...] = (pages, ops, inspector)
