"""What users see while servers of the stack fail, on a real engine and under a steady load.

Without more it is one fault of each kind, for seconds. `CHAOS=1 .venv/bin/pytest
tests/test_chaos.py` is all of them; with `CHAOS_FULL=1` it is the long form, which judges times,
too, and does the same to stock Flask-Caching. Each leaves a table in build/chaos/.
"""

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from baking import ROOT
from chaos import faults, judging
from chaos.faults import Fault, Servers
from chaos.judging import Record, Row, Window, judge, percentile, stale_reads
from chaos.load import html_prices, json_prices
from chaos.running import Plan, Users, choose, prepare, users
from stacks import Stack, make_stack, needs_engine, started

FULL = os.environ.get("CHAOS_FULL") == "1"
#: Requests a second, half of them for cached pages; writes come on top.
RATE = float(os.environ.get("CHAOS_RATE", "100"))
#: Of a run with one fault in it: what is around the fault, and the time to recover, count.
RUN_SECONDS = float(os.environ.get("CHAOS_SECONDS", "60" if FULL else "5.5"))
FAULT_SECONDS = float(os.environ.get("CHAOS_FAULT_SECONDS", "20" if FULL else "3"))
DATABASE_FAULT_SECONDS = float(
    os.environ.get("CHAOS_DATABASE_FAULT_SECONDS", "10" if FULL else "3")
)
#: How old a page may be while the cache server is away: how long a process may not know it, and
#: as long as it may then take to hear of another's write. Outside of a fault, not at all.
ALLOWED_SECONDS = float(os.environ.get("CHAOS_ALLOWED_SECONDS", "3.5"))
MOST_RECOVERY_SECONDS = 30
RECOVERY_SECONDS = 5 if FULL else MOST_RECOVERY_SECONDS
#: A user waits no longer.
PATIENCE_SECONDS = 30
#: Longer than all tests on one load take.
MOST_SECONDS = 7200
MOST_TIMES_NULL = 3
CACHE_SERVER = os.environ.get("CHAOS_SERVER", "redis")
#: CACHE_LEASE_SECONDS of the project.
LEASE_SECONDS = 10
REPORT = ROOT / "build" / "chaos"

docker = pytest.mark.docker
only_asked = pytest.mark.skipif(
    not FULL and os.environ.get("CHAOS") != "1", reason="minutes of faults: CHAOS=1 or CHAOS_FULL=1"
)
#: What is done unasked, too.
ALWAYS = (
    *("SIGSTOP and SIGCONT", "restarted from an old snapshot", "filled, refusing"),
    *("database SIGKILL and restart", "web SIGTERM"),
)
only_full = pytest.mark.skipif(not FULL, reason="a comparison with stock: CHAOS_FULL=1")


# -- the judge


READ = Record(0, 0, 0, 200, "", "GET", "/products/a", "product")
WRITE = Record(0, 0, 0, 200, "", "PATCH", "/api/products/1", "write", slug="a")


def read(sent: float, price: int) -> Record:
    """Return a read that began at `sent`, and took a tenth of a second."""
    return replace(READ, due=sent, sent=sent, end=sent + 0.1, shows={"a": price})


def write(sent: float, price: int, status: int = 200, slug: str = "a") -> Record:
    """Return a write that began at `sent`, and took a second."""
    result = replace(WRITE, due=sent, sent=sent, end=sent + 1)
    return replace(result, price=price, status=status, slug=slug)


def test_a_read_after_a_write_has_to_show_it() -> None:
    (stale,) = stale_reads([write(0, 101), write(10, 102), read(13, 101), read(13, 102)])
    assert (stale.late, stale.shown, stale.newest) == (2, 101, 102)


def test_what_was_there_before_the_first_write_can_be_stale_too() -> None:
    (stale,) = stale_reads([write(0, 101), read(4, 7)])
    assert stale.late == 3


def test_a_stale_read_is_late_from_the_first_write_that_it_does_not_show() -> None:
    (stale,) = stale_reads([write(0, 101), write(10, 102), write(20, 103), read(31, 101)])
    assert (stale.late, stale.newest) == (20, 103)


def test_a_read_that_began_before_the_answer_to_a_write_may_show_either() -> None:
    writes = [write(0, 101), write(10, 102)]
    assert stale_reads([*writes, read(10.5, 101), read(10.5, 102), read(10.9, 101)]) == []


def test_another_product_has_prices_of_its_own() -> None:
    assert stale_reads([write(0, 101), write(10, 102, slug="b"), read(13, 101)]) == []


@pytest.mark.parametrize("status", [500, 503, 0])
def test_after_a_write_that_failed_either_price_is_right(status: int) -> None:
    writes = [write(0, 101), write(10, 102, status)]
    assert stale_reads([*writes, read(13, 101), read(14, 101)]) == []
    assert stale_reads([*writes, read(13, 102), read(14, 102)]) == []


