"""A PostgreSQL of the benchmark's own, where its programs are installed."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The server refuses to run as root; one of these runs it there.
USERS = ("postgres", "nobody")
#: Debian keeps the programs of each version apart, and not on PATH.
FOLDERS = "usr/lib/postgresql/*/bin/postgres"


def programs() -> Path | None:
    """Return the folder of its programs."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/").glob(FOLDERS))
    return folders[-1].parent if folders else None


def as_user(folder: str) -> dict[str, Any]:
    """Say as whom it runs, and give that user its folder."""
    if os.getuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = next(known[name] for name in USERS if name in known)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid}


@contextmanager
def server(
    bin_folder: Path, free_port: Callable[[], int], wait_until: Callable[..., Any]
) -> Iterator[str]:
    """Start one with its own settings; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        options = {**as_user(folder), "cwd": folder, "stdout": subprocess.DEVNULL}
        options["stderr"] = subprocess.DEVNULL
        data = f"{folder}/data"
        create = [str(bin_folder / "initdb"), "-D", data, "-U", "benchmark", "-A", "trust"]
        subprocess.run([*create, "-E", "UTF8", "--locale=C"], check=True, **options)
        port = free_port()
        command = [str(bin_folder / "postgres"), "-D", data, "-p", str(port)]
        process = subprocess.Popen([*command, "-h", "127.0.0.1", "-k", ""], **options)
        try:
            ready = [str(bin_folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 30)
            yield f"postgresql+psycopg://benchmark@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # It ends its sessions and itself.
            process.wait(30)
