"""What SQLAlchemy reads and writes becomes tags, unasked.

A SELECT tags its tables, or the row where it finds one by its key. A commit raises the rows
that it changed and their tables. Raw SQL text cannot be seen: ``cache.tag`` and
``cache.invalidate`` say by hand what it reads and writes.
"""

from .tracking import track

__all__ = ["track"]