@pytest.mark.parametrize("status", [500, 503, 0])
def test_until_a_read_shows_it(status: int) -> None:
    (stale,) = stale_reads([write(0, 101), write(10, 102, status), read(13, 102), read(14.1, 101)])
    assert stale.late == pytest.approx(1)


def test_a_write_without_an_answer_may_come_last() -> None:
    writes = [write(0, 101), write(10, 102, 0), write(20, 103)]
    assert stale_reads([*writes, read(30, 102)]) == []
    assert len(stale_reads([*writes, read(30, 101)])) == 1


def test_a_fault_ends_a_second_after_the_recovery() -> None:
    window = Window(begin=10, returned=13, recovered=15, before=5, after=20)
    records = [write(0, 101), read(9, 7), read(10, 7), read(16, 7), read(16.5, 7), read(25, 7)]
    row = judge("ours", "a fault", window, records, null_p99=0.05)
    assert (row.requests, row.stale, row.stale_outside, row.latest) == (3, 2, 2, 15)
    assert row.recovery == 2
    assert row.times_null == pytest.approx(2)


def test_answers_are_told_apart() -> None:
    window = Window(begin=0, returned=0, recovered=0, after=10)
    page = replace(read(0, 7), prices=4)
    records = [
        replace(page, cache_status="page-cache; hit; ttl=3"),
        replace(page, cache_status="page-cache; hit; ttl=-3; detail=stale"),
        replace(page, cache_status="page-cache; fwd=bypass; detail=store"),
        replace(page, prices=0),
        replace(page, status=404, shows={}),
        replace(page, status=404, shows={}, kind="missing"),
        replace(page, status=500, shows={}),
        replace(page, status=503, shows={}),
        replace(page, status=503, shows={}, retry_after="2"),
        replace(page, status=503, shows={}, kind="ready"),
        replace(page, status=0, shows={}, error="cut off"),
        replace(page, failed={"first": "closed"}),
        replace(page, failed={"first": "idle, closed"}),
    ]
    row = judge("ours", "a fault", window, records, null_p99=0)
    assert (row.wrong, row.server_errors, row.refused, row.lost, row.retried) == (2, 3, 1, 1, 1)
    assert row.by_the_cache == {"hit": 1, "stale": 1, "bypass": 1}


def test_percentiles() -> None:
    values = [*map(float, range(1, 101))]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (50, 99, 0)


def test_prices_are_read_from_pages_and_documents() -> None:
    price = '<data data-price-cents="{}">'.format
    cards = f'<a href="/products/b">{price(2)}</a> <a href="/products/c">{price(3)}</a>'
    assert html_prices(price(1) + cards, "a") == [("a", 1), ("b", 2), ("c", 3)]
    assert html_prices(price(1) + cards, "") == [("b", 2), ("c", 3)]
    assert json_prices(b'{"items": [{"slug": "a", "price_cents": 1}]}') == [("a", 1)]
    assert json_prices(b'{"slug": "a", "price_cents": 1}') == [("a", 1)]


# -- the stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    result = make_stack(tmp_path_factory.mktemp("chaos"), CACHE_SERVER, "postgresql")
    prepare(result)
    with started(result):
        yield result


class Prices:
    """Hands out prices, so that those of each run are above all before."""

    next = 10_000_000


def run(stack: Stack, subject: str) -> Iterator[Users]:
    """Start a stack of a subject, and a load on it that lasts as long as the tests do.

    Early, a snapshot is taken of the cache server; what it holds goes on to change.
    """
    choose(stack, subject)
    stack.up()
    Prices.next += 1_000_000
    folder = REPORT / subject
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(RATE, MOST_SECONDS, PATIENCE_SECONDS)
    with users(stack, subject, folder, plan, Prices.next) as result:
        if subject != "NullCache":
            assert result.wait_until_well(60) < math.inf
            # Each page has been asked for by then.
            result.wait_for_records(400)
            Servers(stack).take_snapshot()
        yield result
    logs = stack.compose("logs", "--no-color", "web").stdout.splitlines()
    words = '"level": "WARNING"', '"level": "ERROR"', "[WARNING]", "[ERROR]", "[CRITICAL]"
    keep(f"{subject}.log", "\n".join(line for line in logs if any(word in line for word in words)))


@pytest.fixture(scope="module")
def null_p99(stack: Stack) -> float:
    """Return how long 99 of 100 requests took at most where nothing is cached."""
    for load in run(stack, "NullCache"):
        begin = time.monotonic() + 2
        end = begin + (RUN_SECONDS if FULL else 6)
        window = Window(begin, end, end, after=end)
        load.wait_until_settled(end)
        row = judge("NullCache", "none", window, load.records(), 0.0)
    report(row)
    assert (row.server_errors, row.lost, row.wrong, row.stale) == (0, 0, 0, 0), row.statuses
    return row.p99


