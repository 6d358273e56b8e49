"""`docker compose up --build --wait` on a generated project: real engine, servers and requests."""

import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from baking import CHOICES, bake
from serving import Answer
from stacks import Stack, make_stack, needs_compose, needs_engine, request, started

SERVERS = list(itertools.product(CHOICES["cache_server"], CHOICES["database"]))


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_hadolint_has_nothing_to_say(tmp_path: Path, version: str) -> None:
    project = bake(tmp_path, python_version=version)
    project.run(Path(sys.executable).with_name("hadolint"), "Dockerfile")


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
    assert {port["host_ip"] for port in services["web"]["ports"]} == {"127.0.0.1"}


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
    with started(make_stack(tmp_path_factory.mktemp("docker"), *request.param)) as result:
        yield result


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
