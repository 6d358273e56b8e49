"""Writes over what the shop has stored what it has not stored, and looks what comes of it.

Each value is changed as somebody could who may write to the cache server and does not know the
key: by chance, by taking it from elsewhere, or by making one. Then it is read, by a GET or a call,
and compared with what the same shop says without a cache.

Usage: stored_bytes.py BACKEND VALUES [--near] [--sabotage]
--near has the process keep copies, which are dropped with each change; --sabotage has every secret
pass for the right one, until code was run.
"""

import json
import pickle
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from flask import Flask, render_template
from flask_coherent_cache._engine import encryption, generations
from flask_coherent_cache._engine.encryption import EncryptingSealer
from flask_coherent_cache._engine.entry import framed
from flask_coherent_cache._stores import connect
from harness import PATIENT, chance, finish, server
from package import load
from serving_shop import create_shop

#: Prices change after so many values, so that former entries are outdated.
BETWEEN_COMMITS = 250
#: More than Memcached takes is refused by it, not by us.
MOST_BYTES = {"RedisCache": 4_000_000, "MemcachedCache": 1_000_000}
BOMB_BYTES = 200_000_000
MENU = "catalog/category_menu.html"
PATHS = (
    *("/", "/products", "/products?sort=-price", "/products?sort=price"),
    "/products?category=things",
    *("/products/thing-1", "/products/thing-2", "/products/nothing"),
    *("/api/products", "/api/products?sort=price"),
)
#: Where an entry's nonce and salt end.
NONCE_END, SALT_END = 14, 30
#: What has the form of nothing that lies beside entries.
FOREIGN = (b"", b" ", b"7", b"-1", b"1e16", b"nan", b"1700000000000000 ", b"x" * 1000, b"9" * 5000)

Call = Callable[[Flask], Any]


@dataclass(slots=True)
class Thing:
    """Something of the shop that is cached: how it is read, and where it lies.

    :param former: its bytes before the last commit.
    :param elsewhere: its bytes in another release, another application, and under another secret.
    """

    name: str
    read: Call
    key: str = ""
    former: bytes = b""
    elsewhere: list[bytes] = field(default_factory=list)
    right: Any = None


def page(path: str) -> Thing:
    def read(app: Flask) -> Any:
        response = app.test_client().get(path, headers={"Accept": "text/html"})
        return response.status_code, response.get_data()

    return Thing(path, read)


def called(name: str, *arguments: Any) -> Thing:
    def read(app: Flask) -> Any:
        with app.app_context():
            return getattr(load("catalog.queries"), name)(*arguments)

    return Thing(f"{name}{arguments}", read)


def fragment(current: str) -> Thing:
    def read(app: Flask) -> Any:
        with app.test_request_context():
            return render_template(
                MENU, current=current, categories=load("catalog.queries").categories
            )

    return Thing(f"menu {current}", read)


def plain(name: str, value: Any) -> Thing:
    """Name a value that is set where it is missing, as one does with ``get`` and ``set``."""

    def read(app: Flask) -> Any:
        cache = load("extensions").cache
        with app.app_context():
            found = cache.get(name)
            if found is None:
                cache.set(name, found := value)
            return found

    return Thing(name, read)


def all_things() -> list[Thing]:
    """List what is cached in every way, large and small."""
    return [
        *map(page, PATHS),
        called("categories"),
        called("products", 1, "name", None),
        called("products", 1, "-price", "things"),
        called("newest", 4),
        called("product", 1),
        called("product", 2),
        called("price_range", "things"),
        called("related", 1),
        fragment(""),
        fragment("things"),
        plain("small", {"a": 1}),
        plain("text", "wool " * 1000),
        plain("random", chance("a value").randbytes(5000)),
    ]


