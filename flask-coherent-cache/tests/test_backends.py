"""The names of Flask-Caching's backends, and those of its and of an owner's that are adapted."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cachelib
import pytest
from flask import Flask
from flask_caching.backends import RedisSentinelCache, SimpleCache

import test_stores
from flask_coherent_cache import Cache
from flask_coherent_cache._stores import StoreError, kind_of
from flask_coherent_cache._stores.adapted import AdaptedStore

STORE_TESTS = [
    test_stores.test_put_get_add_delete_release,
    test_stores.test_values_expire,
    test_stores.test_an_expiry_beyond_thirty_days_is_no_date_in_the_past,
    test_stores.test_any_text_can_be_a_key,
    test_stores.test_invalidate_bumps_and_never_lowers,
    test_stores.test_invalidate_without_a_clock_writes_nothing,
    test_stores.test_marks_stay_until_their_writer_settles_them,
    test_stores.test_a_mark_whose_writer_died_goes_with_the_next_invalidation,
    test_stores.test_an_entry_creates_its_missing_tags_at_the_present_timestamp,
    test_stores.test_writers_at_once_lose_no_timestamp,
]
ADAPTED = ("FileSystemCache", "cachelib.SimpleCache", "test_backends.make_own")


class Own(SimpleCache):
    """A backend of the owner's."""


class Sentinel(RedisSentinelCache):
    """A class of the owner's on one that breaks a promise."""


def make_own(app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Own:
    assert app.name == "shop" == config["CACHE_KEY_PREFIX"]
    return Own(*args, **kwargs)


def make_given(app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Own:
    own = Own()
    own.folder = config["SHOP_FOLDER"]  # type: ignore[attr-defined]
    return own


def make_nothing(*_: Any) -> None: ...


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Flask, Any]]:
    """Make an application whose cache is on an adapted backend."""

    def made(kind: str, **settings: Any) -> tuple[Flask, Any]:
        app = Flask("shop")
        app.config.update(SECRET_KEY="k" * 40, CACHE_TYPE=kind, CACHE_DIR=str(tmp_path))
        app.config["CACHE_KEY_PREFIX"] = "shop"
        app.config.update(settings)
        return app, Cache(app)

    return made


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("NullCache", ("null", "NullCache", "flask_caching.backends.null")),
        ("SimpleCache", ("simple", "flask_caching.backends.simplecache.SimpleCache")),
        (
            "RedisCache",
            (
                "redis", "RedisCache", "flask_caching.backends.RedisCache",
                "flask_caching.backends.rediscache.RedisCache", "flask_caching.backends.redis",
                "flask_caching.backends.rediscache",
            ),
        ),
        (
            "MemcachedCache",
            ("memcached", "flask_caching.backends.memcache.MemcachedCache",
             "flask_caching.backends.memcached"),
        ),
        (
            "flask_caching.backends.FileSystemCache",
            ("filesystem", "FileSystemCache", "flask_caching.backends.filesystem",
             "flask_caching.backends.filesystemcache.FileSystemCache"),
        ),
        (
            "flask_caching.contrib.uwsgicache.UWSGICache",
            ("uwsgi", "UWSGICache", "flask_caching.contrib.uwsgicache.UWSGICache"),
        ),
        ("shop.cache.Own", ("shop.cache.Own",)),
    ],
)  # fmt: skip
def test_short_and_dotted_names_mean_the_same(kind: str, names: tuple[str, ...]) -> None:
    assert {kind_of(name) for name in (kind, *names)} == {kind}


def test_tools_find_the_name_of_ours_in_the_settings(make: Callable[..., Any]) -> None:
    app, _ = make("flask_caching.backends.SimpleCache")
    assert app.config["CACHE_TYPE"] == "SimpleCache"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("redissentinel", "reads from replicas.* Use RedisCache"),
        ("flask_caching.backends.RedisSentinelCache", "Use RedisCache"),
        ("flask_caching.backends.rediscache.RedisClusterCache", "Use RedisCache"),
        ("saslmemcached", "unpickles.* Use MemcachedCache"),
        ("SpreadSASLMemcachedCache", "Use MemcachedCache"),
        ("flask_caching.contrib.googlecloudstoragecache.GoogleCloudStorageCache", "Use RedisCache"),
        ("test_backends.Sentinel", "reads from replicas"),
        ("reddis", "is no backend.*Did you mean RedisCache"),
        ("test_backends.Nobody", "cannot be imported"),
        ("test_backends.ADAPTED", "neither a class nor a function"),
        ("test_backends.make_nothing", "made no cache"),
        (SimpleCache, "use a name"),
    ],
)
def test_what_cannot_keep_a_promise_is_refused_in_words(
    make: Callable[..., Any], name: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s)CACHE_TYPE is .*{words}"):
        make(name)


