"""The database's URL: whether it can be used, and how the engine connects to it."""

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .database import CONNECT_ARGS, GuardedPool


def database_url(url: str) -> str:
    """Return SQLAlchemy's URL; `postgres://` and `postgresql://` mean psycopg 3."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def engine_options(url: str, threads: int, *, hide_parameters: bool) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine for a process of so many threads."""
    # An error of a statement is logged, and its parameters may be a visitor's name.
    hidden = {"hide_parameters": hide_parameters}
    if not url.startswith("postgresql"):
        # A writer waits so many seconds for another one to finish.
        return hidden | {"connect_args": {"timeout": 5}}
    return hidden | {
        # A connection that the server or a firewall closed is replaced, not handed out.
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        # One for each thread, some more for work in the background; waiting is bounded.
        "pool_size": threads,
        "max_overflow": 4,
        "pool_timeout": 5,
        "poolclass": GuardedPool,
        "connect_args": CONNECT_ARGS,
    }


def is_database(url: str) -> bool:
    """Tell whether a URL names a SQLite file, or a database on a PostgreSQL."""
    try:
        parsed = make_url(database_url(url))
    except (ArgumentError, ValueError):
        return False
    name = parsed.drivername
    return name == "sqlite" or (name == "postgresql+psycopg" and bool(parsed.database))


def find_problems(url: str, instance_path: str) -> list[str]:
    """Say what keeps a connection from being made, as far as that can be told without a server."""
    if not is_database(url):
        return []
    parsed = make_url(url)
    problem = (parsed.query and _wrong_query(parsed)) or _unwritable(parsed, instance_path)
    return [f"DATABASE_URL {problem}"] if problem else []


def _wrong_query(url: URL) -> str | None:
    # Each parameter goes to the driver as a text, even if the driver wants something else.
    names = ", ".join(sorted(url.query))
    try:
        arguments, options = url.get_dialect()().create_connect_args(url)
        if url.get_backend_name() == "sqlite":
            sqlite3.connect(":memory:", **options).close()
        else:
            import psycopg  # noqa: PLC0415 - only where it is used

            psycopg.conninfo.make_conninfo(*arguments, **options)
    except Exception as error:  # Also psycopg's own, which is not imported elsewhere.
        return f"has parameters ({names}) that its driver does not take: {error}".strip()
    return None


def _unwritable(url: URL, instance_path: str) -> str | None:
    """Say why a file of SQLite cannot be written by this process."""
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    # As Flask-SQLAlchemy, which makes the folder `instance`.
    path = Path(instance_path, name)
    folder = path.parent
    if not Path(name).is_absolute():
        folder = next(parent for parent in path.parents if parent.exists())
    who = f"user {os.getuid()}" if hasattr(os, "getuid") else "the user"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return f"names the file {path}, which {who} of this process may not write."
    if not folder.is_dir():
        return f"names the file {path}, whose folder is not there."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"names the file {path}, in whose folder {who} of this process may not write."
    return None
