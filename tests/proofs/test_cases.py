"""The cases: each is shown right here and, where stock Flask-Caching has the feature, wrong there.

`PROOF_EXAMPLES=1000 make test` drives the stateful cases through more orders of events, and
`PROOF_SEED=2 make test` through others.
"""

import re
from pathlib import Path

import pytest
from baking import Project
from running import PROGRAMS

CASES = Path(__file__).parent / "cases"
MODULES = [path.stem for path in sorted(CASES.glob("*.py")) if "def test_" in path.read_text()]
#: How a case says that it lacks a server.
LACKING = re.compile(r"^SKIPPED .*: (there is no .* on this machine)$", re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_cases(project: Project, environment: Path, module: str) -> None:
    paths = [project.path / "src", project.path / "tests", PROGRAMS, CASES]
    command: list[str | Path] = [environment / "python", "-m", "pytest"]
    command += ["-c", CASES / "pytest.ini", CASES / f"{module}.py"]
    result = project.run(*command, timeout=1200, PYTHONPATH=":".join(map(str, paths)))
    print(result.stdout)
    if lacking := set(LACKING.findall(result.stdout)):
        pytest.skip(f"the other cases pass, but {', and '.join(sorted(lacking))}")
