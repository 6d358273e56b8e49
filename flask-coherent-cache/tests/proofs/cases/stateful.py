"""Any order of reads, writes, rollbacks, expiries and evictions, against a model of what is so.

The model is plain: what is committed, and for each client that is in the middle of something
what it changed and what it may have seen since it began. A request that starts now must be
served what is committed now, whatever happened before; a client in a transaction may be served
what was so since it began, and of what it changed itself nothing but its own change. A client whose
change conflicts with another's is told so, and nothing of its transaction is committed.

Each run draws the same orders. PROOF_SEED=2 draws others, and PROOF_EXAMPLES=1200 more of them.
"""

import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import redis
from flask_sqlalchemy import SQLAlchemy
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from flask_coherent_cache.testing import redis_server
from harness import SEED, make_app, prepare_sqlite

EXAMPLES = int(os.environ.get("PROOF_EXAMPLES", "60"))
STEPS = int(os.environ.get("PROOF_STEPS", "40"))
NUMBERS = range(1, 4)
#: How a client is told that its change conflicts with another's.
CONFLICTS = (OperationalError, StaleDataError, IntegrityError)

Prices = dict[int, int]


class Model(DeclarativeBase):
    """The base of the model."""


db = SQLAlchemy(model_class=Model)


class Item(db.Model):  # type: ignore[name-defined, misc]
    """A thing with a price, found by its number or its name."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    price: Mapped[int]


class Shop:
    """The application, its cached functions, and the fills that they nest."""

    def __init__(self, backend: dict[str, Any], url: str) -> None:
        more = {"SQLALCHEMY_DATABASE_URI": url, "CACHE_STRICT": True, "CACHE_WAIT_SECONDS": 5}
        # Two clients that write wait for nothing: the second one is told at once.
        more["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 0}}
        self.app, self.cache = make_app("ours", backend, **more)
        db.init_app(self.app)
        self.price = self._cached("price", self._price)
        self.price_by_name = self._cached("by name", self._price_by_name)
        self.total = self._cached("total", self._total)
        self.label = self._cached("label", self._label, grace=30)
        self.app.add_url_rule("/<int:number>", "page", self.cache.cached(20)(self._page))
        with self.app.app_context():
            prepare_sqlite(db.engine)
            db.create_all()
            self.cache.watch(db)
            self.engine = self.cache.engine

    def _cached(self, name: str, function: Any, **options: Any) -> Any:
        return self.cache.memoize(20, make_name=lambda _: name, **options)(function)

    def _price(self, number: int) -> int:
        item = db.session.get(Item, number)
        return 0 if item is None else item.price

    def _price_by_name(self, number: int) -> int:
        item = db.session.scalar(select(Item).where(Item.name == f"item {number}"))
        return 0 if item is None else item.price

    def _total(self) -> int:
        """Nest fills and hits, and read the table, too."""
        rest = select(func.coalesce(func.sum(Item.price), 0)).where(Item.id > 1)
        return int(self.price(1)) + int(db.session.scalar(rest) or 0)

    def _label(self, number: int) -> int:
        return int(self.price_by_name(number))

    def _page(self, number: int) -> str:
        return f"{self.label(number)}"

    def page(self, number: int) -> int:
        return int(self.app.test_client().get(f"/{number}").data)

    def stored_keys(self) -> list[str]:
        """The keys of all that lies in the store."""
        if hasattr(self.engine.store, "_items"):
            return sorted(self.engine.store._items)
        with redis.Redis.from_url(self.app.config["CACHE_REDIS_URL"]) as client:
            return sorted(key.decode() for key in client.scan_iter("app:*"))

    def reset(self) -> None:
        """Start with the same rows, and with nothing in the cache."""
        with self.app.app_context():
            db.session.execute(text("DELETE FROM item"))
            db.session.add_all(Item(id=n, name=f"item {n}", price=n) for n in NUMBERS)
            db.session.commit()
            self.engine.store.delete(self.stored_keys() or ["none"])


class Client:
    """A request that goes on for a while: a context and a session of its own."""

    def __init__(self, shop: Shop) -> None:
        self._context = Context()
        self._app_context = shop.app.app_context()
        self.run(self._app_context.push)
        self.seen: list[Prices] = []
        self.changed: Prices = {}
        self.savepoint: tuple[Any, Prices] | None = None

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._context.run(function, *arguments)

    def begin(self, committed: Prices) -> None:
        """Forget what was seen and changed: a transaction is over."""
        self.seen, self.changed, self.savepoint = [dict(committed)], {}, None

    def close(self) -> None:
        self.run(self._app_context.pop, None)


class Machine(RuleBasedStateMachine):
    """Two clients, requests of their own, and all that can happen to a store."""

    shop: ClassVar[Shop]
    numbers = st.sampled_from(NUMBERS)
    both = st.sampled_from([0, 1])
    kinds = st.sampled_from(["price", "price_by_name", "label", "total"])

    def __init__(self) -> None:
        super().__init__()
        self.prices = itertools.count(10)
        self.committed: Prices = {number: number for number in NUMBERS}
        self.conflicts = Counter[str]()
        self.shift = 0.0
        self.patches = ExitStack()
        patch = self.patches.enter_context(pytest.MonkeyPatch.context())
        shifted = SimpleNamespace(
            time=lambda: time.time() + self.shift,
            monotonic=time.monotonic,
            perf_counter=time.perf_counter,
            sleep=time.sleep,
        )
        for name, module in list(sys.modules.items()):
            judges = name.startswith(
                ("flask_coherent_cache._engine.", "flask_coherent_cache._stat")
            )
            if judges and getattr(module, "time", None) is time:
                patch.setattr(module, "time", shifted)
        self.shop.reset()
        self.clients = [Client(self.shop) for _ in range(2)]
        for client in self.clients:
            client.begin(self.committed)

    def teardown(self) -> None:
        for client in self.clients:
            client.close()
        self.patches.close()

    # -- what may be served

    def ask(self, kind: str, number: int) -> int:
        function = getattr(self.shop, kind)
        return int(function() if kind == "total" else function(number))

    def may_be(self, client: Client, number: int) -> set[int]:
        if number in client.changed:
            return {client.changed[number]}
        return {prices.get(number, 0) for prices in client.seen}

    @rule(kind=kinds, number=numbers)
    def a_new_request_is_served_what_is_committed(self, kind: str, number: int) -> None:
        right = sum(self.committed.values()) if kind == "total" else self.committed.get(number, 0)
        for _ in range(2):
            with self.shop.app.app_context():
                assert self.ask(kind, number) == right

    @rule(number=numbers)
    def a_new_page_is_what_is_committed(self, number: int) -> None:
        for _ in range(2):
            assert self.shop.page(number) == self.committed.get(number, 0)

    @rule(which=both, kind=kinds, number=numbers)
    def a_client_is_served_what_was_so_since_it_began(
        self, which: int, kind: str, number: int
    ) -> None:
        client = self.clients[which]
        try:
            answer = client.run(self.ask, kind, number)
        except CONFLICTS as error:
            self.give_up(which, error)
            return
        if kind == "total":
            each = [self.may_be(client, number) for number in NUMBERS]
            assert answer in {sum(prices) for prices in itertools.product(*each)}
        else:
            assert answer in self.may_be(client, number)

    # -- what clients do

    def give_up(self, which: int, error: Exception) -> None:
        """Roll back as a client that is told of a conflict does; there must be one."""
        rows = {number: self.committed.get(number, 0) for number in self.clients[which].changed}
        if isinstance(error, OperationalError):
            # The other client is writing, or has written since this one's snapshot.
            assert "database is locked" in str(error)
        elif isinstance(error, StaleDataError):
            assert 0 in rows.values(), "no row is deleted that this client changed"
        else:
            assert any(rows.values()), "no row is there that this client added"
        self.conflicts[type(error).__name__] += 1
        self.roll_back(which)

    def change(self, which: int, number: int, price: int, act: Callable[[], Any]) -> None:
        client = self.clients[which]
        try:
            client.run(act)
        except CONFLICTS as error:
            self.give_up(which, error)
        else:
            client.changed[number] = price

    @rule(which=both, number=numbers)
    def set_a_price(self, which: int, number: int) -> None:
        price = next(self.prices)

        def act() -> None:
            item = db.session.get(Item, number)
            if item is None:
                db.session.add(Item(id=number, name=f"item {number}", price=price))
            else:
                item.price = price

        self.change(which, number, price, act)

    @rule(which=both, number=numbers)
    def delete(self, which: int, number: int) -> None:
        def act() -> None:
            db.session.flush()
            item = db.session.get(Item, number, populate_existing=True)
            if item is not None:
                db.session.delete(item)
            db.session.flush()

        self.change(which, number, 0, act)

    @rule(which=both, number=numbers)
    def set_a_price_by_a_statement(self, which: int, number: int) -> None:
        price = next(self.prices)
        client = self.clients[which]
        if 0 in self.may_be(client, number):
            return

        def act() -> None:
            statement = update(Item).where(Item.id == number).values(price=price)
            db.session.execute(statement, execution_options={"synchronize_session": "fetch"})

        self.change(which, number, price, act)

    @rule(which=both)
    def flush(self, which: int) -> None:
        try:
            self.clients[which].run(db.session.flush)
        except CONFLICTS as error:
            self.give_up(which, error)

    @rule(which=both)
    def take_a_snapshot(self, which: int) -> None:
        client = self.clients[which]
        if client.changed:
            return
        self.roll_back(which)
        client.run(lambda: db.session.execute(text("BEGIN")))
        client.run(lambda: db.session.scalar(select(func.count()).select_from(Item)))

    @rule(which=both)
    def set_a_savepoint(self, which: int) -> None:
        client = self.clients[which]
        if client.savepoint is None:
            try:
                client.savepoint = client.run(db.session.begin_nested), dict(client.changed)
            except CONFLICTS as error:
                self.give_up(which, error)

    @precondition(lambda self: any(client.savepoint for client in self.clients))
    @rule(kept=st.booleans())
    def end_the_savepoints(self, kept: bool) -> None:
        for which, client in enumerate(self.clients):
            if client.savepoint is None:
                continue
            (savepoint, changed), client.savepoint = client.savepoint, None
            try:
                client.run(savepoint.commit if kept else savepoint.rollback)
            except CONFLICTS as error:
                self.give_up(which, error)
                continue
            if not kept:
                client.changed = changed

    @rule(which=both)
    def commit(self, which: int) -> None:
        client = self.clients[which]
        try:
            client.run(db.session.commit)
        except CONFLICTS as error:
            self.give_up(which, error)
            return
        self.keep(client.changed)
        client.begin(self.committed)

    @rule(which=both)
    def commit_and_be_killed(self, which: int) -> None:
        """No invalidation follows the commit, and the client is gone."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.shop.engine, "invalidate", lambda *_: None)
            self.commit(which)
        self.leave(which)

    @rule(which=both)
    def roll_back(self, which: int) -> None:
        self.clients[which].run(db.session.rollback)
        self.clients[which].begin(self.committed)

    @rule(which=both)
    def leave(self, which: int) -> None:
        """Another request takes the client's place."""
        self.clients[which].close()
        self.clients[which] = Client(self.shop)
        self.clients[which].begin(self.committed)

    @rule(number=numbers)
    def write_in_a_session_of_its_own(self, number: int) -> None:
        price = next(self.prices)
        with self.shop.app.app_context(), Session(db.engine) as session:
            item = session.get(Item, number)
            if item is None:
                return
            item.price = price
            try:
                session.commit()
            except OperationalError:
                return
        self.keep({number: price})

    def keep(self, changed: Prices) -> None:
        self.committed = {**self.committed, **changed}
        for client in self.clients:
            client.seen.append(dict(self.committed))

    # -- what happens to the store

    @rule(seconds=st.sampled_from([1, 10, 25, 60]))
    def time_passes(self, seconds: float) -> None:
        self.shift += seconds

    @rule(kind=st.sampled_from(["price", "price_by_name", "label"]), number=numbers)
    def refresh(self, kind: str, number: int) -> None:
        with self.shop.app.app_context():
            self.shop.cache.refresh(getattr(self.shop, kind), number)

    @rule(chosen=st.sets(st.integers(0, 30), min_size=1, max_size=8))
    def evict(self, chosen: set[int]) -> None:
        keys = self.shop.stored_keys()
        lost = [keys[number % len(keys)] for number in chosen] if keys else []
        if lost:
            self.shop.engine.store.delete(lost)

    @rule(name=st.sampled_from(["clock", "generation"]))
    def evict_by_name(self, name: str) -> None:
        self.shop.engine.store.delete([f"app:{name}"])

    @rule()
    def clear(self) -> None:
        with self.shop.app.app_context():
            self.shop.cache.clear()


