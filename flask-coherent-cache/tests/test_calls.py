"""Which function a key means: methods, closures, decorators, and what is refused in words."""

import functools
import itertools
import json
import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial, wraps
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from flask import Blueprint, Flask, current_app, render_template_string, request
from werkzeug.local import LocalProxy

import flask_coherent_cache as caching
from flask_coherent_cache import UnstableArgument
from flask_coherent_cache._decorated import decorated_of
from flask_coherent_cache._keys.calls import CallKey

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
calls: Counter[str] = Counter()


@pytest.fixture
def backend() -> dict[str, Any]:
    return {"CACHE_TYPE": "SimpleCache"}


@pytest.fixture(autouse=True)
def _in_context(app: Flask) -> Any:
    calls.clear()
    with app.app_context():
        yield


class Shop:
    def __init__(self, name: str, cache: Any = None) -> None:
        self.name = name
        if cache is not None:
            self.total = cache.memoize(60)(self.total)  # type: ignore[method-assign]

    def __caching_id__(self) -> str:
        return self.name

    def total(self, tax: int = 0) -> str:
        calls[self.name] += 1
        return f"{self.name} {tax}"

    @classmethod
    def kind(cls, tax: int = 0) -> str:
        return f"{cls.__name__} {tax}"


class Mall(Shop):
    pass


class Nameless:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def total(self) -> int:
        return 1

    def __call__(self) -> int:
        return 2


def base(x: int) -> int:
    return x


def counted(x: int) -> int:
    calls["counted"] += 1
    return x


def times(n: Any) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return n * function(*args, **kwargs)

        return inner

    return decorate


def plus(n: Any) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return n + function(*args, **kwargs)

        return inner

    return decorate


# -- methods -------------------------------------------------------------------------------------


def test_a_bound_method_is_of_its_instance(app: Flask, cache: Any) -> None:
    ann, bob = Shop("ann", cache), Shop("bob", cache)

    def visit() -> None:
        for call in (ann.total, bob.total, partial(ann.total, tax=1)):
            with app.app_context():  # A fill may depend on what was read before it in one.
                assert call().startswith("ann" if call is not bob.total else "bob")

    visit()
    visit()
    assert calls == {"ann": 2, "bob": 1}
    cache.delete_memoized(ann.total, 1)
    visit()
    assert calls == {"ann": 3, "bob": 1}
    cache.delete_memoized(ann.total)
    visit()
    assert calls == {"ann": 5, "bob": 1}


def test_a_bound_method_under_cached_is_of_its_instance(cache: Any) -> None:
    totals = [cache.cached(60)(Shop(name).total) for name in ("ann", "bob")]
    for _ in range(2):
        assert [total() for total in totals] == ["ann 0", "bob 0"]
    assert calls == {"ann": 1, "bob": 1}


def test_a_bound_method_of_what_has_no_text_is_refused_by_name(cache: Any) -> None:
    with pytest.raises(UnstableArgument, match=r"is a .*Nameless, whose lock is .*key_for"):
        cache.memoize(60)(Nameless().total)


def test_a_name_tells_what_a_method_is_of(cache: Any) -> None:
    def named(shop: Any) -> Any:
        return cache.memoize(60, make_name=lambda name: f"total {id(shop)}")(shop.total)

    assert [named(Shop("ann"))(), named(Shop("bob"))(), named(Nameless())()] == [
        "ann 0",
        "bob 0",
        1,
    ]
    shared = [cache.memoize(60, make_name=lambda _: "total")(Shop(x).total)() for x in ("a", "b")]
    assert shared == ["a 0", "b 0"]


def test_all_calls_are_dropped_where_the_key_does_not_tell_instances(cache: Any) -> None:
    class Local(Shop):
        @cache.memoize(60, args_to_ignore=["self"])
        def total(self, tax: int = 0) -> str:
            calls["local"] += 1
            return "total"

    named = cache.memoize(60, make_name=lambda _: "total")(Nameless().total)
    for function in (Local("ann").total, named):
        function()
        cache.delete_memoized(function)
        function()
        cache.delete_memoized(function)
    assert calls == {"local": 2}


class Till:
    def __init__(self, cache: Any, name: str, other: Any = None) -> None:
        self.name = name
        self.total = cache.memoize(60)((other or self).count)
        self.alias = self.count

    def count(self) -> str:
        calls[self.name] += 1
        return self.name


def test_a_plain_instance_may_hold_its_own_memoized_methods(app: Flask, cache: Any) -> None:
    tills = [Till(cache, name) for name in ("ann", "bob", "ann")]
    for _ in range(2):
        for till in tills:
            with app.app_context():
                assert till.total() == till.name
    assert calls == {"ann": 1, "bob": 1}
    key = cache.memoize(60)(lambda_free_total)
    assert key.make_cache_key(None, tills[0]) == key.make_cache_key(None, tills[2])
    with pytest.raises(UnstableArgument, match="whose total is a function"):
        key.make_cache_key(None, Till(cache, "eve", tills[0]))


