"""Figures of one process and of all, what they mean, and how they are written."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_coherent_cache._statistics.reports import PLACES
from flask_coherent_cache._tools import advice, charts, display, figures, overview
from flask_coherent_cache.testing import redis_server


def counts(**given: Any) -> dict[str, Any]:
    """The counts of a name; what is not given is zero."""
    numbers = dict.fromkeys(("near_hits", "fills", "fill_seconds", "stored", "stored_bytes"), 0)
    plain = {"level": "page", "name": "index", "results": {}, "reasons": {}, "timeout": 60}
    return {**numbers, **plain, **given}


def snapshot(**given: Any) -> dict[str, Any]:
    """What a process tells that did nothing, but for what is given."""
    lists = {name: [] for name in ("lookups", "fills", "invalidations", "entries", "history")}
    lists |= {"refusals": [], "differences": []}
    dictionaries: dict[str, Any] = {
        name: {} for name in ("counts", "leases", "invalidated", "verified")
    }
    breaker = {"open": False, "away": False, "failure": None}
    numbers = {"since": 100.0, "at": 200.0, "clears": 0, "standby": 0, "pid": 1}
    plain = {"host": "a", "release": "r", "forgot_entries": False, "near": None}
    return {**lists, **dictionaries, **numbers, **plain, "breaker": breaker, **given}


def fill(**given: Any) -> dict[str, Any]:
    cause = {"reason": "new", "tags": [], "reading": None}
    plain = {"number": 1, "at": 150.0, "level": "page", "name": "index", "key": "page:/"}
    return {**plain, "seconds": 0.01, "bytes": 10, "refused": None, "cause": cause, **given}


def invalidation(**given: Any) -> dict[str, Any]:
    plain = {"number": 1, "at": 140.0, "tags": ["product"], "count": 1, "reading": 7}
    return {**plain, "origin": "PATCH api.update", **given}


def entry(**given: Any) -> dict[str, Any]:
    times = {"stored_at": 120.0, "fresh_until": 400.0, "kept_until": 400.0, "started": 5}
    plain = {"key": "page:/", "level": "page", "name": "index", "tags": ["product"], "bytes": 10}
    return {**plain, **times, "cause": None, "seconds": None, **given}


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
    own = asked.extensions["coherent_cache_figures"]
    told = json.loads(json.dumps(own.snapshot()))
    (function,) = told["lookups"]
    assert function["results"]["hit"] == function["results"]["miss"] == 1
    assert [one["cause"]["reason"] for one in told["fills"]] == ["new"]
    assert [one["tags"] for one in told["invalidations"]] == [["shape"]]
    assert [one["key"] for one in told["entries"]] == ["fn:twice()"]
    assert not told["forgot_entries"]
    assert told["history"][-1][1:5] == [2, 1, 1, pytest.approx(function["fill_seconds"])]
    # What happened is counted in one bucket, once.
    assert sum(row[1] for row in json.loads(json.dumps(own.snapshot()))["history"]) == 2


def test_what_is_told_is_bounded(asked: Flask) -> None:
    told = asked.extensions["coherent_cache_figures"].snapshot(most_bytes=10)
    assert told["entries"] == told["fills"] == told["invalidations"] == []
    assert told["forgot_entries"]


def test_of_much_the_latest_is_told() -> None:
    records = [{"number": number} for number in range(100)]
    kept = figures._latest(records, 5 * len(json.dumps(records[-1])))
    assert kept == records[-5:]
    assert figures._latest(records, None) == records


def test_a_history_keeps_ten_minutes() -> None:
    history, numbers = figures.History(), figures.History.NUMBERS
    for second in range(0, 1300, 5):
        history.note([second] * numbers, 1_000_000 + second)
    rows = history.rows()
    assert len(rows) == figures.BUCKETS
    assert rows[-1] == [(1_000_000 + 1295) // 5, *[5] * numbers]


def test_a_history_loses_nothing_between_threads() -> None:
    history, total = figures.History(), [0]
    lock = threading.Lock()

    def count() -> None:
        for _ in range(500):
            with lock:
                total[0] += 1
                history.note([total[0]] * history.NUMBERS, 1_000_000)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.rows() == [[200_000, *[2000] * history.NUMBERS]]


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
    monkeypatch.setattr(figures, "os", SimpleNamespace(getpid=lambda: pid))

    @cache.memoize(60, make_name=lambda name: "shared")
    def shared() -> int:
        return 1

    there.extensions["coherent_cache_figures"].tick()
    with there.app_context():
        shared()
        board = cache.engine.board
        assert board.read() == []
    first = here.test_client().get("/_cache/figures.json", headers=TOKEN).json
    assert first["processes"].startswith("Figures of 1 process,")
    assert "within a few seconds" in first["processes"]
    pid = 2
    there.extensions["coherent_cache_figures"].tick()
    pid = 1
    with here.app_context():
        shared()
    here.extensions["coherent_cache_figures"].tick()
    second = here.test_client().get("/_cache/figures.json", headers=TOKEN).json
    assert second["processes"].startswith("Figures of 2 processes,")
    (row,) = [row for row in second["rows"] if row["level"] == "function"]
    assert (row["lookups"], row["ratio"]) == ("2", "50 %")
    with here.app_context():
        assert len(cache.engine.board.read()) == 2


def test_nobody_is_told_where_nobody_looks(two: list[Flask], cache: Any) -> None:
    with two[0].app_context():
        board = cache.engine.board
        board._store.delete([board._watched, *board._places])
        two[0].extensions["coherent_cache_figures"].tick()
        assert board.read() == []


TOKEN = {"Authorization": "Bearer token"}


@pytest.fixture(autouse=True)
def _with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_TOKEN", "token")


def test_sums_are_of_all_processes() -> None:
    one = snapshot(
        lookups=[counts(results={"hit": 3, "miss": 1}, fills=1, fill_seconds=0.5, stored=1)],
        history=[[10, 4, 3, 1, 0.5, 0, 0]],
        counts={"store: timeout": 1},
        near={"bytes": 10, "entries": 1, "evictions": 0},
    )
    other = snapshot(
        host="b",
        since=150.0,
        lookups=[counts(results={"hit": 1}, timeout=None), counts(level="fragment", name="menu")],
        history=[[10, 1, 1, 0, 0, 0, 0], [11, 1, 0, 0, 0, 0, 0]],
        counts={"store: timeout": 2},
        forgot_entries=True,
        clears=1,
    )
    merged = overview.merge([one, other])
    assert merged.processes == ["1@a", "1@b"]
    assert (merged.since, merged.youngest) == (100.0, 150.0)
    page, fragment = merged.lookups
    assert (page["results"], page["timeout"], page["fills"]) == ({"hit": 4, "miss": 1}, 60, 1)
    assert fragment["name"] == "menu"
    assert merged.history == {10: [5, 4, 1, 0.5, 0, 0], 11: [1, 0, 0, 0, 0, 0]}
    assert merged.counts == {"store: timeout": 3}
    assert merged.forgot_entries
    assert merged.clears == 1
    assert len(merged.nears) == 1
    assert overview.merge([]).processes == []


def test_the_page_says_that_there_may_be_more_processes_than_places() -> None:
    places = PLACES
    for count, says_so in ((places - 1, False), (places, True)):
        some = overview.Overview(processes=["1@web"] * count)
        assert ("no place" in display.processes(some, 0.0, None)) is says_so


def test_a_fill_is_matched_with_the_write_of_another_process() -> None:
    cause = {"reason": "invalidated", "tags": ["product"], "reading": 7}
    merged = overview.merge(
        [
            snapshot(fills=[fill(cause=cause)]),
            snapshot(pid=2, invalidations=[invalidation(), invalidation(number=2, reading=8)]),
        ]
    )
    assert merged.write_of(cause, 150.0)["number"] == 1
    assert merged.write_of({**cause, "reading": 9}, 150.0) is None
    assert merged.write_of({**cause, "reading": None}, 150.0) is None
    words = display.because(merged, cause, 150.0)
    assert words.startswith("product was invalidated by PATCH api.update at ")
    many = {**cause, "tags": [f"product:{number}" for number in range(12)], "reading": None}
    words = display.because(merged, many, 150.0)
    assert words.endswith("product:8, product:9 and 2 more were gone from the store")


def test_a_fill_after_clearing_is_matched_with_the_last_time_before_it() -> None:
    cleared = {"tags": [], "count": None, "reading": None}
    times = [(1, 100.0), (2, 140.0), (3, 160.0)]
    merged = overview.merge(
        [snapshot(invalidations=[invalidation(number=n, at=at, **cleared) for n, at in times])]
    )
    cause = {"reason": "cleared", "tags": [], "reading": None}
    assert merged.write_of(cause, 150.0)["number"] == 2
    assert merged.write_of(cause, 50.0) is None


def test_an_invalidation_names_what_it_dropped() -> None:
    entries = [
        entry(),
        entry(key="other tag", tags=["category"]),
        entry(key="younger", started=7),
        entry(key="plain", started=None),
        entry(key="over by then", kept_until=139.0),
        entry(key="refilled"),
    ]
    cause = {"reason": "invalidated", "tags": ["product"], "reading": 7}
    merged = overview.merge(
        [
            snapshot(entries=entries, invalidations=[invalidation()]),
            snapshot(
                pid=2,
                fills=[fill(key="refilled", cause=cause), fill(key="for another reason")],
                entries=[entry(key="refilled", stored_at=150.0, started=8, cause=cause)],
            ),
        ]
    )
    dropped = merged.dropped_by(invalidation())
    assert (dropped.waiting, dropped.refilled) == (("page:/",), ("refilled",))
    assert display._dropped(dropped) == "dropped 2 entries, 1 computed again since"
    assert merged.dropped_by(invalidation(reading=None)) == overview.Dropped()


def test_of_an_entry_the_latest_counts_and_who_filled_it_knows_why() -> None:
    cause = {"reason": "expired", "tags": [], "reading": None}
    read, filled = entry(stored_at=130.0), entry(stored_at=130.0, cause=cause)
    for told in ([entry(), read, filled], [filled, read, entry()]):
        merged = overview.merge([snapshot(entries=[one]) for one in told])
        assert merged.entries["page:/"] == filled


def test_entries_are_found_by_key_and_by_tag() -> None:
    known = [entry(key="page:/A", stored_at=1.0), entry(key="fn:b()", tags=["Product:7"])]
    merged = overview.merge([snapshot(entries=known)])
    assert [one["key"] for one in merged.search("")] == ["fn:b()", "page:/A"]
    assert [one["key"] for one in merged.search("page:/a")] == ["page:/A"]
    assert [one["key"] for one in merged.search("product:7")] == ["fn:b()"]
    assert [one["key"] for one in merged.depends_on("product")] == ["page:/A"]


# -- advice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"results": {"hit": 5}}, "too early to tell"),
        ({"results": {"hit": 10, "error": 40}}, "see to the store"),
        ({"results": {"hit": 10, "bypass": 40}}, "goes past the cache"),
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
    given_advice = advice.advise(counts(**given))
    assert given_advice.words == words
    assert given_advice.why


def test_what_was_saved_is_what_it_would_have_cost() -> None:
    one = counts(results={"hit": 8, "stale": 1, "wait": 1, "miss": 2}, fills=2, fill_seconds=1.0)
    assert advice.saved_seconds(one) == 5
    assert advice.ratio(one) == pytest.approx(10 / 12)
    assert advice.saved_seconds(counts()) is None
    assert advice.ratio(counts(results={"bypass": 5})) is None


# -- how it is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
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
    ],
)
def test_times(seconds: float | None, text: str) -> None:
    assert display.duration(seconds) == text


def test_numbers_and_sizes_and_shares() -> None:
    assert display.number(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert [display.amount(n) for n in (None, 512, 2048, 3 << 20, 5 << 30)] == [
        "\N{EN DASH}",
        "512 B",
        "2 KiB",
        "3 MiB",
        "5 GiB",
    ]
    assert [display.share(n) for n in (None, 0, 0.5, 0.99999, 1)] == [
        "\N{EN DASH}",
        "0 %",
        "50 %",
        "99.9 %",
        "100 %",
    ]


def test_rows_sort_by_any_column_and_what_has_no_value_is_last() -> None:
    known = [
        counts(name="b", results={"hit": 1, "miss": 1}, fills=1, fill_seconds=0.2),
        counts(name="a", results={"hit": 9, "miss": 1}, fills=1, fill_seconds=0.1),
        counts(name="c", results={"bypass": 1}),
    ]
    merged = overview.merge([snapshot(lookups=known)])
    app = Flask("shop")
    with app.app_context():
        orders = {
            sort: [row["name"] for row in display.rows(merged, sort)]
            for sort in ("name", "-name", "ratio", "-ratio", "-fill", "-lookups")
        }
        for column in display.COLUMNS:
            assert len(display.rows(merged, column)) == 3
    assert orders == {
        "name": ["a", "b", "c"],
        "-name": ["c", "b", "a"],
        "ratio": ["b", "a", "c"],
        "-ratio": ["a", "b", "c"],
        "-fill": ["b", "a", "c"],
        "-lookups": ["a", "b", "c"],
    }
    headers = {column["id"]: column for column in display.columns("-ratio")}
    assert (headers["ratio"]["order"], headers["ratio"]["next"]) == ("descending", "ratio")
    assert (headers["name"]["order"], headers["name"]["next"]) == ("none", "name")


def test_charts_are_lines_in_a_box() -> None:
    history = {200: [4, 2], 201: [0, 0], 202: [4, 4]}
    ratios = charts.series(history, 202 * 5 + 1, 1, 0)
    assert ratios.known == [0.5, 1.0]
    assert ratios.known[-1] == 1.0
    assert ratios.line(1) == "M589.9,61 L600,2"
    assert ratios.area(1) == "M589.9,61 L600,2 L600,120 L589.9,120 Z"
    alone = charts.series({202: [4, 2]}, 202 * 5, 1, 0)
    assert alone.line(1) == "M595,61 L600,61"
    assert alone.area(1) == charts.series({}, 0, 1, 0).line(1) == ""
    assert charts.total(history, 202 * 5, 10, 0) == 4
    assert [charts.round_up(n) for n in (0.0, 0.003, 1, 6.1)] == [1e-6, 0.005, 1, 10]