@pytest.fixture(params=["SimpleCache", "RedisCache"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Machine]]:
    """The machine, with a shop on each backend."""
    with ExitStack() as stack:
        configured: dict[str, Any] = {"CACHE_TYPE": request.param}
        if request.param == "RedisCache":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = stack.enter_context(redis_server(folder))
            if port is None:
                pytest.skip("there is no Redis and no Valkey on this machine")
            configured["CACHE_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
        shop = Machine.shop = Shop(configured, f"sqlite:///{tmp_path}/shop.sqlite3")
        yield Machine
        shop.engine.close()
        with shop.app.app_context():
            db.engine.dispose()


def test_any_order_of_events(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine if SEED is None else seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=SEED is None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def orders(machine: type[Machine]) -> Iterator[Machine]:
    """A machine whose rules a test calls: an order that was once found, as a case of its own."""
    running = machine()
    yield running
    running.teardown()


@pytest.mark.parametrize("cached_first", [True, False])
def test_a_released_savepoint_and_a_rollback(orders: Machine, cached_first: bool) -> None:
    if cached_first:
        orders.a_new_request_is_served_what_is_committed(kind="price", number=1)
    orders.set_a_savepoint(which=0)
    orders.set_a_price(which=0, number=1)
    orders.flush(which=0)
    orders.end_the_savepoints(kept=True)
    orders.a_new_request_is_served_what_is_committed(kind="price", number=1)
    orders.roll_back(which=0)
    orders.a_new_request_is_served_what_is_committed(kind="price", number=1)
    orders.a_new_page_is_what_is_committed(number=1)


def test_a_change_of_a_row_that_another_client_deletes(orders: Machine) -> None:
    orders.set_a_price(which=0, number=1)
    orders.delete(which=1, number=1)
    orders.commit(which=1)
    orders.commit(which=0)
    assert orders.conflicts == {"StaleDataError": 1}
    orders.a_new_request_is_served_what_is_committed(kind="price", number=1)
    orders.a_client_is_served_what_was_so_since_it_began(which=0, kind="price", number=1)


def test_a_row_that_two_clients_add(orders: Machine) -> None:
    orders.delete(which=0, number=1)
    orders.commit(which=0)
    for which in (0, 1):
        orders.set_a_price(which=which, number=1)
    for which in (0, 1):
        orders.commit(which=which)
    assert orders.conflicts == {"IntegrityError": 1}
    orders.a_new_request_is_served_what_is_committed(kind="price", number=1)
