"""Reports of one process and of all, what they mean, and how they are written."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache._statistics.records import Cause, Fill, Invalidation, Known
from flask_coherent_cache._statistics.reports import PLACES
from flask_coherent_cache._tools import overview, reporter, text
from flask_coherent_cache._tools.inspector import charts, feed, page, table
from flask_coherent_cache._tools.inspector.advice import advise
from flask_coherent_cache._tools.inspector.views import REPORTER
from flask_coherent_cache._tools.report import Counts, Sums, as_json, from_json
from flask_coherent_cache.testing import redis_server
from report_stubs import entry as known_entry
from report_stubs import lookups, report


def counts(name: str = "index", level: str = "page", **given: Any) -> Counts:
    return lookups(name, level, **given)


NEW = Cause("new")


def fill(key: str = "page:/", cause: Cause = NEW) -> tuple[int, Fill]:
    return 1, Fill(150.0, "page", "index", key, 0.01, 10, None, cause)


def invalidation(number: int = 1, **given: Any) -> tuple[int, Invalidation]:
    plain = {"at": 140.0, "tags": ("product",), "count": 1, "timestamp": 7}
    return number, Invalidation(**(plain | {"origin": "PATCH api.update"} | given))


def entry(key: str = "page:/", *tags: str, **given: Any) -> Known:
    times = {"stored_at": 120.0, "fresh_until": 400.0, "kept_until": 400.0, "started": 5}
    plain = {"level": "page", "name": "index", "bytes": 10}
    return known_entry(key, *(tags or ("product",)), **(times | plain | given))


# -- one process -------------------------------------------------------------------------


@pytest.fixture
def asked(app: Flask, cache: Any) -> Flask:
    """An application of whose two functions one was called twice."""

    @cache.memoize(60, tags=("shape",), make_name=lambda name: "twice")
    def twice() -> int:
        return 1

    with app.app_context():
        for _ in range(2):
            twice()
        cache.invalidate("shape")
    return app


def test_a_process_tells_what_it_did(asked: Flask) -> None:
    own = asked.extensions[REPORTER].report()
    told = from_json(as_json(own).encode())
    assert told == own
    (function,) = told.lookups
    assert function.results["hit"] == function.results["miss"] == 1
    assert [one.cause.reason for _, one in told.fills] == ["new"]
    assert [one.tags for _, one in told.invalidations] == [("shape", "shape!", "shape:*")]
    assert [one.key for one in told.entries] == ["fn:twice()"]
    assert not told.forgot_entries
    newest = told.history[max(told.history)]
    assert newest[:4] == (2, 1, 1, pytest.approx(function.fill_seconds))
    # What happened is counted in one bucket, once.
    history = asked.extensions[REPORTER].report().history
    assert sum(sums.looked_up for sums in history.values()) == 2


def test_what_is_told_is_bounded(asked: Flask) -> None:
    told = asked.extensions[REPORTER].report(most_bytes=10)
    assert told.entries == told.fills == told.invalidations == []
    assert told.forgot_entries


def test_of_much_the_latest_is_told() -> None:
    records = [{"number": number} for number in range(100)]
    kept = reporter._latest(records, 5 * len(json.dumps(records[-1])))
    assert kept == records[-5:]
    assert reporter._latest(records, None) == records


def test_a_history_keeps_ten_minutes() -> None:
    history = reporter.History()
    for second in range(0, 1300, 5):
        history.note(Sums(*[second] * 6), 1_000_000 + second)
    buckets = history.buckets()
    assert len(buckets) == reporter.BUCKETS
    assert max(buckets) == (1_000_000 + 1295) // 5
    assert buckets[max(buckets)] == Sums(*[5] * 6)


def test_a_history_loses_nothing_between_threads() -> None:
    history, total = reporter.History(), [0]
    lock = threading.Lock()

    def count() -> None:
        for _ in range(500):
            with lock:
                total[0] += 1
                history.note(Sums(*[total[0]] * 6), 1_000_000)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.buckets() == {200_000: Sums(*[2000] * 6)}


# -- many processes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        if port is None:
            pytest.skip("no Redis or Valkey on this machine")
        yield {
            "CACHE_TYPE": "RedisCache",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "CACHE_SOCKET_TIMEOUT_SECONDS": 5,
        }


@pytest.fixture
def two(make_app: Any, redis: dict[str, Any], cache: Any) -> Iterator[list[Flask]]:
    """Two applications on one server."""
    apps = [make_app(**redis, SECRET_KEY="k" * 40) for _ in range(2)]
    yield apps
    for app in apps:
        with app.app_context():
            cache.clear()
            cache.engine.close()


def test_processes_are_added_up_while_somebody_looks(
    two: list[Flask], cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two
    pid = 1
    monkeypatch.setattr(reporter, "os", SimpleNamespace(getpid=lambda: pid))

    @cache.memoize(60, make_name=lambda name: "shared")
    def shared() -> int:
        return 1

    there.extensions[REPORTER].tick()
    with there.app_context():
        shared()
        reports = cache.engine.reports
        assert reports.read() == []
    first = here.test_client().get("/_cache/figures.json", headers=TOKEN).json
    assert first["processes"].startswith("Figures of 1 process,")
    assert "within a few seconds" in first["processes"]
    pid = 2
    there.extensions[REPORTER].tick()
    pid = 1
    with here.app_context():
        shared()
    here.extensions[REPORTER].tick()
    second = here.test_client().get("/_cache/figures.json", headers=TOKEN).json
    assert second["processes"].startswith("Figures of 2 processes,")
    (row,) = [row for row in second["rows"] if row["level"] == "function"]
    assert (row["lookups"], row["ratio"]) == ("2", "50 %")
    with here.app_context():
        assert len(cache.engine.reports.read()) == 2


def test_nobody_is_told_where_nobody_looks(two: list[Flask], cache: Any) -> None:
    with two[0].app_context():
        reports = cache.engine.reports
        reports._store.delete([reports._watched, *reports._places])
        two[0].extensions[REPORTER].tick()
        assert reports.read() == []


TOKEN = {"Authorization": "Bearer token"}


@pytest.fixture(autouse=True)
def _with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_TOKEN", "token")


def test_sums_are_of_all_processes() -> None:
    one = report(
        1,
        host="a",
        since=100.0,
        lookups=[counts(results={"hit": 3, "miss": 1}, fills=1, fill_seconds=0.5, stored=1)],
        history={10: Sums(4, 3, 1, 0.5)},
        counts={"store: timeout": 1},
        near={"bytes": 10, "entries": 1, "evictions": 0},
    )
    other = report(
        1,
        host="b",
        since=150.0,
        lookups=[counts(results={"hit": 1}, timeout=None), counts("menu", "fragment")],
        history={10: Sums(1, 1), 11: Sums(1)},
        counts={"store: timeout": 2},
        forgot_entries=True,
        clears=1,
    )
    merged = overview.Overview([one, other])
    assert merged.processes == ["1@a", "1@b"]
    assert (merged.since, merged.youngest) == (100.0, 150.0)
    page, fragment = merged.lookups
    assert (page.results, page.timeout, page.fills) == ({"hit": 4, "miss": 1}, 60, 1)
    assert fragment.name == "menu"
    assert merged.history == {10: Sums(5, 4, 1, 0.5), 11: Sums(1)}
    assert merged.counts == {"store: timeout": 3}
    assert merged.forgot_entries
    assert merged.clears == 1
    assert merged.near == {"bytes": 10, "entries": 1, "evictions": 0}
    assert overview.Overview([]).processes == []


def test_the_page_says_that_there_may_be_more_processes_than_places() -> None:
    places = PLACES
    for count, says_so in ((places - 1, False), (places, True)):
        some = overview.Overview([report(pid) for pid in range(count)])
        assert ("no place" in page.processes(some, 0.0, "")) is says_so


def test_a_fill_is_matched_with_the_write_of_another_process() -> None:
    cause = Cause("invalidated", ("product",), 7)
    writes = [invalidation(), invalidation(2, timestamp=8)]
    merged = overview.Overview(
        [report(1, fills=[fill(cause=cause)]), report(2, invalidations=writes)]
    )
    assert merged.write_of(cause, 150.0) is writes[0][1]
    assert merged.write_of(replace(cause, timestamp=9), 150.0) is None
    assert merged.write_of(replace(cause, timestamp=None), 150.0) is None
    words = feed.because(merged, cause, 150.0)
    assert words.startswith("product was invalidated by PATCH api.update at ")
    many = Cause("invalidated", tuple(f"product:{number}" for number in range(12)))
    words = feed.because(merged, many, 150.0)
    assert words.endswith("product:8, product:9 and 2 more were gone from the store")


def test_a_fill_after_clearing_is_matched_with_the_last_time_before_it() -> None:
    cleared = {"tags": (), "count": None, "timestamp": None}
    writes = [invalidation(at=at, **cleared) for at in (100.0, 140.0, 160.0)]
    merged = overview.Overview([report(1, invalidations=writes)])
    cause = Cause("cleared")
    assert merged.write_of(cause, 150.0) is writes[1][1]
    assert merged.write_of(cause, 50.0) is None


def test_an_invalidation_names_what_it_dropped() -> None:
    entries = [
        entry(),
        entry("other tag", "category"),
        entry("younger", started=7),
        entry("plain", started=None),
        entry("over by then", kept_until=139.0),
        entry("refilled"),
    ]
    cause = Cause("invalidated", ("product",), 7)
    merged = overview.Overview(
        [
            report(1, entries=entries, invalidations=[invalidation()]),
            report(
                2,
                fills=[fill("refilled", cause), fill("for another reason")],
                entries=[entry("refilled", stored_at=150.0, started=8, cause=cause)],
            ),
        ]
    )
    dropped = merged.dropped_by(invalidation()[1])
    assert (dropped.waiting, dropped.refilled) == (("page:/",), ("refilled",))
    assert feed.dropped_words(dropped) == "dropped 2 entries, 1 computed again since"
    assert merged.dropped_by(invalidation(timestamp=None)[1]) == overview.Dropped()


def test_of_an_entry_the_latest_counts_and_who_filled_it_knows_why() -> None:
    read, filled = entry(stored_at=130.0), entry(stored_at=130.0, cause=Cause("expired"))
    for told in ([entry(), read, filled], [filled, read, entry()]):
        merged = overview.Overview([report(1, entries=[one]) for one in told])
        assert merged.entries["page:/"] == filled


def test_entries_are_found_by_key_and_by_tag() -> None:
    known = [entry("page:/A", stored_at=1.0), entry("fn:b()", "Product:7")]
    merged = overview.Overview([report(1, entries=known)])
    assert [one.key for one in merged.search("")] == ["fn:b()", "page:/A"]
    assert [one.key for one in merged.search("page:/a")] == ["page:/A"]
    assert [one.key for one in merged.search("product:7")] == ["fn:b()"]
    assert [one.key for one in merged.depends_on("product")] == ["page:/A"]


# -- advice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"results": {"hit": 5}}, "too early to tell"),
        ({"results": {"hit": 10, "error": 40}}, "see to the store"),
        ({"results": {"hit": 10, "bypass": 40}}, "bypasses the cache"),
        ({"results": {"miss": 40}, "fills": 40, "fill_seconds": 1}, "not cached at all"),
        ({"results": {"hit": 95, "miss": 5}, "fills": 5, "stored": 5, "fill_seconds": 1}, "fine"),
        ({"results": {"hit": 20}}, "fine"),
        (
            {"level": "function", "results": {"hit": 90, "miss": 10}, "fills": 10, "stored": 10}
            | {"fill_seconds": 0.001},
            "not worth caching",
        ),
        (
            {"results": {"hit": 50, "miss": 50}, "fills": 50, "stored": 50, "fill_seconds": 1}
            | {"reasons": {"invalidated": 40, "new": 10}},
            "invalidated too often",
        ),
        (
            {"results": {"hit": 50, "miss": 50}, "fills": 50, "stored": 50, "fill_seconds": 1}
            | {"reasons": {"expired": 30, "new": 20}},
            "worth caching longer",
        ),
        (
            {"results": {"hit": 50, "miss": 50}, "fills": 50, "stored": 50, "fill_seconds": 1}
            | {"reasons": {"evicted": 30, "new": 20}},
            "give the store more memory",
        ),
        (
            {"results": {"hit": 2, "miss": 98}, "fills": 98, "stored": 98, "fill_seconds": 1}
            | {"reasons": {"new": 98}},
            "not worth caching",
        ),
        (
            {"results": {"hit": 50, "miss": 50}, "fills": 50, "stored": 50, "fill_seconds": 1}
            | {"reasons": {"new": 50}},
            "fine",
        ),
    ],
)
def test_advice(given: dict[str, Any], words: str) -> None:
    given_advice = advise(counts(**given))
    assert given_advice.words == words
    assert given_advice.why


def test_what_was_saved_is_what_it_would_have_cost() -> None:
    one = counts(results={"hit": 8, "stale": 1, "wait": 1, "miss": 2}, fills=2, fill_seconds=1.0)
    assert one.saved_seconds == 5
    assert one.ratio == pytest.approx(10 / 12)
    assert counts().saved_seconds is None
    assert counts(results={"bypass": 5}).ratio is None


# -- how it is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "\N{EN DASH}"),
        (0, "0 ms"),
        (0.0004, "400 µs"),
        (0.01234, "12.3 ms"),
        (1.26, "1.3 s"),
        (60, "60 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (900_000, "10 d"),
        (-5, "-5 s"),
    ],
)
def test_times(seconds: float | None, words: str) -> None:
    assert text.duration(seconds) == words


def test_numbers_and_sizes_and_shares() -> None:
    assert text.number(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert [text.size(n) for n in (None, 512, 2048, 3 << 20, 5 << 30)] == [
        "\N{EN DASH}",
        "512 B",
        "2 KiB",
        "3 MiB",
        "5 GiB",
    ]
    assert [text.share(n) for n in (None, 0, 0.5, 0.99999, 1)] == [
        "\N{EN DASH}",
        "0 %",
        "50 %",
        "99.9 %",
        "100 %",
    ]


def test_rows_sort_by_any_column_and_what_has_no_value_is_last() -> None:
    known = [
        counts("b", results={"hit": 1, "miss": 1}, fills=1, fill_seconds=0.2),
        counts("a", results={"hit": 9, "miss": 1}, fills=1, fill_seconds=0.1),
        counts("c", results={"bypass": 1}),
    ]
    merged = overview.Overview([report(1, lookups=known)])
    app = Flask("shop")
    with app.app_context():
        orders = {
            sort: [row["name"] for row in table.rows(merged, sort)]
            for sort in ("name", "-name", "ratio", "-ratio", "-fill", "-lookups")
        }
        for column in table.COLUMNS:
            assert len(table.rows(merged, column)) == 3
    assert orders == {
        "name": ["a", "b", "c"],
        "-name": ["c", "b", "a"],
        "ratio": ["b", "a", "c"],
        "-ratio": ["a", "b", "c"],
        "-fill": ["b", "a", "c"],
        "-lookups": ["a", "b", "c"],
    }
    headers = {column["id"]: column for column in table.columns("-ratio")}
    assert (headers["ratio"]["order"], headers["ratio"]["next"]) == ("descending", "ratio")
    assert (headers["name"]["order"], headers["name"]["next"]) == ("none", "name")


def test_charts_are_lines_in_a_box() -> None:
    history, names = {200: Sums(4, 2), 201: Sums(), 202: Sums(4, 4)}, ("answered", "looked_up")
    ratios = charts.series(history, 202 * 5 + 1, *names)
    assert ratios == [None] * 117 + [0.5, None, 1.0]
    assert charts.line(ratios, 1) == "M589.9,61 L600,2"
    assert charts.area(ratios, 1) == "M589.9,61 L600,2 L600,120 L589.9,120 Z"
    alone = charts.series({202: Sums(4, 2)}, 202 * 5, *names)
    assert charts.line(alone, 1) == "M595,61 L600,61"
    assert charts.area(alone, 1) == charts.line(charts.series({}, 0, *names), 1) == ""
    assert charts.total(history, 202 * 5, 10) == Sums(4, 4)
    assert [charts.round_up(n) for n in (0.0, 0.003, 1, 6.1)] == [1e-6, 0.005, 1, 10]
