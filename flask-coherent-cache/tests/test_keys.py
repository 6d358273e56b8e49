"""Keys and tags: no two values have one text, and equal ones have the same."""

import asyncio
import enum
import functools
import io
import json
import os
import random
import re
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import PurePosixPath
from time import gmtime
from types import FunctionType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from markupsafe import Markup
from werkzeug.datastructures import Authorization, ImmutableMultiDict
from werkzeug.local import LocalProxy
from werkzeug.routing import BaseConverter

from flask_coherent_cache import UnstableArgument
from flask_coherent_cache._keys import encoding as keys
from flask_coherent_cache._keys.calls import CallKey
from flask_coherent_cache._keys.classes import attributes_of, hidden_state
from flask_coherent_cache._keys.closures import Closure, Scope
from flask_coherent_cache._keys.encoding import encoded, stable_text

LONG = pytest.mark.long


class Colour(enum.Enum):
    RED = 1
    BLUE = "RED"


class Size(enum.StrEnum):
    RED = "RED"


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pseudo(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        made = object.__new__(cls)
        made._value_, made._name_, made.note = value, None, "a"  # type: ignore[attr-defined, assignment]
        return made


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Items(list[Any]):
    pass


class ContextState(datetime):
    pass


class Slotted(str):
    __slots__ = ("extra",)


class Point(NamedTuple):
    x: Any
    y: Any = None


class Other(NamedTuple):
    x: Any
    y: Any = None


class Labelled(Point):
    label = ""


@dataclass
class Secret:
    name: str
    password: Any = field(default="", repr=False)


@dataclass(frozen=True)
class Half:
    name: str
    password: Any = field(default="", repr=False, compare=False)

    @functools.cached_property
    def size(self) -> int:
        return len(self.name)


@dataclass(slots=True)
class Tight:
    name: str


@dataclass
class Text(str):
    name: str = ""


class Hidden:
    """Like pydantic's ``SecretStr``, its repr tells no value."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Hidden('**********')"


class Plain:
    def __init__(self, value: Any, **more: Any) -> None:
        self.value = value
        self.__dict__.update(more)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain)

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "Plain()"


class OtherPlain(Plain):
    pass


class Slots:
    __slots__ = ("_b", "a")

    def __init__(self, a: Any, b: Any = ...) -> None:
        self.a = a
        if b is not ...:
            self._b = b


class MoreSlots(Slots):
    """Has a dictionary, too."""


class Locked:
    def __init__(self, value: Any) -> None:
        self.value, self.lock = value, threading.Lock()


class Answering(Plain):
    def __getattr__(self, name: str) -> Any:
        return 1


class Metaclass(type):
    pass


class Made(metaclass=Metaclass):
    pass


class Elsewhere:
    def __set__(self, owner: Any, value: Any) -> None:
        pass


class Kept:
    price = Elsewhere()


class Rebuilt(Plain):
    def __reduce__(self) -> Any:
        return Rebuilt, (1,)


class OfThread(threading.local):
    pass


class Drawn(random.Random):
    pass


class Identified:
    def __init__(self, value: Any) -> None:
        self.value = value

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identified) and self.value == other.value

    def __caching_id__(self) -> Any:
        return self.value


class Silent(tzinfo):
    """Two of them look alike."""

    def __init__(self, hours: int) -> None:
        self.hours = hours

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=self.hours)

    def __repr__(self) -> str:
        return "Silent()"


class _Outer:
    class RED:
        pass


NameSake = namedtuple("Point", "x y")


def subclassed(value: Any, /, **attributes: Any) -> Any:
    value.__dict__.update(attributes)
    return value


LEAVES: list[Any] = [
    *(
        "",
        ",",
        "'",
        '"',
        "(",
        ")",
        "[",
        "]",
        "a",
        "a,b",
        "1",
        "None",
        "True",
        "list(1)",
        "x=1",
        "\\'",
    ),
    *(b"", b"1", b"'", bytearray(b"1"), None, True, False, ..., 0, 1, -1, 1.0, 0.0, -0.0, 1j),
    *(float("nan"), float("inf"), Decimal("1"), Decimal("1.0"), Decimal("1.00"), Decimal("-0")),
    *(Fraction(1), date(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, fold=1)),
    *(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
    *(datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))), ContextState(2024, 1, 1)),
    *(time(1), time(1, tzinfo=UTC), timedelta(1), range(1), range(0, 1, 2), UUID(int=1)),
    *(PurePosixPath("a"), ip_address("::1"), Markup("a"), Markup("1"), Name("a"), Count(1)),
    *(Colour.RED, Colour.BLUE, Size.RED, Right.READ, Right(3), Right(0), Right(8)),
    *(Colour, Size, Point, _Outer.RED, int, re.compile("a"), re.compile("a", re.I), slice(1)),
    *(Identified(1), Identified("1"), Identified("a")),
]


def nested(draw: random.Random, depth: int = 3) -> Any:
    """Draw a value of few leaves, in which containers are likely to look alike."""
    if depth == 0 or draw.random() < 0.35:
        return draw.choice(LEAVES)
    parts = [nested(draw, depth - 1) for _ in range(draw.randrange(3))]
    hashable = [part for part in parts if is_hashable(part)]
    first, second = (*parts, None, None)[:2]
    made: list[Callable[[], Any]] = [
        lambda: parts,
        lambda: tuple(parts),
        lambda: Items(parts),
        lambda: deque(parts, draw.choice((None, 5))),
        lambda: set(hashable),
        lambda: frozenset(hashable),
        lambda: dict.fromkeys(hashable, first),
        lambda: OrderedDict.fromkeys(hashable, first),
        lambda: defaultdict(draw.choice((None, int)), dict.fromkeys(hashable, first)),
        lambda: Counter(dict.fromkeys(hashable, 1)),
        lambda: Point(first, second),
        lambda: Other(first, second),
        lambda: Labelled(first, second),
        lambda: Secret("a", first),
        lambda: Half("a", first),
        lambda: Identified(first),
        lambda: slice(first, second),
        lambda: Plain(first),
        lambda: Plain(first, other=second),
        lambda: OtherPlain(first),
        lambda: Slots(first, second),
        lambda: Slots(first),
        lambda: subclassed(MoreSlots(first), b=second),
    ]
    return draw.choice(made)()


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def canon(value: Any) -> Any:
    """Describe a value by another way than a text."""
    kind = type(value)
    if isinstance(value, Identified):
        return kind, canon(value.value)
    if isinstance(value, Secret | Half):
        return kind, canon(value.name), canon(value.password)
    if isinstance(value, Plain):
        return kind, frozenset((name, canon(held)) for name, held in vars(value).items())
    if isinstance(value, Slots):
        slots = tuple((n, canon(getattr(value, n))) for n in Slots.__slots__ if hasattr(value, n))
        return kind, slots, tuple((n, canon(v)) for n, v in getattr(value, "__dict__", {}).items())
    if kind is slice:
        return kind, canon(value.start), canon(value.stop), canon(value.step)
    if isinstance(value, OrderedDict):
        return kind, tuple((canon(k), canon(v)) for k, v in value.items())
    if isinstance(value, dict):
        made = getattr(value, "default_factory", None)
        # Instances that are alike may be two keys.
        pairs = Counter((canon(k), canon(v)) for k, v in value.items())
        return kind, made, frozenset(pairs.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(Counter(map(canon, value)).items())
    if isinstance(value, list | tuple | deque):
        return kind, getattr(value, "maxlen", None), tuple(map(canon, value))
    if isinstance(value, float | complex | Decimal | datetime | time | bytearray | range):
        return kind, repr(value)
    return kind, value


def near(draw: random.Random, value: Any) -> Any:
    """Change one thing about a value: a leaf, the kind of a container, or where it ends."""
    kind, chance = type(value), draw.random()
    if kind is dict and value:
        if chance < 0.4:
            return dict(reversed(value.items()))
        name = draw.choice([*value])
        return {**value, name: near(draw, value[name])}
    if kind in (Plain, OtherPlain):
        held = vars(value)
        if chance < 0.2:
            return subclassed(object.__new__(kind), **dict(reversed(held.items())))
        if chance < 0.4:
            return draw.choice([OtherPlain, Plain, Identified])(value.value)
        if chance < 0.6:
            return subclassed(object.__new__(kind), **{f"{n}_": v for n, v in held.items()})
        name = draw.choice([*held])
        return subclassed(object.__new__(kind), **{**held, name: near(draw, held[name])})
    if kind is Slots:
        return Slots(near(draw, value.a), draw.choice((..., value.a, getattr(value, "_b", None))))
    if kind not in (tuple, list, set, frozenset, Items) or not value:
        if chance < 0.5:
            return draw.choice(LEAVES)
        return [value] if chance < 0.7 else f"{value!r}" if chance < 0.85 else f"{value},"
    if chance < 0.2:
        return draw.choice((tuple, list, Items, deque))(value)
    items = list(value)
    place = draw.randrange(len(items))
    if chance < 0.4:
        items[place : place + 1] = draw.choice(([], ["", items[place]], [[items[place]]]))
    else:
        items[place] = near(draw, items[place])
    return kind(filter(is_hashable, items) if kind in (set, frozenset) else items)


def first_fault(encode: Callable[[Any], str], number: int) -> Any:
    """Return the first of so many pairs of near values that is encoded wrongly."""
    draw = random.Random(number)
    by_text: dict[str, Any] = {}
    by_meaning: dict[Any, str] = {}
    for _ in range(number):
        value = nested(draw, 2)
        for each in (value, near(draw, value)):
            text, meaning = encode(each), canon(each)
            if by_text.setdefault(text, meaning) != meaning:
                return each
            if by_meaning.setdefault(meaning, text) != text:
                return each
    return None


@pytest.mark.parametrize("number", [1500, pytest.param(40_000, marks=LONG)])
def test_of_all_pairs_of_near_values_none_shares_a_text(number: int) -> None:
    draw = random.Random(number)
    by_text: dict[str, Any] = {}
    by_value: dict[Any, str] = {}
    for _ in range(number):
        value = nested(draw)
        text, meaning = stable_text(value), canon(value)
        assert by_text.setdefault(text, meaning) == meaning
        assert by_value.setdefault(meaning, text) == text
    # So many pairs of different values were compared.
    assert len(by_text) ** 2 // 2 > 100_000


def test_of_100_000_near_pairs_none_shares_a_text() -> None:
    assert first_fault(stable_text, 100_000) is None


def closed(value: Any) -> str:
    """Encode a value as what a function closes over."""
    return Closure(lambda: value, None).text(Scope({}, str))


def test_of_near_closures_none_shares_a_text() -> None:
    assert first_fault(closed, 10_000) is None


@LONG
def test_of_100_000_near_pairs_of_closures_none_shares_a_text() -> None:
    assert first_fault(closed, 100_000) is None


def without(kind: Any, write: Callable[[Any, Any], str]) -> Callable[[Any], str]:
    """Make an encoding that writes one kind of container wrongly."""

    def encode(value: Any) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(keys._WRITERS, kind, write)
            return stable_text(value)

    return encode


def attributes(change: Callable[[Any], Any], *, in_order: bool = True) -> Callable[[Any], str]:
    """Make an encoding that writes the attributes of an instance wrongly."""

    def written(value: Any, kind: type) -> Any:
        held = [*attributes_of(value, kind)]
        return change(held if in_order else [*getattr(value, "__dict__", {}).items()])

    def encode(value: Any) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keys, "attributes_of", written)
            return stable_text(value)

    return encode


BROKEN: dict[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "json": lambda value: json.dumps(value, default=repr, skipkeys=True),
    "lists as tuples": without(list, lambda value, _: stable_text(tuple(value))),
    "joined by nothing": without(list, lambda value, _: "".join(map(stable_text, value))),
    "quotes forgotten": without(list, lambda value, _: f"list({','.join(map(str, value))})"),
    "order of a dict": without(dict, lambda value, _: f"dict({keys._pairs(value, None)})"),
    "attributes forgotten": attributes(lambda held: []),
    "values of attributes forgotten": attributes(lambda held: [(name, 1) for name, _ in held]),
    "names of attributes forgotten": attributes(lambda held: [("a", value) for _, value in held]),
    "order of attributes": attributes(lambda held: held, in_order=False),
    "no values": without(dict, lambda value, _: stable_text(sorted(map(stable_text, value)))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_encoding_is_caught(name: str) -> None:
    def encode(value: Any) -> str:
        try:
            return BROKEN[name](value)
        except (TypeError, ValueError):
            return stable_text(value)

    assert first_fault(encode, 20_000) is not None


@pytest.mark.parametrize("number", [20_000])
def test_no_two_lists_of_parts_share_a_text(number: int) -> None:
    draw = random.Random(number)
    by_text: dict[str, Any] = {}
    for _ in range(number):
        parts = [nested(draw, 1) for _ in range(draw.randrange(4))]
        meaning = canon(parts)
        assert by_text.setdefault(encoded(*parts), meaning) == meaning


def search(
    a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any = 4, e: Any = 5, **more: Any
) -> None:
    pass


def plain(a: Any, b: Any = 2, c: Any = 3) -> None:
    pass


def ways(draw: random.Random) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Write one call of ``search`` in two ways."""
    a, b, c, d, e = (draw.choice(LEAVES) for _ in range(5))
    more = {name: draw.choice(LEAVES) for name in draw.sample(["size", "colour", "shop", "b"], 3)}
    for _ in range(2):
        args, named = [a, b], {"c": c, "d": d, "e": e, **more}
        if draw.random() < 0.5:
            args.append(named.pop("c"))
        items = list(named.items())
        draw.shuffle(items)
        yield tuple(args), dict(items)


@pytest.mark.parametrize("number", [10_000])
def test_equal_calls_that_are_written_differently_have_one_key(number: int) -> None:
    draw, key = random.Random(number), CallKey(search)
    for _ in range(number):
        (args, named), (other_args, other_named) = ways(draw)
        assert key(*args, **named) == key(*other_args, **other_named)


def test_defaults_and_keywords_make_one_key() -> None:
    key = CallKey(plain)
    one = {key(1), key(1, 2), key(1, 2, 3), key(a=1), key(c=3, b=2, a=1), key(1, c=3)}
    assert one == {f"{__name__}.plain(1,2,3)"}
    assert CallKey(search)(1, colour="red", size=4) == CallKey(search)(1, size=4, colour="red")
    assert CallKey(search)(1, x=(1,)) != CallKey(search)(1, 2, 3, 1)


def test_a_name_of_ones_own_is_not_taken_for_a_call() -> None:
    def key(name: str, *args: Any) -> str:
        return CallKey(search, make_name=lambda _: name)(*args)

    made = [key("f", 1), key("f(1,2,3)", 1), key("'f'", 1), key("f@1", 1), key("f(1", 1)]
    assert len(set(made)) == 5
    assert key("f", 1).startswith("f(1,")
    one = CallKey(plain, make_name=lambda _: "f").instance("x")
    assert one != CallKey(plain, make_name=lambda _: "f@'x'").name


def test_a_number_of_very_many_digits_has_a_key() -> None:
    many = 10**5000
    assert CallKey(plain)(many) != CallKey(plain)(many + 1)
    with pytest.raises(UnstableArgument, match="too many digits"):
        stable_text(Fraction(many, 3))


CYCLE = Plain(1)
CYCLE.value = {"a": [Plain(CYCLE), Plain(CYCLE)]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Locked("a"), "Locked, whose lock is a _thread.lock, whose text is not known"),
        ([{"a": Locked("a")}], "Locked"),
        (Secret("a", Locked("b")), "Locked"),
        (Plain(Plain(Locked(1))), f"Plain, whose value is a {__name__}.Plain, whose value is a"),
        (Plain(io.BytesIO()), "Plain, whose value is a _io.BytesIO"),
        (Plain(n for n in "a"), "Plain, whose value is a builtins.generator"),
        (Plain(print), "Plain, whose value is a function"),
        (MoreSlots(threading.RLock()), "MoreSlots, whose a is a _thread.RLock"),
        (subclassed(Plain(1), _sa_instance_state=1), "is a row of the database"),
        (Plain(subclassed(Plain(1), _sa_instance_state=1)), "whose value is a row of the database"),
        (Answering(1), "Answering defines __getattr__"),
        (Rebuilt(1), "Rebuilt defines __reduce__"),
        (Made(), f"as a {__name__}.Metaclass made its class"),
        (Kept(), f"as {__name__}.Kept keeps price by a descriptor"),
        (OfThread(), "as _thread._local is written in C"),
        (Drawn(), "as random.Random defines __getstate__"),
        (object(), "is a builtins.object"),
        (LocalProxy(lambda: 1), "LocalProxy"),
        (threading.Condition(), "Condition defines __enter__"),
        (asyncio.Lock(), "defines __aenter__"),
        (Authorization("basic", {}), "Authorization defines __getattr__"),
        (CYCLE, "contains itself"),
        (Plain("a" * 100_001), "take more than 100000 characters"),
        (functools.reduce(lambda held, _: Plain([held, held]), range(60), Plain(1)), "more than"),
        (subclassed(Secret("a"), extra=1), "holds 'extra' beside its fields"),
        (subclassed(Labelled(1), label="b"), "holds 'label', too"),
        (subclassed(Count(1), unit="m"), "holds 'unit', too"),
        (subclassed(Items([1]), page=2), "holds 'page', too"),
        (Slotted("a"), "holds 'extra', too"),
        (Text("a"), "a dataclass that is a builtins.str, too"),
        (datetime(2024, 1, 1, tzinfo=Silent(1)), "Silent"),
        (time(1, tzinfo=Silent(1)), "Silent"),
        (memoryview(b"a"), "memoryview"),
        (NameSake(1, 2), "not found under this name"),
        (NameSake, "not found under this name"),
        (io.BytesIO(), "BytesIO"),
        (iter([1]), "list_iterator"),
        (sys, "module"),
        (ValueError("a"), "ValueError"),
        (list[int], "GenericAlias"),
        ({1: 2}.items(), "dict_items"),
        (print, "is a function"),
        (functools.partial(print, 1), "is a function"),
        (sys.version_info, "version_info"),
        (os.stat("."), "stat_result"),
        (gmtime(), "struct_time"),
        (Pseudo(7), "holds 'note' beside its value"),
        (subclassed(Counter("a"), note=1), "has an attribute 'note'"),
        (subclassed(OrderedDict(a=1), note=1), "has an attribute 'note'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_repr_may_hide_is_refused(value: Any, words: str) -> None:
    with pytest.raises(UnstableArgument, match=re.escape(words)):
        stable_text(value)
    with pytest.raises(
        UnstableArgument, match=r"plain: the argument 'b' .* args_to_ignore=\['b'\]"
    ):
        CallKey(plain)(1, value)


def test_what_holds_the_same_twice_at_each_level_is_refused_soon() -> None:
    value: Any = "a" * 1000
    for _ in range(60):
        value = {"a": value, "b": (value,)}
    with pytest.raises(UnstableArgument, match=r"plain: the argument 'b' takes more than 20000000"):
        CallKey(plain)(1, value)
    assert len(CallKey(plain)(1, b"a" * 20_000_001)) < 201


def test_methods_that_attrs_makes_hide_nothing() -> None:
    made = FunctionType((lambda *_: None).__code__, {"__name__": "attr._make"})

    def defined(**methods: Any) -> Any:
        members = {"__slots__": ("x", "y"), "__module__": __name__, "__qualname__": "Defined"}
        return type("Defined", (), members | methods)

    kind = defined(__setattr__=made, __getstate__=made)
    assert hidden_state(kind) == ""
    value = kind()
    object.__setattr__(value, "x", 1)
    assert [name for name, held in attributes_of(value, kind) if held == 1] == ["x"]
    assert hidden_state(defined(__getstate__=lambda self: 1)).endswith("defines __getstate__")


def test_a_time_zone_that_was_read_from_a_file_is_refused() -> None:
    counts = (0, 0, 0, 0, 1, 4)  # RFC 8536, 3.1: one type of local time, of four letters.
    header = b"TZif" + bytes(16) + b"".join(count.to_bytes(4, "big") for count in counts)
    zone = ZoneInfo.from_file(io.BytesIO(header + bytes(6) + b"UTC\0"), key="Europe/Berlin")
    with pytest.raises(UnstableArgument, match="time zone that its name does not tell"):
        stable_text(datetime(2024, 1, 1, tzinfo=zone))


def test_fields_that_a_repr_leaves_out_count() -> None:
    assert stable_text(Secret("a", "1")) != stable_text(Secret("a", "2"))
    assert stable_text(Half("a", "1")) != stable_text(Half("a", "2"))


def test_what_a_class_computes_of_its_fields_does_not_count() -> None:
    half = Half("a")
    text = stable_text(half)
    assert half.size == 1
    assert stable_text(half) == text
    assert stable_text(Tight("a")) == f"{__name__}.Tight[name='a']"


def test_attributes_count_in_any_order() -> None:
    assert stable_text(Plain(1, a=2, b=3)) == stable_text(Plain(1, b=3, a=2))
    assert stable_text(Hidden("a")) != stable_text(Hidden("b"))
    assert stable_text(Slots(1)) == f"{__name__}.Slots[_b=unset,a=1]"
    odd = [Plain(1, **{"a=1,b": 2}), Plain(1, a=1, b=2), Plain(1, **{"a": "1,b=2"})]
    assert len({stable_text(each) for each in odd}) == 3


def test_a_query_of_a_request_has_a_text() -> None:
    query = ImmutableMultiDict([("a", "1"), ("a", "2")])
    assert stable_text(query) != stable_text(ImmutableMultiDict([("a", "2"), ("a", "1")]))


def test_keys_stay_readable() -> None:
    arguments = (1, "a", {"b": [None]}, Point(1), Colour.RED)
    point = f"{__name__}.Point[tuple(1,None)]"
    text = encoded(*arguments)
    assert text == f"1,'a',dict('b':list(None)),{point},{__name__}.Colour.RED"


# -- tags of pages ------------------------------------------------------------------------------


class Team:
    def __init__(self, slug: str) -> None:
        self.slug = slug


class TeamConverter(BaseConverter):
    def to_python(self, value: str) -> Team:
        return Team(value)

    def to_url(self, value: Team) -> str:
        return super().to_url(value.slug)


def pages(app: Flask, cache: Any) -> Callable[[str], str]:
    made: Counter[str] = Counter()
    app.url_map.converters["team"] = TeamConverter

    @app.get("/team/<team:team>")
    @cache.cached(60)
    def team(team: Team) -> str:
        made[team.slug] += 1
        return f"{made[team.slug]}"

    @app.get("/list", defaults={"page": "1"})
    @app.get("/list/<int:page>")
    @cache.cached(60)
    def listing(page: Any) -> str:
        made[f"page {page}"] += 1
        return f"{made[f'page {page}']}"

    @app.get("/pair/<a>/<b>")
    @cache.cached(60)
    def pair(a: str, b: str) -> str:
        made[f"{a} {b}"] += 1
        return f"{made[f'{a} {b}']}"

    return lambda path: app.test_client().get(path).text


def test_a_page_is_named_as_its_url_names_it(app: Flask, cache: Any) -> None:
    get = pages(app, cache)
    for given in (Team("red"), "red"):
        before = int(get("/team/red"))
        assert get("/team/red") == f"{before}"
        assert get("/team/blue") == "1"
        with app.app_context():
            cache.invalidate_view("team", team=given)
        assert get("/team/red") == f"{before + 1}"
        assert get("/team/blue") == "1"


def test_a_page_by_a_default_is_dropped_with_the_one_by_its_argument(
    app: Flask, cache: Any
) -> None:
    get = pages(app, cache)
    assert [get("/list"), get("/list"), get("/list/2")] == ["1", "1", "1"]
    with app.app_context():
        cache.invalidate_view("listing", page=1)
    assert [get("/list"), get("/list/2")] == ["2", "1"]


def test_arguments_that_look_alike_are_not_one_page(app: Flask, cache: Any) -> None:
    get = pages(app, cache)
    first, second = "/pair/x&b=y/z", "/pair/x/y&b=z"
    assert [get(first), get(second), get("/pair/%C3%A4/%252F")] == ["1", "1", "1"]
    with app.app_context():
        cache.invalidate_view("pair", a="x&b=y", b="z")
        cache.invalidate_view("pair", a="ä", b="%2F")
    assert [get(first), get(second), get("/pair/%C3%A4/%252F")] == ["2", "1", "2"]


def test_a_page_whose_converter_cannot_write_its_values_is_dropped_too(
    app: Flask, cache: Any
) -> None:
    class OneWay(BaseConverter):
        def to_python(self, value: str) -> Team:
            return Team(value)

        def to_url(self, value: Any) -> str:
            raise TypeError

    app.url_map.converters["one_way"] = OneWay

    @app.get("/way/<one_way:team>")
    @cache.cached(60)
    def way(team: Team) -> str:
        calls[team.slug] += 1
        return f"{calls[team.slug]}"

    calls: Counter[str] = Counter()
    get = app.test_client().get
    assert [get("/way/red").text, get("/way/red").text] == ["1", "1"]
    with app.app_context():
        cache.invalidate_view("way", team="red")
    assert get("/way/red").text == "2"


def test_arguments_that_no_url_can_have_are_refused(app: Flask, cache: Any) -> None:
    pages(app, cache)
    with app.app_context(), pytest.raises(ValueError, match="no URL with these arguments"):
        cache.invalidate_view("team", team=7)