class Account:
    def __init__(self, name: str, **more: Any) -> None:
        self.name = name
        self.__dict__.update(more)

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "the same"

    def total(self, tax: int = 0) -> str:
        calls[self.name] += 1
        return f"{self.name} {tax}"


def test_a_plain_instance_is_told_by_all_its_attributes(app: Flask, cache: Any) -> None:
    total = cache.memoize(60)(Account.total)
    ann, bob, other_ann = Account("ann"), Account("bob"), Account("ann")

    def visit() -> None:
        for account in (ann, bob, other_ann):
            with app.app_context():
                assert total(account) == f"{account.name} 0"

    visit()
    visit()
    assert calls == {"ann": 1, "bob": 1}
    other_ann.name = "eve"
    visit()
    assert calls == {"ann": 1, "bob": 1, "eve": 1}
    cache.delete_memoized(total, ann)
    visit()
    assert calls == {"ann": 2, "bob": 1, "eve": 1}


def test_a_plain_instance_hands_on_what_was_read_before(cache: Any) -> None:
    key = CallKey(Account.total)
    assert not key.holds_all((Account("ann"),), {})
    assert not CallKey(base).holds_all((Account("ann"),), {})


def test_a_method_that_changes_its_instance_is_never_stale(app: Flask, cache: Any) -> None:
    class Turnstile:
        def __init__(self) -> None:
            self.turns = 0

        @cache.memoize(60)
        def turn(self) -> int:
            self.turns += 1
            return self.turns

    first = Turnstile()
    assert [first.turn(), first.turn(), first.turn()] == [1, 2, 3]


