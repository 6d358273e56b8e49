"""`flask cache …`: what the cache does, what is in it, and what is wrong with it.

A command sees nothing of the servers' memory. It asks the running processes for reports, and the
store for what lies in it.
"""

from . import act, doctor, look, show, warm  # noqa: F401 - each adds its commands to the group
from .base import group

__all__ = ["group"]
