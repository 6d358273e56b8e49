"""The cases: each is shown right here and, where stock Flask-Caching has the feature, wrong there.

`PROOF_EXAMPLES=1000 make proofs` drives the stateful cases through more orders of events, and
`PROOF_SEED=2 make proofs` through others.
"""

import re
from pathlib import Path

import pytest
from running import PROGRAMS, run

CASES = Path(__file__).parent / "cases"
MODULES = [path.stem for path in sorted(CASES.glob("*.py")) if "def test_" in path.read_text()]
#: How a case says that it lacks a server.
LACKING = re.compile(r"^SKIPPED .*: (there is no .* on this machine)$", re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_cases(module: str) -> None:
    command = ("-m", "pytest", "-c", CASES / "pytest.ini", CASES / f"{module}.py")
    output = run(*command, path=(PROGRAMS, CASES))
    print(output)
    if lacking := set(LACKING.findall(output)):
        pytest.skip(f"the other cases pass, but {', and '.join(sorted(lacking))}")
