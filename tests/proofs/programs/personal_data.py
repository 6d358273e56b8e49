"""Sends marked personal data through the whole shop, and searches all that is kept or told for it.

Two processes in production share a cache server and a database; one logs JSON, the other lines.
What passes between them and the server is recorded.

Usage: personal_data.py BACKEND [--plain]
       personal_data.py forms

With --plain, entries are not encrypted; "forms" says which forms of a text the search finds.
"""

import base64
import http.client
import json
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from flask import Flask
from flask_coherent_cache._engine.encryption import EncryptingSealer
from flask_coherent_cache.testing import Server
from harness import PATIENT, finish
from marks import Marks, hidden
from package import load
from pymemcache import Client
from redis import Redis
from serving_shop import create_shop, gunicorn

GUESSES = 11
#: The length of a mark, and so its padding in base64, is a matter of chance.
FORMS_TRIED = 30
PAGES = (
    *("/", "/products", "/products?page=1&sort=price", "/products?category=things"),
    *("/products/thing-1", "/products/none", "/nowhere", "/api/products", "/api/products/1"),
    *("/api/products?sort=name", "/api/products/999", "/account", "/account/wishes"),
    "/account/sign-in",
    *("/account/wishes/add?product=thing-1", "/static/css/site.css", "/healthz", "/readyz"),
    *("/metrics", "/_cache/", "/_cache/figures.json"),
)
PUBLIC = PAGES[:14]
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)')
_COOKIE = re.compile(r"[^=;]+=[^;]*")
#: Named in the environment: entries are not encrypted.
PLAIN = "PERSONAL_DATA_PLAIN"


class Answer(NamedTuple):
    """What a process answered."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def bytes(self) -> bytes:
        return f"{self.headers}\n{self.body}".encode()


def create_app() -> Flask:
    """Build the application, and where the environment says so, without encryption."""
    if os.environ.get(PLAIN):
        EncryptingSealer._sealed = lambda self, key, body: body  # type: ignore[method-assign]
        EncryptingSealer._opened = lambda self, key, sealed: sealed  # type: ignore[method-assign]
    app: Flask = load().create_app()
    return app


class Recorder:
    """Stands before a server, and keeps all that passes."""

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.passed: list[bytearray] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                client.close()
                continue
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                passed = bytearray()
                self.passed.append(passed)
                arguments = (source, target, passed)
                threading.Thread(target=self.hand_on, args=arguments, daemon=True).start()

    def hand_on(self, source: socket.socket, target: socket.socket, passed: bytearray) -> None:
        try:
            while data := source.recv(65536):
                passed += data
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Person:
    """Somebody whose every request brings marked data of all kinds to one process."""

    def __init__(self, marks: Marks, port: int) -> None:
        self.marks, self.port = marks, port
        self.name = marks.new("user name", "{} Ann")
        self.password = marks.new("password")
        self.cookie = ""
        self.renew()

    def renew(self) -> None:
        """Come back with other marks."""
        new = self.marks.new
        kinds = {"email": "{}@mark.example", "token": "{}", "utm_id": "{}"}
        self.query = urlencode({key: new("query value", form) for key, form in kinds.items()})
        self.cookies = [f"{key}={new('cookie')}" for key in ("theme", "remember_token", "sid")]
        self.sent = {
            "Accept": "text/html",
            "X-Forwarded-For": new("header"),
            "X-Api-Key": new("header"),
            "X-User-Email": new("header", "{}@mark.example"),
            "X-Tenant": new("header"),
            "User-Agent": new("header", "Agent/{}"),
            "Referer": new("header", "http://localhost/?q={}"),
            "Accept-Language": new("header"),
            "If-None-Match": new("header", '"{}"'),
        }

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
        """Send a request with marks in its headers, its cookies, and its query."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        given["Cookie"] = "; ".join(filter(None, [*self.cookies, self.cookie]))
        for key in {"Cookie", "Authorization"} & given.keys():
            self.marks.hashed(key, given[key])
        marked = f"{path}{'&' if '?' in path else '?'}{self.query}"
        return ask(self.port, marked, method, body, **{**self.sent, **given})

    def basic(self) -> str:
        """Make credentials of HTTP (RFC 7617)."""
        pair = f"{self.marks.new('basic user')}:{self.marks.new('basic password')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def bearer(self) -> str:
        return f"Bearer {self.marks.new('bearer token')}"

    def take(self, answer: Answer) -> Answer:
        """Keep the session's cookie."""
        for key, value in answer.headers:
            if key.lower() == "set-cookie":
                self.cookie = _COOKIE.match(value)[0]  # type: ignore[index]
                self.marks.known("session cookie", self.cookie.partition("=")[2])
        return answer

    def send_form(self, path: str, form_page: str, **fields: str) -> Answer:
        token = _TOKEN.search(self.take(self.ask(form_page)).body)
        assert token is not None, form_page
        self.marks.known("token of a form", token[1])
        body = urlencode({**fields, "csrf_token": token[1]})
        kind = "application/x-www-form-urlencoded"
        return self.take(self.ask(path, "POST", body, Content_Type=kind))


