"""What a project is in production: its scripts in deploy/, Gunicorn, a database that hangs."""

import shutil
from pathlib import Path

import pytest
from baking import Project, bake

OWNERS = Path(__file__).with_name("owners")
TESTS = (
    *("address", "guessing", "gunicorn_counts"),
    *("late_requests", "postgresql", "prepare_database"),
)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that has these tests beside its own."""
    project = bake(tmp_path_factory.mktemp("deploy"))
    folder = project.path / "tests" / "deploy"
    folder.mkdir()
    for name in TESTS:
        shutil.copy(OWNERS / f"{name}.py", folder / f"test_{name}.py")
    return project


@pytest.mark.parametrize("name", TESTS)
def test_it_holds_in_production(deployed: Project, environment: Path, name: str) -> None:
    test = f"tests/deploy/test_{name}.py"
    deployed.run(environment / "python", "-m", "pytest", "-q", test, PYTHONPATH="src")
