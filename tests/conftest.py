"""What several modules of tests share: projects, and one environment that runs them all."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from baking import ROOT, TEMPLATE, Project, bake, name_of, selection, wheel

# The line of the library's wheel in a lock, and its hash.
VENDORED = re.compile(r"^vendor/.*\n(    --hash=.*\n)+", re.MULTILINE)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project of the default answers. Tests only read it."""
    return bake(tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="session")
def every_project(tmp_path_factory: pytest.TempPathFactory) -> list[Project]:
    """Return projects that hold every pair of the choices, in one folder. Only to be read."""
    folder = tmp_path_factory.mktemp("projects")
    return [bake(folder, project_slug=name_of(answers), **answers) for answers in selection()]


@pytest.fixture(scope="session")
def environment() -> Path:
    """Return the programs of an environment made from the lock that all projects share."""
    return environment_of(TEMPLATE / "requirements" / "dev.txt")


@pytest.fixture(scope="session")
def bench_environment() -> Path:
    """Return the programs of an environment that has what the benchmarks compare with, too."""
    bench = ROOT / "requirements" / "bench.txt"
    return environment_of(TEMPLATE / "requirements" / "dev.txt", bench)


def environment_of(*locks: Path) -> Path:
    """Make an environment, which stays in build/ while locks and interpreter are the same.

    The library's wheel is left out of the locks and installed after them, whenever it has changed.
    """
    texts = [VENDORED.sub("", lock.read_text(encoding="utf-8")) for lock in locks]
    made_of = "".join(texts) + sys.version
    folder = ROOT / "build" / f"environment-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    uv = Path(sys.executable).with_name("uv")
    install: list[str | Path] = [uv, "pip", "install", "--quiet"]
    install += ["--python", folder / "bin" / "python"]
    done = folder / "done"
    if not done.exists():
        venv: list[str | Path] = [uv, "venv", "--quiet", "--clear", "-p", sys.executable, folder]
        subprocess.run(venv, check=True)
        for number, text in enumerate(texts):
            lock = folder / f"{number}.txt"
            lock.write_text(text, encoding="utf-8")
            subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        done.touch()
    digest = hashlib.sha256(wheel().read_bytes()).hexdigest()
    if done.read_text(encoding="utf-8") != digest:
        subprocess.run([*install, "--no-deps", "--reinstall", wheel()], check=True)
        done.write_text(digest, encoding="utf-8")
    return folder / "bin"


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what Git knows of the person at this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    monkeypatch.delenv("EMAIL", raising=False)


@pytest.fixture
def somebody(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make up a person who uses Git."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
