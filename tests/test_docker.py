"""`docker compose up --build --wait` on a generated project: real engine, servers and requests."""

import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from baking import CHOICES, Project, bake
from serving import Answer
from stacks import Stack, hide_files, make_stack, needs_compose, needs_engine, request, started

SERVERS = list(itertools.product(CHOICES["cache_server"], CHOICES["database"]))

FORBIDDEN = [
    *("FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "DBSIZE", "CONFIG GET *", "SHUTDOWN NOSAVE"),
    *("ACL LIST", "ACL SETUSER app +@all", "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR"),
    *("GET other:key", "MGET other:key", "SET other:key 1", "UNLINK other:key", "INCR other:key"),
    *("EVAL return 0", "SCRIPT FLUSH", "FUNCTION FLUSH", "PUBLISH channel text"),
    *("SUBSCRIBE channel", "REPLICAOF 127.0.0.1 1", "SAVE", "MIGRATE 127.0.0.1 1 key 0 1"),
]  # fmt: skip


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_hadolint_has_nothing_to_say(tmp_path: Path, version: str) -> None:
    project = bake(tmp_path, python_version=version)
    project.run(Path(sys.executable).with_name("hadolint"), "Dockerfile")


@pytest.mark.parametrize(("cache_server", "database"), SERVERS)
def test_compose_lint_has_nothing_to_say(tmp_path: Path, cache_server: str, database: str) -> None:
    project = bake(tmp_path, cache_server=cache_server, database=database)
    rules = tmp_path / "rules.yml"
    rules.write_text(
        """
        rules:
          CL-0004: {enabled: false, reason: the image is the one that is built beside it}
          CL-0019: {enabled: false, reason: a tag gets repairs without anybody's doing}
        """
    )
    # The one expression that the linter does not evaluate.
    compose = project.path / "compose.yaml"
    compose.write_text(compose.read_text().replace("${DATABASE_URL:+-by-profile}", ""))
    lint = Path(sys.executable).with_name("compose-lint")
    # The secrets of .env are the owner's; where they lie is not compose.yaml's.
    options = ("--fail-on=low", "--strict-config", "--no-env", f"--config={rules}")
    project.run(lint, "check", *options, "compose.yaml")


@needs_compose
@pytest.mark.docker
@pytest.mark.parametrize(("cache_server", "database"), SERVERS)
def test_compose_reads_the_file_without_a_warning(
    tmp_path: Path, cache_server: str, database: str
) -> None:
    project = bake(tmp_path, cache_server=cache_server, database=database)
    read = project.run("docker", "compose", "config", "--format", "json")
    assert read.stderr == ""
    services = json.loads(read.stdout)["services"]
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"web"}


def services_of(project: Project, *options: str) -> dict[str, Any]:
    """Return what Compose would run, by the name of each service."""
    command = ("docker", "compose", *options, "config", "--format", "json")
    services = json.loads(project.run(*command).stdout)["services"]
    assert isinstance(services, dict)
    return services


@needs_compose
@pytest.mark.docker
@pytest.mark.parametrize(("cache_server", "database"), SERVERS)
def test_the_smallest_server_and_any_engine_take_it(
    tmp_path: Path, cache_server: str, database: str
) -> None:
    project = bake(tmp_path, cache_server=cache_server, database=database)
    for name, service in services_of(project, "--profile", "*").items():
        assert float(service["cpus"]) <= 1, f"{name}: refused where there is one processor"
        assert not any("uid=" in mount for mount in service.get("tmpfs", [])), f"{name}: Podman"
        kinds = {volume["type"] for volume in service.get("volumes", [])}
        assert kinds <= {"volume"}, f"{name} would see the permissions of the host's files"
        if "build" in service:
            assert service["pull_policy"] == "build", f"{name}: a stranger's image"
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}


#: Of each answer, what RedisCache starts.
REDIS = {"redis": "redis:", "valkey": "valkey/valkey:", "memcached": "redis:"}
FILE, OWN = "sqlite:////data/other.db", "postgresql://me@db.example.com/name"
DATABASE = "postgresql://app@database:5432/app"