def ask(port: int, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
    """Send a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, {"Host": "localhost", **headers})
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read().decode())
    finally:
        connection.close()


class Proof:
    """The servers, what is sent to them, and what is found of it.

    :ivar told: what is searched, by where it was.
    """

    def __init__(self, backend: str, folder: Path, plain: bool) -> None:
        self.backend, self.folder, self.plain = backend, folder, plain
        self.marks = Marks()
        self.server = Server(backend, folder)
        if self.server.command is None:
            finish(skipped=f"there is no server for {backend} on this machine")
        self.told: dict[str, list[bytes]] = {}
        self.statuses: set[int] = set()
        self.hits = 0

    def settings(self, port: int) -> dict[str, str]:
        """Return what a process in production is told; the server is at this port."""
        address = (
            {"CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
            if self.backend == "RedisCache"
            else {"CACHE_MEMCACHED_SERVERS": f"127.0.0.1:{port}"}
        )
        given = {
            **{key: value for key, value in PATIENT.items() if key != "CACHE_POOL_SIZE"},
            "APP_ENV": "production",
            "CACHE_TYPE": self.backend,
            "DATABASE_URL": f"sqlite:///{self.folder}/shop.db",
            "LOG_LEVEL": "DEBUG",
            "GUNICORN_MAX_REQUESTS": 0,
            "CACHE_SURROGATE_KEYS": "true",
            "SECRET_KEY": self.secret,
            "API_TOKEN": self.api_token,
            "OPS_TOKEN": self.ops_token,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **address,
        }
        if self.plain:
            given[PLAIN] = "1"
        return {key: str(value) for key, value in given.items()}

    def make_secrets(self) -> None:
        for attribute in ("secret", "api_token", "ops_token"):
            token = self.marks.known(attribute, secrets.token_urlsafe(32))
            setattr(self, attribute, token)

    @contextmanager
    def serving(self) -> Iterator[list[int]]:
        """Start two processes, of which each logs in its own form; yield their ports."""
        create_shop(f"sqlite:///{self.folder}/shop.db")
        command = [sys.executable, "-m", "gunicorn", "personal_data:create_app()"]
        with ExitStack() as stack:
            starting = []
            for form in ("json", "text"):
                environ = {**os.environ, **self.settings(self.recorder.port), "LOG_FORMAT": form}
                starting.append(stack.enter_context(gunicorn(command, self.folder, environ)))
            yield [wait() for wait in starting]

    def add_user(self, person: Person) -> None:
        settings = {"APP_ENV": "testing", "CACHE_TYPE": "NullCache"}
        url = f"sqlite:///{self.folder}/shop.db"
        app, db = load().create_app(settings, DATABASE_URL=url), load("extensions").db
        with app.app_context():
            user = load("account.models").User(name=person.name)
            user.set_password(person.password)
            db.session.add(user)
            db.session.commit()
            db.engine.dispose()

    # -- what is sent ------------------------------------------------------------------------

    def send(self, port: int) -> None:
        """Have a person do all that can be done in the shop."""
        person = Person(self.marks, port)
        self.add_user(person)
        self.visit(person)
        self.visit(person, Authorization=person.basic())
        self.visit(person, Authorization=person.bearer())
        self.ask_for_no_listing(person)
        self.guess(person)
        self.sign_in(person)
        self.visit(person)
        self.visit(person)
        self.wish(person)
        self.write(person)
        self.note(person.send_form("/account/sign-out", "/account"))

    def visit(self, person: Person, **headers: str) -> None:
        person.renew()
        for path in PAGES:
            self.note(person.ask(path, **headers))

    def ask_for_no_listing(self, person: Person) -> None:
        """Send marks as parameters that the view declares, and refuses.

        They are part of the address, as the path is, and stand in the key that is asked for; but
        nothing is stored under it.
        """
        for path in ("/products", "/api/products"):
            category, sort = (self.marks.new("declared value") for _ in range(2))
            self.note(person.ask(f"{path}?category={category}&sort={sort}"))

    def guess(self, person: Person) -> None:
        guessed = self.marks.new("guessed name")
        for name in [guessed] * GUESSES + [person.name]:
            password = self.marks.new("guessed password")
            page = "/account/sign-in?next=/account"
            self.note(person.send_form(page, page, name=name, password=password))

    def sign_in(self, person: Person) -> None:
        """Sign in, and put marked values into the session."""
        page = "/account/sign-in"
        answer = person.send_form(page, page, name=person.name, password=person.password)
        assert answer.status == 303, answer
        key, _, value = person.cookie.partition("=")
        app = Flask("sessions")
        app.secret_key = self.secret
        serializer: Any = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        session = serializer.loads(value)
        self.marks.known("token of the session", session["csrf_token"])
        session |= {"email": self.marks.new("session value", "{}@mark.example")}
        session |= {"cart": self.marks.new("session value")}
        self.marks.hashed("session", json.dumps(session))
        self.marks.hashed("session", json.dumps(session, separators=(",", ":")))
        person.cookie = f"{key}={serializer.dumps(session)}"
        self.marks.known("session cookie", serializer.dumps(session))

    def wish(self, person: Person) -> None:
        page = "/account/wishes/add?product=thing-1"
        self.note(person.send_form("/account/wishes/add", page, product="thing-1"))
        self.note(person.ask("/account"))
        self.note(person.send_form("/account/wishes/remove", page, product="thing-1"))
        unknown = self.marks.new("form field")
        self.note(person.send_form("/account/wishes/add", page, product=unknown))

    def write(self, person: Person) -> None:
        """Write by the API: right, without a right token, and with what it refuses."""
        right, product = f"Bearer {self.api_token}", "/api/products/2"
        for authorization in (right, person.bearer(), person.basic()):
            for body in (
                json.dumps({"price_cents": secrets.randbelow(10**6)}),
                json.dumps({self.marks.new("field"): self.marks.new("field value")}),
                json.dumps({"category": self.marks.new("field value")}),
                '{"name": "' + self.marks.new("field value"),
            ):
                kinds = {"Content_Type": "application/json", "Authorization": authorization}
                self.note(person.ask(product, "PATCH", body, **kinds))
                self.note(person.ask("/api/products", "POST", body, **kinds))
        self.note(person.ask("/api/products/999", "DELETE", Authorization=right))
        self.note(person.ask("/products", "PUT", self.marks.new("field value")))

    def note(self, answer: Answer) -> None:
        self.statuses.add(answer.status)
        self.hits += any("page-cache; hit" in value for _, value in answer.headers)

    def break_database(self, port: int) -> None:
        """Have a statement fail whose parameters are personal, so that the error is logged."""
        with sqlite3.connect(self.folder / "shop.db") as database:
            database.execute("ALTER TABLE user_account RENAME TO lost")
        person, page = Person(self.marks, port), "/account/sign-in"
        self.note(person.send_form(page, page, name=person.name, password=person.password))

    # -- what is searched --------------------------------------------------------------------

    def keep(self, place: str, *told: bytes) -> None:
        """Keep what is to be searched, once all marks are known."""
        self.told.setdefault(place, []).extend(told)

    def search(self, place: str) -> list[str]:
        return sorted(self.marks.found(b"\n\n".join(dict.fromkeys(self.told[place]))))

    def stored(self) -> dict[str, bytes]:
        """Return all that lies on the server, by key."""
        return self.in_redis() if self.backend == "RedisCache" else self.in_memcached()

    def in_redis(self) -> dict[str, bytes]:
        redis = Redis(port=self.server.port)
        stored = {}
        for key in redis.scan_iter():
            value = redis.get(key) if redis.type(key) == b"string" else redis.dump(key)
            stored[key.decode()] = value or b""
        redis.close()
        return stored

    def in_memcached(self) -> dict[str, bytes]:
        with socket.create_connection(("127.0.0.1", self.server.port), 60) as connection:
            connection.sendall(b"lru_crawler metadump all\r\n")
            listed = b""
            while not listed.endswith(b"END\r\n"):
                listed += connection.recv(65536)
        keys = [unquote(key) for key in re.findall(r"^key=(\S+)", listed.decode(), re.MULTILINE)]
        client = Client(("127.0.0.1", self.server.port))
        found = client.get_many(keys)
        client.close()
        return {key: found.get(key, b"") for key in keys}

    def search_tools(self, port: int) -> None:
        """Ask the commands and the inspector for all that they tell."""
        told = json.loads(self.command("keys", "--json"))
        keys = [entry["key"] for entry in told["entries"]]
        tags = sorted({tag for entry in told["entries"] for tag in entry["tags"]})
        self.keep("commands", json.dumps(told).encode())
        for command in ("stats", "stats --json", "keys --whole", "tags", "tags --json", "doctor"):
            self.keep("commands", self.command(*command.split()).encode())
        private = [key for key in keys if " user=" in key]
        for key in private[:2] + keys[:2]:
            self.keep("commands", self.command("show", key).encode())
        operator = {"Authorization": f"Bearer {self.ops_token}"}
        paths = ["/_cache/", "/_cache/figures.json", "/metrics"]
        paths += [f"/_cache/entry?{urlencode({'key': key})}" for key in keys]
        paths += [f"/_cache/tag?{urlencode({'tag': tag})}" for tag in tags]
        for path in paths:
            answer = ask(port, path, **operator)
            assert answer.status in (200, 404), (path, answer)
            self.keep("inspector", answer.bytes())
        self.private_pages = len(private)

    def command(self, *arguments: str) -> str:
        flask = [sys.executable, "-m", "flask", "--app", "personal_data:create_app"]
        result = subprocess.run(
            [*flask, "cache", *arguments],
            env={**os.environ, **self.settings(self.server.port), "LOG_FORMAT": "text"},
            cwd=Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode in (0, 1), (arguments, result)
        self.keep("commands", result.stderr.encode())
        return result.stdout

    def search_answers(self, port: int) -> None:
        """Be somebody else, with nothing marked."""
        for path in PUBLIC:
            answer = ask(port, path, Accept="text/html")
            self.note(answer)
            self.keep("other visitors", answer.bytes())

    def note_in_outbox(self, port: int) -> None:
        """Have a write noted in the database, as the cache's server is away."""
        self.server.kill()
        person = Person(self.marks, port)
        body, kind = json.dumps({"price_cents": 77}), "application/json"
        authorization = f"Bearer {self.api_token}"
        path = "/api/products/3"
        answer = person.ask(path, "PATCH", body, Content_Type=kind, Authorization=authorization)
        assert answer.status == 200, answer
        with sqlite3.connect(self.folder / "shop.db") as database:
            rows = database.execute("SELECT * FROM cache_note").fetchall()
        self.keep("outbox", *(json.dumps(row).encode() for row in rows))

    def opened(self, stored: dict[str, bytes], secret: str) -> int:
        """Count the entries that a secret opens."""
        settings = {key: value for key, value in self.settings(1).items() if key != "SECRET_KEY"}
        app = load().create_app({**settings, "LOG_LEVEL": "CRITICAL", "SECRET_KEY": secret})
        (entries,) = app.extensions["cache"].values()
        return sum(
            entries.sealer.open(key.partition(":entry:")[2], value) is not None
            for key, value in stored.items()
            if ":entry:" in key
        )

    def run(self) -> None:
        self.make_secrets()
        with self.server:
            self.recorder = Recorder(self.server.port)
            with self.serving() as ports:
                for port in ports:
                    self.send(port)
                stored = self.stored()
                for port in ports:
                    self.search_answers(port)
                self.search_tools(ports[0])
                self.keep("keys", *(key.encode() for key in stored))
                self.keep("values", *stored.values())
                self.note_in_outbox(ports[0])
                self.break_database(ports[0])
        self.keep("traffic", *map(bytes, self.recorder.passed))
        self.keep("logs", *(log.read_bytes() for log in self.folder.glob("gunicorn-*.log")))
        entries = sum(":entry:" in key for key in stored)
        finish(
            found={place: kinds for place in self.told if (kinds := self.search(place))},
            bytes={place: sum(map(len, told)) for place, told in self.told.items()},
            statuses=sorted(self.statuses),
            hits=self.hits,
            private_pages=self.private_pages,
            entries=entries,
            opened=0 if self.plain else self.opened(stored, self.secret),
            opened_by_wrong_secret=0 if self.plain else self.opened(stored, secrets.token_hex(32)),
        )


def find_forms() -> None:
    """Hide marks in each form, and say which forms are always found; and of one not known."""
    marks, others = Marks(), Marks()
    known = [hidden(marks.new("name")) for _ in range(FORMS_TRIED)]
    other = hidden(others.new("name"))
    finish(
        forms=list(other),
        found=[form for form in other if all(marks.found(each[form]) for each in known)],
        found_of_others=[form for form, haystack in other.items() if marks.found(haystack)],
    )


def main(backend: str, *options: str) -> None:
    if backend == "forms":
        find_forms()
    with tempfile.TemporaryDirectory() as folder:
        Proof(backend, Path(folder), "--plain" in options).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