@pytest.mark.parametrize("when", ["never", "before", "during"])
def test_what_changed_since_is_not_stored_in_the_background(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    started: list[Callable[[], None]] = []
    monkeypatch.setattr(
        cache.engine.flights, "refill_soon", lambda key, refill: started.append(refill)
    )
    account, changes = Account("ann"), [lambda: None]

    def named(account: Account) -> str:
        calls["named"] += 1
        changes.pop()()
        return account.name

    shown = cache.memoize(60, grace=60, make_name=lambda name: name)(named)

    def read() -> str:
        with app.app_context():
            return str(shown(account))

    def rename() -> None:
        account.name = "bob"

    assert read() == "ann"
    with app.app_context():
        cache.refresh(shown, account)
    assert read() == "ann"
    changes.append(rename if when == "during" else lambda: None)
    if when == "before":
        rename()
    started.pop()()
    account.name = "ann"
    assert read() == "ann"
    assert calls["named"] == (1 if when == "before" else 2)
    assert len(started) == (0 if when == "never" else 1)


def local_class(text: str, factor: Any = 1, base_class: type = object) -> Any:
    class Local(base_class):  # type: ignore[misc]
        unit = text

        def __init__(self, n: Any = 1) -> None:
            self.n = n

        def total(self) -> Any:
            return f"{self.n * factor} {self.unit}"

    return Local


def test_a_class_made_inside_a_function_is_told_by_what_it_consists_of(cache: Any) -> None:
    total = cache.memoize(60)(lambda_free_total)
    kinds = [local_class("a"), local_class("b"), local_class("a", 2), local_class("a", [1])]
    kinds += [local_class("a", base_class=Plain), local_class("a", base_class=kinds[0])]
    keys = [total.make_cache_key(None, kind(1)) for kind in kinds]
    assert len({*keys}) == len(kinds)
    assert keys[0] == total.make_cache_key(None, local_class("a")(1))
    assert keys[0] != total.make_cache_key(None, kinds[0](2))
    assert [total(kind(2)) for kind in kinds[:2]] == ["2 a", "2 b"]
    kinds[0].unit = "c"
    assert total.make_cache_key(None, kinds[0](1)) != keys[0]
    closed = [closed_over(cache, kind(1)).make_cache_key(None) for kind in kinds]
    assert len({*closed}) == len(kinds)


def lambda_free_total(thing: Any) -> Any:
    return thing.total()


def test_a_class_made_inside_a_function_of_what_has_no_text_is_refused(cache: Any) -> None:
    total = cache.memoize(60)(lambda_free_total)
    for kind, words in (
        (local_class("a", Nameless()), "whose total is a closure over factor, which is a"),
        (local_class("a", Extension()), "closure over factor, which is a .*only its name tells"),
        (local_class(Nameless()), "whose unit is a .*Nameless, whose lock"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnstableArgument, match=f"Local, a class made inside .*{words}"):
            total(kind())
        with pytest.raises(TypeError, match=words):
            closed_over(cache, kind())


def test_a_property_may_be_cached_inside(cache: Any) -> None:
    total = property(cache.memoize(60)(Shop.total))
    assert total.__get__(Shop("ann")) == total.__get__(Shop("ann")) == "ann 0"
    assert calls == {"ann": 1}


def test_a_class_method_may_be_decorated_on_either_side(cache: Any) -> None:
    class_method, static = Shop.__dict__["kind"], staticmethod(base)
    for first in (class_method, classmethod(cache.memoize(60)(class_method.__func__))):
        decorated = first if first is not class_method else cache.memoize(60)(class_method)
        kinds = [decorated.__get__(None, kind)() for kind in (Shop, Mall, Shop)]
        assert kinds == ["Shop 0", "Mall 0", "Shop 0"]
    assert isinstance(cache.memoize(60)(static), staticmethod)
    assert cache.memoize(60)(static).__get__(None, Shop)(3) == 3
    assert isinstance(cache.cached(60)(class_method), classmethod)
    assert cache.memoize(60)(Mall.kind)(1) == "Mall 1"


# -- what is no function --------------------------------------------------------------------------


@pytest.mark.parametrize("decorator", ["memoize", "cached"])
@pytest.mark.parametrize(
    "thing",
    [
        partial(base, 1),
        Nameless(),
        Nameless,
        property(lambda self: 1),
        functools.cached_property(lambda self: 1),
        functools.partialmethod(base, 1),
        functools.lru_cache(base),
        functools.singledispatchmethod(base),
        [].append,
        "name",
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_function_is_refused_when_decorated(
    cache: Any, decorator: str, thing: Any
) -> None:
    for decorate in (getattr(cache, decorator)(60), getattr(cache, decorator)()):
        with pytest.raises(TypeError, match=rf"@cache\.{decorator} takes a function, and .* is a "):
            decorate(thing)


def test_a_function_of_c_is_right_or_refused_in_words(cache: Any) -> None:
    assert cache.memoize(60)(math.factorial)(4) == 24
    with pytest.raises(TypeError, match="max does not tell what arguments it takes"):
        cache.memoize(60)(max)


def test_a_function_is_memoized_once(cache: Any) -> None:
    with pytest.raises(TypeError, match=r"base is cached already"):
        cache.memoize(60)(cache.memoize(60)(base))


@pytest.mark.parametrize("decorator", ["memoize", "cached"])
@pytest.mark.parametrize(
    "thing", [base, Nameless, partial(base, 1), Shop.__dict__["kind"], property(base)]
)
def test_a_decorator_needs_parentheses(cache: Any, decorator: str, thing: Any) -> None:
    with pytest.raises(TypeError, match=rf"needs parentheses: write @cache\.{decorator}\(\)"):
        getattr(cache, decorator)(thing)


def test_a_timeout_is_a_number_of_seconds(cache: Any) -> None:
    for decorator in (cache.memoize, cache.cached):
        with pytest.raises(TypeError, match="timeout is '60'"):
            decorator("60")


# -- functions of one name -------------------------------------------------------------------------


def test_decorators_with_other_parameters_make_other_functions(cache: Any) -> None:
    made = [times(2), times(3), plus(2), lambda f: times(2)(times(3)(f))]
    for _ in range(2):
        assert [cache.memoize(60)(decorate(base))(5) for decorate in made] == [10, 15, 7, 30]
    doubled = CallKey(times(2)(base))
    assert doubled(5) == doubled(x=5) != CallKey(base)(5)


def test_a_decorator_has_defaults_of_its_own(cache: Any) -> None:
    @wraps(base)
    def with_default(x: int = 5) -> int:
        return base(x)

    base_of_one = wraps(base)(lambda x=1: x)
    assert CallKey(with_default)() == CallKey(with_default)(5)
    assert CallKey(base_of_one)() == CallKey(base_of_one)(1)


def priced(product: int, currency: str = "EUR") -> str:
    calls[currency] += 1
    return f"{product} {currency}"


def in_dollars(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("currency", "USD")
        return function(*args, **kwargs)

    return inner


def test_a_decorator_that_sets_an_argument_does_not_share_with_the_default(cache: Any) -> None:
    price = cache.memoize(60)(in_dollars(priced))
    for _ in range(2):
        assert [price(1), price(1, currency="EUR")] == ["1 USD", "1 EUR"]
    assert calls == {"USD": 1, "EUR": 1}
    cache.delete_memoized(price, product=1)
    assert [price(1), price(1, currency="EUR")] == ["1 USD", "1 EUR"]
    assert calls == {"USD": 2, "EUR": 2}
    outer = cache.memoize(60)(times(1)(in_dollars(priced)))
    assert [outer(2), outer(2, currency="EUR")] == ["2 USD", "2 EUR"]


def test_a_decorator_may_take_or_add_an_argument(cache: Any) -> None:
    def connected(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args, **kwargs: function("db", *args, **kwargs))

    def loud(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            louder = kwargs.pop("loud", False)
            return f"{function(*args, **kwargs)}{'!' * louder}"

        return inner

    def load(database: str, number: int = 0) -> str:
        return f"{database}{number}"

    loaded = cache.memoize(60, args_to_ignore=["database"])(connected(load))
    assert [loaded(1), loaded(2), loaded(1), loaded(number=2)] == ["db1", "db2", "db1", "db2"]
    said = cache.memoize(60, args_to_ignore=["x"])(loud(base))
    assert [said(1), said(1, loud=True), said(2)] == ["1", "1!", "1"]


@pytest.mark.parametrize("number", range(5))
def test_what_hands_on_its_arguments_unchanged_is_told_by_its_code(number: int) -> None:
    def takes_one(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args, **kwargs: function(*args[:1], **kwargs))

    def keeps_them(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            calls.update([repr(args)])
            return function(*args, **kwargs)

        return inner

    def calls_another(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args, **kwargs: [priced(*args, **kwargs)])

    def looks_around(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args, **kwargs: (function(*args, **kwargs), locals()))

    def encloses_them(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args, **kwargs: lambda: function(*args, **kwargs))

    made = [takes_one, keeps_them, calls_another, looks_around, encloses_them][number](base)
    assert CallKey(made).is_literal
    assert not CallKey(times(2)(times(3)(base))).is_literal


NOT_GIVEN = object()


@pytest.mark.parametrize("decorate", [lambda f: f, times(1), in_dollars])
def test_a_default_may_be_what_has_no_text_elsewhere(cache: Any, decorate: Decorator) -> None:
    def shown(
        x: int, unit: Any = NOT_GIVEN, write: Any = base, size: Any = len, **_: Any
    ) -> tuple[Any, ...]:
        calls["shown"] += 1
        return x, unit is NOT_GIVEN, write(x), size("ab")

    memoized = cache.memoize(60)(decorate(shown))
    for _ in range(2):
        assert memoized(1) == (1, True, 1, 2)
        assert memoized(1, None) == (1, False, 1, 2)
        assert memoized(1, write=base, unit=NOT_GIVEN) == (1, True, 1, 2)
    assert calls["shown"] == 2 + CallKey(decorate(shown)).is_literal
    for other in ({"unit": object()}, {"write": counted}, {"size": base}):
        with pytest.raises(UnstableArgument, match="the argument "):
            memoized(1, **other)


def test_functions_that_are_defined_again_do_not_share(cache: Any) -> None:
    def defined(source: str) -> Any:
        names: dict[str, Any] = {"__name__": __name__}
        exec(source, names)  # noqa: S102 - ours
        return cache.memoize(60)(names["again"])

    first, second = defined("def again(): return 1"), defined("def again(): return 2")
    third = defined("def again(): return 2")
    assert [first(), second(), third(), first()] == [1, 2, 2, 1]
    assert second.make_cache_key(None) == third.make_cache_key(None)


def test_who_says_that_the_source_does_not_count_has_functions_of_one_name_share(
    cache: Any,
) -> None:
    def make(source_check: bool | None, text: str) -> Any:
        names: dict[str, Any] = {"__name__": __name__}
        exec(f"def outer():\n def same(): return {text!r}\n return same", names)  # noqa: S102 - ours
        return cache.memoize(60, source_check=source_check)(names["outer"]())

    assert [make(False, "a")(), make(False, "b")()] == ["a", "a"]
    assert [make(None, "a")(), make(None, "b")()] == ["a", "b"]


def test_a_function_that_says_it_is_another_does_not_share_with_it(cache: Any) -> None:
    renamed = functools.update_wrapper(counted, base)
    try:
        assert CallKey(base)(1) != CallKey(renamed)(1)
    finally:
        del counted.__wrapped__  # type: ignore[attr-defined]
        counted.__qualname__ = counted.__name__ = "counted"


def test_branches_do_not_share_a_name(cache: Any) -> None:
    def choose(first: bool) -> Any:
        if first:

            @cache.memoize(60)
            def chosen() -> int:
                return 1
        else:

            @cache.memoize(60)
            def chosen() -> int:
                return 2

        return chosen

    assert [choose(True)(), choose(False)(), choose(True)()] == [1, 2, 1]


def test_a_call_is_deleted_also_where_its_code_has_changed(cache: Any) -> None:
    def made(source: str) -> Any:
        names: dict[str, Any] = {"__name__": __name__, "calls": calls}
        exec(f"def outer():\n def released(x): {source}\n return released", names)  # noqa: S102 - ours
        return cache.memoize(60)(names["outer"]())

    old = made("calls['old'] += 1; return 1")
    new = made("calls['new'] += 1; return 2")
    assert [old(1), old(1), old(2), new(1)] == [1, 1, 1, 2]
    cache.delete_memoized(new, 1)
    assert [old(1), old(2), new(1)] == [1, 1, 2]
    assert calls == {"old": 3, "new": 2}


# -- closures -------------------------------------------------------------------------------------


class Frozen(NamedTuple):
    name: str


@dataclass(frozen=True)
class Setting:
    name: str


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value

    def total(self) -> Any:
        return self.value


class Extension:
    def init_app(self, app: Flask) -> None:
        pass


def closed_over(cache: Any, value: Any) -> Any:
    @cache.memoize(60)
    def shown() -> str:
        return f"{value!r:.20}"

    return shown


def local_function(n: Any) -> Callable[[], Any]:
    def local() -> Any:
        return n

    return local


def recursive() -> Callable[[int], int]:
    def count(n: int) -> int:
        return n and count(n - 1)

    return count


FINE: list[Any] = [
    *(1, True, "1", b"1", 1.0, None, (1, "a"), frozenset({1}), PurePosixPath("a"), Frozen("a")),
    *(Setting("a"), Setting("b"), json, math, base, print, times(2)(base), times(3)(base)),
    *(local_function(1), local_function(2), recursive(), partial(base, 1), partial(base, 2)),
    *(Shop("a"), Shop("b"), Shop("a").total, Shop("b").total, Shop, Mall, int, math.factorial),
    *(",".join, "a".join, str.upper, str.lower),
    *(functools.lru_cache, datetime.now, date.today, MappingProxyType({"a": 1})),
    *(
        Extension(),
        Blueprint("a", "a"),
        Blueprint("b", "b"),
        Flask("a"),
        logging.getLogger("a"),
        current_app,
        request,
    ),
    *(lambda: 1, lambda: 2, lambda n=1: n, lambda n=2: n),
    *([1], [2], {"a": 1}, {1}, bytearray(b"a"), (1, [2]), (1, [3]), Counter("a"), deque([1])),
    *(Plain(1), Plain([1]), Plain(Plain(1)), [Plain(2)], Plain(2).total, [].append, [1].append),
    *(local_function([]), local_function([1]), partial(base, []), partial(base, [1])),
    *(partial(base, x=[]), lambda x=[]: x, lambda *, x={}: x),
]


def test_what_has_a_stable_text_may_be_closed_over(app: Flask, cache: Any) -> None:
    made = [closed_over(cache, value) for value in [*FINE, cache]]
    keys = [shown.make_cache_key(None) for shown in made]
    assert len(set(keys)) == len(made)
    again = [closed_over(cache, value).make_cache_key(None) for value in [*FINE, cache]]
    assert again == keys == [shown.make_cache_key(None) for shown in made]


@pytest.mark.parametrize(
    "value",
    [
        *([Nameless()], (1, [Nameless()]), {"a": Nameless()}, Nameless(), SimpleNamespace()),
        *(Nameless().total, [Nameless()].append, LocalProxy(lambda: 1), local_function(Nameless())),
        *(partial(base, Nameless()), partial(base, x=Nameless()), lambda x=Nameless(): x),  # noqa: B008
        *(lambda *, x=Nameless(): x, itertools.count(), (n for n in ()), threading.Lock()),  # noqa: B008
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_stable_text_is_refused_by_the_variables_name(cache: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"shown is a closure over value, which .*make_name"):
        closed_over(cache, value)


def test_what_contains_itself_is_refused_by_the_variables_name(cache: Any) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(TypeError, match="closure over value, which contains itself"):
        closed_over(cache, cycle)


def test_a_function_that_closes_over_what_has_no_text_is_refused(cache: Any) -> None:
    words = "closure over value, which is a closure over n, which is a .*Nameless, whose lock"
    with pytest.raises(TypeError, match=words):
        closed_over(cache, local_function(Nameless()))


def test_what_was_put_on_a_function_counts(cache: Any) -> None:
    def made(role: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def load(x: int) -> int:
            return x

        load.role = role  # type: ignore[attr-defined]

        @cache.memoize(60)
        def loaded(x: int) -> Any:
            return load.role, load(x)  # type: ignore[attr-defined]

        @cache.memoize(60)
        def own(x: int) -> Any:
            return own.role, x

        own.role = role
        return loaded, own

    for role in ("admin", "guest", ("a", "b"), ["a"], Shop, None):
        for function in made(role):
            assert [function(1), function(1)] == [(role, 1)] * 2


def test_what_functions_put_on_themselves_does_not_count(cache: Any) -> None:
    def counting(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            inner.calls += 1  # type: ignore[attr-defined]
            inner.given.append(args)  # type: ignore[attr-defined]
            inner.of[args] = 1  # type: ignore[attr-defined]
            return function(*args, **kwargs)

        inner.calls, inner.given, inner.of = 0, [], {}  # type: ignore[attr-defined]
        inner.lock = threading.Lock()  # type: ignore[attr-defined]
        return inner

    counter = counting(base)
    function = cache.memoize(60)(counter)
    assert [function(1), function(1), counter.calls] == [1, 1, 1]


def test_a_variable_counts_as_it_is_when_the_function_is_called(cache: Any) -> None:
    factor = 2

    @cache.memoize(60)
    def scaled(x: int) -> int:
        return later(x) * factor

    def later(x: int) -> int:
        return x

    assert [scaled(3), scaled(3)] == [6, 6]
    factor = 3
    assert scaled(3) == 9
    factor = [4]  # type: ignore[assignment]
    assert scaled(3) == [4, 4, 4]  # type: ignore[comparison-overlap]
    factor[0] = 5  # type: ignore[index]
    assert scaled(3) == [5, 5, 5]  # type: ignore[comparison-overlap]
    factor = Nameless()  # type: ignore[assignment]
    with pytest.raises(UnstableArgument, match="closure over factor"):
        scaled(3)


def test_a_variable_of_a_function_that_is_closed_over_counts_too(cache: Any) -> None:
    factor = 2

    def scale(x: int) -> int:
        return x * factor

    scaled = cache.memoize(60)(wraps(base)(lambda x: scale(x) + 0))
    assert [scaled(3), scaled(3)] == [6, 6]
    factor = 3
    assert scaled(3) == 9


def test_what_may_change_counts_as_it_is(cache: Any) -> None:
    for value, change in (
        (items := [1], lambda: items.append(2)),
        (nested := {"a": [1]}, lambda: nested["a"].append(2)),
        (names := {1}, lambda: names.add(2)),
        (text := bytearray(b"a"), lambda: text.append(1)),
        (plain := Plain(1), lambda: setattr(plain, "value", 2)),
        (inner := Plain(Plain(1)), lambda: setattr(inner.value, "value", 2)),
        (held := [1], lambda: held.append(2)),
    ):
        # The last one is what a function holds that is closed over.
        shown = closed_over(cache, local_function(value) if value is held else value)
        keys = [shown.make_cache_key(None), shown.make_cache_key(None)]
        change()
        assert keys[0] == keys[1] != shown.make_cache_key(None)


def test_a_closure_that_changes_what_it_reads_is_computed_each_time(cache: Any) -> None:
    seen: list[int] = []
    holder = Plain(0)

    @cache.memoize(60)
    def position(x: int) -> int:
        seen.append(x)
        return len(seen)

    @cache.memoize(60)
    def increased() -> int:
        holder.value += 1
        return int(holder.value)

    assert [position(5), position(5), position(5)] == [1, 2, 3]
    assert [increased(), increased()] == [1, 2]


def collecting(cache: Any, kind: str) -> tuple[Any, Any]:
    runs: Any = {"list": [], "set": set(), "deque": deque(), "dict": {}}.get(kind, Counter())
    if kind in ("list", "deque"):

        def collect(x: int, y: int = 0) -> int:
            runs.append((x, calls["runs"]))
            calls["runs"] += 1
            return x
    elif kind == "set":

        def collect(x: int, y: int = 0) -> int:
            runs.add((x, calls["runs"]))
            calls["runs"] += 1
            return x
    elif kind == "dict":

        def collect(x: int, y: int = 0) -> int:
            runs[x] = y
            calls["runs"] += 1
            return x
    else:

        def collect(x: int, y: int = 0) -> int:
            runs[x] += 1
            calls["runs"] += 1
            return x

    return cache.memoize(60)(collect), runs


@pytest.mark.parametrize("kind", ["list", "set", "deque", "dict", "counter"])
def test_a_variable_that_only_collects_is_no_part_of_the_key(cache: Any, kind: str) -> None:
    collect, runs = collecting(cache, kind)
    assert [collect(1), collect(1), collect(2), collect(1)] == [1, 1, 2, 1]
    assert len(runs) == calls["runs"] == 2
    assert decorated_of(collect).holds_all((1,), {})


class Numbers(list[int]):
    """Its ``append`` may do anything."""


def uses() -> list[tuple[Callable[..., Any], Any]]:
    """Functions with a variable, ``runs``, on which their result depends, or may."""
    runs: Any = [0]

    def told() -> Any:
        runs.append(len(runs))
        return 1

    def returned() -> Any:
        runs.append(1)
        return runs

    def kept() -> Any:
        append = runs.append
        append(1)
        return append.__self__  # type: ignore[attr-defined]

    def looked() -> Any:
        runs.append(1)
        return locals()

    def tested() -> Any:
        return runs.append(1) or runs

    def inner() -> Any:
        runs.append(1)
        return [n for n in runs]  # noqa: C416

    def handed() -> Any:
        runs.append(1)

        def get() -> Any:
            return runs

        return get()

    def counted() -> Any:
        runs[0] += 1
        return 1

    def popped() -> Any:
        return runs.pop()

    def chosen(x: int = 0) -> Any:
        (runs if x else [1]).append(1)
        return 1

    def branched(x: int = 0) -> Any:
        runs.append(1 if x else 2)
        return 1

    return [(f, runs) for f in (told, returned, kept, looked, tested, inner, handed, counted)] + [
        (f, runs) for f in (popped, chosen, branched)
    ]


@pytest.mark.parametrize("function", [f for f, _ in uses()], ids=lambda f: f.__name__)
def test_a_variable_that_may_be_read_is_a_part_of_the_key(cache: Any, function: Any) -> None:
    runs = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))["runs"]
    key = CallKey(function, scope=cache._scope)
    before = key()
    runs.cell_contents.append(7)
    assert key() != before
    assert not key.holds_all((), {})
    assert not CallKey(function, make_name=str).holds_all((), {})


def test_a_variable_of_a_type_that_is_not_known_is_a_part_of_the_key(cache: Any) -> None:
    def made(runs: Any) -> Any:
        def collect() -> int:
            runs.append(1)
            return 1

        return CallKey(collect, scope=cache._scope)

    assert made([1])() == made([2])() == made(deque())()
    assert len({made(Numbers([1]))(), made(Numbers([2]))(), made(bytearray(b"a"))()}) == 3


def test_a_view_of_what_may_change_counts_as_it_is(cache: Any) -> None:
    changing = {"a": 1}
    shown = closed_over(cache, MappingProxyType(changing))
    keys = [shown.make_cache_key(None), shown.make_cache_key(None)]
    changing["a"] = 2
    assert keys[0] == keys[1] != shown.make_cache_key(None)


def test_what_a_key_closes_over_is_not_shown(cache: Any) -> None:
    key = closed_over(cache, "a secret of theirs").make_cache_key(None)
    assert "secret" not in key
    assert "{value}" in key


def test_an_application_has_one_extension_of_a_class(app: Flask, cache: Any) -> None:
    first, second = Extension(), Extension()
    assert closed_over(cache, first)() == closed_over(cache, first)()
    with pytest.raises(UnstableArgument, match=r"closure over value, which is one of several"):
        closed_over(cache, second)()
    other = Flask("other")
    caching.Cache(other, config={"CACHE_TYPE": "SimpleCache"})
    cache.init_app(other)
    with other.app_context():
        closed_over(cache, second)()


def test_a_local_class_that_is_closed_over_is_told_by_what_it_consists_of(cache: Any) -> None:
    def made(value: Any, annotation: Any = int) -> Any:
        class Service:
            __doc__ = f"Serves {value}."
            item: annotation
            kind = value

            @staticmethod
            @cache.memoize(60)
            def load(x: int) -> Any:
                return Service.kind, x

        @cache.memoize(60)
        def described() -> Any:
            return Service.__doc__, Service.__annotations__["item"]

        return Service, described

    for value in ("a", "b"):
        assert [made(value)[0].load(1) for _ in range(2)] == [(value, 1)] * 2
        for annotation in (int, str, int | None):
            described = made(value, annotation)[1]
            assert described() == described() == (f"Serves {value}.", annotation)
    keys = {closed_over(cache, made(1, a)[0]).make_cache_key(None) for a in (made, made, print)}
    assert len(keys) == 2


def test_an_application_has_one_local_class_of_a_name_without_a_text(cache: Any) -> None:
    def make() -> type:
        class Local:
            lock = threading.Lock()

        return Local

    first, second = make(), make()
    assert closed_over(cache, first).make_cache_key(None) != closed_over(cache, Shop)
    with pytest.raises(UnstableArgument, match="one of several"):
        closed_over(cache, second)()


def test_a_method_that_asks_super_is_no_closure_to_name(cache: Any) -> None:
    class Local(Shop):
        @cache.memoize(60, args_to_ignore=["self"])
        def total(self, tax: int = 0) -> str:
            return super().total(tax)

    assert Local("ann").total() == "ann 0"
    assert "{" not in Local.total.make_cache_key(None, None)


def test_a_closure_under_cached_has_an_entry_for_what_it_closes_over(cache: Any) -> None:
    def made(n: int) -> Any:
        @cache.cached(60)
        def everything() -> int:
            calls[f"{n}"] += 1
            return n

        return everything

    assert [made(1)(), made(2)(), made(1)()] == [1, 2, 1]
    assert calls == {"1": 1, "2": 1}


def test_a_call_of_a_closure_is_deleted(cache: Any) -> None:
    double = cache.memoize(60)(times(2)(counted))
    # What is filled later in one context may depend on what was read before.
    assert [double(6), double(5), double(5)] == [12, 10, 10]
    cache.delete_memoized(double, x=5)
    assert [double(5), double(6)] == [10, 12]
    assert calls["counted"] == 3


# -- registered types ---------------------------------------------------------------------------


class Hidden:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.lock = threading.Lock()


class Derived(Hidden):
    unit = ""


def memoized(cache: Any) -> Any:
    @cache.memoize(60)
    def shown(value: Any) -> Any:
        calls["shown"] += 1
        return "shown"

    return shown


def test_a_registered_type_has_keys_also_inside_others(cache: Any) -> None:
    shown = memoized(cache)
    with pytest.raises(UnstableArgument, match=r"cache.key_for\(Hidden\)"):
        shown(Hidden(1))

    @cache.key_for(Hidden)
    def key_of(hidden: Hidden) -> Any:
        return hidden.value

    assert key_of(Hidden(3)) == 3
    values: list[Any] = [Hidden(1), Hidden("1"), Hidden(True), [Hidden(1)], Hidden((1,)), 1]
    values += [Hidden(Hidden(1)), {"a": Hidden(1)}, Setting(Hidden(1))]  # type: ignore[arg-type]
    for _ in range(2):
        for value in values:
            shown(value)
    assert calls["shown"] == len(values)
    shown(Hidden(1))
    closed_over(cache, Hidden(1))()
    assert calls["shown"] == len(values)


def test_a_fragment_varies_on_a_registered_type(cache: Any) -> None:
    cache.key_for(Hidden)(lambda hidden: hidden.value)

    def render(value: Any) -> str:
        return render_template_string(
            "{% cache 60, 'a' %}{{ value.value }}{% endcache %}", value=value
        )

    assert [render(Hidden(1)), render(Hidden(2)), render(Hidden(1))] == ["1", "2", "1"]
    with pytest.raises(UnstableArgument, match=r"cache.key_for\(Nameless\)"):
        render(Nameless())


def test_another_cache_does_not_know_the_type(cache: Any) -> None:
    cache.key_for(Hidden)(lambda hidden: hidden.value)
    with pytest.raises(UnstableArgument, match="Hidden"):
        memoized(caching.Cache()).make_cache_key(None, Hidden(1))


def test_a_subclass_may_hold_more_and_is_refused(cache: Any) -> None:
    cache.key_for(Hidden)(lambda hidden: hidden.value)
    shown = memoized(cache)
    with pytest.raises(UnstableArgument, match=r"Derived, .*cache.key_for\(Derived\)"):
        shown(Derived(1))
    cache.key_for(Hidden, subclasses=True)(lambda hidden: hidden.value)
    assert shown.make_cache_key(None, Derived(1)) != shown.make_cache_key(None, Hidden(1))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda hidden: None, "returns nothing"),
        (lambda hidden: hidden, "returns the object itself"),
        (lambda hidden: object(), "returns what is a builtins.object"),
        (lambda hidden: [hidden], "contains itself"),
    ],
)
def test_what_a_registered_function_returns_must_have_a_text(
    cache: Any, returned: Any, words: str
) -> None:
    cache.key_for(Hidden)(returned)
    with pytest.raises(UnstableArgument, match=f"argument 'value' .*{words}"):
        memoized(cache)(Hidden(1))


@pytest.mark.parametrize("kind", [int, str, list, dict, object, type, "Hidden", Hidden(1)])
def test_what_has_keys_already_or_is_no_type_is_refused(cache: Any, kind: Any) -> None:
    with pytest.raises(TypeError, match=r"cache\.key_for"):
        cache.key_for(kind)


def test_a_class_that_is_defined_again_replaces_the_older_one(cache: Any) -> None:
    def make() -> type:
        class Local(Hidden):
            pass

        cache.key_for(Local)(lambda local: local.value)
        return Local

    older, newer = make(), make()
    assert memoized(cache)(newer(1)) == "shown"
    with pytest.raises(UnstableArgument, match="Local"):
        memoized(cache)(older(1))


def test_deleting_finds_a_call_whatever_the_order_of_its_keywords(cache: Any) -> None:
    @cache.memoize(60)
    def search(colour: str = "", **more: int) -> int:
        calls["search"] += 1
        return calls["search"]

    assert [search(colour="red", size=4, page=1), search("red", page=1, size=4)] == [1, 1]
    cache.delete_memoized(search, page=1, size=4, colour="red")
    assert search(colour="red", size=4, page=1) == 2
