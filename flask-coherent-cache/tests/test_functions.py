"""Memoized functions: keys, values, Flask-Caching's names and parameters."""

import array
import enum
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from flask import Flask, copy_current_request_context, render_template_string
from flask_caching.signals import cache_memoize_hit, cache_memoize_miss
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import flask_coherent_cache as caching
from flask_coherent_cache._functions import values
from flask_coherent_cache._keys import encoding as keys

calls: Counter[str] = Counter()
#: Called by what is filled beside something else.
reading: list[Callable[[str], None]] = []


def left() -> int:
    reading[0]("left")
    calls["beside"] += 1
    return calls["beside"]


def right() -> int:
    reading[0]("right")
    calls["beside"] += 1
    return calls["beside"]


class Colour(enum.Enum):
    RED = 1


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def __caching_id__(self) -> str:
        return self.name


class Right(enum.IntFlag):
    READ = 1


@dataclass
class Question:
    text: str
    more: Any = None
    connection: Any = field(default=None, repr=False, compare=False)


class Point(NamedTuple):
    text: str


class Changeable:
    """What an older version wrote, a newer one cannot read."""

    version = 1

    def __init__(self, number: int) -> None:
        self.number, self.written_by = number, self.version

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["written_by"] != self.version:
            raise AttributeError("of another version")
        self.__dict__.update(state)


class Nameless:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Nameless, ()


class Elided(array.array):  # type: ignore[type-arg]
    def __repr__(self) -> str:
        return "[0 1 2 ... 97 98 99]"


def changeable() -> Changeable:
    calls["changeable"] += 1
    return Changeable(calls["changeable"])


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def add(a: int, /, b: int = 2, *rest: int, scale: int = 1, **more: int) -> tuple[Any, ...]:
    calls["add"] += 1
    return (a, b, rest, scale, sorted(more.items()))


def test_each_way_of_passing_the_same_arguments_is_one_entry(app: Flask, cache: Any) -> None:
    memoized = cache.memoize(60)(add)
    with app.app_context():
        for args, kwargs in [((1,), {}), ((1, 2), {}), ((1,), {"b": 2}), ((1,), {"scale": 1})]:
            assert memoized(*args, **kwargs) == (1, 2, (), 1, [])
        assert calls["add"] == 1
        assert memoized(2, b=7) != memoized(1, b=7)
        assert memoized(1, x=1) != memoized(1, x=2)


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, "1", b"1", None, (1,), [1], {1}, {1: 1}),
        ("a,b", ("a", "b"), ["a", "b"], "a", ""),
        (Colour.RED, 1, "RED", Colour),
        (Named("a"), Named("b"), "a"),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (timedelta(1), timedelta(2)),
        ((), [], set(), {}),
        (0.0, -0.0, math.inf),
        (Right(0), Right.READ, Right(8), Right(16)),
        (Question("wait..."), Question("look at 0x1f"), Question("", Question("")), Question("")),
        (Point("wait..."), ("wait...",), Question("wait...")),
    ],
)
def test_values_that_differ_have_keys_that_differ(values: tuple[Any, ...]) -> None:
    texts = [keys.stable_text(value) for value in values]
    assert len(set(texts)) == len(values)


