"""What SQLAlchemy reads and writes becomes tags by itself.

A statement is compiled, and :mod:`.compiling` notes what that renders. :mod:`.statements` finds
in these notes what it reads and writes, :mod:`.shapes` which columns decide its rows and which
:mod:`.expressions` show them, and :mod:`.raw_sql` does the same for text. When it is executed,
:mod:`.reads` and :mod:`.writes` turn that into tags (:mod:`.plans`), by what the database means by
a name (:mod:`.catalog`) and by a value (:mod:`.rows`). A
:mod:`transaction <.transactions>` marks the tags of its writes in doubt before COMMIT, and bumps
them after it; what the store could not take is in the :mod:`.outbox`, in the same transaction.
:mod:`.engines` and :mod:`.sessions` listen to SQLAlchemy's events, a :mod:`.watcher` connects them
to one cache, and :mod:`.databases` is what ``cache.watch`` was given. Functions, views and triggers
cannot be seen into: ``info``, ``cache.tag`` and ``cache.invalidate`` declare what they do.
"""

from .databases import Databases

__all__ = ["Databases"]
