"""Starts the stack that faults are done to, and the load on it, and watches it recover."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from stacks import Stack, request

from chaos.judging import Record, read_records

HERE = Path(__file__).parent
#: Beside the project's compose.yaml: a snapshot outlives the cache server that made it.
VOLUME = """\
services:
  cache:
    tmpfs: !override ["/tmp:size=1m"]
    volumes: ["snapshot:/data"]
volumes:
  snapshot:
"""
#: A page as the project has it, and one that is within its grace soon.
HOME, HOME_WITHIN_GRACE = (
    f"@cache.cached(timeout={seconds}, grace=3600, warm=True)\ndef home()" for seconds in (300, 2)
)
#: The cache server's users as the project has them, and with one more, who may do all.
USERS = 'echo "user default off"'
USERS_WITH_ADMIN = f'{USERS}; echo "user admin on nopass ~* &* +@all"'
#: So many products of the first list are written.
WRITTEN = 6
PERSON, PASSWORD = "ada", "a-long-password"
#: As often all processes of both replicas have to answer well.
LOOKS = 4


def prepare(stack: Stack) -> None:
    """Make a stack's project ready, before it is built."""
    replace(stack.project.package / "catalog" / "views.py", HOME, HOME_WITHIN_GRACE)
    replace(stack.project.path / "deploy" / "servers.yaml", USERS, USERS_WITH_ADMIN)
    (stack.project.path / "chaos.yaml").write_text(VOLUME, encoding="utf-8")
    shutil.copytree(HERE / "stock", stack.project.path / "stock")
    choose(stack, "ours")


def replace(file: Path, old: str, new: str) -> None:
    source = file.read_text(encoding="utf-8")
    assert source.count(old) == 1
    file.write_text(source.replace(old, new), encoding="utf-8")


def choose(stack: Stack, subject: str) -> None:
    """Let the stack run the project ("ours"), the project without a cache, or stock.

    It counts from the next `up`.
    """
    files = ["compose.yaml", "chaos.yaml", *["stock/compose.yaml"][: subject == "stock"]]
    stack.environ["COMPOSE_FILE"] = ":".join(files)
    # The faults are done to a cache server that the subject may not need.
    stack.environ["COMPOSE_PROFILES"] = "unused-cache"
    stack.environ["CACHE_TYPE"] = "NullCache" if subject == "NullCache" else "RedisCache"


@dataclass(frozen=True)
class Plan:
    """How a load is to be."""

    #: GET requests a second.
    rate: float
    #: It ends by itself after so many seconds.
    seconds: float
    #: So many seconds a user waits for an answer.
    patience: float
    #: Writes a second.
    writes: float = 1.0


@dataclass(frozen=True)
class Users:
    """A load that runs, on a stack that runs the subject."""

    stack: Stack
    subject: str
    replicas: list[str]
    file: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def records(self) -> list[Record]:
        """Return the requests that have ended."""
        return read_records(self.file)

    def wait_for_records(self, count: int, seconds: float = 60) -> None:
        """Wait until so many requests have ended."""
        deadline = time.monotonic() + seconds
        while len(self.records()) < count:
            assert time.monotonic() < deadline, "the load does not get on"
            time.sleep(0.2)

    def wait_until_settled(self, moment: float, seconds: float = 120) -> None:
        """Wait until all requests have ended that were due by a moment."""
        deadline = time.monotonic() + seconds
        while self._settled() <= moment:
            assert self.process.poll() is None, "the load has ended"
            assert time.monotonic() < deadline, "the load does not settle"
            time.sleep(0.2)

    def _settled(self) -> float:
        found = re.findall(r'^\{"settled": ([\d.]+)\}$', self.file.read_text(), re.MULTILINE)
        return float(found[-1]) if found else 0.0

    def wait_until_well(self, seconds: float) -> float:
        """Wait so long until both replicas answer, and keep what they answer.

        Return since when it was so, or infinity.
        """
        since = time.monotonic()
        deadline, good = since + seconds, 0
        while good < LOOKS:
            good = good + 1 if all(map(is_well, self.replicas)) else 0
            if not good:
                since = time.monotonic()
            if since > deadline:
                return math.inf
        return since


def is_well(replica: str) -> bool:
    """Tell whether a process of a replica has all that it needs, and stores a page."""
    try:
        ready = request(f"{replica}/readyz")
        page = request(f"{replica}/products?page=2")
    except OSError:
        return False
    # Stock says nothing of its cache.
    by_the_cache = page.headers.get("Cache-Status", "hit")
    kept = "hit" in by_the_cache or "stored" in by_the_cache
    return ready.status == page.status == 200 and "degraded" not in ready.body and kept


