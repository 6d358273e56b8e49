"""Another process of the shop: it reads a price, or it is killed between COMMIT and invalidation.

Called with one argument of JSON: the cache's name and settings, the database's URL, what to do.
"""

import json
import os
import signal
import sys
from typing import Any

from flask_coherent_cache._stores import redis, tagstate
from shops import Item, Shop, db


def main(name: str, settings: dict[str, Any], url: str, act: str, doubt_seconds: int) -> None:
    doubt(doubt_seconds)
    shop = Shop(name, settings, url)
    if act == "read":
        print(json.dumps([shop.price(number) for number in range(1, 5)]))
        return
    if name == "ours":
        shop.cache.engine.invalidate = die
    else:
        shop.cache.delete_memoized = die
    # Ours dies within the commit, after the database's answer to it.
    if act == "write all":
        with shop.app.app_context():
            for number in range(1, 5):
                db.session.get_one(Item, number).price = 7
            db.session.commit()
            shop.cache.delete_memoized(shop.memoized)
    shop.write(7)


def die(*_: Any, **__: Any) -> None:
    """Be killed, with no chance to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def doubt(seconds: int) -> None:
    """Shorten the time for which a commit may leave its tags in doubt."""
    tagstate.DOUBT_SECONDS = seconds
    redis.DOUBT_SECONDS = seconds


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