@pytest.fixture(scope="module")
def ours(stack: Stack, null_p99: float) -> Iterator[Users]:
    yield from run(stack, "ours")


@pytest.fixture(scope="module")
def stock(stack: Stack, null_p99: float) -> Iterator[Users]:
    yield from run(stack, "stock")


def suffer(load: Users, name: str, fault: Fault, seconds: float, null_p99: float) -> Row:
    """Do a fault to a stack under load, wait until it is well again, and report what users saw."""
    servers = Servers(load.stack)
    # What an earlier fault left behind is no matter of this one.
    servers.ask("FLUSHALL")
    assert load.wait_until_well(MOST_RECOVERY_SECONDS) < math.inf
    before = time.monotonic()
    around = (RUN_SECONDS - seconds) / 2
    time.sleep(around)
    begin = time.monotonic()
    returned = fault(servers, seconds)
    recovered = load.wait_until_well(MOST_RECOVERY_SECONDS)
    ended = recovered if recovered < math.inf else time.monotonic()
    after = ended + 1 + around
    load.wait_until_settled(after)
    window = Window(begin, returned, max(recovered, returned), before, after)
    records = load.records()
    row = judge(load.subject, name, window, records, null_p99)
    failed = [i for r in records if begin <= r.due <= after for i in r.failed]
    begun = servers.begun(failed, time.monotonic() - begin) if failed else set()
    row = replace(row, dropped=len(begun))
    report(row)
    return row


rows: list[Row] = []


def report(row: Row) -> None:
    """Print what users saw, and keep it with what the others saw."""
    rows.append(row)
    print(row.as_json())
    keep("rows.jsonl", "".join(f"{row.as_json()}\n" for row in rows))
    keep("table.md", judging.as_markdown(rows))


def keep(name: str, text: str) -> None:
    """Write a file for who wants to know more."""
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / name).write_text(text, encoding="utf-8")


def check_nothing_is_stale(row: Row, allowed: float = 0) -> None:
    assert row.stale_outside == 0
    assert row.latest <= allowed


def check_times(row: Row) -> None:
    if FULL:
        assert row.times_null <= MOST_TIMES_NULL
    assert row.recovery <= RECOVERY_SECONDS


def chosen(names: Iterable[str]) -> list[Any]:
    """Return the names of faults, marked where they have to be asked for."""
    return [pytest.param(name, marks=() if name in ALWAYS else only_asked) for name in names]


@needs_engine
@docker
class TestOurs:
    """Faults of one stack after the other, and a load that goes on through all of them."""

    @pytest.mark.parametrize("name", chosen(faults.CACHE))
    def test_of_a_fault_of_the_cache_server_users_see_nothing(
        self, ours: Users, null_p99: float, name: str
    ) -> None:
        row = suffer(ours, name, faults.CACHE[name], FAULT_SECONDS, null_p99)
        assert (row.server_errors, row.lost, row.retried, row.wrong) == (0, 0, 0, 0), row.statuses
        check_nothing_is_stale(row, ALLOWED_SECONDS)
        check_times(row)

    @pytest.mark.parametrize("name", chosen(faults.DATABASE))
    def test_of_a_fault_of_the_database_users_are_told_or_see_nothing(
        self, ours: Users, null_p99: float, name: str
    ) -> None:
        row = suffer(ours, name, faults.DATABASE[name], DATABASE_FAULT_SECONDS, null_p99)
        assert row.server_errors == row.refused, row.statuses
        assert (row.lost, row.retried, row.wrong) == (0, 0, 0), row.statuses
        assert row.by_the_cache.get("hit", 0) + row.by_the_cache.get("stale", 0) > 0
        check_nothing_is_stale(row)
        assert row.recovery <= RECOVERY_SECONDS

    @pytest.mark.parametrize("name", chosen(faults.WEB))
    def test_of_a_web_server_that_goes_a_proxy_hides_all(
        self, ours: Users, null_p99: float, name: str
    ) -> None:
        row = suffer(ours, name, faults.WEB[name], FAULT_SECONDS, null_p99)
        assert (row.server_errors, row.lost, row.wrong) == (0, 0, 0), row.statuses
        if name != "worker SIGKILL":
            assert row.dropped == 0
        check_nothing_is_stale(row)
        if FULL:
            assert row.longest <= LEASE_SECONDS + 1


@only_full
@needs_engine
@docker
class TestStock:
    """The same faults under stock Flask-Caching. It is reported, not judged."""

    @pytest.mark.parametrize("name", faults.CACHE)
    def test_of_a_fault_of_the_cache_server(self, stock: Users, null_p99: float, name: str) -> None:
        row = suffer(stock, name, faults.CACHE[name], FAULT_SECONDS, null_p99)
        assert row.requests
