"""What the cache counts and remembers of itself."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache._dependencies.dependencies import tally_of
from flask_coherent_cache._statistics import records, statistics
from flask_coherent_cache.testing import wait_until


def counted(cache: Any, level: str, name: str) -> dict[str, int]:
    """The results of a name's lookups that were not zero."""
    results = cache.engine.statistics.lookups(level, name).results
    return {result: count for result, count in results.items() if count}


def named(number: int) -> Callable[[], int]:
    """A function of its own name."""

    def function() -> int:
        return 1

    function.__qualname__ = f"function{number}"
    return function


def fills(cache: Any) -> list[Any]:
    return [e for _, e in cache.engine.statistics.last_events() if hasattr(e, "cause")]


def invalidations(cache: Any) -> list[Any]:
    return [e for _, e in cache.engine.statistics.last_events() if hasattr(e, "origin")]


def test_each_lookup_has_one_result(app: Flask, cache: Any) -> None:
    @app.get("/page/<name>")
    @cache.cached(60, unless=lambda: False)
    def page(name: str) -> str:
        return f"{name} {double(2)}"

    @cache.memoize(60, make_name=lambda name: "double")
    def double(number: int) -> int:
        cache.tag("numbers")
        return number * 2

    name = f"{double.uncached.__module__}.{double.uncached.__qualname__}"
    client = app.test_client()
    for path in ("/page/a", "/page/a", "/page/a", "/page/b"):
        assert client.get(path).status_code == 200
    client.get("/page/a", headers={"Authorization": "Bearer x"})
    with app.app_context():
        assert counted(cache, "page", "page") == {"hit": 2, "miss": 2, "bypass": 1}
        assert counted(cache, "function", name) == {"hit": 2, "miss": 1}
        page_lookups = cache.engine.statistics.lookups("page", "page")
        assert page_lookups.fills == page_lookups.stored == 2
        assert page_lookups.stored_bytes > 100
        assert page_lookups.timeout == 60
        assert page_lookups.reasons == {"new": 2}
        cache.get("nothing")
        assert counted(cache, "value", "cache.get") == {"miss": 1}


def test_hits_in_this_process_are_hits_too(app: Flask, cache: Any) -> None:
    @app.get("/")
    @cache.cached(60)
    def index() -> str:
        return "index"

    cache.serve_before_flask(app)
    client, asked = app.test_client(), itertools.count(1)
    lookups = cache.engine.statistics.lookups("page", "index")

    def enough() -> bool:
        """Ask once more: the near cache begins when its connection is made."""
        client.get("/")
        return next(asked) >= 20 and (cache.engine.near is None or lookups.near_hits >= 10)

    wait_until(enough)
    hits = next(asked) - 2
    with app.app_context():
        assert counted(cache, "page", "index") == {"hit": hits, "miss": 1}
    assert lookups.near_hits <= (0 if cache.engine.near is None else hits)


def test_no_lookup_is_lost_between_threads() -> None:
    lookups, ends = statistics.Lookups("page", "index"), threading.Event()

    def look_up(_: int) -> None:
        for _ in range(5000):
            lookups.count("hit")
            lookups.count_near()
            lookups.count_served("200 OK", 0.001)

    def read() -> list[int]:
        reads = []
        while not ends.is_set():
            reads.append(lookups.results["hit"])
        return reads

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        list(pool.map(look_up, range(8)))
        ends.set()
    assert lookups.results["hit"] == 120_000
    assert lookups.near_hits == 80_000
    counts, seconds = lookups.served["200 OK"].read()
    assert (sum(counts), round(seconds)) == (40_000, 40)
    for reader in readers:
        assert reader.result() == sorted(reader.result())


def test_who_waits_for_another_fill_is_counted_so(app: Flask, cache: Any) -> None:
    started, go = threading.Event(), threading.Event()

    @cache.memoize(60, make_name=lambda name: "slow")
    def slow() -> int:
        started.set()
        assert go.wait(10)
        return 1

    def call() -> int:
        with app.app_context():
            result: int = slow()
            return result

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call)
        assert started.wait(10)
        second = pool.submit(call)
        with app.app_context():
            flights = cache.engine.flights.running
            for _ in range(1000):
                if flights and next(iter(flights.values())).done._cond._waiters:
                    break
                threading.Event().wait(0.005)
        go.set()
        assert first.result() == second.result() == 1
    with app.app_context():
        name = f"{slow.uncached.__module__}.{slow.uncached.__qualname__}"
        assert counted(cache, "function", name) == {"miss": 1, "wait": 1}
        assert cache.engine.statistics.leases == {"taken": 1}


