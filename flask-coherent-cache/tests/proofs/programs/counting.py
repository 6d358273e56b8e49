"""What a Redis or Valkey server was asked, as it counts it."""

from typing import Any

import redis

#: Options of a server that reads and writes in several threads.
IO_THREADS = ("--io-threads", "4", "--io-threads-do-reads", "yes")
#: By these commands applications look up, fill and write; a near cache's own upkeep uses others.
ASKING = ("get", "mget", "set", "unlink", "incr", "eval", "evalsha")


class Server:
    """Counts what a server was asked.

    :param url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.port: int = self.client.get_connection_kwargs()["port"]

    def asked(self) -> int:
        """Count the commands of applications, also those within scripts."""
        stats: dict[str, Any] = self.client.info("commandstats")
        counts = (stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ASKING)
        return sum(counts)

    def reads(self) -> int:
        """Count the reads of sockets: what is sent at once is read at once."""
        total: int = self.client.info("stats")["total_reads_processed"]
        return total

    def name(self) -> str:
        """Tell Redis and Valkey apart; Valkey's I/O threads help only under load."""
        name: str = self.client.info("server").get("server_name", "redis")
        return name

    def threaded(self) -> int:
        """Count the writes of its I/O threads."""
        threaded: int = self.client.info("stats").get("io_threaded_writes_processed", 0)
        return threaded
