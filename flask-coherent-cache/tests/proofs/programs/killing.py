"""Disturbs the near caches: kills their tracking connections, and stops the server for a while."""

import os
import signal
import time
from collections import Counter
from typing import Any

import redis

from harness import chance

#: How the name of a near cache's tracking connection ends; the application's prefix is before it.
SUFFIX = "-near"
#: One kill in so many is a burst: every connection, and again as soon as it is back.
BURSTS, BURST = 10, 8
STOP_SECONDS = 3.0


def tracking(client: Any) -> dict[str, str]:
    """List the tracking connections that a server has: their ids and flags."""
    return {
        connection["id"]: connection["flags"]
        for connection in client.client_list()
        if connection["name"].endswith(SUFFIX)
    }


class Killer:
    """Kills tracking connections at random.

    :param settings: the settings that lead to the server.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.client = redis.Redis.from_url(settings["CACHE_REDIS_URL"])
        self.chance = chance("killer")
        self.done: Counter[str] = Counter()
        self.tried = 0

    def act(self) -> None:
        """Kill one of them, or all of them several times."""
        self.tried += 1
        if self.chance.randrange(BURSTS):
            found = list(tracking(self.client))
            self.kill([self.chance.choice(found)] if found else [])
        else:
            for _ in range(BURST):
                self.kill(list(tracking(self.client)))
                time.sleep(self.chance.random() * 0.01)

    def kill(self, found: list[str]) -> None:
        """Close connections, as a server, a firewall or a proxy does."""
        for identity in found:
            self.done["tracking connection"] += self.client.client_kill_filter(_id=identity)


class Stopper:
    """Stops the server for longer than a near cache trusts a link on which nothing comes.

    :param settings: the settings that lead to the server.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        client = redis.Redis.from_url(settings["CACHE_REDIS_URL"])
        self.process = client.info("server")["process_id"]
        self.done: Counter[str] = Counter()
        #: The first stop is not at once.
        self.tried = 1

    def act(self) -> None:
        """Stop it, and let it go on: its connections stay, and nothing comes on them."""
        self.tried += 1
        os.kill(self.process, signal.SIGSTOP)
        try:
            time.sleep(STOP_SECONDS)
        finally:
            os.kill(self.process, signal.SIGCONT)
        self.done["stop"] += 1
