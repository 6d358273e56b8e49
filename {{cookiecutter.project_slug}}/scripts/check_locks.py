"""Check that requirements/ is what pyproject.toml declares, with one version of each in all of it.

A lock that was changed by hand or by a robot installs without a word: pip is not told of the
bounds of pyproject.toml. `make lint` runs this, and CI by it.
"""

import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from make_sbom import PIN
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
Pins = dict[str, set[str]]


def main() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    runtime, dev = read_pins("runtime"), read_pins("dev")
    production = declared["project"]["dependencies"]
    problems = [
        *find_outside(production, runtime, "runtime.txt"),
        *find_outside([*production, *declared["dependency-groups"]["dev"]], dev, "dev.txt"),
        *(
            f"{name} is {said(versions)} in runtime.txt and {said(dev.get(name))} in dev.txt: "
            "tests would run with another version than production."
            for name, versions in runtime.items()
            if versions != dev.get(name)
        ),
    ]
    if problems:
        sys.exit("\n".join([*problems, "`make lock` makes the locks anew."]))


def read_pins(name: str) -> Pins:
    """Return the versions that a lock has of each distribution; several if they have markers."""
    text = (PROJECT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = defaultdict(set)
    for wheel, wheel_version, distribution, version, *_ in PIN.findall(text):
        pins[canonicalize_name(wheel or distribution)].add(version or wheel_version)
    return pins


def find_outside(requirements: list[str], pins: Pins, lock: str) -> list[str]:
    """Say which requirements a lock does not meet."""
    return [
        f"pyproject.toml wants {text}; {lock} has {said(versions)}."
        for text in requirements
        for requirement in [Requirement(text)]
        for versions in [pins.get(canonicalize_name(requirement.name))]
        if not versions
        or not all(requirement.specifier.contains(each, prereleases=True) for each in versions)
    ]


def said(versions: set[str] | None) -> str:
    return " and ".join(sorted(versions or ["none"]))


if __name__ == "__main__":
    main()