@contextmanager
def users(
    stack: Stack, subject: str, folder: Path, plan: Plan, first_price: int
) -> Iterator[Users]:
    """Send a load to a stack.

    :param first_price: above every price so far; each write's is one more than the last.
    """
    replicas = stack.replicas
    wait_for_products(replicas)
    products = [
        {"id": item["id"], "slug": item["slug"]}
        for item in json_items(replicas[0], "/api/products")
    ]
    # Stock has no sessions, and no need of any.
    cookie = "" if subject == "stock" else session_cookie(stack, replicas[0])
    settings = {
        "name": folder.name,
        "replicas": [replica.removeprefix("http://") for replica in replicas],
        "products": products[:WRITTEN],
        "targets": targets(products, cookie),
        "token": stack.secret("API_TOKEN"),
        "first_price": first_price,
        "rate": plan.rate,
        "writes": plan.writes,
        "seconds": plan.seconds,
        "timeout": plan.patience,
    }
    file, given = folder / "records", folder / "settings.json"
    given.write_text(json.dumps(settings), encoding="utf-8")
    file.touch()
    with subprocess.Popen([sys.executable, HERE / "load.py", given, file]) as process:
        try:
            yield Users(stack, subject, replicas, file, process)
        finally:
            process.terminate()


def wait_for_products(replicas: list[str]) -> None:
    deadline = time.monotonic() + 30
    while not all(map(is_up, replicas)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_up(replica: str) -> bool:
    try:
        return request(f"{replica}/products").status == 200
    except OSError:
        return False


def json_items(replica: str, path: str) -> list[dict[str, object]]:
    items = request(replica + path).json["items"]
    assert isinstance(items, list)
    return items


def targets(products: list[dict[str, object]], cookie: str) -> list[dict[str, object]]:
    """Return what is asked for, how often, and whether it is a cached page."""
    cached = [
        ("home", "/", 8),
        ("list", "/products", 6),
        ("list", "/products?page=2", 4),
        ("list", "/products?page=3", 2),
        ("list", "/products?sort=-price", 3),
        ("list", "/api/products", 3),
    ]
    other = [
        ("missing", "/products?page=999", 2),
        ("missing", "/products/no-such-thing", 2),
        ("sign-in", "/account/sign-in", 5),
        ("private", "/account", 5),
        ("private", "/account/wishes", 3),
        ("health", "/healthz", 4),
        ("ready", "/readyz", 1),
    ]
    result: list[dict[str, object]] = [
        {"kind": kind, "path": path, "weight": weight, "cached": some is cached}
        for some in (cached, other)
        for kind, path, weight in some
    ]
    for number, product in enumerate(products):
        about = {"slug": product["slug"], "weight": 2 if number < WRITTEN else 0.5}
        page = {"kind": "product", "path": f"/products/{product['slug']}", "cached": True}
        row = {"kind": "api", "path": f"/api/products/{product['id']}", "cached": False}
        result += [page | about, row | about]
    for target in result:
        if target["kind"] == "private":
            target["cookie"] = cookie
    return result


def session_cookie(stack: Stack, replica: str) -> str:
    """Sign a person in; return the cookie."""
    create = f"echo {PASSWORD} | flask user create {PERSON} --password-stdin"
    stack.compose("exec", "-T", "web", "sh", "-c", create, check=False)
    form = request(f"{replica}/account/sign-in")
    (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', form.body)
    fields = {"csrf_token": token, "name": PERSON, "password": PASSWORD}
    sent = Request(
        f"{replica}/account/sign-in",
        data=urlencode(fields).encode(),
        headers={"Host": "localhost", "Cookie": cookie_of(form.headers.get_all("Set-Cookie"))},
    )
    opener = build_opener(ProxyHandler({}), Unredirected)
    with opener.open(sent, timeout=30) as answer:
        assert answer.status == 303
        return cookie_of(answer.headers.get_all("Set-Cookie"))


class Unredirected(HTTPRedirectHandler):
    """Takes a redirect for the answer that it is."""

    def http_error_303(self, req: object, fp: object, *rest: object) -> object:
        return fp


def cookie_of(lines: list[str] | None) -> str:
    """Return the Cookie header of a client that was told these Set-Cookie headers."""
    jar = SimpleCookie("; ".join(lines or []))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
