"""`flask cache`: what it shows of the running processes, and what it does."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask

from application import cache as the_cache
from flask_coherent_cache._statistics.records import Cause, Refusal
from flask_coherent_cache._tools.report import as_json, ask
from flask_coherent_cache.testing import Server, wait_until
from report_stubs import SETTINGS, entry, invoke, invoke_json, lookups, report, tell

MakeApp = Callable[..., Flask]

#: Those who were there before have written already.
AT_ONCE = ("--wait", "0")


@pytest.fixture
def make_numbers(cache: Any) -> Callable[[int], int]:
    """A memoized function whose entries depend on ``number:…`` and ``numbers``."""

    @cache.memoize(60, tags=("numbers",), make_name=lambda name: "numbers")
    def number(value: int) -> int:
        cache.tag(f"number:{value}")
        return value

    return number  # type: ignore[no-any-return]


def key_of(value: int) -> str:
    return f"fn:numbers({value})"


def state(app: Flask, key: str) -> str:
    with app.app_context():
        (peek,) = the_cache.engine.inspect([key])
    return str(peek.state)


# -- whom it asks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats",),
        ("keys",),
        ("show", "x"),
        ("tags",),
        ("invalidate", "x"),
        ("clear", "--yes"),
        ("off",),
        ("on",),
        ("warm", "--base-url", "http://shop.test"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_no_command_can_reach_is_said_in_words(
    make_app: MakeApp, arguments: tuple[str, ...]
) -> None:
    for kind, words in (("SimpleCache", "inside the server's process"), ("NullCache", "no cache")):
        result = invoke(make_app(CACHE_TYPE=kind), *arguments)
        assert (result.exit_code, result.stdout) == (3, "")
        assert words in result.stderr
    away = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://127.0.0.1:1/0"}
    result = invoke(make_app(**away), *arguments)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "The cache server" in result.stderr


@pytest.mark.parametrize("command", ["stats", "keys", "tags"])
def test_without_a_running_process_nothing_can_be_told(make: MakeApp, command: str) -> None:
    result = invoke(make(), command, *AT_ONCE)
    assert result.exit_code == 3
    assert "No running process answered" in result.stderr


def test_processes_are_waited_for(make: MakeApp, cache: Any) -> None:
    app, server = make(), make()
    stop = threading.Event()

    def answer() -> None:
        with server.app_context():
            reports = cache.engine.reports
            wait_until(lambda: stop.is_set() or reports.is_watched())
            reports.write(as_json(report(7)).encode())

    thread = threading.Thread(target=answer)
    thread.start()
    with app.app_context():
        found = ask(cache.engine.reports, 10)
    stop.set()
    thread.join()
    assert [each.pid for each in found] == [7]


def test_messages_of_another_form_are_left_out(make: MakeApp, cache: Any) -> None:
    tell(make, report(1))
    for message in (b"{", b"[]", b'{"pid": 2}'):
        app = make()
        with app.app_context():
            assert cache.engine.reports.write(message)
    code, told = invoke_json(make(), "stats", *AT_ONCE)
    assert code == 1
    assert [process["pid"] for process in told["processes"]] == [1]


# -- stats -------------------------------------------------------------------------------


def test_stats_add_up_the_processes(make: MakeApp) -> None:
    results = {"hit": 6, "stale": 1, "miss": 2, "wait": 1, "bypass": 4, "error": 0}
    one = lookups("shop.home", results=results, fills=2, fill_seconds=0.5, stored=2,
                  stored_bytes=4096, reasons={"new": 1, "expired": 1})  # fmt: skip
    other = lookups("shop.home", results={"hit": 10}, fills=0, timeout=None)
    refusal = Refusal("page", "shop.cart", "session", "")
    tell(
        make,
        report(1, lookups=[one], counts={"store: timeout": 2}, leases={"taken": 2}),
        report(
            2,
            lookups=[other, lookups("numbers", "function")],
            counts={"store: timeout": 1},
            verified={"compared": 4, "different": 1},
            refusals=[(refusal, 2)],
        ),
        report(3, verified={"compared": 1, "set aside": 1}, refusals=[(refusal, 3)]),
    )
    app = make()
    code, told = invoke_json(app, "stats", *AT_ONCE)
    assert code == 0
    assert told["verified"] == {"compared": 5, "different": 1, "set aside": 1}
    assert told["refusals"] == [{**refusal._asdict(), "count": 5}]
    assert [process["pid"] for process in told["processes"]] == [1, 2, 3]
    assert told["counts"] == {"store: timeout": 3}
    assert told["leases"] == {"taken": 2}
    home = next(each for each in told["lookups"] if each["name"] == "shop.home")
    assert home["results"] == {**results, "hit": 16}
    assert (home["fills"], home["fill_seconds"], home["timeout"]) == (2, 0.5, 60)
    text = invoke(app, "stats", *AT_ONCE).output
    # 16 hits, a stale one and one that waited, of 20 that did not go past the cache.
    assert "page shop.home         24       90%      1     2       4      0  250.0  2 KiB" in text
    assert "Of 3 processes of release v2" in text
    assert "Hits computed again: compared 5, different 1, set aside 1." in text
    assert "store: timeout 3" in text


def test_stats_of_nothing_are_nothing(make: MakeApp) -> None:
    tell(make, report(1))
    assert invoke(make(), "stats", *AT_ONCE).exit_code == 1


# -- keys, show, tags --------------------------------------------------------------------


def test_keys_show_what_lies_in_the_store_now(make: MakeApp, make_numbers: Any, cache: Any) -> None:
    app = make()
    for value in (1, 2):
        with app.app_context():
            make_numbers(value)
    with app.app_context():
        cache.invalidate("number:2")
    entries = [entry(key_of(value), f"number:{value}", "numbers") for value in (1, 2, 3)]
    entries[0] = replace(entries[0], cause=Cause("invalidated", ("numbers",), 7))
    tell(make, report(1, entries=entries[:2]), report(2, entries=entries[1:], forgot_entries=True))
    code, told = invoke_json(app, "keys", *AT_ONCE)
    assert code == 0
    assert {each["key"]: each["state"] for each in told["entries"]} == {
        key_of(1): "fresh",
        key_of(2): "invalid",
        key_of(3): "gone",
    }
    first = next(each for each in told["entries"] if each["key"] == key_of(1))
    assert set(first["tags"]) >= {"number:1", "numbers"}
    assert first["bytes"] > 50
    assert first["cause"] == {"reason": "invalidated", "tags": ["numbers"], "reading": 7}
    assert told["complete"] is False
    text = invoke(app, "keys", "*(2)", *AT_ONCE).output
    assert key_of(2) in text
    assert key_of(1) not in text
    assert "1 of 3 known entries" in text
    assert "Not complete" in text
    assert invoke(app, "keys", "nothing*", *AT_ONCE).exit_code == 1


def test_what_is_known_to_all_is_complete(make: MakeApp) -> None:
    tell(make, report(1, entries=[entry("a")]))
    assert "Complete, but" in invoke(make(), "keys", *AT_ONCE).output


def test_a_line_fits_and_no_key_steers_the_terminal(
    make: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "\x1b]0;owned\x07\nforged line\u202e" + "x" * 300
    tell(make, report(1, entries=[entry(hostile, "tag\x1b[2J\r" + "y" * 300)],
                      lookups=[lookups("\x1b[31m" + "z" * 300, fills=1)]))  # fmt: skip
    app = make()
    for columns, longest in (("80", 80), ("400", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        for command in ("keys", "tags", "stats"):
            output = invoke(app, command, *AT_ONCE).output
            assert max(map(len, output.splitlines())) <= longest
            assert output.replace("\n", "").isprintable()
            assert not output.startswith("forged")
            assert "\nforged" not in output
    assert "x" * 300 in invoke(app, "keys", "--whole", *AT_ONCE).output
    assert invoke(app, "show", hostile).output.replace("\n", "").isprintable()


def test_show_needs_no_running_process(make: MakeApp, make_numbers: Any, cache: Any) -> None:
    app = make()
    with app.app_context():
        make_numbers(1)
    code, told = invoke_json(app, "show", key_of(1))
    assert (code, told["state"], told["value"]) == (0, "fresh", {"kind": "value", "type": "int"})
    with app.app_context():
        cache.invalidate("number:1")
    code, told = invoke_json(app, "show", key_of(1))
    assert (code, told["state"], told["invalid"]) == (0, "invalid", ["number:1"])
    text = invoke(app, "show", key_of(1)).output
    assert "number:1 (bumped since, or missing)" in text
    assert "numbers (bumped" not in text
    code, told = invoke_json(app, "show", "nothing")
    assert (code, told["state"]) == (1, "gone")


def test_show_describes_a_page(make: MakeApp, cache: Any) -> None:
    app = make()

    @app.get("/long")
    @cache.cached(60)
    def long() -> str:
        return "word " * 1000

    app.test_client().get("/long", base_url="http://shop.test")
    key = "page:http://shop.test/long"
    code, told = invoke_json(app, "show", key)
    assert code == 0
    assert (told["value"]["kind"], told["value"]["status"]) == ("page", 200)
    assert ["Content-Type", "text/html; charset=utf-8"] in told["value"]["headers"]
    text = invoke(app, "show", key).output
    assert "status 200" in text
    assert "in gzip" in text
    assert "view:long" in text


def test_show_runs_nothing_of_a_value(make: MakeApp, cache: Any) -> None:
    app = make()
    with app.app_context():
        cache.set("plain", Bomb())
    result = invoke(app, "show", "plain")
    assert "builtins.print, " in result.output
    assert "It was run." not in result.output
    with app.app_context():
        cache.engine.set("odd", b"neither a page nor a pickle", 60)
    assert "of no known form" in invoke(app, "show", "odd").output


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("It was run.",)


def test_tags_count_what_depends_on_them(make: MakeApp) -> None:
    entries = [entry("a", "numbers", "number:1"), entry("b", "numbers")]
    tell(make, report(1, entries=entries), report(2, entries=entries[1:]))
    app = make()
    code, told = invoke_json(app, "tags", *AT_ONCE)
    assert code == 0
    assert told["tags"] == [{"tag": "numbers", "entries": 2}, {"tag": "number:1", "entries": 1}]
    assert invoke_json(app, "tags", "number:*", *AT_ONCE)[1]["tags"] == told["tags"][1:]
    assert "      2  numbers" in invoke(app, "tags", *AT_ONCE).output
    assert invoke(app, "tags", "nothing", *AT_ONCE).exit_code == 1


# -- invalidate, clear -------------------------------------------------------------------


def test_invalidate_drops_what_carries_the_tag(make: MakeApp, make_numbers: Any) -> None:
    app = make()
    for value in (1, 2):
        with app.app_context():
            make_numbers(value)
    code, told = invoke_json(make(), "invalidate", "number:1", "else")
    assert (code, told["invalidated"]) == (0, ["else", "number:1"])
    assert (state(app, key_of(1)), state(app, key_of(2))) == ("invalid", "fresh")
    assert (
        "Entries tagged numbers are now invalid." in invoke(make(), "invalidate", "numbers").output
    )
    assert state(app, key_of(2)) == "invalid"


def test_a_full_server_drops_more_and_that_is_said(
    start: Callable[..., Server], make_app: MakeApp, make_numbers: Any
) -> None:
    server = start("RedisCache", "--maxmemory-policy", "noeviction")
    app = make_app(**SETTINGS, **server.settings)
    with app.app_context():
        make_numbers(1)
    assert state(app, key_of(1)) == "fresh"
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", "1")
        result = invoke(app, "invalidate", "else")
        client.config_set("maxmemory", "0")
    assert result.exit_code == 0
    assert "all the other entries were dropped" in result.output
    assert state(make_app(**SETTINGS, **server.settings), key_of(1)) == "cleared"


@pytest.mark.parametrize("arguments", [(), ("",)], ids=["none", "empty"])
def test_a_tag_is_a_name(make: MakeApp, arguments: tuple[str, ...]) -> None:
    assert invoke(make(), "invalidate", *arguments).exit_code == 2


def test_clear_asks_back(make: MakeApp, make_numbers: Any) -> None:
    app = make()
    with app.app_context():
        make_numbers(1)
    runner = app.test_cli_runner()
    refused = runner.invoke(args=["cache", "clear"], input="n\n")
    assert refused.exit_code == 1
    assert "Drop every entry" in refused.stderr
    assert state(app, key_of(1)) == "fresh"
    assert runner.invoke(args=["cache", "clear", "--json"], input="y\n").exit_code == 0
    assert state(app, key_of(1)) == "cleared"
    with app.app_context():
        make_numbers(1)
    assert "Every entry is invalid" in invoke(make(), "clear", "--yes").output
    assert state(app, key_of(1)) == "cleared"


@pytest.mark.parametrize(
    "command", ["stats", "keys", "show", "tags", "invalidate", "clear", "warm"]
)
def test_the_help_tells_the_exit_codes(app: Flask, command: str) -> None:
    result = invoke(app, command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0" in result.output


# -- off and on --------------------------------------------------------------------------


def test_it_switches_the_cache_of_running_processes(
    make: MakeApp, cache: Any, make_numbers: Callable[[int], int]
) -> None:
    server, command = make(), make()

    def is_past() -> bool:
        with server.app_context():
            make_numbers(1)
            (lookups,) = cache.engine.statistics.all_lookups()
            before = lookups.results["bypass"]
            make_numbers(1)
            return bool(lookups.results["bypass"] > before)

    assert not is_past()
    for _ in range(2):
        result = invoke(command, "off")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "The cache is off" in result.stdout
    wait_until(is_past)
    # Also for a process that is started meanwhile.
    server = make()
    assert is_past()
    for _ in range(2):
        result = invoke(command, "on")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "The cache is on" in result.stdout
    wait_until(lambda: not is_past())
    assert invoke_json(command, "off") == (0, {"off": True})
    assert invoke_json(command, "on") == (0, {"off": False})


def test_what_to_do_where_no_command_can_switch_it(make_app: MakeApp) -> None:
    for command in ("off", "on"):
        result = invoke(make_app(CACHE_TYPE="SimpleCache"), command)
        assert result.exit_code == 3
        assert "Set CACHE_TYPE=NullCache and restart the server" in result.stderr