def test_a_fill_says_why(app: Flask, cache: Any) -> None:
    @cache.memoize(60, tags=("colour:red", "shape"), make_name=lambda name: "named")
    def named() -> int:
        return 1

    with app.app_context():
        key = named.make_cache_key(None)
        named()
        cache.invalidate("colour:red")
        with app.app_context():
            named()
        (bumped,) = invalidations(cache)[-1:]
        assert (bumped.tags, bumped.count) == (("colour:red",), 1)
        assert fills(cache)[-1].cause == statistics.Cause(
            "invalidated", ("colour:red",), bumped.timestamp
        )
        known = cache.engine.statistics.entries[key]
        assert known.cause.tags == ("colour:red",)
        assert {"colour:red", "shape"} <= set(known.tags)
        cache.clear()
        with app.app_context():
            named()
        assert invalidations(cache)[-1].count is None
        assert fills(cache)[-1].cause.reason == "cleared"
        cache.engine.store.delete([cache.engine.entry_key(key)])
        with app.app_context():
            named()
        assert fills(cache)[-1].cause.reason == "evicted"
        cache.engine.store.put(cache.engine.entry_key(key), b"rubbish", 60)
        with app.app_context():
            named()
        assert fills(cache)[-1].cause.reason == "unreadable"


def test_a_failed_fill_is_a_miss_and_says_so(app: Flask, cache: Any) -> None:
    @app.get("/")
    @cache.cached(60)
    def index() -> str:
        raise ZeroDivisionError

    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert app.test_client().get("/").status_code == 500
    with app.app_context():
        assert counted(cache, "page", "index") == {"miss": 1}
        assert (fills(cache)[-1].refused, fills(cache)[-1].bytes) == ("failed", None)