def test_equal_sets_and_dicts_have_equal_keys() -> None:
    assert keys.stable_text({"a", "b", "c"}) == keys.stable_text({"c", "b", "a"})
    assert keys.stable_text({"a": 1, "b": 2}) == keys.stable_text({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "value",
    [Nameless(), [Nameless()], Question("", Nameless()), lambda: 1, print, Elided("i"), object()],
)
def test_an_unstable_argument_is_refused_by_name(app: Flask, cache: Any, value: Any) -> None:
    memoized = cache.memoize(60)(add)
    with app.app_context(), pytest.raises(caching.UnstableArgument, match="argument 'b' "):
        memoized(1, value)


def test_an_argument_can_be_left_out_of_the_key(app: Flask, cache: Any) -> None:
    memoized = cache.memoize(60, args_to_ignore=["b"])(add)
    with app.app_context():
        assert memoized(1, Nameless()) is not None
        memoized(1, 5)
    assert calls["add"] == 1


def test_a_closure_over_what_has_no_text_or_a_lambda_needs_a_name(cache: Any) -> None:
    n = Nameless()

    def closure(x: int) -> int:
        return x + id(n)

    with pytest.raises(TypeError, match=r"closure over n, which is a .*Nameless, .*make_name"):
        cache.memoize(60)(closure)
    with pytest.raises(TypeError, match="lambda"):
        cache.memoize(60)(lambda x: x)
    cache.memoize(60, make_name=lambda name: "closure3")(closure)


def test_a_cached_closure_that_is_no_view_is_refused(app: Flask, cache: Any) -> None:
    def cached(n: int) -> Any:
        return cache.cached(60)(lambda: n)

    with app.app_context(), pytest.raises(TypeError, match="key_prefix"):
        cached(1)()


def test_a_value_that_cannot_be_decoded_is_filled_anew(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memoized = cache.memoize(60)(changeable)
    with app.app_context():
        assert memoized().number == 1
        cache.set("key", Changeable(0))
        monkeypatch.setattr(Changeable, "version", 2)
        assert [memoized().number for _ in range(3)] == [2, 2, 2]
        assert cache.get("key") is None


def test_a_value_that_cannot_be_decoded_does_not_stand_in_for_a_failure(
    app: Flask, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_later() -> Changeable:
        calls["fail"] += 1
        if calls["fail"] > 1:
            raise OSError("away")
        return Changeable(1)

    memoized = cache.memoize(60, grace=60, make_name=lambda name: "fails")(fail_later)
    with app.app_context():
        memoized()
        monkeypatch.setattr(Changeable, "version", 2)
        with pytest.raises(AttributeError):
            memoized()


def test_what_a_dataclass_does_not_compare_enters_the_key_too() -> None:
    first, second = Question("a"), Question("a")
    first.connection = "other"
    assert keys.stable_text(first) != keys.stable_text(second)


def test_refresh_takes_what_it_knows(app: Flask, cache: Any) -> None:
    with app.app_context(), pytest.raises(TypeError, match="neither a memoized function"):
        cache.refresh(add)


def test_long_keys_are_bounded_and_stay_apart() -> None:
    long = ["x" * 1000 + str(number) for number in range(3)]
    bounded = [keys.bounded(text) for text in long]
    # Not even a key that looks like a bounded one is the one that it looks like.
    bounded += [keys.bounded(text) for text in bounded]
    assert len(set(bounded)) == 6
    assert max(map(len, bounded)) <= 200


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"timeout": -1}, "timeout is -1"),
        ({"grace": -1}, "grace is -1"),
        ({"jitter": 2}, "jitter is 2"),
        ({"tags": "product"}, r"tags is"),
        ({"tags": ("",)}, "tag"),
    ],
)
def test_bad_options_are_refused_when_decorated(
    cache: Any, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        cache.memoize(**options)(add)


def test_each_caller_gets_a_value_of_its_own(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "mutable")
    def mutable() -> list[int]:
        return [1]

    with app.app_context():
        mutable().append(2)
        mutable().append(3)
        assert mutable() == [1]


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_a_row_of_the_database_is_refused_in_words(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "rows")
    def rows(number: Any) -> list[Row]:
        return [Row(id=1)]

    with app.app_context():
        with pytest.raises(TypeError, match=r"Row is a row .* return plain data"):
            rows(1)
        with pytest.raises(caching.UnstableArgument, match="pass its primary key"):
            rows(Row(id=1))
        app.config["CACHE_STRICT"] = False
        assert len(rows(1)) == 1


class Adder:
    def __init__(self, name: str) -> None:
        self.name = name

    def __caching_id__(self) -> str:
        return self.name

    def add(self, b: int) -> int:
        calls[f"{self.name}{b}"] += 1
        return b


@pytest.fixture
def adders(cache: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Adder, Adder]:
    monkeypatch.setattr(Adder, "add", cache.memoize(60)(Adder.add))
    return Adder("x"), Adder("y")


def test_delete_memoized(app: Flask, cache: Any, adders: tuple[Adder, Adder]) -> None:
    x, y = adders

    def visit() -> None:
        for adder in adders:
            for b in (1, 2):
                with app.app_context():
                    adder.add(b)

    def drop(*args: Any) -> None:
        with app.app_context():
            cache.delete_memoized(*args)

    visit()
    drop(x.add, 1)
    visit()
    assert calls == {"x1": 2, "x2": 1, "y1": 1, "y2": 1}
    drop(y.add)
    visit()
    assert calls == {"x1": 2, "x2": 1, "y1": 2, "y2": 2}
    drop(Adder.add)
    visit()
    assert calls == {"x1": 3, "x2": 2, "y1": 3, "y2": 3}
    drop(Adder.add, x, 1)
    visit()
    assert calls == {"x1": 4, "x2": 2, "y1": 3, "y2": 3}
    with app.app_context():
        cache.delete_memoized_verhash(Adder.add)
        with pytest.raises(TypeError, match="not a memoized function"):
            cache.delete_memoized(print)


def test_the_attributes_of_flask_caching(app: Flask, cache: Any) -> None:
    memoized = cache.memoize(60)(add)
    with app.app_context():
        memoized(1)
        assert memoized.uncached is add
        assert memoized.cache_timeout == 60
        key = memoized.make_cache_key(memoized.uncached, 1)
        assert cache.get(key) == (1, 2, (), 1, [])
        cache.delete(key)
        memoized(1)
        assert calls["add"] == 2
        memoized.delete_memoized()
        memoized.cache_timeout = 0
    with app.app_context():
        memoized(1)
        memoized(1)
    assert calls["add"] == 4


def test_the_parameters_of_flask_caching(app: Flask, cache: Any) -> None:
    answer = {"unless": False, "forced": False, "stale": False, "filter": True}

    @cache.memoize(
        timeout=timedelta(minutes=1),
        make_name=lambda name: "parameters",
        unless=lambda: answer["unless"],
        forced_update=lambda: answer["forced"],
        is_stale=lambda value: answer["stale"],
        response_filter=lambda value: answer["filter"],
        source_check=True,
        cache_none=True,
    )
    def parameters() -> int:
        calls["parameters"] += 1
        return calls["parameters"]

    def call() -> int:
        with app.app_context():
            return int(parameters())

    assert [call(), call()] == [1, 1]
    answer["unless"] = True
    assert call() == 2
    answer["unless"] = False
    answer["forced"] = True
    assert call() == 3
    answer["forced"] = False
    assert call() == 3
    answer["stale"] = True
    assert call() == 4
    answer["stale"] = False
    answer["filter"] = False
    with app.app_context():
        cache.delete_memoized(parameters)
    assert [call(), call()] == [5, 6]


def test_a_generator_is_joined(app: Flask, cache: Any) -> None:
    @cache.memoize(60, make_name=lambda name: "letters")
    def letters() -> Iterator[str]:
        yield from "ab"

    with app.app_context():
        assert letters() == letters() == "ab"


def test_cached_functions_that_are_no_views(app: Flask, cache: Any) -> None:
    @cache.cached(60, key_prefix="everything")
    def everything() -> list[int]:
        calls["everything"] += 1
        return [1, 2]

    with app.app_context():
        assert everything() == everything() == [1, 2]
        assert calls["everything"] == 1
        assert cache.get("everything") == [1, 2]
        cache.delete("everything")
        everything()
    assert calls["everything"] == 2


def test_signals(make_app: Callable[..., tuple[Flask, Any]]) -> None:
    app, cache = make_app(CACHE_ENABLE_SIGNALS=True)
    heard: list[str] = []
    hit, miss = (lambda *_, **__: heard.append("hit")), (lambda *_, **__: heard.append("miss"))
    memoized = cache.memoize(60)(add)
    listening = cache_memoize_hit.connected_to(hit), cache_memoize_miss.connected_to(miss)
    with listening[0], listening[1], app.app_context():
        memoized(1)
        memoized(1)
    assert heard == ["miss", "hit"]


def test_fragments(app: Flask, cache: Any) -> None:
    template = "{% cache 60, 'greeting', name, kind %}{{ count() }} {{ name }}{% endcache %}"

    def count() -> int:
        calls["fragment"] += 1
        cache.tag("people")
        return calls["fragment"]

    app.template_global()(count)

    def render(name: str, kind: object = "x") -> str:
        with app.test_request_context():
            return render_template_string(template, name=name, kind=kind)

    assert [render("<ann>"), render("<ann>")] == ["1 &lt;ann&gt;"] * 2
    assert render("bob", 7) == "2 bob"
    assert render("a_b", "c") == "3 a_b"
    assert render("a", "b_c") == "4 a"
    with app.app_context():
        cache.invalidate("people")
    assert render("bob", 7) == "5 bob"
    with app.test_request_context():
        drop = "{% cache 'del', 'greeting', 'bob', 7 %}{% endcache %}"
        render_template_string(drop)
    assert render("bob", 7) == "6 bob"


def test_the_null_cache_computes_and_stores_nothing(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app(CACHE_TYPE="NullCache")
    memoized = cache.memoize(60)(add)

    @app.get("/")
    @cache.cached(60)
    def page() -> str:
        calls["page"] += 1
        return render_template_string("{% cache 60 %}{{ 1 }}{% endcache %}")

    client = app.test_client()
    assert [client.get("/").data, client.get("/").data] == [b"1", b"1"]
    with app.app_context():
        memoized(1)
        memoized(1)
        cache.invalidate("a")
        cache.delete_memoized(memoized)
        cache.refresh(memoized, 1)
        assert cache.get("a") is None
        assert not cache.set("a", 1)
        assert not cache.add("a", 1)
        assert not cache.delete("a")
        assert cache.delete_many("a") == []
        assert not cache.has("a")
        assert cache.clear()
    assert calls == {"add": 2, "page": 2}


def test_parameters_may_have_any_name(app: Flask, cache: Any) -> None:
    options: dict[str, Any] = {
        "unless": lambda _, /, **given: False,
        "forced_update": lambda **given: False,
        "is_stale": lambda _, /, **given: False,
    }

    @app.route("/<int:f>/<int:unless>/<int:forced_update>/<int:rv>/<int:is_stale>/<int:_>")
    @cache.cached(60, **options)
    def page(**given: int) -> str:
        calls["page"] += 1
        return str(sum(given.values()))

    @cache.memoize(60, **options)
    def total(f: int, unless: int, forced_update: int, rv: int, is_stale: int, _: int) -> int:
        calls["total"] += 1
        return f + unless + forced_update + rv + is_stale + _

    given = dict.fromkeys(("f", "unless", "forced_update", "rv", "is_stale", "_"), 1)
    assert [app.test_client().get("/1/1/1/1/1/1").text for _ in range(2)] == ["6", "6"]
    with app.app_context():
        assert [total(**given) for _ in range(2)] == [6, 6]
        cache.delete_memoized(total, **given)
        assert total(**given) == 6
    assert calls == {"page": 1, "total": 2}


@pytest.mark.parametrize("first", ["left", "right"])
def test_fills_beside_each_other_in_one_request_depend_on_all_that_they_read(
    app: Flask, cache: Any, first: str
) -> None:
    second = "right" if first == "left" else "left"
    begun = {name: threading.Event() for name in (first, second)}
    first_ended = threading.Event()

    def read(name: str) -> None:
        cache.tag(name)
        begun[name].set()
        assert begun[second].wait(10)
        if name == second:
            assert first_ended.wait(10)

    functions = {"left": cache.memoize(60)(left), "right": cache.memoize(60)(right)}

    @app.route("/")
    def page() -> str:
        if first_ended.is_set():
            return f"{functions['left']()} {functions['right']()}"
        run = [copy_current_request_context(functions[name]) for name in (first, second)]
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(run[0])
            assert begun[first].wait(10)
            other = pool.submit(run[1])
            running.result()
            first_ended.set()
            other.result()
        return "filled"

    client = app.test_client()
    reading.append(read)
    try:
        assert client.get("/").text == "filled"
        for name in (first, second):
            before = client.get("/").text.split()
            assert before == client.get("/").text.split(), "it is no hit"
            cache.invalidate(name)
            place = name == "right"
            assert client.get("/").text.split()[place] != before[place]
    finally:
        reading.clear()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CACHE_TYPE": "DiskCache"}, "CACHE_TYPE is 'DiskCache'"),
        ({"CACHE_TYPE": "FileSystemCache"}, "set CACHE_DIR"),
        ({"CACHE_TYPE": "uwsgi"}, "are you running under uWSGI"),
        ({"CACHE_HASH_METHOD": "sha256"}, "CACHE_HASH_METHOD is 'sha256'"),
        ({"CACHE_KEY_PREFIX": "a:b"}, "CACHE_KEY_PREFIX is 'a:b'"),
        ({"CACHE_KEY_PREFIX": ""}, "CACHE_KEY_PREFIX"),
        ({"CACHE_THRESHOLD": "many"}, "CACHE_THRESHOLD is 'many': use a whole number from 0"),
        ({"CACHE_DEFAULT_TIMEOUT": None}, "CACHE_DEFAULT_TIMEOUT is None: use a number of seconds"),
        ({"CACHE_GRACE": timedelta(1)}, "CACHE_GRACE is .*: use a number of seconds"),
        ({"CACHE_TYPE": "redis", "CACHE_REDIS_PORT": "x"}, "CACHE_REDIS_PORT is 'x'"),
        ({"CACHE_TYPE": "redis", "CACHE_REDIS_URL": "host:1"}, "CACHE_REDIS_URL will not do"),
        (
            {"CACHE_TYPE": "memcached", "CACHE_MEMCACHED_SERVERS": "host:many"},
            "CACHE_MEMCACHED_SERVERS is 'host:many': use host:port",
        ),
    ],
)
def test_bad_settings_are_refused_in_words(
    make_app: Callable[..., tuple[Flask, Any]], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make_app(**settings)


def test_numbers_may_be_text_as_in_the_environment(
    make_app: Callable[..., tuple[Flask, Any]],
) -> None:
    app, cache = make_app(
        CACHE_THRESHOLD="500", CACHE_GRACE="0.5", CACHE_LEASE_SECONDS="10", CACHE_POOL_SIZE="4"
    )
    memoized = cache.memoize(60)(add)
    with app.app_context():
        assert [memoized(1), memoized(1)] == [memoized(1)] * 2
    assert calls == {"add": 1}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("text", "str"),
        (b"bytes", "bytes"),
        (7, "int"),
        (2**80, "int"),
        (1.5, "float"),
        (None, "None"),
        (True, "bool"),
        ((), "tuple"),
        ((1,), "tuple"),
        ((Decimal(1), "a", [3], {4}), "tuple"),
        ([], "list"),
        ([Decimal(1), (2, 3)], "list"),
        ({"a": (1, 2)}, "dict"),
        ({1, 2}, "set"),
        (frozenset({1, 2}), "frozenset"),
        (Decimal(1), "decimal.Decimal"),
        (date(2024, 1, 2), "datetime.date"),
    ],
    ids=repr,
)
def test_the_type_of_a_value_is_known_without_decoding_it(value: object, name: str) -> None:
    assert values.type_name(values.encode(value)) == name
