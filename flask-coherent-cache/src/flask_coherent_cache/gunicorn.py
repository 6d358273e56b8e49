"""Hooks for gunicorn, which keep the metrics of all workers; import them in `gunicorn.conf.py`:

from flask_coherent_cache.gunicorn import child_exit, on_starting
"""

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from ._clock import monotonic

__all__ = ["child_exit", "on_starting"]

#: How long a worker that hangs may keep this process from its work.
LOCK_SECONDS = 2
#: An application with a hundred names of each level has fewer series in a file.
MOST_SERIES = 10_000


def on_starting(server: Any) -> None:
    """Tell the application how many processes there are, also where `--workers` says so.

    And make the folder in which they keep their metrics: a new one, or the counts of processes
    that had the same numbers would be taken for theirs.
    """
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    folder = tempfile.mkdtemp(prefix="metrics-", dir=server.cfg.worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    # Not by on_exit, which a server that could not start does not come to.
    atexit.register(take_away, folder, os.getpid())


def take_away(folder: str, pid: int) -> None:
    """Delete the folder at the end of the process that made it, and of no child of it."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a worker counted, however it ended: a counter never falls."""
    try:
        for lost in keep_counts(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), worker.pid):
            server.log.warning("What worker %s counted is lost: %s", worker.pid, lost)
    except Exception:
        # What is raised here would end the server.
        server.log.exception("What worker %s counted is lost.", worker.pid)


def keep_counts(folder: Path, pid: int) -> list[str]:
    """Add the files of a process that ended to those of all that ended before, and delete them.

    Returns what is wrong with those that it could not read: a process may be killed at any time.
    """
    # Not above: it looks for its folder when it is imported, and the workers would inherit that.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    with (folder / "lock").open("a") as lock:
        acquire(lock)
        # The gauges of who does not live any more.
        mark_process_dead(pid, str(folder))
        lost = []
        for kind in ("counter", "histogram", "summary"):
            of_one = folder / f"{kind}_{pid}.db"
            try:
                if of_one.exists():
                    add_counts(of_one, folder / f"{kind}_ended.db")
            except Exception as error:
                lost.append(f"{of_one.name}: {error!r}")
        return lost


def add_counts(of_one: Path, of_all: Path) -> None:
    """Add one file to another; whatever is in it, it does not stay.

    Only so many series are kept of processes that ended: each may have had names of its own.
    """
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - as above

    try:
        counts = [*MmapedDict.read_all_values_from_file(of_one)]
        with closing(MmapedDict(str(of_all))) as ended:
            known = {key for key, *_ in ended.read_all_values()}
            for key, value, *_ in counts:
                if key in known or len(known) < MOST_SERIES:
                    known.add(key)
                    ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
    finally:
        of_one.unlink()


def acquire(lock: IO[str]) -> None:
    """Keep the workers from reading meanwhile, for which one that hangs does not let go of it."""
    deadline = monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                return None
            time.sleep(0.01)
