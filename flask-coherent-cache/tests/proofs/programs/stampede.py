"""Lets many threads of several processes ask for one key at once, and counts the fills.

Usage: stampede.py ours|stock BACKEND
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask

from flask_coherent_cache.testing import wait_until
from harness import finish, make_app, processes, run_at_once, server

THREADS = 50
#: Long enough for a busy machine to look at what a refill made before that is old, too.
TIMEOUT = 8
#: Memcached counts the ticks of a clock of its own, which lags behind by two at most.
TICKS = 2
#: The kinds of keys whose entry the stampede finds gone by its age.
AGED = ("expired", "grace")
#: How long a fill goes on once everybody has come.
FILL_SECONDS = 0.2
PATIENCE = 60


class Scene:
    """One key, and what is counted of it in all processes."""

    def __init__(self, what: str, kind: str, callers: int) -> None:
        self.what, self.kind, self.callers = what, kind, callers
        self.expires_at = processes.Value("d", 0.0)
        self.fills, self.arrived, self.answered, self.old = (
            processes.Value("i", 0) for _ in range(4)
        )

    def fill(self) -> str:
        """Go on until everybody is here or, with grace, until everybody has been answered."""
        number = add(self.fills)
        if self.kind == "cold" or number > 1:
            counter = self.answered if self.kind == "grace" else self.arrived
            wait_until(lambda: counter.value >= self.callers, PATIENCE)
            time.sleep(FILL_SECONDS)
        return str(number)

    def question(self, app: Flask, cache: Any) -> Callable[[], str]:
        """Return a function that asks this process's application."""
        more = {"grace": 300} if self.kind == "grace" else {}
        timeout = TIMEOUT if self.kind in AGED else 600
        if self.what == "page":
            path = f"/{self.kind}"
            view = cache.cached(timeout, **more)(self.fill)
            app.add_url_rule(path, self.kind, view)
            return lambda: app.test_client().get(path).text
        name = f"work.{self.kind}"
        function = cache.memoize(timeout, make_name=lambda _: name, **more)(partial_of(self.fill))
        return partial(in_context, app, function)

    def request(self, ask: Callable[[], str]) -> None:
        add(self.arrived)
        if ask() == "1" and self.kind == "grace":
            add(self.old)
        add(self.answered)

    def is_due(self) -> bool:
        expires_at: float = self.expires_at.value
        return time.time() > expires_at

    def counted(self) -> dict[str, int]:
        """Return what the stampede counted, without the fill that there was before it."""
        before = 0 if self.kind == "cold" else 1
        return {
            "callers": self.answered.value,
            "fills": self.fills.value - before,
            "served_old": self.old.value,
        }


def partial_of(fill: Callable[[], str]) -> Callable[[], str]:
    """Make a function without arguments of a bound method, whose `self` would be one."""

    def work() -> str:
        return fill()

    return work


def in_context(app: Flask, function: Callable[[], str]) -> str:
    with app.app_context():
        return function()


def add(counter: Any) -> int:
    with counter.get_lock():
        counter.value += 1
        value: int = counter.value
        return value


def process(
    subject: str, settings: dict[str, Any], scenes: list[Scene], first: bool, ready: Any
) -> None:
    app, cache = make_app(subject, settings)
    questions = [scene.question(app, cache) for scene in scenes]
    for scene, ask in zip(scenes, questions, strict=True):
        if first and scene.kind != "cold":
            ask()
            scene.expires_at.value = time.time() + (TIMEOUT + TICKS if scene.kind in AGED else 0)
    ready.wait()
    for scene, ask in zip(scenes, questions, strict=True):
        wait_until(scene.is_due, PATIENCE)
        ready.wait()  # also with the scene before: what one clears, another still looks at
        if first and scene.kind == "cleared":
            with app.app_context():
                cache.clear()
        ready.wait()
        stampede(partial(scene.request, ask))
        ready.wait()
        if scene.kind == "grace":
            # The refill that nobody waited for ends, and what it made is served.
            wait_until(partial(answers, ask, "2"), PATIENCE)


def answers(ask: Callable[[], str], expected: str) -> bool:
    return ask() == expected


def stampede(request: Callable[[], None]) -> None:
    threads = [threading.Thread(target=request) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(subject: str, backend: str) -> None:
    count = 1 if backend == "SimpleCache" else 2
    kinds = ["cold", "expired", *(["grace"] if subject == "ours" else []), "cleared"]
    scenes = [Scene(what, kind, count * THREADS) for kind in kinds for what in ("page", "function")]
    ready = processes.Barrier(count, timeout=PATIENCE)
    with server(backend) as settings:
        run_at_once(
            [partial(process, subject, settings, scenes, n == 0, ready) for n in range(count)]
        )
    finish(**{f"{scene.kind} {scene.what}": scene.counted() for scene in scenes})


if __name__ == "__main__":
    main(*sys.argv[1:])