def test_what_was_deleted_was_not_evicted(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    caches = []
    for _ in range(2):
        app, cache = make_app()
        memoized = cache.memoize(60, make_name=lambda name: "dropped")(lambda: 1)
        caches.append((app, cache, memoized))
    (app, cache, memoized), (other_app, other, _) = caches
    with app.app_context():
        memoized()
        shared = cache.engine.store.shared
    with other_app.app_context() if shared else app.app_context():
        (other if shared else cache).delete("fn:dropped()")
    with app.app_context():
        memoized()
        cause = fills(cache)[-1].cause
        assert cause.reason == "invalidated"
        assert cause.tags == ("key:fn:dropped()",)
        assert cause.timestamp


def test_each_function_has_new_keys_of_its_own(app: Flask, cache: Any) -> None:
    app.extensions["cache"][cache].config["CACHE_NEW_VALUES_PER_MINUTE"] = 1
    functions = [
        cache.memoize(60, make_name=lambda name, n=number: f"function{n}")(named(number))
        for number in range(statistics._MOST_NAMES + 5)
    ]

    @app.get("/")
    def index() -> str:
        return f"{sum(function() for function in functions)}"

    app.test_client().get("/")
    with app.app_context():
        assert cache.engine.counts["limit: new keys"] == 0


def test_a_refill_is_no_lookup(app: Flask, cache: Any) -> None:
    @app.get("/")
    @cache.cached(60, grace=600)
    def index() -> str:
        return "index"

    client = app.test_client()
    client.get("/")
    with app.app_context():
        lookups = cache.engine.statistics.lookups("page", "index")
        (key,) = (key for key in cache.engine.statistics.entries if "page:" in key)
        cache.engine.refresh(key)
    client.get("/")
    deadline = time.monotonic() + 10
    while lookups.fills < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    with app.app_context():
        assert counted(cache, "page", "index") == {"stale": 1, "miss": 1}
        assert lookups.fills == 2


def test_an_invalidation_says_where_it_came_from(app: Flask, cache: Any) -> None:
    @app.post("/change/<number>")
    def change(number: str) -> str:
        cache.invalidate(f"thing:{number}", "thing")
        return ""

    app.test_client().post("/change/7")
    with app.app_context():
        (event,) = invalidations(cache)[-1:]
        tags = ("thing", "thing!", "thing:*", "thing:7")
        assert (event.origin, event.tags, event.count) == ("POST change", tags, 4)
        assert cache.engine.statistics.invalidated["thing"] == 3


def test_a_request_keeps_what_its_lookups_came_to(app: Flask, cache: Any) -> None:
    value = cache.memoize(60, make_name=lambda _: "value")(lambda number: number)
    page = cache.memoize(60, make_name=lambda _: "page")(lambda: value(1) + value(1))
    with app.test_request_context() as context:
        environ = context.request.environ
        assert tally_of(environ) is None
        value(0)
        assert tally_of(environ).traces == []
        cache.engine.statistics.traces = True
        page()
        page()
        tally = tally_of(environ)
    assert f"{tally}" == "2 hit, 3 miss"
    assert [trace.result for trace in tally.traces] == ["miss", "hit", "miss", "hit"]
    inner, again, outer, _ = tally.traces
    assert outer.began < inner.began < again.began < outer.began + outer.seconds
    assert set(inner.tags) < set(outer.tags)


def test_what_is_computed_in_any_case_is_the_requests_bypass(app: Flask, cache: Any) -> None:
    @cache.memoize(60, unless=lambda *_: True)
    def value() -> int:
        return 1

    cache.engine.statistics.traces = True
    with app.test_request_context() as context:
        value()
        tally = tally_of(context.request.environ)
    assert tally.results == {"bypass": 1}
    assert [(trace.result, trace.key) for trace in tally.traces] == [("bypass", "")]


def test_nothing_grows_without_a_bound() -> None:
    tally = statistics.Tally()
    kept = statistics.Statistics()
    for number in range(1000):
        kept.lookups("fragment", f"fragment {number}").count("hit")
        kept.bumped([f"family{number}:1"], number, "")
        kept.bumped([f"tag:{n}" for n in range(50)], number, "")
        tally.keep(statistics.Trace("value", f"{number}", "", "hit", (), 0, 0))
    assert len(kept.all_lookups()) == statistics._MOST_NAMES + 1
    assert sum(lookups.results["hit"] for lookups in kept.all_lookups()) == 1000
    assert len(kept.invalidated) <= statistics._MOST_FAMILIES + 1
    assert len(kept.last_events()) == statistics._MOST_EVENTS
    assert kept.last_events()[-1][0] == 2000
    assert len(tally.traces) == records._MOST_TRACES
    assert tally.traces[-1].name == "999"
    last = kept.last_events()[-1][1]
    assert (len(last.tags), last.count) == (statistics._MOST_TAGS, 50)


def test_only_the_last_entries_are_known(app: Flask, cache: Any, monkeypatch: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "numbered")
    def numbered(number: int) -> int:
        return number

    with app.app_context():
        monkeypatch.setattr(cache.engine.statistics.entries, "_most", 3)
        for number in range(3):
            numbered(number)
        assert not cache.engine.statistics.forgot_entries
        numbered(3)
        known = cache.engine.statistics.known_entries()
        assert [entry.key for entry in known] == [f"fn:numbered({n})" for n in (1, 2, 3)]
        assert cache.engine.statistics.forgot_entries


def test_a_peek_tells_the_state_and_changes_nothing(app: Flask, cache: Any) -> None:
    @cache.memoize(60, grace=60, tags=("shape",), make_name=lambda name: "peeked")
    def peeked(number: int) -> int:
        return number

    with app.app_context():
        keys = [f"fn:peeked({number})" for number in range(5)]
        for number in range(4):
            peeked(number)
        cache.refresh(keys[1])
        cache.delete(keys[2])
        cache.engine.store.put(cache.engine.entry_key(keys[3]), b"rubbish", 60)
        states = [inspection.state for inspection in cache.engine.inspect(keys)]
        assert states == ["fresh", "stale", "gone", "unreadable", "gone"]
        cache.invalidate("shape")
        inspection = cache.engine.inspect(keys)[0]
        assert (inspection.state, inspection.invalid) == ("invalid", ("shape",))
        cache.clear()
        assert cache.engine.inspect(keys)[0].state == "cleared"


def test_a_store_says_what_it_is(cache: Any, app: Flask) -> None:
    with app.app_context():
        cache.set("key", "value" * 100)
        facts = cache.engine.store.facts()
    assert facts.server
    assert facts.bytes > 0
    assert facts.max_bytes is not None
    assert facts.policy
    assert facts.evictions >= 0
    assert facts.items >= 1
    assert facts.time > 1_700_000_000


def test_calls_to_a_server_are_timed(cache: Any, app: Flask) -> None:
    seconds: list[float] = []
    with app.app_context():
        cache.engine.store.on_call = seconds.append
        cache.get("key")
        assert all(0 < each < 10 for each in seconds)
        assert bool(seconds) == cache.engine.store.shared


def test_processes_hear_of_each_other(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    reports_of_all = []
    for _ in range(3):
        app, cache = make_app()
        with app.app_context():
            reports_of_all.append(cache.engine.reports)
    first, second, third = reports_of_all
    if not first._store.shared:
        pytest.skip("SimpleCache is one process")
    for reports in reports_of_all:
        reports._store.delete([reports._watched, *reports._places])
    assert not first.is_watched()
    third.watch()
    assert first.is_watched()
    assert first.write(b"one")
    assert second.write(b"two")
    assert first.write(b"one again")
    assert sorted(third.read()) == [b"one again", b"two"]
    third._store.put(first._place, b"forged", 5)
    assert third.read() == [b"two"]


def test_reports_say_when_all_places_are_taken(app: Flask, cache: Any) -> None:
    with app.app_context():
        reports, store = cache.engine.reports, cache.engine.store
        for place in reports._places:
            store.put(place, b"taken", 60)
        assert not reports.write(b"one too many")
        store.delete(reports._places)


def test_a_place_that_expired_is_given_up(
    make_app: Callable[..., tuple[Flask, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reports_of_all = []
    for _ in range(2):
        app, cache = make_app()
        with app.app_context():
            reports_of_all.append(cache.engine.reports)
    first, second = reports_of_all
    if not first._store.shared:
        pytest.skip("SimpleCache is one process")
    first._store.delete(first._places)
    for reports in reports_of_all:
        monkeypatch.setattr(reports, "_places", reports._places[:1])
    assert first.write(b"first")
    # As if the process had stood still until then.
    first._store.delete(first._places)
    first._free_at = 0.0
    assert second.write(b"second")
    assert not first.write(b"first")
    assert second.read() == [b"second"]