class Writing:
    """A value that writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> Any:
        return open, (self.file, "w")


class Proof:
    """The shop, what is read of it, and what was seen."""

    def __init__(self, backend: str, settings: dict[str, Any], folder: Path, near: bool) -> None:
        self.chance = chance("changes")
        self.folder, self.backend = folder, backend
        self.canary, self.bomb = folder / "canary", bomb()
        url = f"sqlite:///{folder}/shop.db"
        create_shop(url)
        given = {
            **PATIENT,
            "APP_ENV": "testing",
            "DATABASE_URL": url,
            "LOG_LEVEL": "CRITICAL",
            "RELEASE": "one",
            # Who finds what is no lease in its place waits for it, once.
            "CACHE_WAIT_SECONDS": 0.02,
            **settings,
            "CACHE_NEAR_BYTES": 32 * 2**20 if near else 0,
        }
        generations._STARTING_SECONDS = 0.1
        create_app = load().create_app
        self.app: Flask = create_app(given)
        self.uncached: Flask = create_app({**given, "CACHE_TYPE": "NullCache"})
        alone = {**given, "CACHE_NEAR_BYTES": 0}
        self.others: list[Flask] = [
            create_app({**alone, "RELEASE": "two"}),
            create_app({**alone, "CACHE_KEY_PREFIX": "other"}),
            create_app({**alone, "SECRET_KEY": "o" * 40}),
        ]
        self.engine = entries_of(self.app)
        self.store = connect(self.app.config)
        self.server = None
        if backend == "RedisCache":
            self.server = redis.Redis.from_url(settings["CACHE_REDIS_URL"])
        self.things = all_things()
        self.wrong, self.errors = Counter[str](), Counter[str]()
        self.kinds, self.uncounted, self.unhealed = Counter[str](), Counter[str](), Counter[str]()

    # -- the shop ------------------------------------------------------------------------

    def prepare(self) -> None:
        """Learn where everything lies, and how it looks in other places."""
        for other in self.others:
            for thing in self.things:
                key = self.stored_key(other, thing)
                thing.elsewhere += entries_of(other).store.get_many([key])
            self.clear(other)
        for thing in self.things:
            thing.key = self.stored_key(self.app, thing)
        if len({thing.key for thing in self.things}) < len(self.things):
            raise RuntimeError("some of the things have no entry of their own")
        self.change()

    def stored_key(self, app: Flask, thing: Thing) -> str:
        """Read something cold, and return the key that was written last: the outermost one."""
        self.clear(app)
        store, keys = entries_of(app).store, []
        put, store_entry = store.put, store.store_entry

        def putting(key: str, *rest: Any) -> None:
            keys.append(key)
            put(key, *rest)

        def storing(key: str, *rest: Any) -> None:
            keys.append(key)
            store_entry(key, *rest)

        store.put, store.store_entry = putting, storing
        thing.read(app)
        del store.put, store.store_entry
        return [key for key in keys if ":entry:" in key][-1]

    def clear(self, app: Flask) -> None:
        with app.app_context():
            load("extensions").cache.clear()

    def change(self) -> None:
        """Change a price, keep the former bytes, and ask the database what is right now."""
        for thing in self.things:
            thing.read(self.app)
            thing.former = self.stored(thing)
        db, models = load("extensions").db, load("catalog.models")
        with self.app.app_context():
            product = db.session.get(models.Product, self.chance.randint(1, 3))
            product.price_cents += 1
            db.session.commit()
        for thing in self.things:
            thing.right = thing.read(self.uncached)

    def stored(self, thing: Thing) -> bytes:
        """Return its bytes, or its former ones where it has just been dropped."""
        value: bytes | None = self.store.get_many([thing.key])[0]
        return value or thing.former

    # -- one value -----------------------------------------------------------------------

    def try_one(self) -> None:
        """Change a stored value, read it twice, and compare."""
        thing = self.chance.choice(self.things)
        self.look(thing, "before")
        kind = self.chance.choice(self.choices())
        self.kinds[kind.__name__] += 1
        # Only what lies in an entry's place and cannot be opened is counted, and once.
        changed = kind(thing)
        if changed is not None:
            self.store.put(thing.key, changed, self.chance.choice([60, None]))
        if self.engine.near is not None:
            self.drop_copy(thing)
        counted = self.engine.counts["unauthentic entry"]
        self.look(thing, kind.__name__)
        if changed is not None and kind != self.older:
            counted += 1
        if self.engine.counts["unauthentic entry"] != counted:
            self.uncounted[kind.__name__] += 1
        self.look(thing, kind.__name__)
        if kind != self.beside and not self.is_whole(thing):
            self.unhealed[kind.__name__] += 1

    def look(self, thing: Thing, kind: str) -> None:
        try:
            value = thing.read(self.app)
        except Exception as error:
            self.errors[f"{kind}: {thing.name}: {error!r}"[:300]] += 1
        else:
            if value != thing.right:
                self.wrong[f"{kind}: {thing.name}"] += 1

    def drop_copy(self, thing: Thing) -> None:
        """Have the next look go to the store."""
        self.engine.renew_copies(thing.key.partition(":entry:")[2])

    def is_whole(self, thing: Thing) -> bool:
        key = thing.key.partition(":entry:")[2]
        try:
            return self.engine.sealer.open(key, *self.store.get_many([thing.key])) is not None
        except Exception:
            return False

    # -- the ways to change one ----------------------------------------------------------

    def choices(self) -> list[Callable[[Thing], bytes | None]]:
        kinds = [
            self.flipped, self.cut, self.longer, self.spliced, self.of_another_key,
            self.from_elsewhere, self.older, self.at_random, self.a_pickle, self.a_forgery,
            self.a_bomb, self.beside,
        ]  # fmt: skip
        if self.server is not None:
            kinds.append(self.of_another_type)
        if self.chance.random() < 0.02:
            kinds.append(self.far_too_long)
        return kinds

    def flipped(self, thing: Thing) -> bytes:
        value = bytearray(self.stored(thing))
        for place in {self.chance.randrange(len(value)) for _ in range(self.chance.randint(1, 8))}:
            value[place] ^= 1 << self.chance.randrange(8)
        return bytes(value)

    def cut(self, thing: Thing) -> bytes:
        value = self.stored(thing)
        return value[: self.chance.randrange(len(value))]

    def longer(self, thing: Thing) -> bytes:
        more = self.chance.randbytes(self.chance.randint(1, 100))
        return self.stored(thing) + more

    def spliced(self, thing: Thing) -> bytes:
        """Take nonce and salt, or any beginning, from one and the rest from another."""
        value, other = self.stored(thing), self.another(thing)
        anywhere = self.chance.randrange(1, min(len(value), len(other)))
        place = self.chance.choice([NONCE_END, SALT_END, anywhere])
        return value[:place] + other[place:]

    def of_another_key(self, thing: Thing) -> bytes:
        return self.another(thing)

    def another(self, thing: Thing) -> bytes:
        others = [other for other in self.things if other is not thing]
        return self.chance.choice(others).former

    def from_elsewhere(self, thing: Thing) -> bytes:
        return self.chance.choice(thing.elsewhere)

    def older(self, thing: Thing) -> bytes:
        """Put back what it was before the last commit: authentic, and perhaps outdated."""
        return thing.former

    def at_random(self, thing: Thing) -> bytes:
        return self.chance.randbytes(self.chance.choice([0, 1, 2, 29, 30, 45, 46, 47, 100, 5000]))

    def a_pickle(self, thing: Thing) -> bytes:
        """Write what would run when it is loaded, as other caches store it."""
        value = pickle.dumps(Writing(self.canary))
        return self.chance.choice([value, b"!" + value, value + b"\0" * 40, b"\0" * 36 + value])

    def a_forgery(self, thing: Thing) -> bytes:
        """Make an entry of another value that lacks nothing but the secret."""
        return self.forged(thing, self.head(), pickle.dumps(Writing(self.canary)))

    def a_bomb(self, thing: Thing) -> bytes:
        return self.forged(thing, self.head(BOMB_BYTES), self.bomb)

    def head(self, size: int | None = None) -> bytes:
        """Write the head of an entry that depends on nothing, and may become so large."""
        generation = self.store.get_many([self.engine.generations.generation])[0] or b""
        now = time.time()
        return json.dumps([generation.decode(), None, [], now, now + 60, now + 60, size]).encode()

    def forged(self, thing: Thing, head: bytes, value: bytes) -> bytes:
        """Seal it under a guessed secret, perhaps with the salt of an entry that is right."""
        scope = f"{self.app.config['CACHE_KEY_PREFIX']}:{self.app.config['RELEASE']}"
        sealer = EncryptingSealer(["a guess"], scope=scope)
        key = thing.key.partition(":entry:")[2]
        forged = sealer._sealed(key, framed(head) + value)
        salt = self.chance.choice([thing.former, forged])[NONCE_END:SALT_END]
        return forged[:NONCE_END] + salt + forged[SALT_END:]

    def far_too_long(self, thing: Thing) -> bytes:
        return self.chance.randbytes(MOST_BYTES[self.backend] - 1000)

    def of_another_type(self, thing: Thing) -> None:
        """Put in its place what is no string at all."""
        server: Any = self.server
        server.delete(thing.key)
        self.chance.choice(
            [
                lambda: server.rpush(thing.key, "a", "b"),
                lambda: server.hset(thing.key, "a", "b"),
                lambda: server.sadd(thing.key, "a"),
                lambda: server.zadd(thing.key, {"a": 1}),
                lambda: server.xadd(thing.key, {"a": 1}),
            ]
        )()

    def beside(self, thing: Thing) -> None:
        """Write over what is no entry: its tags, its lease, the clock, the generation."""
        key = thing.key.partition(":entry:")[2]
        seen = self.engine.seen.get(key)
        tags = seen.tags if seen is not None else ()
        prefix = self.app.config["CACHE_KEY_PREFIX"]
        names = self.engine.tag_keys(tags)
        names += [self.engine.lease(key).name, f"{prefix}:starting"]
        names += [f"{prefix}:clock"] * 2 + [f"{prefix}:generation", f"{prefix}:renewed:{key}"]
        foreign = [*FOREIGN, self.chance.randbytes(self.chance.randint(1, 40))]
        self.store.put(self.chance.choice(names), self.chance.choice(foreign), None)


def bomb() -> bytes:
    """Compress so many bytes without ever holding them."""
    compressor, part = zlib.compressobj(1), bytes(2**20)
    parts = [compressor.compress(part) for _ in range(BOMB_BYTES // len(part))]
    return b"".join([*parts, compressor.flush()])


def entries_of(app: Flask) -> Any:
    (entries,) = app.extensions["cache"].values()
    return entries


def sabotage(app: Flask) -> None:
    """Have every secret lead to the same key, so that whoever guesses one is right."""
    encryption.derived_key = lambda *_: bytes(32)
    sealer = entries_of(app).sealer
    sealer._cipher.cache_clear()
    sealer._own = None


def peak_bytes() -> int:
    """Return the most memory that this process has taken, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(backend: str, values: str, *options: str) -> None:
    sabotaged = "--sabotage" in options
    with server(backend) as settings, tempfile.TemporaryDirectory() as folder:
        proof = Proof(backend, settings, Path(folder), "--near" in options)
        proof.prepare()
        if sabotaged:
            sabotage(proof.app)
        before = peak_bytes()
        for number in range(int(values)):
            if number % BETWEEN_COMMITS == 0 and not sabotaged:
                proof.change()
            proof.try_one()
            if sabotaged and proof.canary.exists():
                break
        finish(
            values=proof.kinds.total(),
            kinds=proof.kinds,
            errors=dict(proof.errors.most_common(20)),
            wrong=dict(proof.wrong.most_common(20)),
            uncounted=proof.uncounted,
            unhealed=proof.unhealed,
            code_run=proof.canary.exists(),
            grown_bytes=peak_bytes() - before,
            counts=proof.engine.counts,
            copies=len(proof.engine.near) if proof.engine.near is not None else 0,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
