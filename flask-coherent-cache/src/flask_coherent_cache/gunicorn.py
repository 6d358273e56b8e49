"""A worker for gunicorn that answers cached pages at once, and hooks that keep all metrics.

In `gunicorn.conf.py`:

    from flask_coherent_cache.gunicorn import child_exit, on_starting

    worker_class = "flask_coherent_cache.gunicorn.Worker"
"""

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ._clock import monotonic

if TYPE_CHECKING:
    from ._gunicorn.worker import Worker

__all__ = ["Worker", "child_exit", "on_starting"]

#: How long a worker that hangs may keep this process from its work.
LOCK_SECONDS = 2
#: An application with a hundred names of each level has fewer series in a file.
MOST_SERIES = 10_000


def __getattr__(name: str) -> Any:
    """Import the worker where it is used: the hooks need no gunicorn."""
    if name != "Worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._gunicorn.worker import Worker  # noqa: PLC0415

    return Worker


def on_starting(server: Any) -> None:
    """Make a folder for the workers' metrics, and tell the application how many workers there are.

    The folder is new, or counts of former processes with the same numbers would be added.
    """
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    folder = tempfile.mkdtemp(prefix="metrics-", dir=server.cfg.worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    # Not by on_exit, which gunicorn does not call for a server that could not start.
    atexit.register(_take_away, folder, os.getpid())


def _take_away(folder: str, pid: int) -> None:
    """Delete the folder when the process that made it ends, not when a child of it does."""
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

    :returns: what is wrong with those that it could not read: a process may be killed at any time.
    """
    # Not above: it looks for its folder when it is imported, and the workers would inherit that.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    with (folder / "lock").open("a") as lock:
        _acquire(lock)
        # Deletes the gauges of processes that ended.
        mark_process_dead(pid, str(folder))
        lost = []
        for kind in ("counter", "histogram", "summary"):
            of_one = folder / f"{kind}_{pid}.db"
            try:
                if of_one.exists():
                    _add_counts(of_one, folder / f"{kind}_ended.db")
            except Exception as error:
                lost.append(f"{of_one.name}: {error!r}")
        return lost


def _add_counts(of_one: Path, of_all: Path) -> None:
    """Add one file to another, and delete it, whatever is in it.

    Of processes that ended only so many series are kept: each may have had names of its own.
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


def _acquire(lock: IO[str]) -> None:
    """Keep the workers from reading meanwhile; go on if one that hangs does not let go of it."""
    deadline = monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                return None
            time.sleep(0.01)