@pytest.mark.parametrize("kind", ADAPTED)
@pytest.mark.parametrize("test", STORE_TESTS, ids=lambda test: test.__name__[5:])
def test_an_adapted_store_does_what_the_others_do(
    make: Callable[..., Any], kind: str, test: Callable[[Any], None]
) -> None:
    store = make(kind)[1].engine.store
    assert isinstance(store, AdaptedStore)
    store.put(test_stores.CLOCK, b"1700000000000000", None)
    test(store)


@pytest.mark.parametrize("kind", ADAPTED)
def test_entries_are_fresh_on_an_adapted_store(make: Callable[..., Any], kind: str) -> None:
    app, cache = make(kind)
    calls = []

    @app.route("/")
    @cache.cached(60, tags=("news",))
    def page() -> str:
        calls.append("page")
        return f"{len(calls)}"

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["1", "1"]
    cache.invalidate("news")
    assert [client.get("/").text for _ in range(2)] == ["2", "2"]
    with app.app_context():
        cache.clear()
    assert client.get("/").text == "3"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("FileSystemCache", "between hosts an invalidation can be lost"),
        ("cachelib.SimpleCache", "misses the others' invalidations"),
        ("test_backends.Plain", "if it unpickles them, anyone who can write to it runs code here"),
    ],
)
def test_the_log_says_what_is_lost(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture, kind: str, words: str
) -> None:
    with caplog.at_level(logging.WARNING):
        make(kind)
    assert words in caplog.text
    assert "RedisCache and MemcachedCache keep these promises" in caplog.text


class Plain(cachelib.BaseCache):
    """Keeps what it gets in a dictionary, without a serializer."""

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        self.kept[key] = value
        return True

    def delete(self, key: str) -> bool:
        return self.kept.pop(key, None) is not None


class Planted:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._file),)


def test_files_hold_nothing_readable_and_nothing_that_runs(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    app, cache = make("FileSystemCache", CACHE_DIR=str(tmp_path / "cache"))
    with app.app_context():
        cache.set("name", "Ann of Arendal")
        files = list((tmp_path / "cache").iterdir())
        assert not [file for file in files if b"Ann" in file.read_bytes()]
        for file in files:
            if not file.name.endswith("__wz_cache"):
                planted = pickle.dumps(Planted(tmp_path / "planted"))
                file.write_bytes(file.read_bytes()[:4] + planted)
        assert cache.get("name") is None
        cache.set("name", "Bob")
        assert cache.get("name") == "Bob"
    assert not (tmp_path / "planted").exists()


def test_an_own_backend_gets_all_that_the_cache_itself_was_given() -> None:
    app, given = Flask("shop"), {"CACHE_TYPE": f"{__name__}.make_given", "SHOP_FOLDER": "/shop"}
    cache = Cache(app, config={**given, "SECRET_KEY": "k" * 40})
    assert app.extensions["cache"][cache].store.backend.folder == "/shop"
    assert "SHOP_FOLDER" not in app.config


@pytest.mark.parametrize("kind", ["FileSystemCache", "SimpleCache"])
def test_a_threshold_of_0_is_no_bound_as_in_cachelib(make: Callable[..., Any], kind: str) -> None:
    app, cache = make(kind, CACHE_THRESHOLD=0)
    with app.app_context():
        assert cache.set("name", "value")
        assert cache.get("name") == "value"


def test_files_need_a_secret_key(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="SECRET_KEY is not set"):
        make("FileSystemCache", SECRET_KEY=None)


def test_a_backend_that_loses_writes_fails_the_invalidation(make: Callable[..., Any]) -> None:
    store = make("FileSystemCache")[1].engine.store
    store.put("t:clock", b"1700000000000000", None)
    store.backend.set = lambda *args, **kwargs: False
    with pytest.raises(StoreError, match="was not written"):
        store.invalidate("t:clock", ["t:a"])
    store.close()


def test_processes_on_files_lose_no_timestamp(make: Callable[..., Any], tmp_path: Path) -> None:
    store = make("FileSystemCache")[1].engine.store
    store.put("t:clock", b"1700000000000000", None)
    program = f"""
import json, time
from flask import Flask
from flask_coherent_cache import Cache
app = Flask("shop")
app.config.update(SECRET_KEY="k" * 40, CACHE_TYPE="FileSystemCache", CACHE_DIR={str(tmp_path)!r})
store = Cache(app).engine.store
get = store.backend.get
# Between reading and writing there is time for the other one.
store.backend.get = lambda key: (get(key), time.sleep(0.002))[0]
print("ready", flush=True)
input()
print(json.dumps([store.invalidate("t:clock", ["t:a"]) for _ in range(20)]))
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environ, stdin=pipe, stdout=pipe, text=True
        )
        for _ in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    timestamps = [timestamp for run in runs for timestamp in json.loads(run.communicate()[0])]
    assert len(set(timestamps)) == 40
    assert store.get_many(["t:clock"]) == [b"1700000000000040"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_shares_no_lock(make: Callable[..., Any]) -> None:
    store = make("FileSystemCache")[1].engine.store
    with store._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(0 if store.add("t:a", b"1", 60) else 1)
        assert os.waitpid(child, 0)[1] == 0
