"""Generated projects pass their own checks, in one environment that they all share."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from baking import CHOICES, Project, bake, name_of, pairs, pairwise, product

FIRST = {key: values[0] for key, values in CHOICES.items()}
LAST = {key: values[-1] for key, values in CHOICES.items()}


def test_the_selection_holds_every_pair_of_answers() -> None:
    selected = set().union(*map(pairs, pairwise()))
    for one, values in CHOICES.items():
        for other, others in CHOICES.items():
            if one < other:
                for value in values:
                    assert all(((one, value), (other, second)) in selected for second in others)
    assert len(pairwise()) < len(product()) / 10


def make(project: Project, environment: Path, *arguments: str) -> str:
    """Run the project's own make with the shared environment in place of a new .venv.

    The folder's package is found by PYTHONPATH, for the environment has no project installed.
    """
    (environment.parent / ".installed").touch()  # newer than the project's lock
    result = project.run(
        "make",
        *arguments,
        f"VENV={environment.parent}",
        PYTHONPATH=str(project.path / "src"),
        MYPY_CACHE_DIR=str(environment.parent / "mypy"),
        timeout=1200,
    )
    return result.stdout + result.stderr


@pytest.mark.long
@pytest.mark.parametrize("answers", pairwise(), ids=name_of)
def test_a_pairwise_selection_lints_and_collects_its_tests(
    tmp_path: Path, environment: Path, answers: dict[str, str]
) -> None:
    project = bake(tmp_path, **answers)
    make(project, environment, "lint")
    collected = project.run(
        environment / "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"
    )
    assert "test" in collected.stdout


def run_tests_and_hooks(project: Project, environment: Path) -> None:
    make(project, environment, "test")
    make(project, environment, "hooks")


def test_the_first_choices_pass_all_their_tests_and_hooks(
    tmp_path: Path, environment: Path
) -> None:
    run_tests_and_hooks(bake(tmp_path, **FIRST), environment)


@pytest.mark.long
def test_the_last_choices_and_a_project_without_the_example_pass_all_their_tests_and_hooks(
    tmp_path: Path, environment: Path
) -> None:
    last, without = bake(tmp_path / "last", **LAST), bake(tmp_path / "without")

    def test_without_the_example() -> None:
        make(without, environment, "remove-example")
        assert not (without.package / "catalog").exists()
        make(without, environment, "lint")
        make(without, environment, "test")

    # Both at a time: each waits for servers more than it computes.
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(run_tests_and_hooks, last, environment)
        for done in (running, pool.submit(test_without_the_example)):
            done.result()