@pytest.fixture(
    scope="module", params=[("redis", "postgresql"), ("valkey", "sqlite"), ("memcached", "sqlite")]
)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Generate a project whose .env tests write anew."""
    cache_server, database = request.param
    folder = tmp_path_factory.mktemp("plain")
    return bake(folder, cache_server=cache_server, database=database)


@needs_compose
@pytest.mark.docker
@pytest.mark.parametrize(
    ("settings", "cache", "server"),
    [
        ({}, None, None),
        ({"CACHE_TYPE": "", "DATABASE_URL": ""}, None, None),
        ({"CACHE_TYPE": "RedisCache"}, "RedisCache", None),
        ({"CACHE_TYPE": "MemcachedCache"}, "MemcachedCache", None),
        ({"CACHE_TYPE": "NullCache"}, "", None),
        ({"CACHE_TYPE": "SimpleCache", "WEB_CONCURRENCY": "1"}, "", None),
        ({"DATABASE_URL": FILE}, None, False),
        ({"DATABASE_URL": OWN}, None, False),
        ({"DATABASE_URL": DATABASE, "COMPOSE_PROFILES": "postgresql"}, None, True),
        ({"DATABASE_URL": FILE, "CACHE_TYPE": "NullCache"}, "", False),
        ({"CACHE_REDIS_HOST": "r.example.com", "CACHE_REDIS_USERNAME": ""}, None, None),
        ({"CACHE_MEMCACHED_SERVERS": "one:11211,two:11211"}, None, None),
    ],
)
def test_what_env_says_wins_and_starts_its_server(
    plain: Project, settings: dict[str, str], cache: str | None, server: bool | None
) -> None:
    cache_server, database = plain.answers["cache_server"], plain.answers["database"]
    mark = "# --- Of one test\n"
    own = plain.read(".env").partition(mark)[0]
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (plain.path / ".env").write_text("".join([own, mark, *lines]))
    services = services_of(plain)
    environ = services["web"]["environment"]
    assert environ == services["migrate"]["environment"]
    for name, value in settings.items():
        assert environ[name] == (value or environ[name])
    if cache is None:
        cache = "MemcachedCache" if cache_server == "memcached" else "RedisCache"
    if cache:
        image = "memcached:" if cache == "MemcachedCache" else REDIS[cache_server]
        assert services["cache"]["image"].startswith(image)
        assert environ["CACHE_TYPE"] == cache
    else:
        assert "cache" not in services
    expected = database == "postgresql" if server is None else server
    assert ("database" in services) == expected


@needs_compose
@pytest.mark.docker
def test_a_cache_that_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    project = bake(tmp_path)
    refused = project.run("docker", "compose", "config", check=False, CACHE_TYPE="Tape")
    assert refused.returncode
    assert '"Tape" not found' in refused.stderr


#: As tests/test_env_file.py of the project has them.
ACCEPTED = {
    "A=b": "b",
    "A=": "",
    "A=''": "",
    "A=a=b:c/d+e%f~g": "a=b:c/d+e%f~g",
    "A='a$b $$c {d} \\e \"f\" #g'": 'a$b $$c {d} \\e "f" #g',
    "A=\"a 'b' #c\"": "a 'b' #c",
    "A=a#b": "a#b",
    "A=a b # comment": "a b",
    "A='b' # comment": "b",
    "export A=b": "b",
}


@needs_compose
@pytest.mark.docker
def test_compose_reads_a_line_of_env_as_flask_does(tmp_path: Path) -> None:
    project = bake(tmp_path)
    known = project.read("tests/test_env_file.py")
    lines = [line.replace("A=", f"A{number}=") for number, line in enumerate(ACCEPTED)]
    for value in ACCEPTED.values():
        assert repr(value)[1:-1] in known or json.dumps(value)[1:-1] in known
    with (project.path / ".env").open("a") as env:
        env.write("\n".join(lines))
    environ = services_of(project)["web"]["environment"]
    found = [environ[f"A{number}"].replace("$$", "$") for number in range(len(lines))]
    assert found == list(ACCEPTED.values())


@needs_compose
@pytest.mark.docker
@pytest.mark.parametrize("slug", ["2048", "null", "true", "1e3", "0x1f", "off"])
def test_a_slug_that_yaml_would_not_take_for_text(tmp_path: Path, slug: str) -> None:
    project = bake(tmp_path, project_slug=slug)
    read = project.run("docker", "compose", "config", "--format", "json")
    assert json.loads(read.stdout)["name"] == slug


@needs_compose
@pytest.mark.docker
def test_without_secrets_compose_says_what_to_do(tmp_path: Path) -> None:
    project = bake(tmp_path)
    (project.path / ".env").unlink()
    read = project.run("docker", "compose", "config", check=False)
    assert read.returncode
    assert ".env.example" in read.stderr


@pytest.fixture(scope="module", params=SERVERS, ids="-".join)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    result = make_stack(tmp_path_factory.mktemp("docker"), *request.param)
    hide_files(result)
    with started(result):
        yield result


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true within {seconds} s"


def shown_prices(answer: Answer) -> set[int]:
    """Return the prices on a page, or in a JSON document."""
    assert answer.status == 200
    found = re.findall(r'data-price-cents="(\d+)"|"price_cents": ?(\d+)', answer.body)
    return {int(page or document) for page, document in found}


@needs_engine
@pytest.mark.docker
class TestStack:
    """One stack for each cache server and each database; the tests share it, in this order."""

    def test_health_and_readiness_answer(self, stack: Stack) -> None:
        for replica in stack.replicas:
            assert request(f"{replica}/healthz").status == 200
            ready = request(f"{replica}/readyz")
            assert ready.status == 200
            assert "degraded" not in ready.body

    def test_what_one_replica_stored_the_other_serves(self, stack: Stack) -> None:
        one, other = stack.replicas
        path = "/products?page=2"
        request(one + path)
        for replica in (one, other):
            answer = request(replica + path)
            assert answer.status == 200
            assert "; hit" in answer.headers["Cache-Status"]

    def test_a_patch_is_seen_by_the_next_get_of_every_page_on_both_replicas(
        self, stack: Stack
    ) -> None:
        replicas = stack.replicas
        product = featured(replicas[0])
        number, slug, token = product["id"], product["slug"], stack.secret("API_TOKEN")

        def set_price(price: int, replica: str) -> None:
            patch = {"price_cents": price}
            assert request(f"{replica}/api/products/{number}", "PATCH", patch, token).status == 200

        # The highest price of all, so that lists by price keep the product where it is.
        price = 90_000_000
        set_price(price, replicas[0])
        pages = [path for path in everywhere(product) if shows(replicas[0] + path, product)]
        assert {"/", f"/products/{slug}", f"/api/products/{number}"} < set(pages)
        assert any(page.startswith("/products?") for page in pages)
        assert any(page.startswith("/api/products?") for page in pages)
        for turn in range(6):
            for page, replica in itertools.product(pages, replicas):
                assert price in shown_prices(request(replica + page)), page
            old, price = price, price + 1
            set_price(price, replicas[turn % 2])
            for page, replica in itertools.product(pages, replicas):
                shown = shown_prices(request(replica + page))
                assert price in shown, f"{replica}{page} does not show the new price"
                assert old not in shown, f"{replica}{page} shows the old price"

    def test_a_hit_asks_the_cache_server_nothing(self, stack: Stack) -> None:
        skip_memcached(stack)

        def asked() -> list[str]:
            statistics = stack.cache_cli("INFO", "commandstats")
            return re.findall(r"cmdstat_(?:mget|get|set|evalsha):calls=\d+", statistics)

        def hits_ask_nothing() -> bool:
            before = asked()
            for _, replica in itertools.product(range(10), stack.replicas):
                answer = request(f"{replica}/products?page=2")
                assert answer.status == 200
            return "; hit" in answer.headers["Cache-Status"] and asked() == before

        # Each process connects by itself, and keeps a copy from its second look on.
        wait_until(hits_ask_nothing)
        assert "tracking_clients:0" not in stack.cache_cli("INFO", "clients")

    def test_the_application_lacks_no_right_on_the_cache_server(self, stack: Stack) -> None:
        skip_memcached(stack)
        assert "cmdstat_evalsha:calls" in stack.cache_cli("INFO", "commandstats")
        assert "NOPERM" not in stack.cache_cli("INFO", "errorstats")

    def test_the_application_has_no_further_right_on_it(self, stack: Stack) -> None:
        skip_memcached(stack)
        replies = {command: stack.cache_cli(*command.split()) for command in FORBIDDEN}
        assert {c: text for c, text in replies.items() if not text.startswith("NOPERM")} == {}

    def test_a_script_reaches_no_other_key_either(self, stack: Stack) -> None:
        skip_memcached(stack)
        script = stack.cache_cli("SCRIPT", "LOAD", "return redis.call('GET', 'other:key')")
        assert stack.cache_cli("EVALSHA", script, "1", "other:key").startswith("NOPERM")
        assert "permissions" in stack.cache_cli("EVALSHA", script, "0")

    def test_nobody_else_gets_into_the_cache_server(self, stack: Stack) -> None:
        skip_memcached(stack)
        server = stack.project.answers["cache_server"]
        cache = ("exec", "-T", "cache")
        without = stack.compose(*cache, "env", "REDISCLI_AUTH=", f"{server}-cli", "PING")
        assert without.stdout.startswith("NOAUTH")
        default = stack.compose(*cache, f"{server}-cli", "PING")
        assert "WRONGPASS" in default.stdout + default.stderr
        listed = stack.compose(*cache, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert f"{server}-server" in listed
        assert stack.secret("CACHE_REDIS_PASSWORD") not in listed

    def test_a_write_without_the_token_is_refused(self, stack: Stack) -> None:
        answer = request(f"{stack.replicas[0]}/api/products/1", "PATCH", {"price_cents": 1})
        assert answer.status == 401

    def test_containers_run_as_nobody_on_a_read_only_root(self, stack: Stack) -> None:
        for container in stack.containers():
            config, host = container["Config"], container["HostConfig"]
            assert isinstance(config, dict)
            assert isinstance(host, dict)
            service = config["Labels"]["com.docker.compose.service"]
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert not host["Privileged"]
            assert host["Memory"] > 0, service
            if service != "migrate":
                user = stack.compose("exec", "-T", service, "id", "-u").stdout.strip()
                assert user == ("10001" if service == "web" else user) != "0"
        refused = stack.compose("exec", "-T", "web", "touch", "/app/new", check=False)
        assert "Read-only" in refused.stderr

    def test_no_secret_is_in_the_image(self, stack: Stack) -> None:
        image = ("docker", "image")
        history = stack.project.run(*image, "history", "--no-trunc", stack.name).stdout
        config = stack.project.run(*image, "inspect", stack.name).stdout
        run = ("docker", "run", "--rm", "--network=none", "--entrypoint=ls", stack.name)
        assert ".env" not in stack.project.run(*run, "--all", "/app").stdout.split()
        for name in ("SECRET_KEY", "API_TOKEN", "OPS_TOKEN"):
            assert stack.secret(name) not in history + config

    def test_a_person_can_be_made(self, stack: Stack) -> None:
        create = "echo a-long-password | flask user create ada --password-stdin"
        made = stack.compose("exec", "-T", "web", "sh", "-c", create)
        assert "ada" in made.stdout
        again = stack.compose("exec", "-T", "web", "sh", "-c", create, check=False)
        assert "already" in again.stderr

    def test_the_cache_is_filled_under_the_address_of_the_first_run(self, stack: Stack) -> None:
        warmed = stack.compose("exec", "-T", "web", "flask", "cache", "warm")
        assert " 0 failed" in warmed.stdout

    def test_the_metrics_are_there_for_the_token(self, stack: Stack) -> None:
        address = f"{stack.replicas[0]}/metrics"
        assert request(address).status == 401
        shown = request(address, token=stack.secret("OPS_TOKEN"))
        assert (shown.status, "http_requests_total" in shown.body) == (200, True)

    def test_a_migration_is_written_on_this_machine(self, stack: Stack) -> None:
        write = ("exec", "-T", "web", "flask", "db", "migrate", "--message", "Add a column")
        refused = stack.compose(*write, check=False)
        assert refused.returncode
        assert "files are read-only" in refused.stderr
        assert "Traceback" not in refused.stderr
        (way,) = re.findall(
            r"^    docker compose run (--rm (?:.*\\\n)*.*)$",
            stack.project.read("docs/maintenance.md"),
            re.M,
        )
        stack.project.run(
            "sh", "-c", f"docker compose run -T {way}", timeout=600, check=True, **stack.environ
        )
        (written,) = stack.project.package.glob("migrations/versions/*_add_a_column.py")
        written.unlink()

    @pytest.mark.parametrize("service", ["migrate", "web"])
    def test_a_folder_that_cannot_be_written_is_told_in_words(
        self, stack: Stack, service: str
    ) -> None:
        # Where two workers end at once, gunicorn itself may trip over the second one.
        wrong = ("--env", "DATABASE_URL=sqlite:////app/app.db", "--env", "WEB_CONCURRENCY=1")
        refused = stack.compose("run", "--rm", "-T", "--no-deps", *wrong, service, check=False)
        assert refused.returncode
        said = refused.stdout + refused.stderr
        assert "user 10001 of this process may not write" in said
        assert "Traceback" not in said

    def test_to_start_again_changes_nothing(self, stack: Stack) -> None:
        def total() -> object:
            return request(f"{stack.replicas[0]}/api/products").json

        before = total()
        stack.compose("run", "--rm", "migrate")
        assert total() == before

    def test_without_the_cache_server_pages_still_answer(self, stack: Stack) -> None:
        stack.compose("stop", "cache")
        for replica in stack.replicas:
            for path in ("/", "/products", "/products?page=3"):
                assert request(replica + path).status == 200
            ready = request(f"{replica}/readyz")
            assert (ready.status, "degraded" in ready.body) == (200, True)
        stack.compose("start", "cache")

    def test_a_volume_of_another_password_is_recognised(self, stack: Stack) -> None:
        if stack.project.answers["database"] != "postgresql":
            pytest.skip("SQLite has no password")
        stack.compose("down", "--timeout", "5")
        env = stack.project.path / ".env"
        password = stack.secret("POSTGRES_PASSWORD")
        env.write_text(env.read_text().replace(password, "another-password-of-another-day"))
        assert stack.up(check=False).returncode
        logs = stack.compose("logs", "--no-color", "migrate").stdout
        assert "volume" in logs
        assert "docker compose down --volumes" in logs


@needs_engine
@pytest.mark.docker
@pytest.mark.parametrize("cache_server", ["redis", "valkey"])
def test_the_rights_follow_the_prefix_and_any_password(tmp_path: Path, cache_server: str) -> None:
    name = f"fct-rights-{cache_server}-{os.getpid()}"
    project = bake(tmp_path, project_slug=name, package_name="shop", cache_server=cache_server)
    env = project.path / ".env"
    odd = """ a"b>c#d$e\\f*% é"""
    text = re.sub(
        "^CACHE_REDIS_PASSWORD=.*",
        lambda _: f"CACHE_REDIS_PASSWORD='{odd}'",
        env.read_text(),
        flags=re.MULTILINE,
    )
    env.write_text(f"{text}\nCACHE_KEY_PREFIX=shop-2\n")
    stack = Stack(project, name, {})
    config = json.loads(stack.compose("config", "--format", "json").stdout)["services"]
    assert config["web"]["environment"]["CACHE_KEY_PREFIX"] == "shop-2"
    try:
        stack.compose("up", "--wait", "cache")
        assert stack.cache_cli("SET", "shop-2:key", "1") == "OK"
        assert stack.cache_cli("SET", "shop:key", "1").startswith("NOPERM")
    finally:
        stack.compose("down", "--volumes", "--timeout", "5", check=False)
    assert stack.left() == ""


