"""The bill of materials names what pip installs in the image, and nothing else."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from baking import CHOICES, Project, bake


def components(project: Project, environment: Path) -> list[dict[str, object]]:
    """Write a project's bill; return what it lists."""
    project.run(environment / "python", "scripts/make_sbom.py")
    sbom = json.loads(project.read("build/sbom.cdx.json"))
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["name"] == project.path.name
    listed = sbom["components"]
    assert isinstance(listed, list)
    references = [entry["bom-ref"] for entry in listed]
    assert len(references) == len(set(references))
    return listed


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_every_pin_of_the_image_is_there_with_its_hashes(
    tmp_path: Path, environment: Path, version: str
) -> None:
    project = bake(tmp_path, python_version=version)
    base, *listed = components(project, environment)
    assert base["purl"] == f"pkg:docker/python@{version}-slim"
    expected = {}
    for block in re.split(r"\n(?=[a-z])", project.read("requirements/runtime.txt"))[1:]:
        found = re.match(r"vendor/([a-z_]+)-([^-]+)|([a-z0-9-]+).*?==([^ ]+)", block)
        assert found
        name, pinned = (found[1] or found[3]).replace("_", "-"), found[2] or found[4]
        expected[name, pinned] = set(re.findall("sha256:([0-9a-f]{64})", block))
    listing = {
        (entry["name"], entry["version"]): {each["content"] for each in entry["hashes"]}  # type: ignore[attr-defined]
        for entry in listed
    }
    elsewhere = {name for name, _ in expected.keys() - listing.keys()}
    # One is Windows', the other is for a Python before 3.11.3.
    assert elsewhere == {"async-timeout", "tzdata"}
    assert listing == {pin: hashes for pin, hashes in expected.items() if pin[0] not in elsewhere}
    assert all(listing.values())


def test_the_wheel_of_the_repository_is_looked_up_in_no_index(
    project: Project, environment: Path
) -> None:
    (entry,) = (
        entry
        for entry in components(project, environment)
        if entry["name"] == "flask-coherent-cache"
    )
    (path,) = (project.path / "vendor").iterdir()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry["hashes"] == [{"alg": "SHA-256", "content": digest}]
    version = path.name.split("-")[1]
    expected = f"pkg:generic/flask-coherent-cache@{version}?checksum=sha256:{digest}"
    assert entry["purl"] == expected


def test_a_pin_that_only_some_pythons_need(tmp_path: Path, environment: Path) -> None:
    project = bake(tmp_path)
    lock = project.path / "requirements" / "runtime.txt"
    dockerfile = project.path / "Dockerfile"
    lock.write_text(
        lock.read_text().replace("python_full_version < '3.11.3'", "python_version < '3.13'")
    )
    for version, wanted in (("3.12-slim", True), ("3.13.1-slim-trixie", False)):
        text = re.sub(r"(?m)^FROM python:\S+$", f"FROM python:{version}", dockerfile.read_text())
        dockerfile.write_text(text)
        names = {entry["name"] for entry in components(project, environment)}
        assert ("async-timeout" in names) is wanted


def test_git_does_not_see_it(project: Project) -> None:
    assert "/build/" in project.read(".gitignore").splitlines()
