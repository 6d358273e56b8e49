"""A generated project that Compose runs, and requests to it; what tests need who start one."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from baking import CHOICES, Project, bake
from serving import Answer, free_port
from serving import request as request_to

PYTHON = CHOICES["python_version"][0]


def request(url: str, method: str = "GET", data: object = None, token: str = "") -> Answer:
    """Send a request by one name to either replica, as a proxy in front of both does.

    The name is part of a cached page's key, so they share what they store.
    """
    return request_to(url, method, data, token, host="localhost")


def runs(*command: str) -> bool:
    """Tell whether a command is there and succeeds."""
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_compose = pytest.mark.skipif(
    not runs("docker", "compose", "version"), reason="Docker with Compose is not installed"
)
needs_engine = pytest.mark.skipif(
    not runs("docker", "info") or not runs("docker", "compose", "version"),
    reason="no Docker engine with Compose answers on this machine",
)


@dataclass(frozen=True)
class Stack:
    """A project that Compose runs, with two replicas of web."""

    project: Project
    name: str
    environ: dict[str, str]

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` in the project."""
        command = ("docker", "compose", *arguments)
        return self.project.run(*command, timeout=1200, check=check, **self.environ)

    def up(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Build and start what is not running, and wait until all is healthy."""
        return self.compose("up", "--build", "--wait", "--scale", "web=2", check=check)

    def cache_cli(self, *command: str) -> str:
        """Send a command to the Redis or Valkey as the application's user; return the reply."""
        server = self.project.answers["cache_server"]
        return self.compose(
            "exec", "-T", "cache", f"{server}-cli", "--user", "app", *command
        ).stdout.strip()

    def containers(self, service: str = "") -> list[dict[str, object]]:
        """Return what the engine knows of the containers of a service, or of all."""
        names = self.compose("ps", "--all", "--quiet", *([service] if service else [])).stdout
        inspected = self.project.run("docker", "inspect", *names.split()).stdout
        result = json.loads(inspected)
        assert isinstance(result, list)
        return result

    @property
    def replicas(self) -> list[str]:
        """The addresses of the two replicas of web."""
        addresses = [
            self.compose("port", "--index", str(index), "web", "8000").stdout.strip()
            for index in (1, 2)
        ]
        assert len(set(addresses)) == 2
        return [f"http://{address}" for address in addresses]

    def secret(self, name: str) -> str:
        """Return a secret of the project's .env."""
        (value,) = re.findall(rf"^{name}=(.+)$", self.project.read(".env"), re.MULTILINE)
        return str(value)

    def left(self) -> str:
        """Return the engine's names of what is left of the stack."""
        label = f"label=com.docker.compose.project={self.name}"
        return "".join(
            self.project.run(
                "docker", *kind.split(), "ls", *option, "--quiet", "--filter", label
            ).stdout
            for kind, option in (("container", ["--all"]), ("volume", []), ("network", []))
        )


def make_stack(folder: Path, cache_server: str, database: str) -> Stack:
    """Generate a project for a stack, on two free ports."""
    name = f"fct-{cache_server}-{database}-{os.getpid()}"
    project = bake(
        folder,
        project_slug=name,
        package_name="shop",
        python_version=PYTHON,
        cache_server=cache_server,
        database=database,
    )
    port = free_port(2)
    return Stack(project, name, {"WEB_PORT": f"{port}-{port + 1}"})


def hide_files(stack: Stack) -> None:
    """Take the project's files from every other user, as `umask 077` does."""
    stack.project.run("chmod", "-R", "go-rwx", ".")


@contextmanager
def started(stack: Stack) -> Iterator[Stack]:
    """Start a stack. Afterwards take it down, with its volumes, and look that nothing is left."""
    try:
        result = stack.up(check=False)
        if result.returncode:
            logs = stack.compose("logs", "--no-color", "--tail", "60", check=False)
            pytest.fail(f"{result.stderr[-4000:]}\n{logs.stdout[-6000:]}")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        stack.project.run("docker", "image", "rm", stack.name, check=False)
    assert stack.left() == ""
