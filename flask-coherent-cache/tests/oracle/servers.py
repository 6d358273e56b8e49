"""Databases of the tests' own: each starts in a folder of its own, and is stopped by its pid."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from flask_coherent_cache.testing import free_port, wait_until
from proofs.cases.databases import postgresql

__all__ = ["database"]

_OPTIONS = ("--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--skip-grant-tables")


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    """Yield the URL of an empty database, or None where its server or its driver is missing."""
    if kind == "sqlite":
        yield "sqlite://"
    elif kind == "postgresql":
        with postgresql() as url:
            yield url
    else:
        yield from _mariadb()


def _mariadb() -> Iterator[str | None]:
    install, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path=_path())
    if install is None or server is None or find_spec("pymysql") is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        run: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.getuid() == 0:
            # The server refuses to run as root.
            user = pwd.getpwnam("mysql")
            os.chown(folder, user.pw_uid, user.pw_gid)
            run |= {"user": user.pw_uid, "group": user.pw_gid}
        data, port = f"--datadir={folder}/data", free_port()
        subprocess.run([install, "--no-defaults", data], check=True, **run)
        place = (f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket")
        command = [server, "--no-defaults", data, *place, f"--pid-file={folder}/pid", *_OPTIONS]
        process = subprocess.Popen(command, **run)
        try:
            wait_until(lambda: _answers(port), 60)
            yield f"mysql+pymysql://test@127.0.0.1:{port}/test"
        finally:
            process.terminate()
            process.wait(60)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin"


def _answers(port: int) -> bool:
    import pymysql  # noqa: PLC0415 - it can be missing

    try:
        with pymysql.connect(host="127.0.0.1", port=port, user="test") as connection:
            connection.cursor().execute("CREATE DATABASE IF NOT EXISTS test")
    except pymysql.MySQLError:
        return False
    return True