def skip_memcached(stack: Stack) -> None:
    """Skip a test of what Memcached does not have."""
    if stack.project.answers["cache_server"] == "memcached":
        pytest.skip("Memcached has neither users nor a near cache")


def featured(address: str) -> dict[str, object]:
    """Return a product that the first page shows."""
    slugs = re.findall(r'href="/products/([a-z0-9-]+)"', request(f"{address}/").body)
    assert slugs
    number = 1
    while (answer := request(f"{address}/api/products/{number}")).status == 200:
        if answer.json["slug"] in slugs:
            return answer.json
        number += 1
    raise AssertionError("no product of the first page is in the API")


def everywhere(product: dict[str, object]) -> list[str]:
    """Return the pages that may show a product's price."""
    category = product["category"]
    slug = category["slug"] if isinstance(category, dict) else category
    lists = ["", f"?category={slug}", f"?category={slug}&sort=-price", "?sort=-price"]
    return [
        "/",
        f"/products/{product['slug']}",
        f"/api/products/{product['id']}",
        *(f"/products{query}" for query in lists),
        *(f"/api/products{query}" for query in lists),
    ]


def shows(url: str, product: dict[str, object]) -> bool:
    """Tell whether a page, or a document, is about a product."""
    answer = request(url)
    return answer.status == 200 and str(product["slug"]) in answer.body
