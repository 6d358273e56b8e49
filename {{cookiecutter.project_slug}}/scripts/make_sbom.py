"""Write build/sbom.cdx.json: what the image holds of others, with versions and hashes.

It is a software bill of materials in CycloneDX's format (1.6), which vulnerability scanners read.
The distributions are those of requirements/runtime.txt that pip installs in the image, each with
the hashes of all files that would do. A wheel in vendor/ is in no index, so that its package URL is
generic and holds the file's hash. The base image is named, not looked into.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from packaging.markers import Marker

PROJECT = Path(__file__).parents[1]
SBOM = PROJECT / "build" / "sbom.cdx.json"
#: Name and version of a wheel, or of a distribution of the index; marker and hashes.
PIN = re.compile(
    r"^(?:vendor/([a-z0-9_]+)-([^-]+)-.+\.whl|([a-z0-9-]+)(?:\[[^]]*\])?==([^ ]+))"
    r"(?: ; (.+))? \\\n((?:    --hash=.+\n)+)",
    re.MULTILINE,
)


def main() -> None:
    lock = (PROJECT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The last stage is the image.
    *_, tag = re.findall(r"^FROM python:(\S+)", dockerfile, re.MULTILINE)
    components = [component("container", "python", tag, "docker"), *distributions(lock, tag)]
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": component("application", about["name"], about["version"], "generic"),
        },
        "components": components,
    }
    SBOM.parent.mkdir(exist_ok=True)
    SBOM.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
    print(f"{SBOM.relative_to(PROJECT)} names {len(components)} components.")


def distributions(lock: str, tag: str) -> Iterator[dict[str, Any]]:
    """Yield what the image with a Python of this tag, such as ``3.14-slim``, has of a lock."""
    release = tag.partition("-")[0]
    image = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        # The tag stands for the latest patch of its version.
        "python_full_version": f"{release}.99" if release.count(".") == 1 else release,
        "python_version": ".".join(release.split(".")[:2]),
        "sys_platform": "linux",
    }
    for pin in PIN.finditer(lock):
        wheel, wheel_version, name, version, marker, hashes = pin.groups(default="")
        if marker and not Marker(marker).evaluate(image):
            continue
        files = re.findall(r"--hash=sha256:([0-9a-f]{64})", hashes)
        if wheel:
            checksum = f"?checksum=sha256:{files[0]}"
            about = component(
                "library", wheel.replace("_", "-"), wheel_version, "generic", checksum
            )
        else:
            about = component("library", name, version, "pypi")
        yield {**about, "hashes": [{"alg": "SHA-256", "content": digest} for digest in files]}


def component(
    kind: str, name: str, version: str, registry: str, qualifiers: str = ""
) -> dict[str, Any]:
    """Return a component, with the name that scanners look it up by (a package URL)."""
    purl = f"pkg:{registry}/{name}@{version.replace('+', '%2B')}{qualifiers}"
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    main()
